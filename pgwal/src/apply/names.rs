//! Names of tables, as they are shown and as SQL writes them.

use std::fmt;

/// A table's schema and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The name in the schema.
    pub table: String,
}

impl TableName {
    /// The name of `table` in `schema`.
    #[must_use]
    pub fn new(schema: &str, table: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            table: table.to_owned(),
        }
    }

    /// The name in SQL: both parts quoted.
    #[must_use]
    pub fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.table))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// An identifier in SQL, always quoted.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string constant in SQL.
pub(super) fn literal(text: &str) -> String {
    // Standard strings are on in our sessions, so only the quote is special.
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_inside_names_are_doubled() {
        let name = TableName::new("od\"d", "Order Lines");
        assert_eq!(name.sql(), "\"od\"\"d\".\"Order Lines\"");
        assert_eq!(literal("o'clock"), "'o''clock'");
    }
}
