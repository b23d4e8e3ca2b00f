//! What can go wrong while applying, and whether trying again can help.
//!
//! No error shows a value of the application's data. The key of the row that stopped the migration
//! is kept apart, in [`ApplyError::key`] and [`ApplyError::row`], and the text of a definition statement in
//! [`ApplyError::statement`]: both for the operator alone, never for a log.

use std::fmt;

use router::Key;
use router::net::NetError;
use thiserror::Error;

use super::events::{Blame, EventsError};
use super::failure;
use crate::name::QualifiedName;
use crate::wire::{ConnectError, SqlError};

/// Why the applier stopped.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// The target cannot be reached, or refused the login.
    #[error("cannot connect to the target")]
    Connect(#[source] ConnectError),
    /// A statement of ours failed on the target.
    #[error("{doing} failed on the target")]
    Server {
        /// What was being done.
        doing: Doing,
        /// Why.
        #[source]
        source: SqlError,
    },
    /// The stream from the source failed.
    #[error("the stream from the source failed")]
    Stream(#[source] EventsError),
    /// More lanes were asked for than there are.
    #[error("{lanes} lanes were asked for; this version applies with 1")]
    Lanes {
        /// What was asked for.
        lanes: u16,
    },
    /// The target would pass over missing and existing rows in silence.
    #[error(
        "slave_exec_mode on the target is {mode}: it would pass over missing rows and duplicates \
         in silence; SET GLOBAL slave_exec_mode = STRICT"
    )]
    Lenient {
        /// What it is set to.
        mode: String,
    },
    /// The rows of the target are not those that the source changed.
    #[error(transparent)]
    Divergence(Box<Divergence>),
    /// The target has a rule that the source's row does not keep.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The changes of a table contradict each other.
    #[error("the changes of {table} in the stream contradict each other")]
    History {
        /// The table.
        table: QualifiedName,
        /// What contradicts.
        #[source]
        error: NetError,
        /// The row's key as text, if it is known: for the operator alone.
        key: Option<Key>,
    },
    /// A value of the source cannot be written into the target's column.
    #[error("a value of {table}.{column} cannot be written on the target: {why}")]
    Value {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
        /// Why.
        why: &'static str,
        /// The row, if it is known: for the operator alone.
        row: Option<Box<RowName>>,
    },
    /// A row is too large for one statement.
    #[error(
        "a row of {table} needs a statement of {bytes} bytes, and max_allowed_packet on the target \
         is {limit}: SET GLOBAL max_allowed_packet higher there"
    )]
    RowTooLarge {
        /// The table.
        table: QualifiedName,
        /// Bytes of the statement.
        bytes: usize,
        /// The target's limit.
        limit: usize,
    },
    /// The definition of a table does not allow to go on.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A definition statement of the source cannot be carried out.
    #[error(transparent)]
    Ddl(Box<DdlError>),
    /// Someone else moved the progress row: there are two appliers.
    #[error(
        "the progress on the target is no longer at {expected}: another pointsman applies the \
         same migration; stop one of them"
    )]
    ProgressMoved {
        /// Where this applier had left it.
        expected: String,
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
            Self::Connect(error) => failure::connect_is_transient(error),
            Self::Stream(error) => error.blame == Blame::Transient,
            Self::Server { source, .. } => failure::is_transient(source),
            Self::Ddl(error) => error.is_transient(),
            Self::Lanes { .. }
            | Self::Lenient { .. }
            | Self::Divergence(_)
            | Self::Refused(_)
            | Self::History { .. }
            | Self::Value { .. }
            | Self::RowTooLarge { .. }
            | Self::Table(_)
            | Self::ProgressMoved { .. }
            | Self::ProgressMalformed
            | Self::OutOfOrder { .. } => false,
        }
    }

    /// The key of the row that the error is about, its values as text: for the operator's eyes
    /// only, never for a log.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Divergence(divergence) => divergence.key.as_ref(),
            Self::Refused(refusal) => refusal.row.as_ref().and_then(|row| row.key.as_ref()),
            Self::Value { row, .. } => row.as_ref().and_then(|row| row.key.as_ref()),
            Self::History { key, .. } => key.as_ref(),
            Self::Connect(_)
            | Self::Server { .. }
            | Self::Stream(_)
            | Self::Lanes { .. }
            | Self::Lenient { .. }
            | Self::RowTooLarge { .. }
            | Self::Table(_)
            | Self::Ddl(_)
            | Self::ProgressMoved { .. }
            | Self::ProgressMalformed
            | Self::OutOfOrder { .. } => None,
        }
    }

    /// The row that the error is about, as a condition in SQL: for the operator's eyes only, never
    /// for a log.
    #[must_use]
    pub fn row(&self) -> Option<&str> {
        match self {
            Self::Divergence(divergence) => divergence.row.as_deref(),
            Self::Refused(refusal) => refusal.row.as_ref().map(|row| row.condition.as_str()),
            Self::Value { row, .. } => row.as_ref().map(|row| row.condition.as_str()),
            Self::Connect(_)
            | Self::Server { .. }
            | Self::Stream(_)
            | Self::Lanes { .. }
            | Self::Lenient { .. }
            | Self::History { .. }
            | Self::RowTooLarge { .. }
            | Self::Table(_)
            | Self::Ddl(_)
            | Self::ProgressMoved { .. }
            | Self::ProgressMalformed
            | Self::OutOfOrder { .. } => None,
        }
    }

    /// The definition statement that the error is about: for the operator's eyes only, since it
    /// may hold values and passwords.
    #[must_use]
    pub fn statement(&self) -> Option<&str> {
        match self {
            Self::Ddl(error) => Some(&error.statement),
            Self::Connect(_)
            | Self::Server { .. }
            | Self::Stream(_)
            | Self::Lanes { .. }
            | Self::Lenient { .. }
            | Self::Divergence(_)
            | Self::Refused(_)
            | Self::History { .. }
            | Self::Value { .. }
            | Self::RowTooLarge { .. }
            | Self::Table(_)
            | Self::ProgressMoved { .. }
            | Self::ProgressMalformed
            | Self::OutOfOrder { .. } => None,
        }
    }
}

/// The rows of the target are not those that the source changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the source {action} rows of {table}, and {found} (key columns: {key_columns}): something else \
     wrote to the target, or the copy was incomplete; compare with verify and copy again"
)]
pub struct Divergence {
    /// The table.
    pub table: QualifiedName,
    /// What the source did to the rows.
    pub action: Action,
    /// What the target has.
    pub found: Found,
    /// Names of the key columns.
    pub key_columns: String,
    /// The first such row, if it could be told: for the operator alone.
    pub row: Option<String>,
    /// The same row's key as text.
    pub key: Option<Key>,
}

/// The target has a rule (a foreign key, a constraint, NOT NULL) that a row of the source breaks.
#[derive(Debug, Error)]
#[error(
    "the source {action} rows of {table}, and the target refuses one of them (key columns: \
     {key_columns}); where a rule is in the way that only the target has, take it away there"
)]
pub struct Refusal {
    /// The table.
    pub table: QualifiedName,
    /// What the source did to the rows.
    pub action: Action,
    /// Names of the key columns.
    pub key_columns: String,
    /// The row, if it could be told: for the operator alone.
    pub row: Option<RowName>,
    /// What the target said.
    #[source]
    pub source: SqlError,
}

/// Which row it is: for the operator alone.
#[derive(Clone, PartialEq, Eq)]
pub struct RowName {
    /// As a condition in SQL.
    pub condition: String,
    /// Its key as text, if the table has one.
    pub key: Option<Key>,
}

impl fmt::Debug for RowName {
    /// Values are the application's data and are not printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowName(..)")
    }
}

/// How the target differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A row is missing.
    Missing,
    /// A row, or its unique value, is already there.
    Exists,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "one of them is not on the target",
            Self::Exists => "one of them, or its unique value, is already on the target",
        })
    }
}

/// A definition statement of the source that cannot be carried out on the target.
#[derive(Debug, Error)]
#[error("the source's {kind} behind {position}{outline} {why}")]
pub struct DdlError {
    /// What kind of statement on which object, in words: `ALTER TABLE shop.users`.
    pub kind: String,
    /// The end of the statement in the source's log.
    pub position: String,
    /// The statement without its values, in brackets; empty where nothing of it may be shown.
    pub outline: String,
    /// The statement: for the operator alone.
    pub statement: String,
    /// Why not.
    pub why: DdlWhy,
    /// What the server said.
    #[source]
    pub source: Option<SqlError>,
}

impl DdlError {
    fn is_transient(&self) -> bool {
        match self.why {
            DdlWhy::StillRunning => true,
            DdlWhy::Refused => self.source.as_ref().is_some_and(failure::is_transient),
            DdlWhy::Unfaithful | DdlWhy::Unknown | DdlWhy::TooLong { .. } => false,
        }
    }
}

/// Why a definition statement cannot be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DdlWhy {
    /// The target refused it.
    Refused,
    /// It would do something else on the target.
    Unfaithful,
    /// It was begun before a crash, and whether it took effect cannot be told.
    Unknown,
    /// It was begun by a connection that was lost, and still runs.
    StillRunning,
    /// The target takes no statement that is so long.
    TooLong {
        /// Bytes of the statement that is needed.
        bytes: usize,
        /// The target's limit.
        limit: usize,
    },
}

impl fmt::Display for DdlWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Refused => "was refused by the target",
            Self::Unfaithful => {
                "cannot be repeated faithfully on the target: do what it did there by hand, or \
                 undo it on the source, and start the migration again"
            }
            Self::Unknown => {
                "was begun on the target before a crash, and nobody can tell whether it took \
                 effect: look at the target, then set pointsman.ddl_intent.state to 'done' or to \
                 'again'"
            }
            Self::StillRunning => "is still running on the target from a connection that was lost",
            Self::TooLong { bytes, limit } => {
                return write!(
                    f,
                    "needs a statement of {bytes} bytes, and max_allowed_packet on the target is \
                     {limit}: SET GLOBAL max_allowed_packet higher there"
                );
            }
        };
        f.write_str(text)
    }
}

/// A table that cannot be applied as it is defined.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TableError {
    /// The target has no such table.
    #[error("table {table} is in the stream but not on the target")]
    Unknown {
        /// The table.
        table: QualifiedName,
    },
    /// The table has another number of columns.
    #[error(
        "table {table} has {source_columns} columns in the stream and {target_columns} on the \
         target: make them alike"
    )]
    ColumnCount {
        /// The table.
        table: QualifiedName,
        /// Columns in the stream.
        source_columns: usize,
        /// Columns on the target.
        target_columns: usize,
    },
    /// A column's type in the source's log is not known.
    #[error("column {place} of {table} has a type that pointsman does not know: {error}")]
    SourceType {
        /// The table.
        table: QualifiedName,
        /// The column's number, from 1.
        place: usize,
        /// What is not known.
        error: String,
    },
    /// A column's type on the source cannot be written into the target's.
    #[error(
        "the source's values of {table}.{column} cannot be written exactly into the target's \
         column ({target_type}): give it the source's type and character set"
    )]
    ColumnType {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
        /// The target's type.
        target_type: String,
    },
    /// The table's engine has no transactions.
    #[error(
        "{table} on the target is a table of the engine {engine}, which has no transactions: after a \
         crash its changes would be lost or doubled; ALTER TABLE ... ENGINE=InnoDB on the target and \
         on the source, then start again"
    )]
    NoTransactions {
        /// The table.
        table: QualifiedName,
        /// Its engine.
        engine: String,
    },
    /// The table has a trigger, and only SQL can change it.
    #[error(
        "trigger {trigger} of {table} would fire on the target, since row events are not permitted \
         there: grant what BINLOG needs (MySQL: REPLICATION_APPLIER or SUPER, MariaDB: BINLOG \
         REPLAY), or drop the trigger until the cutover"
    )]
    Trigger {
        /// The table.
        table: QualifiedName,
        /// The trigger.
        trigger: String,
    },
    /// A cascade of the source is not in the log, and not everything that it touched was copied
    /// with the same snapshot.
    #[error(
        "a change of {table} cascaded on the source without being logged, and {child} was copied \
         at another time than others that it reaches: copy them again"
    )]
    CascadeInCopy {
        /// The parent.
        table: QualifiedName,
        /// A table that the cascade reaches.
        child: QualifiedName,
    },
    /// A change came for a table that the stream never described.
    #[error("the stream changes table {id}, which it did not describe")]
    Undescribed {
        /// The source's number of the table.
        id: u64,
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
    /// Reading the foreign keys.
    ForeignKeys,
    /// Changing rows of a table.
    Change(QualifiedName),
    /// Opening or committing the transaction of a window.
    Window,
    /// Writing down a definition statement that is to be carried out.
    Intent,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening => f.write_str("opening the applying session"),
            Self::Progress => f.write_str("reading the progress"),
            Self::Describe(table) => write!(f, "reading the definition of {table}"),
            Self::ForeignKeys => f.write_str("reading the foreign keys"),
            Self::Change(table) => write!(f, "applying changes of {table}"),
            Self::Window => f.write_str("committing a window"),
            Self::Intent => f.write_str("writing down a definition statement"),
        }
    }
}

/// What the source did to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Updated them, keeping their key.
    Updated,
    /// Deleted them, or changed their key.
    Deleted,
    /// Inserted them, or changed their key.
    Inserted,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Updated => "updated",
            Self::Deleted => "deleted or moved",
            Self::Inserted => "inserted or moved",
        })
    }
}
