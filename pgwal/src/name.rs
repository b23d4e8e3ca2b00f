//! Names of database objects, and how they are written into SQL and into messages.

use std::fmt;

use postgres_protocol::escape::{escape_identifier, escape_literal};

/// The name of a relation or type together with its schema.
///
/// `Display` is for people (`shop.orders`); [`QualifiedName::quoted`] is for SQL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// The schema.
    pub schema: String,
    /// The object's own name.
    pub name: String,
}

impl QualifiedName {
    /// Joins a schema and a name.
    #[must_use]
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            name: name.into(),
        }
    }

    /// The name as SQL: both parts quoted, whatever they contain.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!(
            "{}.{}",
            escape_identifier(&self.schema),
            escape_identifier(&self.name)
        )
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// One identifier as SQL.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    escape_identifier(name)
}

/// One text value as an SQL literal.
#[must_use]
pub fn quote_literal(value: &str) -> String {
    // The escaping function puts a space before an E'' string, so that it can follow anything.
    escape_literal(value).trim_start().to_owned()
}

/// The first few names of a list, for a message: `a, b, c and 4 more`.
pub(crate) fn some_of<T: fmt::Display>(names: &[T]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_quoted_for_sql() {
        let name = QualifiedName::new("Shop", "we\"ird 🚂");
        assert_eq!(name.quoted(), "\"Shop\".\"we\"\"ird 🚂\"");
        assert_eq!(name.to_string(), "Shop.we\"ird 🚂");
    }

    #[test]
    fn literals_with_quotes_and_backslashes_stay_one_literal() {
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\b"), "E'a\\\\b'");
    }

    #[test]
    fn long_lists_are_cut_with_their_count() {
        assert_eq!(some_of(&["a", "b"]), "a, b");
        assert_eq!(
            some_of(&["a", "b", "c", "d", "e", "f", "g"]),
            "a, b, c, d, e and 2 more"
        );
    }
}
