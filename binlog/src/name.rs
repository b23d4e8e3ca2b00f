//! Names of database objects, and how names and values are written into SQL and into messages.

use std::fmt;
use std::fmt::Write as _;

/// The name of a table, view, routine, trigger or event together with its database.
///
/// `Display` is for people (`shop.orders`); [`QualifiedName::quoted`] is for SQL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    /// The database, which MySQL also calls schema.
    pub schema: String,
    /// The object's own name.
    pub name: String,
}

impl QualifiedName {
    /// Joins a database and a name.
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
            quote_identifier(&self.schema),
            quote_identifier(&self.name)
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
    format!("`{}`", name.replace('`', "``"))
}

/// One text value as an SQL literal, for sessions of ours: their `sql_mode` lets a backslash
/// escape.
#[must_use]
pub fn quote_literal(value: &str) -> String {
    let mut literal = String::with_capacity(value.len() + 2);
    literal.push('\'');
    for letter in value.chars() {
        match letter {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\\\"),
            '\0' => literal.push_str("\\0"),
            other => literal.push(other),
        }
    }
    literal.push('\'');
    literal
}

/// Any bytes as an SQL literal without a character set.
#[must_use]
pub fn hex_literal(value: &[u8]) -> String {
    let mut literal = String::with_capacity(value.len() * 2 + 3);
    literal.push_str("x'");
    for byte in value {
        // Writing to a String cannot fail.
        if write!(literal, "{byte:02x}").is_err() {
            break;
        }
    }
    literal.push('\'');
    literal
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
        let name = QualifiedName::new("Shop", "we`ird 🚂");
        assert_eq!(name.quoted(), "`Shop`.`we``ird 🚂`");
        assert_eq!(name.to_string(), "Shop.we`ird 🚂");
    }

    #[test]
    fn literals_with_quotes_and_backslashes_stay_one_literal() {
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\b\0"), "'a\\\\b\\0'");
        assert_eq!(hex_literal(b"\x00\xff'"), "x'00ff27'");
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
