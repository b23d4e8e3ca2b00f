//! JSON documents of MySQL, whose text does not tell the types of all their values.
//!
//! In a document a number may be a DECIMAL or an unsigned integer, and what looks like a string may
//! be a date, a time or bytes. The source is asked for the type of every value beside the text;
//! a document that a reader of the text would make another one of is put together on the target by
//! an expression that sets such values with their types. What no expression makes ends the copy.

mod tree;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::name::{hex_literal, quote_literal};
use tree::{Malformed, Node, Of, Shape, Tree};

/// A letter for each type that `JSON_TYPE` tells.
const LETTERS: &[(&str, char)] = &[
    ("OBJECT", 'o'),
    ("ARRAY", 'a'),
    ("NULL", '.'),
    ("STRING", '.'),
    ("INTEGER", '.'),
    ("DOUBLE", '.'),
    ("BOOLEAN", '.'),
    ("DECIMAL", 'N'),
    ("UNSIGNED INTEGER", 'U'),
    ("DATE", 'D'),
    ("TIME", 'T'),
    ("DATETIME", 'E'),
    ("TIMESTAMP", 'S'),
    ("BLOB", 'B'),
    ("BIT", 'B'),
];

/// The letter of types that we do not know.
const UNKNOWN: char = 'X';

/// The most values that one call of `JSON_SET` sets.
const SET_AT_ONCE: usize = 1_000;

/// The most digits of a DECIMAL, and after its point.
const DIGITS_MAX: usize = 65;
const SCALE_MAX: usize = 30;

/// The expression that gives the types of a column's documents: the letter of the document itself,
/// those of the values in objects, a slash, those of the values in arrays.
pub(super) fn types_of(column: &str) -> String {
    let cases: String = LETTERS
        .iter()
        .map(|(name, letter)| format!(" WHEN '{name}' THEN '{letter}'"))
        .collect();
    let letter = |value: &str| {
        format!("CASE COALESCE(JSON_TYPE({value}), 'NULL'){cases} ELSE '{UNKNOWN}' END")
    };
    let list = |path: &str| {
        format!(
            "COALESCE((SELECT GROUP_CONCAT({} ORDER BY p SEPARATOR '') FROM JSON_TABLE({column}, \
             '{path}' COLUMNS (p FOR ORDINALITY, v JSON PATH '$')) AS t), '')",
            letter("v")
        )
    };
    format!(
        "IF({column} IS NULL, NULL, CONCAT({}, {}, '/', {}))",
        letter(column),
        list("$**.*"),
        list("$**[*]")
    )
}

/// Whether the text alone tells all of a document with these types.
pub(super) fn text_tells_all(types: &[u8]) -> bool {
    types
        .iter()
        .all(|letter| matches!(letter, b'.' | b'o' | b'a' | b'/'))
}

/// A document that is more than its text.
#[derive(Debug, Default)]
pub(super) struct Typed {
    /// What makes it.
    pub(super) expression: String,
    /// Values that only a column of their type makes: the expression names them by [`held`].
    pub(super) held: Vec<Held>,
}

/// A value in a column of a temporary table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// The type of the column.
    pub(super) column_type: String,
    /// The value.
    pub(super) literal: String,
}

/// The name of the column that holds the nth such value of a row.
pub(super) fn held(nth: usize) -> String {
    format!("v{nth}")
}

/// Why a document cannot be carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Uncarried {
    /// The text and the types do not fit each other.
    Unreadable,
    /// Text in it is not UTF-8, which a server's own functions may store by mistake.
    NotUtf8,
    /// There is no way to make a value of this type.
    Type(String),
}

impl From<Malformed> for Uncarried {
    fn from(_: Malformed) -> Self {
        Self::Unreadable
    }
}

/// Puts a document together; `held_before` is the number of held values that its row has already.
pub(super) fn rebuild(text: &[u8], types: &[u8], held_before: usize) -> Result<Typed, Uncarried> {
    let text = std::str::from_utf8(text).map_err(|_bad| Uncarried::NotUtf8)?;
    let tree = Tree::read(text)?;
    let (root, rest) = types.split_first().ok_or(Uncarried::Unreadable)?;
    let slash = rest.iter().position(|letter| *letter == b'/');
    let (members, elements) = rest.split_at(slash.ok_or(Uncarried::Unreadable)?);
    let elements = elements.get(1..).unwrap_or_default();
    let (of_objects, of_arrays) = (tree.list(Of::Objects), tree.list(Of::Arrays));
    if of_objects.len() != members.len() || of_arrays.len() != elements.len() {
        return Err(Uncarried::Unreadable);
    }
    let nodes = std::iter::once(tree.root()?)
        .chain(of_objects)
        .chain(of_arrays);
    let letters = std::iter::once(root).chain(members).chain(elements);
    let mut typed = Typed::default();
    let mut sets = Vec::new();
    for (node, letter) in nodes.zip(letters) {
        if let Some(value) = value_of(text, node, *letter, held_before, &mut typed.held)? {
            sets.push(format!("{}, {value}", quote_literal(&node.path)));
        }
    }
    typed.expression = format!("CONVERT({} USING utf8mb4)", hex_literal(text.as_bytes()));
    for some in sets.chunks(SET_AT_ONCE) {
        typed.expression = format!("JSON_SET({}, {})", typed.expression, some.join(", "));
    }
    Ok(typed)
}

/// The expression of a value with its type; `None` where the text is enough.
fn value_of(
    text: &str,
    node: &Node,
    letter: u8,
    held_before: usize,
    held_values: &mut Vec<Held>,
) -> Result<Option<String>, Uncarried> {
    let (from, to) = match (node.shape, letter) {
        (Shape::Object, b'o') | (Shape::Array, b'a') => return Ok(None),
        (Shape::Object | Shape::Array, _) | (Shape::Scalar { .. }, b'o' | b'a') => {
            return Err(Uncarried::Unreadable);
        }
        (Shape::Scalar { .. }, b'.') => return Ok(None),
        (Shape::Scalar { from, to }, _) => (from, to),
    };
    let token = text.get(from..to).ok_or(Uncarried::Unreadable)?;
    let mut hold = |column_type: String, literal: String| {
        let name = held(held_before + held_values.len());
        held_values.push(Held {
            column_type,
            literal,
        });
        name
    };
    let cast = |kind: &str, token: &str| format!("CAST({} AS {kind})", quote_literal(token));
    Ok(Some(match letter {
        b'N' => cast(&decimal_type(token)?, token),
        b'U' => cast("UNSIGNED", token),
        b'D' => cast("DATE", unquoted(token)?),
        b'T' => cast("TIME(6)", unquoted(token)?),
        b'E' => cast("DATETIME(6)", unquoted(token)?),
        b'S' => hold(
            "TIMESTAMP(6) NULL".to_owned(),
            quote_literal(unquoted(token)?),
        ),
        b'B' => {
            let (code, bytes) = opaque(unquoted(token)?)?;
            let literal = hex_literal(&bytes);
            match (code, bytes.len()) {
                (VARCHAR, _) => literal,
                (BIT, length) => hold(format!("BIT({})", length * 8), literal),
                (STRING, length) => hold(format!("BINARY({length})"), literal),
                (code, _) => match blob_type(code) {
                    Some(name) => hold(name.to_owned(), literal),
                    None => return Err(Uncarried::Type(format!("opaque type {code}"))),
                },
            }
        }
        _unknown => return Err(Uncarried::Type("unknown".to_owned())),
    }))
}

/// The numbers of types in opaque values.
const VARCHAR: u8 = 15;
const BIT: u8 = 16;
const STRING: u8 = 254;

fn blob_type(code: u8) -> Option<&'static str> {
    match code {
        249 => Some("TINYBLOB"),
        250 => Some("MEDIUMBLOB"),
        251 => Some("LONGBLOB"),
        252 => Some("BLOB"),
        _other => None,
    }
}

/// The type that holds exactly these digits.
fn decimal_type(token: &str) -> Result<String, Uncarried> {
    let digits = token.strip_prefix('-').unwrap_or(token);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = [whole, fraction]
        .iter()
        .all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_number || digits.is_empty() {
        return Err(Uncarried::Unreadable);
    }
    let whole = whole.trim_start_matches('0');
    if fraction.len() > SCALE_MAX || whole.len() + fraction.len() > DIGITS_MAX {
        return Err(Uncarried::Type(format!(
            "DECIMAL of {} digits",
            digits.len()
        )));
    }
    Ok(format!("DECIMAL({DIGITS_MAX}, {})", fraction.len()))
}

fn unquoted(token: &str) -> Result<&str, Uncarried> {
    let inner = token
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.ok_or(Uncarried::Unreadable)
}

/// The type and the bytes behind `base64:type252:..`; the server breaks long lines.
fn opaque(inner: &str) -> Result<(u8, Vec<u8>), Uncarried> {
    let rest = inner.strip_prefix("base64:type");
    let (code, text) = rest
        .and_then(|rest| rest.split_once(':'))
        .ok_or(Uncarried::Unreadable)?;
    let code = code.parse().map_err(|_bad| Uncarried::Unreadable)?;
    let text = text.replace("\\n", "");
    let bytes = STANDARD
        .decode(text)
        .map_err(|_bad| Uncarried::Unreadable)?;
    Ok((code, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(text: &str, types: &str) -> String {
        let typed = rebuild(text.as_bytes(), types.as_bytes(), 0).unwrap();
        typed.expression.replace(&hex_literal(text.as_bytes()), "?")
    }

    #[test]
    fn values_that_the_text_does_not_tell_are_set_with_their_types() {
        assert_eq!(
            expression(r#"{"a": 1.50, "b": ["2024-01-02", 7]}"#, "oNa/DU"),
            r#"JSON_SET(CONVERT(? USING utf8mb4), '$."a"', CAST('1.50' AS DECIMAL(65, 2)), '$."b"[0]', CAST('2024-01-02' AS DATE), '$."b"[1]', CAST('7' AS UNSIGNED))"#
        );
        assert_eq!(
            expression(r#""10:00:00.000000""#, "T/"),
            "JSON_SET(CONVERT(? USING utf8mb4), '$', CAST('10:00:00.000000' AS TIME(6)))"
        );
    }

    #[test]
    fn bytes_and_timestamps_are_held_in_columns_of_their_types() {
        let text = r#"{"a": "base64:type252:/wA=", "b": "base64:type16:Cqo=", "c": "2024-01-01 00:00:00.500000", "d": "base64:type15:AQI="}"#;
        let typed = rebuild(text.as_bytes(), b"oBBSB/", 3).unwrap();
        assert!(
            typed
                .expression
                .ends_with(r#"'$."a"', v3, '$."b"', v4, '$."c"', v5, '$."d"', x'0102')"#)
        );
        let types: Vec<&str> = typed.held.iter().map(|held| &*held.column_type).collect();
        assert_eq!(types, ["BLOB", "BIT(16)", "TIMESTAMP(6) NULL"]);
    }

    #[test]
    fn types_that_do_not_fit_the_text_are_refused_and_so_is_what_cannot_be_made() {
        for (text, types) in [
            ("[1]", "a/"),
            ("[1]", "o/."),
            ("{}", "a/"),
            ("5", "D/"),
            ("5", ""),
        ] {
            let refused = rebuild(text.as_bytes(), types.as_bytes(), 0).unwrap_err();
            assert_eq!(refused, Uncarried::Unreadable, "{text} {types}");
        }
        let opaque = r#""base64:type253:AQI=""#;
        let refused = rebuild(opaque.as_bytes(), b"B/", 0).unwrap_err();
        assert_eq!(refused, Uncarried::Type("opaque type 253".to_owned()));
        assert!(rebuild(b"1", b"X/", 0).is_err());
        let broken = rebuild(b"[\"\xe9\", 1]", b"a/.N", 0).unwrap_err();
        assert_eq!(broken, Uncarried::NotUtf8);
        assert!(text_tells_all(b"o.a./..") && !text_tells_all(b"o.a./.N"));
    }
}
