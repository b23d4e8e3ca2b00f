//! What can go wrong with the copy, split by what the caller does about it.

use router::Side;
use thiserror::Error;

use crate::name::QualifiedName;
use crate::schema::error::SchemaError;
use crate::wire::{ConnectError, WireError};

/// The copy ended before all tables were copied.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The connection that exported the snapshot is gone. Run again with a new snapshot.
    #[error("the source's snapshot is gone; a new one is needed for the tables that are left")]
    SnapshotLost,
    /// A table was rewritten or emptied since the snapshot. Run again with a new snapshot.
    #[error("table {table} was rewritten on the source during the copy; it needs a new snapshot")]
    SnapshotStale {
        /// The table.
        table: QualifiedName,
    },
    /// No room on the target. Run again later, with a new snapshot if this one is gone.
    #[error("the target's disk is full while copying {table}; make room and the copy goes on")]
    TargetDiskFull {
        /// The table in work.
        table: QualifiedName,
    },
    /// A server refused a statement and would refuse it again.
    #[error("the {side} refused {what}: {message} (SQLSTATE {sqlstate})")]
    Refused {
        /// Which server.
        side: Side,
        /// What we did, naming the table.
        what: String,
        /// The server's message, without values.
        message: String,
        /// The error code.
        sqlstate: String,
    },
    /// A connection broke, again and again.
    #[error("the connection to the {side} broke while copying {table}")]
    Broken {
        /// Which server.
        side: Side,
        /// The table in work.
        table: QualifiedName,
        /// The last cause.
        #[source]
        source: WireError,
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
    /// Source and target count different numbers of rows in one COPY.
    #[error("table {table}: the source sent {sent} rows, the target took {taken}")]
    CountMismatch {
        /// The table.
        table: QualifiedName,
        /// Rows by the source's count.
        sent: u64,
        /// Rows by the target's count.
        taken: u64,
    },
    /// The bookkeeping on the target failed.
    #[error("the copy's bookkeeping failed")]
    Records(#[from] SchemaError),
    /// A defect of ours.
    #[error("a copy worker ended abnormally; this is a defect of pointsman, start again")]
    WorkerPanicked,
}

/// What the caller of a copy does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Take a new snapshot and copy the tables that are left.
    NewSnapshot,
    /// The same after a while.
    Later,
    /// An operator must look.
    None,
}

impl CopyError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::SnapshotLost | Self::SnapshotStale { .. } => Remedy::NewSnapshot,
            Self::TargetDiskFull { .. } | Self::Broken { .. } | Self::Connect { .. } => {
                Remedy::Later
            }
            Self::Records(error) => match error.cause() {
                Some(cause) if cause.is_transient() => Remedy::Later,
                Some(_) | None => Remedy::None,
            },
            Self::Refused { .. } | Self::CountMismatch { .. } | Self::WorkerPanicked => {
                Remedy::None
            }
        }
    }
}
