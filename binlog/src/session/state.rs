//! What a session has that its log-in does not bring back: asked of the server itself.
//!
//! [`question`](super::question) asks; here is what the answers mean.

mod settings;

use std::fmt;

use bytes::Bytes;

pub(super) use self::settings::{SESSION_ONLY, Setting, carries, settings};
use super::answer::Rows;

/// Why a session cannot go over to the other server as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmovable {
    /// Temporary tables, or what may be some.
    TemporaryTable,
    /// Locked tables, an open `HANDLER`, a global read lock.
    TableLock,
    /// A lock that may have been taken by `GET_LOCK` and cannot be told, or cannot be taken on the
    /// other server.
    UserLock,
    /// A statement prepared by SQL, one that was too long to keep, or one that the present default database,
    /// `sql_mode` or character set gives another meaning.
    PreparedStatement,
    /// User variables whose names cannot be told, or a name that cannot be carried.
    UserVariable,
    /// It is in another database than the one that moves.
    OtherDatabase,
    /// The other server does not take this setting.
    Setting(String),
    /// The other server has no such default database.
    Schema(String),
    /// Its server did not answer our question; the SQLSTATE.
    Unreadable(String),
    /// The other server does not let it in; why.
    NotLetIn(String),
}

impl Unmovable {
    /// The names of all kinds, for who decides by kind what happens to such a session.
    pub const KINDS: &[&str] = &[
        "temporary-table",
        "table-lock",
        "user-lock",
        "prepared-statement",
        "user-variable",
        "other-database",
        "setting",
        "default-database",
        "unreadable",
        "not-let-in",
    ];

    /// The name of its kind, one of [`Unmovable::KINDS`].
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TemporaryTable => "temporary-table",
            Self::TableLock => "table-lock",
            Self::UserLock => "user-lock",
            Self::PreparedStatement => "prepared-statement",
            Self::UserVariable => "user-variable",
            Self::OtherDatabase => "other-database",
            Self::Setting(_) => "setting",
            Self::Schema(_) => "default-database",
            Self::Unreadable(_) => "unreadable",
            Self::NotLetIn(_) => "not-let-in",
        }
    }
}

impl fmt::Display for Unmovable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TemporaryTable => f.write_str("temporary table"),
            Self::TableLock => f.write_str("LOCK TABLES or HANDLER"),
            Self::UserLock => f.write_str("GET_LOCK"),
            Self::PreparedStatement => f.write_str("prepared statement"),
            Self::UserVariable => f.write_str("user variable"),
            Self::OtherDatabase => f.write_str("another database"),
            Self::Setting(name) => write!(f, "setting {name}"),
            Self::Schema(name) => write!(f, "default database {name}"),
            Self::Unreadable(sqlstate) => write!(f, "state not readable ({sqlstate})"),
            Self::NotLetIn(reason) => write!(f, "the other server refuses it: {reason}"),
        }
    }
}

/// What a twin must be given to be like the session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Replay {
    /// The default database, by its name there.
    pub(super) schema: Option<Bytes>,
    pub(super) settings: Vec<Setting>,
    /// Names and values as SQL.
    pub(super) variables: Vec<(String, String)>,
    /// Statements by the client's ids: text and number of parameters.
    pub(super) statements: Vec<(u32, Bytes, u16)>,
    /// Names of the user-level locks that it holds.
    pub(super) locks: Vec<String>,
}

/// What was read of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reading {
    pub(super) replay: Replay,
    pub(super) unmovable: Vec<Unmovable>,
}

impl Reading {
    pub(super) fn unreadable(sqlstate: &str) -> Self {
        Self {
            unmovable: vec![Unmovable::Unreadable(sqlstate.to_owned())],
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, reason: Unmovable) {
        if !self.unmovable.contains(&reason) {
            self.unmovable.push(reason);
        }
    }
}

/// Counters of statements by name.
#[derive(Debug)]
pub(super) struct Counters(Vec<(String, u64)>);

impl Counters {
    pub(super) fn read(rows: &Rows) -> Self {
        let counters = rows.rows.iter().filter_map(|row| {
            let name = text(row, 0)?.to_owned();
            Some((name, text(row, 1)?.parse().ok()?))
        });
        Self(counters.collect())
    }

    /// How often a statement of a kind was run; `None` when the server does not count it.
    pub(super) fn get(&self, name: &str) -> Option<u64> {
        let found = self.0.iter().find(|(counted, _)| counted == name);
        found.map(|(_, count)| *count)
    }

    pub(super) fn exceeds(&self, more: &str, less: &str) -> bool {
        self.get(more).unwrap_or(0) > self.get(less).unwrap_or(0)
    }
}

/// A cell as text.
pub(super) fn text(row: &[Option<Bytes>], at: usize) -> Option<&str> {
    std::str::from_utf8(row.get(at)?.as_ref()?).ok()
}

/// A cell of hexadecimal digits.
pub(super) fn hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Types of columns that user variables have, and the flag of unsigned ones.
const DOUBLE: u8 = 5;
const LONGLONG: u8 = 8;
const NEWDECIMAL: u8 = 246;
const UNSIGNED: u16 = 32;

/// The values of user variables as SQL; `None` when one cannot be told.
pub(super) fn variables(names: &[String], rows: &Rows) -> Option<Vec<(String, String)>> {
    let row = rows.rows.first()?;
    let mut all = Vec::with_capacity(names.len());
    for (at, name) in names.iter().enumerate() {
        let column = rows.columns.get(3 * at + 2)?;
        let value = match row.get(3 * at + 1)? {
            None => continue,
            Some(_digits) => text(row, 3 * at + 1)?,
        };
        let plain = || {
            String::from_utf8(hex(value)?)
                .ok()
                .filter(|text| is_number(text))
        };
        let value = match column.column_type {
            LONGLONG if column.flags & UNSIGNED != 0 => format!("CAST({} AS UNSIGNED)", plain()?),
            LONGLONG => plain()?,
            NEWDECIMAL => {
                let digits = plain()?;
                if digits.contains('.') {
                    digits
                } else {
                    format!("CAST({digits} AS DECIMAL(65,0))")
                }
            }
            DOUBLE => {
                let digits = plain()?;
                if digits.contains('e') {
                    digits
                } else {
                    format!("{digits}e0")
                }
            }
            _string => string(text(row, 3 * at)?, value)?,
        };
        all.push((name.clone(), value));
    }
    Some(all)
}

fn is_number(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e'))
}

fn string(collation: &str, digits: &str) -> Option<String> {
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !word(collation) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let (charset, rest) = collation.split_once('_').unwrap_or((collation, ""));
    Some(if rest.is_empty() {
        format!("_binary X'{digits}'")
    } else {
        format!("_{charset} X'{digits}' COLLATE {collation}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::column::Column;

    fn cell(text: &str) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn user_variables_keep_their_types_and_collations() {
        let column = |column_type, flags| Column {
            column_type,
            flags,
            ..Column::default()
        };
        let cases = [
            (LONGLONG, 0, "binary", "31", "1"),
            (LONGLONG, UNSIGNED, "binary", "31", "CAST(1 AS UNSIGNED)"),
            (NEWDECIMAL, 0, "binary", "312E3530", "1.50"),
            (NEWDECIMAL, 0, "binary", "35", "CAST(5 AS DECIMAL(65,0))"),
            (DOUBLE, 0, "binary", "31", "1e0"),
            (
                250,
                0,
                "latin1_swedish_ci",
                "65",
                "_latin1 X'65' COLLATE latin1_swedish_ci",
            ),
            (250, 0, "binary", "00FF", "_binary X'00FF'"),
        ];
        for (column_type, flags, collation, digits, sql) in cases {
            let rows = Rows {
                columns: vec![column(0, 0), column(0, 0), column(column_type, flags)],
                rows: vec![vec![cell(collation), cell(digits), None]],
            };
            let read = variables(&["a".to_owned()], &rows).unwrap();
            assert_eq!(read, [("a".to_owned(), sql.to_owned())]);
        }
    }

    #[test]
    fn what_is_no_number_or_name_never_becomes_sql() {
        assert_eq!(string("a; drop", "31"), None);
        assert_eq!(string("latin1_bin", "31'"), None);
        assert!(!is_number("1; drop"));
    }
}
