//! The whole way from an empty target to one that only lacks the changes of the stream.
//!
//! # Order
//! Both servers are prepared, the publication before the slot; the slot's exported snapshot is
//! what is dumped and copied; roles, tables, rows, then indexes and constraints, then what the
//! planner needs. Each finished step is recorded on the target.
//!
//! # Resumption
//! [`InitialCopy::run`] may be called again after any error and any crash, with the same id. It
//! goes on with the first step that is not recorded. The exported snapshot of the first run died
//! with its connection, so tables that are not yet copied are read under a new one, of a temporary
//! slot, with that one's position as their watermark; the permanent slot keeps all changes since
//! the first.
//!
//! # Crash behaviour
//! A crash between creating the slot and recording its position is repaired by making the slot
//! again: nothing was copied yet. Statements of an earlier run that still work on the target (an
//! index being built) are ended first.

mod post_data;
mod pre_data;
mod records;
mod steps;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use router::{Lsn, Side};
use thiserror::Error;
use tokio::sync::watch;

use super::bookkeeping::object_name;
use super::catalog::{Catalog, Drift, TableFilter};
use super::dump::{DumpError, RestoreProgress};
use super::error::{SchemaError, may_pass};
use super::patience::LockPatience;
use super::roles::VerifierPolicy;
use super::setup::KeylessPolicy;
use crate::copy::{CopyError, CopyProgress};
use crate::movement::sequences::SequenceError;
use crate::name::some_of;
use crate::stream::SystemIdentity;
use crate::stream::slot::SlotError;
use crate::wire::Endpoint;

/// How to make the initial copy.
#[derive(Debug, Clone)]
pub struct InitialOptions {
    /// The migration's id; a new one for a new migration.
    pub id: String,
    /// Whose rows are moved.
    pub filter: TableFilter,
    /// What to do with tables without a key.
    pub keyless: KeylessPolicy,
    /// What to do with roles whose verifier differs.
    pub verifiers: VerifierPolicy,
    /// How to wait for locks on the source's tables.
    pub patience: LockPatience,
    /// How long the slot may wait for transactions that are running.
    pub slot_timeout: Duration,
    /// Where `pg_dump` and `pg_restore` are; searched for if not given.
    pub pg_dump_dir: Option<PathBuf>,
    /// Connections to each server.
    pub workers: usize,
    /// Bandwidth limit of the rows.
    pub bytes_per_second: Option<u64>,
    /// Tables larger than this are read in ranges.
    pub range_bytes: u64,
}

impl InitialOptions {
    /// The defaults for a migration.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            filter: TableFilter::default(),
            keyless: KeylessPolicy::default(),
            verifiers: VerifierPolicy::default(),
            patience: LockPatience::default(),
            slot_timeout: Duration::from_secs(60),
            pg_dump_dir: None,
            workers: 4,
            bytes_per_second: None,
            range_bytes: 1 << 30,
        }
    }

    /// `application_name` of everything that only the copy does.
    pub(super) fn application_name(&self) -> String {
        format!("{}_copy", object_name(&self.id))
    }
}

/// What is being done. The order is that of the work; some steps may be done already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InitialStep {
    /// Not begun.
    Waiting,
    /// Reading the catalogs, looking for the tools.
    Looking,
    /// Our schema on the target.
    Target,
    /// Our schema, identities and the publication on the source.
    Source,
    /// The slot; it waits for transactions that are running.
    Slot,
    /// Roles and the database's privileges.
    Roles,
    /// Tables, types, functions.
    Structure,
    /// The rows.
    Rows,
    /// Indexes, constraints, triggers.
    Indexes,
    /// `VACUUM` and `ANALYZE`.
    Vacuum,
    /// Materialized views.
    Views,
    /// Sequences.
    Sequences,
    /// All done: the stream may begin.
    Done,
}

impl InitialStep {
    /// A word for the operator; recorded ones are also in `pointsman.schema_step`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Looking => "looking",
            Self::Target => "target",
            Self::Source => "source",
            Self::Slot => "slot",
            Self::Roles => "roles",
            Self::Structure => "pre_data",
            Self::Rows => "rows",
            Self::Indexes => "post_data",
            Self::Vacuum => "analyze",
            Self::Views => "views",
            Self::Sequences => "sequences",
            Self::Done => "done",
        }
    }
}

/// Where the stream starts: recorded on the target as soon as the slot is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStart {
    /// The position of the permanent slot.
    pub consistent_point: Lsn,
    /// Name of the slot.
    pub slot: String,
    /// Name of the publication.
    pub publication: String,
    /// The source that the slot was made on; another one must be refused.
    pub source: SystemIdentity,
}

/// What the stream needs to go on from.
#[derive(Debug, Clone)]
pub struct InitialDone {
    /// Where the stream starts.
    pub start: StreamStart,
    /// For each copied table (schema, name) the position up to which its changes are in the copy.
    pub watermarks: HashMap<(String, String), Lsn>,
    /// The source's catalog as it was looked at last.
    pub catalog: Catalog,
}

/// Why the initial copy ended early. What was done is kept; see [`InitialError::may_pass`].
#[derive(Debug, Error)]
pub enum InitialError {
    /// A server, the schema or our bookkeeping.
    #[error("the initial copy stopped")]
    Schema(#[from] SchemaError),
    /// `pg_dump` or `pg_restore`.
    #[error("the structure could not be moved")]
    Dump(#[from] DumpError),
    /// The rows.
    #[error("the copy of the rows stopped")]
    Copy(#[from] CopyError),
    /// The slot or its snapshot.
    #[error("no snapshot of the source could be taken")]
    Snapshot(#[from] SlotError),
    /// The source's schema changed while the copy ran.
    #[error("the source's schema changed during the copy: {}; `abort` and start again", some_of(.0))]
    Drift(Vec<Drift>),
}

impl InitialError {
    /// Whether calling again after a while may help without anybody doing something.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Schema(SchemaError::Connect { .. } | SchemaError::StayedLocked { .. }) => true,
            Self::Schema(SchemaError::Sequences(SequenceError::Sql { source, .. })) => {
                may_pass(source)
            }
            Self::Schema(error) => error.cause().is_some_and(|cause| cause.is_transient()),
            Self::Copy(error) => error.remedy() != crate::copy::Remedy::None,
            Self::Snapshot(error) => match error {
                SlotError::Connect { .. } | SlotError::Blocked { .. } | SlotError::Busy { .. } => {
                    true
                }
                SlotError::Query { source, .. } => may_pass(source),
                SlotError::Stream { source, .. } => source.is_transient(),
                SlotError::NoFreeSlot { .. }
                | SlotError::WalLevel { .. }
                | SlotError::Exists { .. }
                | SlotError::Privilege { .. }
                | SlotError::Answer { .. } => false,
            },
            Self::Dump(_) | Self::Drift(_) => false,
        }
    }
}

/// The initial copy of one migration: run it in a task of its own, look at it from others.
#[derive(Debug)]
pub struct InitialCopy {
    source: Endpoint,
    target: Endpoint,
    options: InitialOptions,
    step: Mutex<InitialStep>,
    warnings: Mutex<Vec<String>>,
    rows: Arc<CopyProgress>,
    restore: RestoreProgress,
    start: watch::Sender<Option<StreamStart>>,
}

impl InitialCopy {
    /// An initial copy that was not begun.
    #[must_use]
    pub fn new(source: Endpoint, target: Endpoint, options: InitialOptions) -> Self {
        Self {
            source,
            target,
            options,
            step: Mutex::new(InitialStep::Waiting),
            warnings: Mutex::new(Vec::new()),
            rows: CopyProgress::new(),
            restore: RestoreProgress::default(),
            start: watch::Sender::new(None),
        }
    }

    /// Waits until it is recorded where the stream starts. From then on the stream may be read into
    /// the spool, so that the source need not keep its log for as long as the copy takes.
    ///
    /// # Cancel safety
    /// May be dropped at any time. It never ends if the copy ends before it has a slot.
    pub async fn stream_start(&self) -> StreamStart {
        let mut start = self.start.subscribe();
        let found = start
            .wait_for(Option::is_some)
            .await
            .map(|start| start.clone());
        match found {
            Ok(Some(start)) => start,
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// What is being done now.
    #[must_use]
    pub fn step(&self) -> InitialStep {
        *self.step.lock()
    }

    /// The rows' progress.
    #[must_use]
    pub fn rows(&self) -> &Arc<CopyProgress> {
        &self.rows
    }

    /// Entries restored and in all, of the section that is being restored or was restored last.
    #[must_use]
    pub fn restored(&self) -> (usize, usize) {
        self.restore.done_of_total()
    }

    /// What the operator should know: roles that were not carried as they are, extension tables.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }

    fn enter(&self, step: InitialStep) {
        tracing::info!(step = step.as_str(), "initial copy");
        *self.step.lock() = step;
    }

    fn warn(&self, sentence: String) {
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&sentence) {
            tracing::warn!("{sentence}");
            warnings.push(sentence);
        }
    }

    async fn connect(&self, side: Side) -> Result<crate::wire::SqlConn, SchemaError> {
        let endpoint = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        super::connect(endpoint, side, &self.options.application_name()).await
    }
}
