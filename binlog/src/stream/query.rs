//! `Query_log_event`: statements in the log, and what they are.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Query__event.html>

use super::error::{EventError, StopReason};
use super::event::Ddl;
use crate::wire::{FieldError, Fields};

/// A statement with what its event tells of its session.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) ddl: Ddl,
}

/// What a statement is, as far as the stream must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Begin,
    Commit,
    Rollback,
    /// `SAVEPOINT`, `RELEASE`, `XA END`, and comments that MariaDB puts in place of events that a
    /// replica does not know.
    Nothing,
    /// `ROLLBACK TO`: only logged with changes that could not be rolled back.
    RollbackTo,
    XaStart,
    /// The transaction's name as the log writes it.
    XaCommit(String),
    XaRollback(String),
    /// A definition. Inside a transaction its rows follow (`CREATE TABLE .. SELECT`).
    Definition,
}

impl Query {
    /// Reads the body of an event; `compressed` is MariaDB's.
    pub(super) fn parse(body: &[u8], timestamp: u32, compressed: bool) -> Result<Self, EventError> {
        let mut fields = Fields::new(body);
        let _thread = fields.u32()?;
        let _seconds = fields.u32()?;
        let schema_bytes = usize::from(fields.u8()?);
        let _error = fields.u16()?;
        let variables = usize::from(fields.u16()?);
        let variables = fields.bytes(variables)?;
        let schema = fields.bytes(schema_bytes)?;
        let _terminator = fields.u8()?;
        let uncompressed;
        let text = if compressed {
            uncompressed = super::compressed::inflate(fields.rest())?;
            uncompressed.as_slice()
        } else {
            fields.rest()
        };
        let mut ddl = Ddl {
            schema: String::from_utf8_lossy(schema).into_owned(),
            sql: String::from_utf8_lossy(text).into_owned(),
            time_us: u64::from(timestamp) * 1_000_000,
            ..Ddl::default()
        };
        read_variables(variables, &mut ddl)?;
        Ok(Self { ddl })
    }

    /// What the statement is.
    ///
    /// # Errors
    /// It changes rows: then it cannot be carried over.
    pub(super) fn statement(&self) -> Result<Statement, StopReason> {
        classify(&self.ddl.sql, &self.ddl.schema)
    }
}

/// Status variables stand in the order of their numbers; behind one that is not known nothing can be
/// read.
fn read_variables(bytes: &[u8], ddl: &mut Ddl) -> Result<(), FieldError> {
    let mut fields = Fields::new(bytes);
    while !fields.is_empty() {
        match fields.u8()? {
            0 => ddl.flags2 = Some(fields.u32()?),
            1 => ddl.sql_mode = Some(fields.u64()?),
            2 => {
                let length = usize::from(fields.u8()?) + 1;
                fields.bytes(length)?;
            }
            3 => {
                let _increment_and_offset = fields.u32()?;
            }
            4 => {
                let _client = fields.u16()?;
                ddl.connection_collation = Some(fields.u16()?);
                ddl.server_collation = Some(fields.u16()?);
            }
            5 => {
                let length = usize::from(fields.u8()?);
                let zone = fields.bytes(length)?;
                ddl.time_zone = Some(String::from_utf8_lossy(zone).into_owned());
            }
            6 => {
                let length = usize::from(fields.u8()?);
                fields.bytes(length)?;
            }
            7 | 8 => {
                let _locale_or_collation = fields.u16()?;
            }
            9 => {
                let _table_map = fields.u64()?;
            }
            10 => {
                let _written = fields.u32()?;
            }
            11 => {
                for _user_and_host in 0..2 {
                    let length = usize::from(fields.u8()?);
                    fields.bytes(length)?;
                }
            }
            12 => skip_databases(&mut fields)?,
            13 | 128 => ddl.time_us += u64::from(fields.u24()?),
            16 => ddl.explicit_defaults_for_timestamp = Some(fields.u8()? != 0),
            17 | 129 => {
                let _xid = fields.u64()?;
            }
            18 => ddl.utf8mb4_collation = Some(fields.u16()?),
            19 | 20 => {
                let _flag = fields.u8()?;
            }
            _unknown => return Ok(()),
        }
    }
    Ok(())
}

/// The databases that the statement changed; 254 stands for too many to list.
fn skip_databases(fields: &mut Fields<'_>) -> Result<(), FieldError> {
    let count = fields.u8()?;
    if count == 254 {
        return Ok(());
    }
    for _database in 0..count {
        while fields.u8()? != 0 {}
    }
    Ok(())
}

fn classify(sql: &str, schema: &str) -> Result<Statement, StopReason> {
    let text = without_comments(sql);
    let mut words = Words { rest: text };
    let mut word = || words.next().unwrap_or_default();
    let first = word();
    let change = |word: String| StopReason::Statement {
        word,
        schema: schema.to_owned(),
    };
    Ok(match first.as_str() {
        // Nothing but a comment; what begins otherwise must be judged.
        "" if text.is_empty() => Statement::Nothing,
        "SAVEPOINT" | "RELEASE" => Statement::Nothing,
        "BEGIN" => Statement::Begin,
        "COMMIT" => Statement::Commit,
        "ROLLBACK" => match word().as_str() {
            "TO" => Statement::RollbackTo,
            _whole => Statement::Rollback,
        },
        "XA" => match word().as_str() {
            "START" | "BEGIN" => Statement::XaStart,
            "COMMIT" => Statement::XaCommit(xa_name(&words)),
            "ROLLBACK" => Statement::XaRollback(xa_name(&words)),
            _end => Statement::Nothing,
        },
        // MariaDB: `SET STATEMENT .. FOR` another statement.
        "SET" if word() == "STATEMENT" => {
            return match words.any(|word| word == "FOR") {
                true => classify(words.rest, schema),
                false => Err(change(first)),
            };
        }
        // MariaDB: `ANALYZE` of a statement carries it out.
        "ANALYZE" => match word().as_str() {
            "TABLE" | "TABLES" | "LOCAL" | "NO_WRITE_TO_BINLOG" => Statement::Definition,
            other => return Err(change(format!("ANALYZE {other}"))),
        },
        "CREATE" | "ALTER" | "DROP" | "RENAME" | "TRUNCATE" | "GRANT" | "REVOKE" | "SET"
        | "OPTIMIZE" | "REPAIR" | "FLUSH" | "CHECK" | "CACHE" | "INSTALL" | "UNINSTALL"
        | "RESET" => Statement::Definition,
        // What is not on the list may change rows.
        _change => return Err(change(first)),
    })
}

/// The transaction's name behind `XA COMMIT`, as [`super::assembler`] writes it too.
fn xa_name(words: &Words<'_>) -> String {
    let name = words.rest.trim().trim_end_matches(';');
    name.to_ascii_lowercase()
}

/// The words of a statement in capital letters. Comments and everything else end a word; what
/// stands in a comment for servers of some versions counts.
struct Words<'a> {
    rest: &'a str,
}

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        loop {
            self.rest = without_comments(self.rest);
            let end = self.rest.find(|other| !letter(other));
            let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            if !word.is_empty() {
                self.rest = rest;
                return Some(word.to_ascii_uppercase());
            }
            let quote = rest.chars().next()?;
            let behind = rest.get(quote.len_utf8()..).unwrap_or_default();
            // Quoted text is no word, whatever stands in it.
            self.rest = match quote {
                '\'' | '"' | '`' => behind.split_once(quote).map_or("", |(_, rest)| rest),
                _other => behind,
            };
        }
    }
}

/// The statement without what stands before its first word: spaces, brackets and comments. Of a
/// comment for servers of some versions only the beginning goes: what is in it is carried out.
fn without_comments(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '(');
        rest = if let Some(comment) = rest.strip_prefix("/*") {
            let for_versions = comment
                .strip_prefix("M!")
                .or_else(|| comment.strip_prefix('!'));
            match for_versions {
                Some(inside) => inside.trim_start_matches(|letter: char| letter.is_ascii_digit()),
                None => comment.split_once("*/").map_or("", |(_, rest)| rest),
            }
        } else if rest.starts_with('#')
            || rest
                .strip_prefix("--")
                .is_some_and(|rest| rest.starts_with(char::is_whitespace))
        {
            rest.split_once('\n').map_or("", |(_, rest)| rest)
        } else {
            return rest;
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statements_are_told_apart_by_their_first_words() {
        for (sql, statement) in [
            ("BEGIN", Statement::Begin),
            ("/* app */ begin", Statement::Begin),
            ("COMMIT", Statement::Commit),
            ("ROLLBACK", Statement::Rollback),
            ("ROLLBACK TO `a`", Statement::RollbackTo),
            ("SAVEPOINT `a`", Statement::Nothing),
            ("# Dummy event replacing event type 160", Statement::Nothing),
            ("XA START X'61',X'',1", Statement::XaStart),
            ("XA END X'61',X'',1", Statement::Nothing),
            (
                "XA COMMIT X'6A',X'',1",
                Statement::XaCommit("x'6a',x'',1".to_owned()),
            ),
            (
                "XA ROLLBACK X'61',X'',1",
                Statement::XaRollback("x'61',x'',1".to_owned()),
            ),
            ("CREATE TABLE t (a int)", Statement::Definition),
            (
                "CREATE TABLE t (a int) START TRANSACTION",
                Statement::Definition,
            ),
            ("TRUNCATE t", Statement::Definition),
            ("GRANT SELECT ON *.* TO a", Statement::Definition),
            (
                "/*!40000 ALTER TABLE t DISABLE KEYS */",
                Statement::Definition,
            ),
            ("ANALYZE TABLE t", Statement::Definition),
            ("SET PASSWORD FOR a = 'insert'", Statement::Definition),
            (
                "SET STATEMENT max_statement_time=5 FOR ALTER TABLE t ADD b int",
                Statement::Definition,
            ),
            ("/* nothing */", Statement::Nothing),
        ] {
            assert_eq!(classify(sql, "db"), Ok(statement), "{sql}");
        }
        for sql in [
            "INSERT INTO t VALUES (1)",
            "-- c\n delete from t",
            "(SELECT 1)",
            "INSERT/**/INTO t VALUES (1)",
            "insert`t`values(1)",
            "/*!50000 INSERT */ INTO t VALUES (1)",
            "/*M!100100 DELETE FROM t*/",
            "SET STATEMENT sort_buffer_size=1 FOR UPDATE t SET a = 1",
            "SET STATEMENT lc_messages='it''s FOR DROP' FOR REPLACE t VALUES (1)",
            "ANALYZE FORMAT=JSON DELETE FROM t",
            "SET STATEMENT sort_buffer_size=5--1 FOR DELETE FROM t",
            "SET STATEMENT sort_buffer_size=5",
            "FROBNICATE t",
            "`t`",
        ] {
            assert!(classify(sql, "db").is_err(), "{sql}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            if let Ok(query) = Query::parse(&bytes, 1, false) {
                drop(query.statement());
            }
        }
    }
}
