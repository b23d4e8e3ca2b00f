//! Statements that a server does in several steps: what a crash in the middle leaves, and whether the
//! rest can be done.
//!
//! MySQL 8.0 and later do every statement wholly or not at all. MariaDB from 10.6.1 does so with
//! nearly all; several tables are dropped one after the other. Older servers do one table after the
//! other in everything.

use super::Statement;
use super::parse::{Form, Kind, Verb};
use crate::version::ServerVersion;

/// What it means that the definitions are not what they were before the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Changed {
    /// It is done.
    Done,
    /// A part of it may be missing: carried out again it does the rest, and the server then
    /// complains with one of these codes about what is done.
    Repeat(&'static [u16]),
    /// A part of it may be missing, and which one cannot be told.
    Unknown,
}

/// An unknown table, an unknown view of MariaDB, an unknown database.
const GONE: &[u16] = &[1051, 4092, 1008];
/// An account that is there already, or not any more.
const ACCOUNT: &[u16] = &[1396];
/// A grant that is not there any more: of a database, of a table, of a routine, of a role.
const GRANT: &[u16] = &[1141, 1147, 1403, 1962];

impl Statement {
    /// What a change of the definitions means on a server of this version.
    pub(super) fn changed(&self, version: ServerVersion) -> Changed {
        if version.is_mysql_at_least(8, 0, 0) {
            return Changed::Done;
        }
        let objects = self.parsed.objects.len();
        match (self.parsed.kind, self.parsed.form) {
            // A renaming names a table twice; one by `ALTER TABLE` is one step with the rest of it.
            (Kind::Table(Verb::Rename), _)
                if objects > 2 && !version.is_mariadb_at_least(10, 6, 1) =>
            {
                Changed::Unknown
            }
            // The old one goes, then the new one comes.
            (Kind::Table(Verb::Create), Form::Replaces) => Changed::Repeat(&[]),
            (Kind::Table(_) | Kind::Object, Form::Drops) if objects > 1 => Changed::Repeat(GONE),
            // Its tables go one after the other.
            (Kind::Database, Form::Drops) => Changed::Repeat(GONE),
            (Kind::Account, Form::Creates | Form::Drops) => Changed::Repeat(ACCOUNT),
            (Kind::Account, Form::Revokes) => Changed::Repeat(GRANT),
            (Kind::Account, Form::Renames) => Changed::Unknown,
            // To grant or to set the same again changes nothing.
            (Kind::Account, Form::Replaces | Form::Other) => Changed::Repeat(&[]),
            (
                Kind::Table(_)
                | Kind::Object
                | Kind::Event(_)
                | Kind::Database
                | Kind::Nothing
                | Kind::Other,
                Form::Creates
                | Form::Replaces
                | Form::Drops
                | Form::Renames
                | Form::Revokes
                | Form::Other,
            ) => Changed::Done,
        }
    }
}
