//! The copy of the rows: from the source's snapshot straight into the target's tables.
//!
//! Workers take tables from a list, biggest first; a large table is read in several ranges at
//! once. Rows travel as the server's own text and are not looked at.
//!
//! # Guarantees
//! A table is either copied, with the watermark of the snapshot it was read under in the same
//! transaction, or it is not. The numbers of rows read and written are compared. A table that was
//! rewritten since the snapshot (`ALTER TABLE`, `TRUNCATE`, `VACUUM FULL`: rewritten rows are
//! invisible to older snapshots) is not copied under it, but asks for a newer snapshot.
//!
//! # Resumption
//! [`run`] copies what is not recorded as copied. After a lost snapshot or a crash it is called
//! again with a new snapshot and that one's position: finished tables keep their watermarks.
//!
//! # Crash behaviour
//! A broken connection rolls back the table (or range) in work and it is done again. Whether a
//! commit that got no answer took place is told by the bookkeeping in the same transaction.

mod error;
mod link;
mod pipe;
mod plan;
mod progress;
mod records;
pub(crate) mod throttle;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use router::Lsn;
use tokio::task::JoinSet;

pub use error::{CopyError, Remedy};
pub use progress::{CopyProgress, TableProgress, TableStatus};
pub use records::{CopiedTable, copied_tables};

use crate::schema::catalog::Table;
use crate::wire::Endpoint;
use throttle::Throttle;
use worker::{Shared, Worker};

/// How to copy.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Connections to each server.
    pub workers: usize,
    /// The most that is read from the source, all workers together.
    pub bytes_per_second: Option<u64>,
    /// A table larger than this is read in ranges of about this size.
    pub range_bytes: u64,
    /// `application_name` on both servers.
    pub application_name: String,
    /// How often one table is tried again after a broken connection.
    pub retries: u32,
    /// The pause before the first retry; it doubles.
    pub retry_pause: Duration,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            workers: 4,
            bytes_per_second: None,
            range_bytes: 1 << 30,
            application_name: "pointsman_copy".to_owned(),
            retries: 10,
            retry_pause: Duration::from_millis(200),
        }
    }
}

/// The state of the source that is copied. It lives as long as the connection that exported it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySnapshot {
    /// The exported snapshot's name.
    pub name: String,
    /// The position of the stream from which on changes are not in the snapshot.
    pub consistent_point: Lsn,
    /// The source's major version.
    pub source_major: u32,
}

/// Copies the tables that are not yet recorded as copied.
///
/// # Errors
/// [`CopyError::SnapshotLost`] and [`CopyError::SnapshotStale`] ask for another call with a new
/// snapshot; what is copied stays. Others say what to do.
pub async fn run(
    source: &Endpoint,
    target: &Endpoint,
    tables: &[Table],
    snapshot: &CopySnapshot,
    options: &CopyOptions,
    progress: &Arc<CopyProgress>,
) -> Result<(), CopyError> {
    let records = records::Records::open(target, &options.application_name).await?;
    let copied = records.register(tables).await?;
    progress.begin(tables, &copied);
    let left: Vec<Table> = tables
        .iter()
        .filter(|table| !copied.contains(&table.name))
        .cloned()
        .collect();
    let plan = plan::Plan::new(left, snapshot.source_major, options);
    for table in plan.split_tables() {
        records.empty_split_table(table).await?;
    }
    let workers = options.workers.max(1).min(plan.jobs_left());
    let shared = Arc::new(Shared {
        source: source.clone(),
        target: target.clone(),
        snapshot: snapshot.clone(),
        options: options.clone(),
        plan,
        throttle: Throttle::new(options.bytes_per_second),
        progress: Arc::clone(progress),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(Worker::new(Arc::clone(&shared)).run());
    }
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let result = match ended {
            Ok(result) => result,
            Err(error) if error.is_cancelled() => continue,
            Err(_panic) => Err(CopyError::WorkerPanicked),
        };
        if outcome.is_ok() && result.is_err() {
            outcome = result;
            // The others stop at once: their transactions are rolled back by the servers.
            tasks.abort_all();
        }
    }
    outcome
}
