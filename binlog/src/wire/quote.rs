//! Names and values as SQL.
//!
//! Literals are safe whatever `sql_mode` the reader has: what a backslash could change is written in
//! hexadecimal.

use std::fmt::Write as _;

/// A name as SQL, in backticks whatever it contains.
#[must_use]
pub fn ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A schema's object as SQL.
#[must_use]
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// A text value as an SQL literal, of the connection's character set (utf8mb4 for ours).
///
/// A text without backslash and control characters stays readable; any other becomes
/// `_utf8mb4 X'..'`, which means the same with and without `NO_BACKSLASH_ESCAPES`.
#[must_use]
pub fn literal(value: &str) -> String {
    if value.contains(|c: char| c == '\\' || c.is_control()) {
        format!("_utf8mb4 {}", hex(value.as_bytes()))
    } else {
        format!("'{}'", value.replace('\'', "''"))
    }
}

/// Bytes as an SQL literal: a binary string.
#[must_use]
pub fn bytes(value: &[u8]) -> String {
    hex(value)
}

/// Where patterns are meant literally: `_` and `%` of LIKE are escaped by `!`, so the pattern must
/// be followed by `ESCAPE '!'`.
#[must_use]
pub fn like_literal(value: &str) -> String {
    let escaped = value
        .replace('!', "!!")
        .replace('%', "!%")
        .replace('_', "!_");
    literal(&escaped)
}

/// An account as SQL: `'user'@'host'`.
#[must_use]
pub fn account(user: &str, host: &str) -> String {
    format!("{}@{}", plain(user), plain(host))
}

/// Account names take no hexadecimal literal; a backslash in them is written for the pinned
/// `sql_mode` of our sessions, in which it escapes.
fn plain(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

fn hex(value: &[u8]) -> String {
    let mut text = String::with_capacity(2 * value.len() + 3);
    text.push_str("X'");
    for byte in value {
        // Writing to a String cannot fail.
        write!(text, "{byte:02X}").unwrap_or_default();
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_names_and_texts_are_quoted() {
        assert_eq!(ident("we`ird 🚂"), "`we``ird 🚂`");
        assert_eq!(qualified("a", "b"), "`a`.`b`");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b"), "_utf8mb4 X'615C62'");
        assert_eq!(literal("a\0"), "_utf8mb4 X'6100'");
        assert_eq!(bytes(&[0, 255]), "X'00FF'");
        assert_eq!(bytes(&[]), "X''");
        assert_eq!(like_literal("a_b%!"), "'a!_b!%!!'");
        assert_eq!(account("o'x", "%"), "'o''x'@'%'");
    }

    proptest! {
        #[test]
        fn a_literal_ends_where_it_should(value: String) {
            let quoted = literal(&value);
            prop_assert!(!quoted.contains('\\'));
            let inner = quoted.trim_start_matches("_utf8mb4 X");
            let inner = inner.strip_prefix('\'').unwrap().strip_suffix('\'').unwrap();
            prop_assert!(!inner.replace("''", "").contains('\''));
        }
    }
}
