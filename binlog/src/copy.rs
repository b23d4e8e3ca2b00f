//! The copy of the rows: from the source's snapshot straight into the target's tables.
//!
//! Workers take tables from a list, biggest first; a large table is read in several ranges of its
//! key at once. Each worker has one connection in the source's snapshot and one to the target.
//!
//! # Guarantees
//! A table is either copied, with the watermark of the snapshot it was read under in the same
//! transaction as its last rows, or it is not. The numbers of rows read and written are compared,
//! and a value that the target changes to make it fit (it warns of each) ends the copy. A table
//! whose definition changed since the snapshot is not copied under it, but asks for a newer one.
//!
//! # Resumption
//! [`run`] copies what is not recorded as copied. After a lost snapshot or a crash it is called
//! again with a new snapshot: finished tables keep their watermarks, a table in work is emptied
//! and begun again.
//!
//! # Crash behaviour
//! A broken connection to the target rolls back the range in work and it is done again. Whether a
//! commit that got no answer took place is told by the bookkeeping in the same transaction.

mod bounds;
mod document;
mod error;
mod identity;
mod lines;
mod pipe;
mod plan;
mod progress;
mod records;
mod row;
pub mod snapshot;
mod target;
pub(crate) mod throttle;
mod values;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use router::Side;
use tokio::task::JoinSet;

pub use error::{CopyError, Remedy};
pub use identity::{Identities, Numbers};
pub use progress::{CopyProgress, TableProgress, TableStatus};
pub(crate) use records::record_dropped;
pub use records::{CopiedTable, copied_tables};
pub use snapshot::Snapshot;

use crate::schema::catalog::Table;
use crate::schema::error::SchemaError;
use crate::version::Flavour;
use crate::wire::{Endpoint, SqlConn};
use bounds::Key;
use plan::Measured;
use throttle::Throttle;
pub use values::Documents;
use worker::{Ended, Shared, Worker};

/// How to copy.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Connections to each server.
    pub workers: usize,
    /// The most that is read from the source, all workers together.
    pub bytes_per_second: Option<u64>,
    /// A table larger than this is read in ranges of at most about this size, each one transaction.
    pub range_bytes: u64,
    /// Our name on the target.
    pub program_name: String,
    /// How often one range is tried again after a broken connection.
    pub retries: u32,
    /// The pause before the first retry; it doubles.
    pub retry_pause: Duration,
    /// What comes with the rows when the target does not allow `LOAD DATA LOCAL`.
    pub loading: Loading,
    /// How JSON documents travel.
    pub documents: Documents,
    /// What the tables were at the snapshot, where definition statements may come in between.
    pub identities: Option<Arc<Identities>>,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loading {
    /// By `LOAD DATA LOCAL`.
    LoadData,
    /// By `INSERT` of many rows.
    Insert,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            workers: 4,
            bytes_per_second: None,
            range_bytes: 64 << 20,
            program_name: "pointsman_copy".to_owned(),
            retries: 10,
            retry_pause: Duration::from_millis(200),
            loading: Loading::LoadData,
            documents: Documents::Text,
            identities: None,
        }
    }
}

/// How a target can be written to: `LOAD DATA LOCAL` where `local_infile` is on.
///
/// # Errors
/// The target could not be asked.
pub async fn loading_of(target: &SqlConn) -> Result<Loading, SchemaError> {
    let row = target.query_first("SELECT @@GLOBAL.local_infile").await;
    let row = row.map_err(SchemaError::sql(Side::Target, "asking for local_infile"))?;
    Ok(match row.as_ref().and_then(|row| row.text(0)) {
        Some("1" | "ON") => Loading::LoadData,
        Some(_) | None => Loading::Insert,
    })
}

/// How documents travel between these servers. MariaDB's are text; MySQL before 8.0.4 does not tell
/// the types of all values of one.
#[must_use]
pub fn documents_of(source: &SqlConn, target: &SqlConn) -> Documents {
    let tells = source.version().is_mysql_at_least(8, 0, 4);
    match target.version().flavour {
        Flavour::MySql if tells => Documents::Typed,
        Flavour::MySql | Flavour::MariaDb => Documents::Text,
    }
}

/// Copies the tables that are not yet recorded as copied.
///
/// # Errors
/// [`CopyError::SnapshotLost`] and [`CopyError::SnapshotStale`] ask for another call with a new
/// snapshot; what is copied stays. Others say what to do.
pub async fn run(
    target: &Endpoint,
    tables: &[Table],
    mut snapshot: Snapshot,
    options: &CopyOptions,
    progress: &Arc<CopyProgress>,
) -> Result<(), CopyError> {
    let records = records::Records::open(target, &options.program_name).await?;
    let copied = records.register(tables).await?;
    progress.begin(tables, &copied);
    let left = tables.iter().filter(|table| !copied.contains(&table.name));
    let measured = measure(left.collect(), &snapshot, options).await?;
    let plan = plan::Plan::new(measured, options);
    for table in plan.split_tables() {
        records.empty_split_table(table).await?;
    }
    drop(records);
    let mut readers = std::mem::take(&mut snapshot.readers);
    readers.truncate(plan.jobs_left());
    let shared = Arc::new(Shared {
        target: target.clone(),
        options: options.clone(),
        plan,
        throttle: Throttle::new(options.bytes_per_second),
        progress: Arc::clone(progress),
        inserts: AtomicBool::new(false),
    });
    let mut tasks = JoinSet::new();
    for reader in readers {
        tasks.spawn(Worker::new(Arc::clone(&shared), reader).run());
    }
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let result = match ended {
            Ok(Ok(Ended::Done | Ended::SnapshotGone)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(error) if error.is_cancelled() => continue,
            Err(_panic) => Err(CopyError::WorkerPanicked),
        };
        if outcome.is_ok() && result.is_err() {
            outcome = result;
            // The others stop at once: their transactions are rolled back by the servers.
            tasks.abort_all();
        }
    }
    // A worker whose snapshot died gave its job back; perhaps nobody was left to take it.
    if outcome.is_ok() && shared.plan.jobs_left() > 0 {
        return Err(CopyError::SnapshotLost);
    }
    drop(snapshot);
    outcome
}

/// Where the tables that are worth it are cut into ranges; all readers look for it at once.
async fn measure(
    tables: Vec<&Table>,
    snapshot: &Snapshot,
    options: &CopyOptions,
) -> Result<Vec<Measured>, CopyError> {
    let range_bytes = plan::range_bytes(&tables, options);
    let is_shared = snapshot.is_common() && options.workers > 1;
    let mut large = Vec::new();
    let mut measured = Vec::new();
    for table in tables {
        let ranges = plan::ranges_of(table, range_bytes);
        match Key::of(table).filter(|_| is_shared && ranges > 1) {
            Some(key) => large.push((table, key, ranges)),
            None => measured.push(Measured {
                table: table.clone(),
                key: None,
                cuts: Vec::new(),
            }),
        }
    }
    let left = Mutex::new(large);
    let look = async |reader: &snapshot::Reader| {
        let mut found = Vec::new();
        loop {
            let next = left.lock().pop();
            let Some((table, key, ranges)) = next else {
                return Ok::<_, CopyError>(found);
            };
            let cuts = bounds::find(&reader.client, table, &key, ranges).await?;
            found.push(Measured {
                table: table.clone(),
                key: Some(key),
                cuts,
            });
        }
    };
    let all = futures_util::future::try_join_all(snapshot.readers.iter().map(look)).await?;
    measured.extend(all.into_iter().flatten());
    Ok(measured)
}
