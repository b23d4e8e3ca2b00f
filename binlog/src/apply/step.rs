//! What the gathering half of the applier hands to the executing half.

use std::sync::Arc;

use router::net::NetChange;
use tokio::sync::oneshot;

use super::compose::ForeignKeys;
use super::ddl::Statement;
use super::target_table::TargetTable;
use crate::position::Position;

/// One piece of work for the target.
#[derive(Debug)]
pub(super) enum Step {
    /// A part of a window: row changes, then perhaps the window's end.
    Rows {
        changes: Vec<TableChange>,
        end: Option<WindowEnd>,
    },
    /// A definition statement, between windows.
    Ddl {
        statement: Box<Statement>,
        /// Told when it is carried out: only then may tables be looked at.
        done: oneshot::Sender<()>,
    },
}

/// The net change of one table.
#[derive(Debug)]
pub(super) struct TableChange {
    pub(super) table: Arc<TargetTable>,
    pub(super) change: NetChange,
    pub(super) foreign_keys: ForeignKeys,
}

/// The end of a window: what is committed with it.
#[derive(Debug, Clone)]
pub(super) struct WindowEnd {
    /// Everything that committed on the source up to this is in the window or before it.
    pub(super) position: Position,
    /// When the last transaction committed, in microseconds since 1970 by the source's clock;
    /// `None` if there is none.
    pub(super) commit_time_us: Option<u64>,
    pub(super) transactions: u64,
    /// Row changes of the stream, before they were netted.
    pub(super) changes: u64,
    pub(super) bytes: u64,
    /// Tokens of the markers in the window.
    pub(super) markers: Vec<String>,
}
