//! The whole way from an empty target to one that only lacks the changes of the stream.
//!
//! # Order
//! Both servers are prepared; a snapshot is taken, and with it the position where the stream
//! begins; accounts, tables, rows; then indexes, foreign keys, triggers and events, statistics,
//! grants. Each finished step is recorded on the target.
//!
//! # Resumption
//! [`InitialCopy::run`] may be called again after any error and any crash, with the same id. It
//! goes on with the first step that is not recorded. Before the structure is made everything
//! begins again, under a new snapshot and start. From then on the start stays: tables that are
//! not yet copied are read under a new snapshot, whose position is their watermark.
//!
//! # What changes meanwhile
//! A table's copy is its rows and its definition at its watermark: when a table that is not yet
//! copied is found altered it is made again as it is under a newer snapshot, and the stream leaves
//! out what was done to it up to there. Everything else comes through the stream in its place: all
//! that is done to copied tables, new tables, views, programs. Where nobody can tell what belongs to
//! what (a table that is not yet copied is gone and there are new ones) the copy ends
//! ([`InitialError::Drift`]).
//!
//! # Crash behaviour
//! A statement of an earlier run that still works on the target (an index being built) is waited
//! for by the servers' own locks; what it made is then found to be there.

mod again;
mod records;
mod steps;
mod vanished;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use router::Side;
use thiserror::Error;
use tokio::sync::watch;

use super::catalog::{Catalog, Scope, TableFilter};
use super::error::SchemaError;
pub use super::identity::ServerIdentity;
use super::patience::LockPatience;
use crate::copy::{CopyError, CopyProgress};
use crate::name::some_of;
use crate::position::Position;
use crate::wire::{Endpoint, SqlConn};
pub use vanished::Vanished;

/// How to make the initial copy.
#[derive(Debug, Clone)]
pub struct InitialOptions {
    /// The migration's id; a new one for a new migration.
    pub id: String,
    /// Whose rows are moved.
    pub filter: TableFilter,
    /// How to wait for the snapshot's lock.
    pub patience: LockPatience,
    /// Connections to each server.
    pub workers: usize,
    /// Bandwidth limit of the rows.
    pub bytes_per_second: Option<u64>,
    /// Tables larger than this are read in ranges.
    pub range_bytes: u64,
    /// Where files may be put while the source's log is searched.
    pub folder: PathBuf,
}

impl InitialOptions {
    /// The defaults for a migration.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            filter: TableFilter::default(),
            patience: LockPatience::default(),
            workers: 4,
            bytes_per_second: None,
            range_bytes: 64 << 20,
            folder: std::env::temp_dir(),
        }
    }

    /// The program name of everything that only the copy does.
    pub(super) fn program_name(&self) -> String {
        format!("pointsman_{}_copy", self.id)
    }
}

/// What is being done. The order is that of the work; some steps may be done already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InitialStep {
    /// Not begun.
    Waiting,
    /// Reading the catalogs.
    Looking,
    /// Our database on the target.
    Target,
    /// Our database on the source.
    Source,
    /// The snapshot; it waits for statements that are running.
    Snapshot,
    /// Accounts and roles.
    Roles,
    /// Databases, tables, routines, views.
    Structure,
    /// The rows.
    Rows,
    /// Secondary indexes.
    Indexes,
    /// Foreign keys.
    ForeignKeys,
    /// Triggers and events.
    Triggers,
    /// `ANALYZE TABLE`.
    Analyze,
    /// What accounts and roles may do.
    Grants,
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
            Self::Snapshot => "snapshot",
            Self::Roles => "roles",
            Self::Structure => "structure",
            Self::Rows => "rows",
            Self::Indexes => "indexes",
            Self::ForeignKeys => "foreign_keys",
            Self::Triggers => "triggers",
            Self::Analyze => "analyze",
            Self::Grants => "grants",
            Self::Done => "done",
        }
    }
}

/// Where the stream starts: recorded on the target as soon as the snapshot is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamStart {
    /// Everything up to here is in the copy, and nothing of what follows is in all of it.
    pub position: Position,
    /// The source that the snapshot was taken on; another one must be refused.
    pub source: ServerIdentity,
}

/// What the stream needs to go on from.
#[derive(Debug, Clone)]
pub struct InitialDone {
    /// Where the stream starts.
    pub start: StreamStart,
    /// For each copied table (database, name) the position up to which its rows are in the copy.
    pub watermarks: HashMap<(String, String), Position>,
    /// The source's catalog as it was looked at last.
    pub catalog: Catalog,
}

/// Why the initial copy ended early. What was done is kept; see [`InitialError::may_pass`].
#[derive(Debug, Error)]
pub enum InitialError {
    /// A server, the schema or our bookkeeping.
    #[error("the initial copy stopped")]
    Schema(#[from] SchemaError),
    /// The rows.
    #[error("the copy of the rows stopped")]
    Copy(#[from] CopyError),
    /// The source's tables changed while the copy ran.
    #[error("the source's schema changed during the copy: {}; `abort` and start again", some_of(.0))]
    Drift(Vec<Vanished>),
    /// The source's definitions changed again and again while the snapshot was taken.
    #[error(
        "the source's definitions change all the time, so no snapshot could be taken between two \
         changes; grant BACKUP_ADMIN, or start when nothing is altered"
    )]
    Unsettled,
}

impl InitialError {
    /// Whether calling again after a while may help without anybody doing something.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Schema(error) => error.is_transient(),
            Self::Copy(error) => error.remedy() != crate::copy::Remedy::None,
            Self::Unsettled => true,
            Self::Drift(_) => false,
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
    restored: Arc<(AtomicUsize, AtomicUsize)>,
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
            restored: Arc::default(),
            start: watch::Sender::new(None),
        }
    }

    /// Waits until it is recorded where the stream starts. From then on the stream may be read into
    /// the spool, so that the source need not keep its log for as long as the copy takes.
    ///
    /// # Cancel safety
    /// May be dropped at any time. It never ends if the copy ends before it has a snapshot.
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

    /// The same for people: how far a step is that has many parts.
    #[must_use]
    pub fn step_text(&self) -> String {
        let step = self.step();
        let (done, all) = self.restored();
        match step {
            InitialStep::Structure
            | InitialStep::Indexes
            | InitialStep::ForeignKeys
            | InitialStep::Triggers
                if all > 0 =>
            {
                format!("{}: {done} of {all}", step.as_str())
            }
            step => step.as_str().to_owned(),
        }
    }

    /// The rows' progress.
    #[must_use]
    pub fn rows(&self) -> &Arc<CopyProgress> {
        &self.rows
    }

    /// Statements run and in all, of the step beside the rows that is being done or was done last:
    /// tables made, indexes built.
    #[must_use]
    pub fn restored(&self) -> (usize, usize) {
        let (done, all) = &*self.restored;
        (done.load(Ordering::Relaxed), all.load(Ordering::Relaxed))
    }

    /// What the operator should know: how the snapshot was taken, accounts that were not carried
    /// as they are.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().clone()
    }

    fn scope(&self) -> Scope {
        Scope::of_database(self.source.database.as_deref())
    }

    fn enter(&self, step: InitialStep) {
        tracing::info!(step = step.as_str(), "initial copy");
        self.restored.1.store(0, Ordering::Relaxed);
        self.restored.0.store(0, Ordering::Relaxed);
        *self.step.lock() = step;
    }

    fn warn(&self, sentence: String) {
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&sentence) {
            tracing::warn!("{sentence}");
            warnings.push(sentence);
        }
    }

    async fn connect(&self, side: Side) -> Result<SqlConn, SchemaError> {
        let endpoint = match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        };
        super::connect(endpoint, side, &self.options.program_name()).await
    }
}
