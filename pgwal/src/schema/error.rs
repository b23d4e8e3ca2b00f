//! What can go wrong with schemas, roles and our own objects on the two servers.

use std::time::Duration;

use router::Side;
use thiserror::Error;
use tokio_postgres::error::DbError;

use crate::movement::journal::JournalError;
use crate::movement::sequences::SequenceError;
use crate::name::QualifiedName;
use crate::wire::ConnectError;

/// A statement that a server refused, or a connection that broke.
///
/// The server's DETAIL and, for data errors, its message are left out: they quote row values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SqlCause {
    /// The server answered with an error.
    #[error("{message} (SQLSTATE {sqlstate})")]
    Refused {
        /// The five-character error code.
        sqlstate: String,
        /// The server's message, without values.
        message: String,
    },
    /// The connection broke, or no answer could be read.
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl SqlCause {
    /// The error code, if the server gave one.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Refused { sqlstate, .. } => Some(sqlstate),
            Self::Broken(_) => None,
        }
    }

    /// Whether a lock was not to be had within `lock_timeout`, or a deadlock was broken.
    #[must_use]
    pub fn is_lock_trouble(&self) -> bool {
        matches!(self.sqlstate(), Some("55P03" | "40P01"))
    }

    /// Whether it may go away by itself: the connection, a shutdown, a lack of slots or memory.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Broken(_) => true,
            Self::Refused { sqlstate, .. } => is_transient_sqlstate(sqlstate),
        }
    }

    fn of_db_error(error: &DbError) -> Self {
        let sqlstate = error.code().code().to_owned();
        let message = if quotes_values(&sqlstate) {
            let place = [
                ("table", error.table()),
                ("column", error.column()),
                ("constraint", error.constraint()),
                ("type", error.datatype()),
            ]
            .into_iter()
            .filter_map(|(what, name)| name.map(|name| format!(" {what} {name}")))
            .collect::<String>();
            format!("data error{place}")
        } else {
            error.message().to_owned()
        };
        Self::Refused { sqlstate, message }
    }
}

impl From<tokio_postgres::Error> for SqlCause {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self::of_db_error(db),
            None => Self::Broken(error.to_string()),
        }
    }
}

/// Whether an error with this code may go away by itself: a shutdown, a lack of connections, a
/// lock, a conflict.
#[must_use]
pub fn is_transient_sqlstate(sqlstate: &str) -> bool {
    sqlstate.starts_with("57P")
        || sqlstate.starts_with("08")
        || matches!(sqlstate, "40001" | "40P01" | "55P03" | "53300")
}

/// Whether what failed may work later without anybody doing something: the connection broke, or the
/// server says so.
#[must_use]
pub(crate) fn may_pass(error: &tokio_postgres::Error) -> bool {
    let code = error.code();
    code.is_none_or(|code| is_transient_sqlstate(code.code()))
}

/// The server's message, or words in its place when such messages quote row values.
#[must_use]
pub fn message_without_values(sqlstate: &str, message: &str) -> String {
    if quotes_values(sqlstate) {
        "data error".to_owned()
    } else {
        message.to_owned()
    }
}

/// Classes 22 (data exception) and 23 (constraint violation) quote values, but 22023 (invalid
/// parameter value) speaks of settings and options.
fn quotes_values(sqlstate: &str) -> bool {
    (sqlstate.starts_with("22") && sqlstate != "22023") || sqlstate.starts_with("23")
}

/// What can go wrong before, around and after the copy of the rows.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// A statement failed.
    #[error("the {side} refused: {what}")]
    Sql {
        /// Which server.
        side: Side,
        /// What we were doing, naming the object.
        what: String,
        /// The server's answer.
        #[source]
        cause: SqlCause,
    },
    /// A lock could not be had without standing in the application's way.
    #[error(
        "{object} on the {side} stayed locked through {attempts} attempts of up to {lock_timeout:?}; \
         end the transaction that holds it (see pg_locks) and start again"
    )]
    StayedLocked {
        /// Which server.
        side: Side,
        /// The table or publication.
        object: String,
        /// How often we tried.
        attempts: u32,
        /// The longest wait of one attempt.
        lock_timeout: Duration,
    },
    /// A table without a key, and the configuration says to refuse those.
    #[error(
        "without a primary key or a unique index over NOT NULL columns: {tables}; give them a key, \
         exclude them, or set `keyless_tables = \"full\"`"
    )]
    KeylessTables {
        /// The tables, cut to some.
        tables: String,
    },
    /// The target has user objects already.
    #[error("the target is not empty: it has {objects}; use an empty database, or drop them")]
    TargetNotEmpty {
        /// Some of the objects.
        objects: String,
    },
    /// The target does not offer an extension of the source.
    #[error("extension {extension} is not available on the target; install its package there")]
    ExtensionMissing {
        /// The extension.
        extension: String,
    },
    /// The target has an extension in another schema than the source.
    #[error(
        "extension {extension} is in schema {found} on the target and in {wanted} on the source; \
         ALTER EXTENSION {extension} SET SCHEMA {wanted}, or drop it there"
    )]
    ExtensionElsewhere {
        /// The extension.
        extension: String,
        /// Its schema on the target.
        found: String,
        /// Its schema on the source.
        wanted: String,
    },
    /// Our schema on this server belongs to another migration.
    #[error(
        "the {side} belongs to migration {found}, not to {expected}; `finish` or `abort` that one \
         first"
    )]
    ForeignMigration {
        /// Which server.
        side: Side,
        /// The id found there.
        found: String,
        /// Our id.
        expected: String,
    },
    /// Our tables there have a form that this program does not know.
    #[error(
        "the bookkeeping on the {side} has format {found}, this program knows {known}; use the \
         version of pointsman that started this migration"
    )]
    UnknownFormat {
        /// Which server.
        side: Side,
        /// The number found.
        found: i32,
        /// The number we know.
        known: i32,
    },
    /// There is no migration on this server.
    #[error("there is no migration on the {side}: it has no schema \"pointsman\"")]
    NoMigration {
        /// Which server.
        side: Side,
    },
    /// `abort` was asked for although the target serves.
    #[error("the target serves since epoch {epoch}: roll back first, or `finish`")]
    AlreadySwitched {
        /// The epoch of the switch.
        epoch: u64,
    },
    /// `abort` was asked for with a fenced source and a target that cannot be reached.
    #[error(
        "the source is fenced and the target cannot be reached, so nobody can tell which side \
         serves; nothing was touched: bring the target back first"
    )]
    NobodyKnows,
    /// The journal of movements could not be read.
    #[error("the journal on the target is unclear")]
    Journal(#[from] JournalError),
    /// A foreign key of a copied table refers to a table that is not copied.
    #[error(
        "foreign key {constraint} of {table} refers to {excluded}, which is excluded from the copy"
    )]
    ForeignKeyToExcluded {
        /// The constraint's name.
        constraint: String,
        /// The table that has it.
        table: QualifiedName,
        /// The table that is not copied.
        excluded: QualifiedName,
    },
    /// Dump or restore of the schema failed.
    #[error("the schema could not be moved")]
    Dump(#[from] super::dump::DumpError),
    /// A server reported something we cannot read.
    #[error("the {side} reported {what} in a form we do not know")]
    Unreadable {
        /// Which server.
        side: Side,
        /// What it was.
        what: String,
    },
    /// A connection could not be opened.
    #[error("no connection to the {side}")]
    Connect {
        /// Which server.
        side: Side,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// The sequences could not be set.
    #[error("the sequences could not be carried over")]
    Sequences(#[from] SequenceError),
    /// The slot of this migration is gone from the source: changes since are lost to the stream.
    #[error(
        "the source has no replication slot {slot} any more: the stream cannot go on; `abort` and \
         start again"
    )]
    SlotGone {
        /// Its name.
        slot: String,
    },
    /// The source behind this address is another server than the one the migration began with.
    #[error(
        "the source is system {found} database {database}, but the migration began with system \
         {expected}; check the configuration"
    )]
    OtherSource {
        /// Its system identifier.
        found: String,
        /// Its database.
        database: String,
        /// The recorded system identifier.
        expected: String,
    },
}

impl SchemaError {
    /// Makes the mapping of a failed statement short to write.
    pub(crate) fn sql(
        side: Side,
        what: impl Into<String>,
    ) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let what = what.into();
        move |error| Self::Sql {
            side,
            what,
            cause: error.into(),
        }
    }

    /// The server's answer, if this is one.
    #[must_use]
    pub fn cause(&self) -> Option<&SqlCause> {
        match self {
            Self::Sql { cause, .. } => Some(cause),
            Self::StayedLocked { .. }
            | Self::KeylessTables { .. }
            | Self::TargetNotEmpty { .. }
            | Self::ExtensionMissing { .. }
            | Self::ExtensionElsewhere { .. }
            | Self::ForeignMigration { .. }
            | Self::UnknownFormat { .. }
            | Self::NoMigration { .. }
            | Self::AlreadySwitched { .. }
            | Self::ForeignKeyToExcluded { .. }
            | Self::Dump(_)
            | Self::Unreadable { .. }
            | Self::Sequences(_)
            | Self::NobodyKnows
            | Self::Journal(_)
            | Self::SlotGone { .. }
            | Self::OtherSource { .. }
            | Self::Connect { .. } => None,
        }
    }
}
