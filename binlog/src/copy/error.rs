//! What can go wrong with the copy, split by what the caller does about it.

use router::Side;
use thiserror::Error;

use crate::name::QualifiedName;
use crate::schema::error::{SchemaError, is_transient_code};
use crate::wire::{ConnectError, SqlError};

/// The copy ended before all tables were copied.
#[derive(Debug, Error)]
pub enum CopyError {
    /// The connections that hold the snapshot are gone. Run again with a new snapshot.
    #[error("the source's snapshot is gone; a new one is needed for the tables that are left")]
    SnapshotLost,
    /// A table was altered or emptied since the snapshot. Run again with a new snapshot.
    #[error("table {table} was altered on the source during the copy; it needs a new snapshot")]
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
    #[error("the {side} refused the copy of {table}")]
    Refused {
        /// Which server.
        side: Side,
        /// The table in work.
        table: QualifiedName,
        /// The server's answer.
        #[source]
        source: SqlError,
    },
    /// A connection broke, or a lock was not to be had, again and again.
    #[error("the copy of {table} broke off on the {side}, again and again")]
    Broken {
        /// Which server.
        side: Side,
        /// The table in work.
        table: QualifiedName,
        /// The last cause.
        #[source]
        source: SqlError,
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
    /// Source and target count different numbers of rows.
    #[error("table {table}: the source sent {sent} rows, the target took {taken}")]
    CountMismatch {
        /// The table.
        table: QualifiedName,
        /// Rows by the source's count.
        sent: u64,
        /// Rows by the target's count.
        taken: u64,
    },
    /// The target changed values to make them fit.
    #[error(
        "the target did not take values of table {table} as they are: {warnings}; make the \
         column hold them on both sides, or mend the values on the source"
    )]
    ValuesChanged {
        /// The table.
        table: QualifiedName,
        /// The warnings, without values.
        warnings: String,
    },
    /// A JSON document that no statement makes on the target.
    #[error(
        "a document in column {column} of table {table} cannot be carried: {why}; store it again \
         on the source without that value (or as text), or leave the table out"
    )]
    Document {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
        /// What stands in the way, without values.
        why: String,
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
            Self::Records(error) if error.is_transient() => Remedy::Later,
            Self::Records(_)
            | Self::Refused { .. }
            | Self::CountMismatch { .. }
            | Self::ValuesChanged { .. }
            | Self::Document { .. }
            | Self::WorkerPanicked => Remedy::None,
        }
    }
}

/// `LOAD DATA LOCAL` is not allowed: before MySQL 8.0.19, since then, on MariaDB, and what clients of
/// MySQL say, which something in between may be.
const NO_LOAD: [u16; 4] = [1148, 3948, 4166, 2068];

impl CopyError {
    /// Whether the target takes no `LOAD DATA LOCAL` (any more).
    pub(super) fn is_no_load(&self) -> bool {
        match self {
            Self::Refused { side, source, .. } => {
                *side == Side::Target && source.code().is_some_and(|code| NO_LOAD.contains(&code))
            }
            Self::SnapshotLost
            | Self::SnapshotStale { .. }
            | Self::TargetDiskFull { .. }
            | Self::Broken { .. }
            | Self::Connect { .. }
            | Self::CountMismatch { .. }
            | Self::ValuesChanged { .. }
            | Self::Document { .. }
            | Self::Records(_)
            | Self::WorkerPanicked => false,
        }
    }
}

/// Why one attempt at a job failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// It may work on a new connection to the target.
    Transient(CopyError),
    /// It would fail again.
    Definite(CopyError),
    /// The worker's snapshot died with its connection; another worker may do it.
    SnapshotGone,
    /// The range was committed by an earlier attempt whose answer was lost.
    CopiedBefore,
}

/// No room: on the disk, in a table's file, in the redo log.
const DISK_FULL: [u16; 3] = [1021, 1114, 3];

/// What altered a table under a snapshot: its definition, its existence, its partitions.
const STALE: [u16; 3] = [1412, 1146, 1054];

/// The meaning of a server's error while this table is in work.
pub(super) fn fault(side: Side, table: &QualifiedName, source: SqlError) -> Fault {
    let table = table.clone();
    let code = source.code();
    match (side, code) {
        (Side::Source, None) => Fault::SnapshotGone,
        (Side::Source, Some(code)) if STALE.contains(&code) => {
            Fault::Definite(CopyError::SnapshotStale { table })
        }
        (Side::Target, Some(code)) if DISK_FULL.contains(&code) => {
            Fault::Definite(CopyError::TargetDiskFull { table })
        }
        (Side::Source | Side::Target, Some(code)) if !is_transient_code(code) => {
            Fault::Definite(CopyError::Refused {
                side,
                table,
                source,
            })
        }
        (Side::Source | Side::Target, _) => Fault::Transient(CopyError::Broken {
            side,
            table,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ServerError;

    fn refused(code: u16, side: Side) -> bool {
        let answer = SqlError::Server(ServerError {
            code,
            sqlstate: "HY000".to_owned(),
            message: String::new(),
        });
        match fault(side, &QualifiedName::new("d", "t"), answer) {
            Fault::Definite(error) => error.is_no_load(),
            Fault::Transient(_) | Fault::SnapshotGone | Fault::CopiedBefore => false,
        }
    }

    #[test]
    fn every_refusal_of_load_data_has_another_way() {
        for code in [1148, 3948, 4166, 2068] {
            assert!(refused(code, Side::Target), "{code}");
            assert!(!refused(code, Side::Source), "{code}");
        }
        assert!(!refused(1064, Side::Target));
    }
}
