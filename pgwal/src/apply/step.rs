//! What the gathering half of the applier hands to the executing half.

use std::fmt;
use std::sync::Arc;

use router::Lsn;
use router::net::NetChange;

use super::events::CommitTime;
use super::target_table::TargetTable;

/// A part of a window: row changes, then perhaps a TRUNCATE, then perhaps the window's end.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) changes: Vec<TableChange>,
    pub(super) truncate: Option<Truncate>,
    pub(super) end: Option<WindowEnd>,
}

/// The net change of one table.
#[derive(Debug)]
pub(super) struct TableChange {
    pub(super) table: Arc<TargetTable>,
    pub(super) change: NetChange,
}

/// One TRUNCATE of the source.
#[derive(Debug)]
pub(super) struct Truncate {
    pub(super) tables: Vec<Arc<TargetTable>>,
    pub(super) how: TruncateHow,
}

/// How to empty the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TruncateHow {
    /// `TRUNCATE`, sequences as they are.
    Truncate,
    /// `TRUNCATE .. RESTART IDENTITY`.
    RestartIdentity,
    /// `DELETE`, since tables of the same statement are left out (they were copied later), and
    /// their foreign keys may refuse a TRUNCATE.
    Delete,
}

/// The end of a window: what is committed with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct WindowEnd {
    /// Everything that committed on the source before this is in the window or before it.
    pub(super) end_lsn: Lsn,
    /// Commit time of the last transaction; `None` if there is none.
    pub(super) commit_time: Option<CommitTime>,
    pub(super) transactions: u64,
    /// Row changes of the stream, before they were netted.
    pub(super) changes: u64,
    pub(super) bytes: u64,
    /// Tokens of the markers in the window.
    pub(super) markers: Vec<String>,
}

impl fmt::Display for Truncate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .tables
            .iter()
            .map(|table| table.name.to_string())
            .collect();
        f.write_str(&names.join(", "))
    }
}
