//! What can go wrong while applying, and whether trying again can help.
//!
//! No error shows a value of the application's data: server messages are shown only of kinds that
//! name objects. The key of the row that stopped the migration is kept apart, in
//! [`ApplyError::key`], for the operator alone.

use std::fmt;

use router::net::NetError;
use router::{Key, Lsn};
use thiserror::Error;

use super::events::{Blame, EventsError};
pub use super::failure::ServerFailure;
use super::failure::is_transient_state;
use crate::name::QualifiedName;
use crate::wire::ConnectError;

/// Why the applier stopped.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The target cannot be reached, or refused the login.
    #[error("cannot connect to the target")]
    Connect(#[source] ConnectError),
    /// A statement of ours failed on the target.
    #[error("{doing} failed on the target: {failure}")]
    Server {
        /// What was being done.
        doing: Doing,
        /// What the server said.
        failure: ServerFailure,
    },
    /// The stream from the source failed.
    #[error("the stream from the source failed")]
    Stream(#[source] EventsError),
    /// `session_replication_role` cannot be set.
    #[error(
        "cannot set session_replication_role on the target ({failure}); triggers and foreign keys \
         would act twice: GRANT SET ON PARAMETER session_replication_role (15 and later), or \
         connect as a superuser"
    )]
    ReplicationRole {
        /// What the server said.
        failure: ServerFailure,
    },
    /// More lanes were asked for than there are.
    #[error("{lanes} lanes were asked for; this version applies with 1")]
    Lanes {
        /// What was asked for.
        lanes: u16,
    },
    /// A change needs rows that the target does not have.
    #[error(transparent)]
    RowsMissing(Box<RowsMissing>),
    /// A row to be inserted is already on the target.
    #[error(
        "a row of {table} to be inserted is already on the target (constraint {constraint}): \
         something else wrote to the target; compare with verify and copy again"
    )]
    RowExists {
        /// The table.
        table: QualifiedName,
        /// Name of the violated constraint.
        constraint: String,
    },
    /// The changes of a table contradict each other.
    #[error("the changes of {table} in the stream contradict each other")]
    History {
        /// The table.
        table: QualifiedName,
        /// What contradicts.
        #[source]
        error: NetError,
    },
    /// The definition of a table does not allow to go on.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Someone else moved the progress row: there are two appliers.
    #[error(
        "the progress on the target is no longer at {expected}: another pointsman applies the \
         same migration; stop one of them"
    )]
    ProgressMoved {
        /// Where this applier had left it.
        expected: Lsn,
    },
    /// The progress row is of a later epoch: another pointsman moved the points meanwhile.
    #[error(
        "the progress is of epoch {found} and not of {epoch}: another pointsman moved the points; \
         stop it, and restart this one"
    )]
    LaterEpoch {
        /// The epoch of this applier.
        epoch: u64,
        /// The row's.
        found: u64,
    },
    /// The progress row holds something that is no position.
    #[error("pointsman.progress on the target holds no valid position")]
    ProgressMalformed,
    /// The stream told something that cannot follow what it told before.
    #[error("the stream from the source is out of order: {what}")]
    OutOfOrder {
        /// What is out of order.
        what: &'static str,
    },
}

impl ApplyError {
    /// Whether the same work can succeed later, without anybody's doing but time's or the server's.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(error) => connect_is_transient(error),
            Self::Stream(error) => error.blame == Blame::Transient,
            Self::Server { failure, .. } => failure.is_transient(),
            Self::ReplicationRole { failure } => failure.is_transient(),
            Self::Lanes { .. }
            | Self::RowsMissing(_)
            | Self::RowExists { .. }
            | Self::History { .. }
            | Self::Table(_)
            | Self::ProgressMoved { .. }
            | Self::LaterEpoch { .. }
            | Self::ProgressMalformed
            | Self::OutOfOrder { .. } => false,
        }
    }

    /// The key of the row that the error is about: for the operator's eyes only, never for a log.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::RowsMissing(missing) => missing.key.as_ref(),
            Self::History { error, .. } => error.key(),
            Self::Connect(_)
            | Self::Server { .. }
            | Self::Stream(_)
            | Self::ReplicationRole { .. }
            | Self::Lanes { .. }
            | Self::RowExists { .. }
            | Self::Table(_)
            | Self::ProgressMoved { .. }
            | Self::LaterEpoch { .. }
            | Self::ProgressMalformed
            | Self::OutOfOrder { .. } => None,
        }
    }
}

/// A statement found another number of rows than the source changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the source {action} {expected} rows of {table}, and the target has {found} of them (key \
     columns: {key_columns}): something else wrote to the target, or the copy was incomplete; \
     compare with verify and copy again"
)]
pub struct RowsMissing {
    /// The table.
    pub table: QualifiedName,
    /// What the source did to the rows.
    pub action: Action,
    /// Rows to be found.
    pub expected: u64,
    /// Rows found.
    pub found: u64,
    /// Names of the key columns.
    pub key_columns: String,
    /// The first key that is missing, if it could be told: for the operator alone.
    pub key: Option<Key>,
}

/// A table that cannot be applied as it is defined.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// The target has no such table.
    #[error(
        "table {table} is in the stream but not on the target: it was created or renamed on the \
         source after the migration began; undo that on the source, or start the migration again"
    )]
    Unknown {
        /// The table.
        table: QualifiedName,
    },
    /// A column of the stream is not on the target.
    #[error(
        "a new column {table}.{column} appeared on the source while streaming: add it to the \
         target's table and start again, or drop it on the source"
    )]
    NewColumn {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
    },
    /// A column of the target is not in the stream.
    #[error(
        "column {table}.{column} is on the target but no longer in the stream: it was dropped or \
         renamed on the source; do the same on the target, or undo it on the source"
    )]
    GoneColumn {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
    },
    /// A column has another type on the source than on the target.
    #[error(
        "the type of {table}.{column} on the source is no longer the target's ({target_type}): \
         change the target's column alike, or undo it on the source"
    )]
    ColumnType {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
        /// The target's type.
        target_type: String,
    },
    /// A column was generated on the target only, or changed while streaming in another way.
    #[error("the definition of {table} changed on the source while streaming: column {column}")]
    Changed {
        /// The table.
        table: QualifiedName,
        /// The first column that differs.
        column: String,
    },
    /// Updates and deletes could not find their rows.
    #[error(
        "{table} has no unique index on its key columns ({key_columns}) on the target: create the \
         one that the source has"
    )]
    NoKeyIndex {
        /// The table.
        table: QualifiedName,
        /// Names of the key columns.
        key_columns: String,
    },
    /// A change came for a relation that the stream never described.
    #[error("the stream changes relation {oid}, which it did not describe")]
    Undescribed {
        /// The source's OID of the relation.
        oid: u32,
    },
}

/// What was being done when the target failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// Opening the session.
    Opening,
    /// Reading or creating the progress row.
    Progress,
    /// Reading a table's definition.
    Describe(QualifiedName),
    /// Changing rows of a table.
    Change(QualifiedName),
    /// Truncating tables.
    Truncate(QualifiedName),
    /// Opening or committing the transaction of a window.
    Window,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening => f.write_str("opening the applying session"),
            Self::Progress => f.write_str("reading the progress"),
            Self::Describe(table) => write!(f, "reading the definition of {table}"),
            Self::Change(table) => write!(f, "applying changes of {table}"),
            Self::Truncate(table) => write!(f, "truncating {table}"),
            Self::Window => f.write_str("committing a window"),
        }
    }
}

/// What the source did to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Updated them, keeping their key.
    Updated,
    /// Deleted them.
    Deleted,
    /// Changed their key.
    Moved,
    /// Inserted them.
    Inserted,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Moved => "changed the key of",
            Self::Inserted => "inserted",
        })
    }
}

fn connect_is_transient(error: &ConnectError) -> bool {
    match error {
        ConnectError::Unreachable { .. } | ConnectError::Timeout { .. } => true,
        ConnectError::Tls { .. } | ConnectError::Auth { .. } => false,
        ConnectError::Refused { source, .. } => is_transient_state(&source.sqlstate),
        ConnectError::Wire { source, .. } => source
            .server()
            .is_none_or(|refusal| is_transient_state(&refusal.sqlstate)),
        ConnectError::Sql { source, .. } => ServerFailure::of(source).is_transient(),
    }
}
