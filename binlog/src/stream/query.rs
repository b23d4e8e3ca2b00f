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
    Definition,
    /// A definition whose rows follow in the same transaction (`CREATE TABLE .. SELECT`).
    DefinitionWithRows,
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
    let mut words = text
        .split(|letter: char| letter.is_ascii_whitespace() || letter == '(')
        .filter(|word| !word.is_empty());
    let mut word = || {
        let word = words.next().unwrap_or_default();
        word.trim_end_matches(';').to_ascii_uppercase()
    };
    let first = word();
    Ok(match first.as_str() {
        "" | "SAVEPOINT" | "RELEASE" => Statement::Nothing,
        "BEGIN" => Statement::Begin,
        "COMMIT" => Statement::Commit,
        "ROLLBACK" => match word().as_str() {
            "TO" => Statement::RollbackTo,
            _whole => Statement::Rollback,
        },
        "XA" => {
            let second = word();
            let name = || {
                let from = text.to_ascii_uppercase().find(second.as_str()).unwrap_or(0);
                let name = text.get(from + second.len()..).unwrap_or_default();
                name.trim().trim_end_matches(';').to_ascii_lowercase()
            };
            match second.as_str() {
                "START" | "BEGIN" => Statement::XaStart,
                "COMMIT" => Statement::XaCommit(name()),
                "ROLLBACK" => Statement::XaRollback(name()),
                _end => Statement::Nothing,
            }
        }
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "CALL" | "DO" | "SELECT" | "WITH"
        | "VALUES" | "HANDLER" | "TABLE" | "IMPORT" => {
            return Err(StopReason::Statement {
                word: first,
                schema: schema.to_owned(),
            });
        }
        _definition if ends_in_start_transaction(text) => Statement::DefinitionWithRows,
        _definition => Statement::Definition,
    })
}

fn ends_in_start_transaction(text: &str) -> bool {
    let mut words = text.trim_end_matches(';').split_ascii_whitespace().rev();
    let mut is = |word: &str| {
        words
            .next()
            .is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    is("TRANSACTION") && is("START")
}

/// The statement without the comments before it. One that begins with `!` is no comment.
fn without_comments(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("/*")
            && !comment.starts_with('!')
            && !comment.starts_with("M!")
        {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else if rest.starts_with("-- ") || rest.starts_with('#') {
            rest.split_once('\n').map_or("", |(_, rest)| rest)
        } else {
            return rest;
        }
        .trim_start();
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
                Statement::DefinitionWithRows,
            ),
            ("TRUNCATE t", Statement::Definition),
            ("GRANT SELECT ON *.* TO a", Statement::Definition),
            (
                "/*!40000 ALTER TABLE t DISABLE KEYS */",
                Statement::Definition,
            ),
        ] {
            assert_eq!(classify(sql, "db"), Ok(statement), "{sql}");
        }
        for sql in [
            "INSERT INTO t VALUES (1)",
            "-- c\n delete from t",
            "(SELECT 1)",
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
