//! What can go wrong with schemas, users and our own objects on the two servers.

use std::time::Duration;

use router::Side;
use thiserror::Error;

use super::create_table::UnknownForm;
use crate::name::QualifiedName;
use crate::wire::{ConnectError, SqlError};

/// Errors that go away by themselves: locks, deadlocks, shutdowns, a lack of connections, broken
/// connections.
const TRANSIENT: [u16; 13] = [
    1040, 1043, 1053, 1077, 1079, 1158, 1159, 1160, 1161, 1205, 1213, 1927, 3168,
];

/// Whether an error with this number may go away by itself.
#[must_use]
pub fn is_transient_code(code: u16) -> bool {
    TRANSIENT.contains(&code)
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
        cause: SqlError,
    },
    /// The lock for the snapshot could not be had without standing in the application's way.
    #[error(
        "the source stayed busy through {attempts} attempts of up to {lock_timeout:?} to lock it \
         for a snapshot: {blockers}; end that, or start again when it is over"
    )]
    StayedLocked {
        /// How often we tried.
        attempts: u32,
        /// The longest wait of one attempt.
        lock_timeout: Duration,
        /// The sessions that stood in the way.
        blockers: String,
    },
    /// A statement of a run before this one still works on the structure.
    #[error(
        "a statement of an earlier run still works on the {side}'s structure; it is waited for, \
         or end the session that holds a lock named pointsman_structure_.."
    )]
    EarlierRun {
        /// Which server.
        side: Side,
    },
    /// The source grants no way to take a snapshot.
    #[error(
        "the source grants user \"{user}\" no way to a consistent snapshot: grant RELOAD \
         (or LOCK TABLES and SELECT on all moved tables)"
    )]
    NoSnapshot {
        /// The account.
        user: String,
    },
    /// The source writes no binary log, or we may not see it.
    #[error("the source shows no position of its binary log: {why}")]
    NoPosition {
        /// What was found.
        why: String,
    },
    /// Tables whose engine has no transactions.
    #[error(
        "no snapshot holds the rows of tables that are not InnoDB: {tables}; convert them \
         (ALTER TABLE .. ENGINE=InnoDB), or exclude them"
    )]
    UnsafeEngine {
        /// The tables, cut to some.
        tables: String,
    },
    /// The target has objects in the moved databases already.
    #[error("the target is not empty: it has {objects}; drop them, or use an empty server")]
    TargetNotEmpty {
        /// Some of the objects.
        objects: String,
    },
    /// Something that the target cannot have.
    #[error("{object} cannot be carried to the target: {why}")]
    NotCarried {
        /// The object.
        object: String,
        /// Why not, and what to do.
        why: String,
    },
    /// Nothing to move.
    #[error("the source has no database {database} that could be moved; check the address")]
    NoDatabase {
        /// Its name, or words for all.
        database: String,
    },
    /// A definition that could not be taken apart.
    #[error("a definition on the source could not be read")]
    Definition(#[from] UnknownForm),
    /// The source does not show an object's definition.
    #[error(
        "the source does not show the definition of {object} to us; grant {privilege}, or SELECT \
         on mysql.* on old versions"
    )]
    Hidden {
        /// The object.
        object: String,
        /// What is missing.
        privilege: &'static str,
    },
    /// Our database on this server belongs to another migration.
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
    #[error("there is no migration on the {side}: it has no database \"pointsman\"")]
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
    /// The fence or the journal could not be read.
    #[error("the fence or the journal is unclear")]
    Movement(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    /// The source behind this address is another server than the one the migration began with.
    #[error(
        "the source is server {found}, but the migration began with server {expected}; check the \
         configuration"
    )]
    OtherSource {
        /// Its identity.
        found: String,
        /// The recorded identity.
        expected: String,
    },
}

impl SchemaError {
    /// Makes the mapping of a failed statement short to write.
    pub(crate) fn sql(side: Side, what: impl Into<String>) -> impl FnOnce(SqlError) -> Self {
        let what = what.into();
        move |cause| Self::Sql { side, what, cause }
    }

    /// The number of the server's error, if this is one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Sql { cause, .. } => cause.code(),
            Self::StayedLocked { .. }
            | Self::EarlierRun { .. }
            | Self::NoSnapshot { .. }
            | Self::NoPosition { .. }
            | Self::UnsafeEngine { .. }
            | Self::TargetNotEmpty { .. }
            | Self::NotCarried { .. }
            | Self::NoDatabase { .. }
            | Self::Definition(_)
            | Self::Hidden { .. }
            | Self::ForeignMigration { .. }
            | Self::UnknownFormat { .. }
            | Self::NoMigration { .. }
            | Self::AlreadySwitched { .. }
            | Self::NobodyKnows
            | Self::Movement(_)
            | Self::ForeignKeyToExcluded { .. }
            | Self::Unreadable { .. }
            | Self::Connect { .. }
            | Self::OtherSource { .. } => None,
        }
    }

    /// Whether it may go away by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Sql { cause, .. } => cause.code().is_none_or(is_transient_code),
            Self::Connect { .. } | Self::StayedLocked { .. } | Self::EarlierRun { .. } => true,
            Self::NoSnapshot { .. }
            | Self::NoPosition { .. }
            | Self::UnsafeEngine { .. }
            | Self::TargetNotEmpty { .. }
            | Self::NotCarried { .. }
            | Self::NoDatabase { .. }
            | Self::Definition(_)
            | Self::Hidden { .. }
            | Self::ForeignMigration { .. }
            | Self::UnknownFormat { .. }
            | Self::NoMigration { .. }
            | Self::AlreadySwitched { .. }
            | Self::NobodyKnows
            | Self::Movement(_)
            | Self::ForeignKeyToExcluded { .. }
            | Self::Unreadable { .. }
            | Self::OtherSource { .. } => false,
        }
    }
}
