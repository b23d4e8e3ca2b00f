//! What `ROW_COUNT()` and `FOUND_ROWS()` say of a client's last statement.
//!
//! They speak of the statement before the one that asks. Our own questions come between the two, and
//! so does a change of the server, which knows nothing of it. Therefore both are asked for first of
//! all, and where the client's next statement asks for them it gets what was read: the calls in its
//! text are replaced by their values.
//!
//! Only the next statement is about the one before our questions, and only up to its first `;`. A
//! prepared statement cannot be given values; what it says then is the new server's.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use super::answer::Rows;
use super::state::text;

/// Asks for both at once, before anything else is asked.
pub(super) const OUTCOME: &str = "SELECT ROW_COUNT(), FOUND_ROWS() LIMIT 1";

/// What the last statement of a client left, as far as something of ours came between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    row_count: Option<i64>,
    found_rows: Option<i64>,
}

impl Outcome {
    /// The answer to [`OUTCOME`].
    pub(super) fn read(rows: &Rows) -> Option<Self> {
        let row = rows.rows.first()?;
        Some(Self {
            row_count: text(row, 0)?.parse().ok(),
            found_rows: text(row, 1)?.parse().ok(),
        })
    }

    /// Of a statement that failed, behind which the server was asked for its flags. That leaves
    /// `FOUND_ROWS()` as it is.
    pub(super) fn failed() -> Self {
        Self {
            row_count: Some(-1),
            found_rows: None,
        }
    }

    /// With what was read later, where nothing is known.
    pub(super) fn or(self, later: Self) -> Self {
        Self {
            row_count: self.row_count.or(later.row_count),
            found_rows: self.found_rows.or(later.found_rows),
        }
    }

    /// The statement with the values in place of the calls; `None` if it has no such call.
    pub(super) fn tell(&self, sql: &[u8]) -> Option<BytesMut> {
        if !is_plain(sql) || !runs_now(sql) {
            return None;
        }
        let calls = calls(sql);
        let first = calls.first()?;
        let mut told = BytesMut::with_capacity(sql.len() + 64 * calls.len());
        told.put_slice(sql.get(..first.place.start)?);
        for (nth, call) in calls.iter().enumerate() {
            let value = match call.what {
                What::RowCount => self.row_count,
                What::FoundRows => self.found_rows,
            };
            match value {
                Some(value) => told.put_slice(format!("CAST({value} AS SIGNED)").as_bytes()),
                None => told.put_slice(sql.get(call.place.clone())?),
            }
            if call.name == Name::ByItsText && value.is_some() {
                told.put_slice(b" AS `");
                told.put_slice(sql.get(call.place.clone())?);
                told.put_u8(b'`');
            }
            let next = calls
                .get(nth + 1)
                .map_or(sql.len(), |next| next.place.start);
            told.put_slice(sql.get(call.place.end..next)?);
        }
        Some(told)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    RowCount,
    FoundRows,
}

/// How a result's column is called that a call makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// As it stands there: it is a column of its own, without another name.
    ByItsText,
    /// By something else, or it is no column.
    Other,
}

#[derive(Debug)]
struct Call {
    what: What,
    place: Range<usize>,
    name: Name,
}

/// Whether it is plain where a string in a text begins and ends. Elsewhere that depends on the character
/// set, on `NO_BACKSLASH_ESCAPES`, or on whether the server's version takes a comment for text: to be
/// wrong there would change a string of the client.
fn is_plain(sql: &[u8]) -> bool {
    let conditional = |two: &[u8]| matches!(two, b"*!" | b"*M" | b"*m");
    sql.is_ascii() && !sql.contains(&b'\\') && !sql.windows(2).any(conditional)
}

/// Whether a statement asks now. What defines a routine, a view or an event asks whenever that is
/// used.
fn runs_now(sql: &[u8]) -> bool {
    const WORDS: [&[u8]; 8] = [
        b"select", b"set", b"do", b"insert", b"update", b"delete", b"replace", b"call",
    ];
    let sql = super::text::trim(sql);
    let end = sql.iter().position(|byte| !is_word(*byte));
    let first = sql.get(..end.unwrap_or(sql.len())).unwrap_or_default();
    WORDS.iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// The calls in the first statement of a text.
fn calls(sql: &[u8]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut at = 0;
    let mut depth = 0_u32;
    // Whether the next word begins a column of a result.
    let mut begins_column = false;
    while let Some(&byte) = sql.get(at) {
        let rest = sql.get(at..).unwrap_or_default();
        if let Some(length) = comment(rest) {
            at += length;
            continue;
        }
        let begins = begins_column;
        begins_column = begins && byte.is_ascii_whitespace();
        match byte {
            b'\'' | b'"' | b'`' => at += quoted(rest, byte),
            b';' => return calls,
            b'(' | b')' => {
                depth = if byte == b'(' {
                    depth + 1
                } else {
                    depth.saturating_sub(1)
                };
                at += 1;
            }
            b',' => {
                begins_column = depth == 0;
                at += 1;
            }
            _word if is_word(byte) => {
                let length = rest
                    .iter()
                    .position(|byte| !is_word(*byte))
                    .unwrap_or(rest.len());
                let word = rest.get(..length).unwrap_or_default();
                let is_member = at
                    .checked_sub(1)
                    .and_then(|before| sql.get(before))
                    .is_some_and(|before| matches!(before, b'.' | b'@'));
                let what = what(word).filter(|_what| !is_member);
                match (
                    what,
                    empty_arguments(rest.get(length..).unwrap_or_default()),
                ) {
                    (Some(what), Some(arguments)) => {
                        let end = at + length + arguments;
                        let name = if begins && ends_column(sql.get(end..).unwrap_or_default()) {
                            Name::ByItsText
                        } else {
                            Name::Other
                        };
                        calls.push(Call {
                            what,
                            place: at..end,
                            name,
                        });
                        at = end;
                    }
                    (_, _) => {
                        begins_column = depth == 0 && word.eq_ignore_ascii_case(b"select");
                        at += length;
                    }
                }
            }
            _other => at += 1,
        }
    }
    calls
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$')
}

fn what(word: &[u8]) -> Option<What> {
    if word.eq_ignore_ascii_case(b"row_count") {
        Some(What::RowCount)
    } else if word.eq_ignore_ascii_case(b"found_rows") {
        Some(What::FoundRows)
    } else {
        None
    }
}

/// Bytes of `()` behind a function's name.
fn empty_arguments(text: &[u8]) -> Option<usize> {
    let inner = text.trim_ascii_start().strip_prefix(b"(")?;
    let behind = inner.trim_ascii_start().strip_prefix(b")")?;
    Some(text.len() - behind.len())
}

/// Whether a column of a result ends here, without a name.
fn ends_column(text: &[u8]) -> bool {
    let text = super::text::trim(text);
    matches!(text.first(), None | Some(b',' | b';'))
}

/// Bytes of a comment. There is none here that has a version in it and would be text to some servers.
fn comment(text: &[u8]) -> Option<usize> {
    let line = |text: &[u8]| {
        text.iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(text.len())
    };
    let is_line = text.starts_with(b"#")
        || (text.starts_with(b"--") && text.get(2).is_none_or(u8::is_ascii_whitespace));
    if is_line {
        return Some(line(text).max(1));
    }
    let inner = text.strip_prefix(b"/*")?;
    let end = inner.windows(2).position(|two| two == b"*/");
    Some(end.map_or(text.len(), |end| end + 4))
}

/// Bytes of a string or a quoted name, without backslashes. One with its own quotation mark in it is two.
fn quoted(text: &[u8], quote: u8) -> usize {
    let inner = text.get(1..).unwrap_or_default();
    let end = inner.iter().position(|byte| *byte == quote);
    end.map_or(text.len(), |end| end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sql: &str) -> Option<String> {
        let outcome = Outcome {
            row_count: Some(-1),
            found_rows: Some(17),
        };
        let told = outcome.tell(sql.as_bytes())?;
        Some(String::from_utf8(told.to_vec()).unwrap())
    }

    #[test]
    fn calls_become_their_values_and_columns_keep_their_names() {
        for (sql, expected) in [
            (
                "SELECT ROW_COUNT()",
                "SELECT CAST(-1 AS SIGNED) AS `ROW_COUNT()`",
            ),
            (
                "select found_rows ( ) ;",
                "select CAST(17 AS SIGNED) AS `found_rows ( )` ;",
            ),
            (
                "/* a */ SELECT LAST_INSERT_ID(), Found_Rows(), 1",
                "/* a */ SELECT LAST_INSERT_ID(), CAST(17 AS SIGNED) AS `Found_Rows()`, 1",
            ),
            ("SELECT FOUND_ROWS() AS n", "SELECT CAST(17 AS SIGNED) AS n"),
            ("SELECT FOUND_ROWS() n", "SELECT CAST(17 AS SIGNED) n"),
            ("SELECT 1 + ROW_COUNT()", "SELECT 1 + CAST(-1 AS SIGNED)"),
            (
                "SELECT IF(ROW_COUNT(), 1, 2)",
                "SELECT IF(CAST(-1 AS SIGNED), 1, 2)",
            ),
            ("SET @a = ROW_COUNT()", "SET @a = CAST(-1 AS SIGNED)"),
            (
                "INSERT INTO t VALUES ('it''s', \"\"\"\", ROW_COUNT())",
                "INSERT INTO t VALUES ('it''s', \"\"\"\", CAST(-1 AS SIGNED))",
            ),
            (
                "SELECT ROW_COUNT(); SELECT ROW_COUNT()",
                "SELECT CAST(-1 AS SIGNED) AS `ROW_COUNT()`; SELECT ROW_COUNT()",
            ),
        ] {
            assert_eq!(told(sql).as_deref(), Some(expected), "{sql}");
        }
    }

    #[test]
    fn what_is_not_known_is_left_to_the_server() {
        let told = Outcome::failed().tell(b"SELECT FOUND_ROWS(), ROW_COUNT()");
        let expected = "SELECT FOUND_ROWS(), CAST(-1 AS SIGNED) AS `ROW_COUNT()`";
        assert_eq!(told.unwrap(), expected);
    }

    #[test]
    fn what_is_no_call_stays() {
        for sql in [
            "SELECT 1",
            "SELECT 'ROW_COUNT()', `FOUND_ROWS()`",
            "SELECT row_count FROM t",
            "SELECT t.row_count()",
            "SELECT 1 -- ROW_COUNT()",
            "SELECT 1 /* ROW_COUNT() */",
            "UPDATE t SET a = 1; SELECT ROW_COUNT()",
            "SELECT my_row_count()",
            "CREATE PROCEDURE p() SELECT ROW_COUNT()",
            "/* a */ CREATE VIEW v AS SELECT ROW_COUNT()",
            "ALTER EVENT e DO SET @a = ROW_COUNT()",
            "BEGIN NOT ATOMIC SELECT ROW_COUNT(); END",
            "PREPARE s FROM 'SELECT ROW_COUNT()'",
            "SELECT 'ä', ROW_COUNT()",
            // With NO_BACKSLASH_ESCAPES all of this is in strings.
            r"SELECT 'a\', 'ROW_COUNT()'",
            "SELECT 1 /*!99999 it's */, 'ROW_COUNT()'",
            "SELECT 1 /*M!999999 it's */, 'ROW_COUNT()'",
        ] {
            assert_eq!(told(sql), None, "{sql}");
        }
    }
}
