//! One worker: a reader in the snapshot, a connection to the target, and the next job until there
//! is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use router::Side;
use router::failpoint::{self, Point};
use tokio::sync::mpsc;

use super::bounds::Bound;
use super::error::{Fault, fault};
use super::pipe::{Counts, Pipe};
use super::plan::{Completion, Job, Plan, Reading, TablePlan};
use super::progress::{CopyProgress, TableProgress};
use super::records::{empty, place};
use super::snapshot::Reader;
use super::target::{self, More, Piece};
use super::throttle::Throttle;
use super::{CopyError, CopyOptions, Loading};
use crate::name::quote_literal;
use crate::wire::{Endpoint, SqlConn};

/// Pieces between the two ends; the source waits when they are full.
const PIECES_WAITING_MAX: usize = 8;

/// A table that is read whole is committed in transactions of about this size.
const COMMIT_BYTES: u64 = 64 << 20;

/// A range that is already there.
const DUPLICATE: u16 = 1062;

/// What all workers of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) target: Endpoint,
    pub(super) options: CopyOptions,
    pub(super) plan: Plan,
    pub(super) throttle: Throttle,
    pub(super) progress: Arc<CopyProgress>,
    /// The target refused `LOAD DATA LOCAL`, which it took when the copy began.
    pub(super) inserts: AtomicBool,
}

impl Shared {
    /// How rows are written from now on.
    fn loading(&self) -> Loading {
        if self.inserts.load(Ordering::Relaxed) {
            Loading::Insert
        } else {
            self.options.loading
        }
    }
}

/// Why a worker ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// No job was left.
    Done,
    /// Its snapshot died; its job is back on the list.
    SnapshotGone,
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    reader: Reader,
    target: Option<SqlConn>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, reader: Reader) -> Self {
        Self {
            shared,
            reader,
            target: None,
        }
    }

    pub(super) async fn run(mut self) -> Result<Ended, CopyError> {
        let shared = Arc::clone(&self.shared);
        while let Some(job) = shared.plan.next_job() {
            let Some(plan) = shared.plan.table(&job) else {
                continue;
            };
            let Some(progress) = shared.progress.table(&plan.table.name) else {
                continue;
            };
            if self.copy(&job, plan, &progress).await? == Ended::SnapshotGone {
                shared.plan.give_back(job);
                return Ok(Ended::SnapshotGone);
            }
            self.reader.release().await;
            match (&plan.reading, plan.range_copied()) {
                (Reading::Whole, _) => progress.finish(),
                (Reading::Ranges(_), Completion::Range) => {}
                (Reading::Ranges(_), Completion::Table) => {
                    self.record_split_table(plan).await?;
                    progress.finish();
                }
            }
        }
        Ok(Ended::Done)
    }

    /// Copies one job, again while that makes sense.
    async fn copy(
        &mut self,
        job: &Job,
        plan: &TablePlan,
        progress: &TableProgress,
    ) -> Result<Ended, CopyError> {
        let options = self.shared.options.clone();
        let mut pause = options.retry_pause;
        let mut attempt = 0;
        loop {
            let mut counted = Counts::default();
            let loading = self.shared.loading();
            let tried = self.try_copy(job, plan, loading, progress, &mut counted);
            let Err(fault) = tried.await else {
                return Ok(Ended::Done);
            };
            progress.take_back(counted.rows, counted.bytes);
            self.target = None;
            match fault {
                Fault::Transient(error) if attempt >= options.retries => return Err(error),
                Fault::Transient(error) => {
                    tracing::warn!(table = %plan.table.name, attempt, %error, "copying it again");
                }
                Fault::Definite(error) if loading == Loading::LoadData && error.is_no_load() => {
                    let before = self.shared.inserts.swap(true, Ordering::Relaxed);
                    if !before {
                        tracing::warn!(%error, "rows are inserted from now on, which is slower");
                    }
                    continue;
                }
                Fault::Definite(error) => return Err(error),
                Fault::SnapshotGone => return Ok(Ended::SnapshotGone),
                Fault::CopiedBefore => return Ok(Ended::Done),
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(options.retry_pause * 50);
        }
    }

    async fn try_copy(
        &mut self,
        job: &Job,
        plan: &TablePlan,
        loading: Loading,
        progress: &TableProgress,
        counted: &mut Counts,
    ) -> Result<(), Fault> {
        let shared = Arc::clone(&self.shared);
        let client = match &mut self.target {
            Some(client) => client,
            none => none.insert(target::open(&shared.target, &shared.options.program_name).await?),
        };
        let job_end = JobEnd {
            client,
            plan,
            job,
            reader: &self.reader,
        };
        job_end.open().await?;
        let pipe = Pipe {
            plan,
            loading,
            throttle: &shared.throttle,
            progress,
        };
        let (sender, mut receiver) = mpsc::channel(PIECES_WAITING_MAX);
        let reading = pipe.read(&self.reader.client, job, sender, counted);
        let writing = async {
            let written = job_end.write(&mut receiver).await;
            // The reader then stops waiting for room.
            receiver.close();
            written
        };
        let (read, written) = tokio::join!(reading, writing);
        read?;
        written?;
        failpoint::reach(Point::TableLoaded).await;
        same_table(&shared, &self.reader, plan).await?;
        job_end.close(*counted).await?;
        failpoint::reach(Point::TableCopied).await;
        Ok(())
    }

    /// All ranges are in: the table counts as copied from here on. Harmless when done twice.
    async fn record_split_table(&mut self, plan: &TablePlan) -> Result<(), CopyError> {
        let table = &plan.table.name;
        let place = place(table);
        let sum = |column| {
            format!("(SELECT COALESCE(SUM({column}), 0) FROM pointsman.copied_range {place})")
        };
        let watermark = quote_literal(&self.reader.position.to_string());
        let statements = [
            "START TRANSACTION".to_owned(),
            format!(
                "UPDATE pointsman.table_copy SET copied = 1, watermark = {watermark}, \
                 `rows` = {}, bytes = {} {place} AND copied = 0",
                sum("`rows`"),
                sum("bytes")
            ),
            format!("DELETE FROM pointsman.copied_range {place}"),
            "COMMIT".to_owned(),
        ];
        let mut attempt = 0;
        loop {
            let tried =
                match target::open(&self.shared.target, &self.shared.options.program_name).await {
                    Ok(client) => run_all(&client, plan, &statements).await,
                    Err(fault) => Err(fault),
                };
            match tried {
                Ok(()) => return Ok(()),
                Err(Fault::Transient(error)) if attempt >= self.shared.options.retries => {
                    return Err(error);
                }
                Err(Fault::Definite(error)) => return Err(error),
                Err(Fault::Transient(_) | Fault::SnapshotGone | Fault::CopiedBefore) => {}
            }
            attempt += 1;
            tokio::time::sleep(self.shared.options.retry_pause).await;
        }
    }
}

/// The rows are those of another table, or of another column, if it was altered meanwhile.
async fn same_table(shared: &Shared, reader: &Reader, plan: &TablePlan) -> Result<(), Fault> {
    let table = &plan.table.name;
    let Some(identities) = &shared.options.identities else {
        return Ok(());
    };
    match identities.still(&reader.client, table).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let table = table.clone();
            Err(Fault::Definite(CopyError::SnapshotStale { table }))
        }
        Err(error) => Err(fault(Side::Source, table, error)),
    }
}

async fn run_all(client: &SqlConn, plan: &TablePlan, statements: &[String]) -> Result<(), Fault> {
    for statement in statements {
        let done = client.execute(statement).await;
        done.map_err(|error| fault(Side::Target, &plan.table.name, error))?;
    }
    Ok(())
}

/// One job's transactions on the target.
struct JobEnd<'a> {
    client: &'a SqlConn,
    plan: &'a TablePlan,
    job: &'a Job,
    reader: &'a Reader,
}

impl JobEnd<'_> {
    /// An emptied table, or the record of the range, which is its proof against a second time.
    async fn open(&self) -> Result<(), Fault> {
        let name = &self.plan.table.name;
        match &self.plan.reading {
            Reading::Whole => {
                let emptied = empty(self.client, &self.plan.table).await;
                emptied.map_err(|error| fault(Side::Target, name, error))?;
                run_all(self.client, self.plan, &["START TRANSACTION".to_owned()]).await
            }
            Reading::Ranges(_) => {
                let bound = |bound: &Option<Bound>| match bound {
                    Some(literals) => quote_literal(&literals.join(", ")),
                    None => "NULL".to_owned(),
                };
                let insert = format!(
                    "INSERT INTO pointsman.copied_range VALUES ({}, {}, {}, {}, {}, {}, 0, 0)",
                    quote_literal(&name.schema),
                    quote_literal(&name.name),
                    self.job.range,
                    bound(&self.job.from),
                    bound(&self.job.to),
                    quote_literal(&self.reader.position.to_string()),
                );
                run_all(self.client, self.plan, &["START TRANSACTION".to_owned()]).await?;
                match self.client.execute(&insert).await {
                    Ok(_) => Ok(()),
                    Err(error) if error.code() == Some(DUPLICATE) => {
                        tracing::info!(table = %name, range = self.job.range, "copied before");
                        Err(Fault::CopiedBefore)
                    }
                    Err(error) => Err(fault(Side::Target, name, error)),
                }
            }
        }
    }

    async fn write(&self, pieces: &mut mpsc::Receiver<Piece>) -> Result<u64, Fault> {
        let bytes_max = match &self.plan.reading {
            Reading::Whole => Some(COMMIT_BYTES),
            Reading::Ranges(_) => None,
        };
        let mut rows = 0;
        loop {
            let (written, more) = target::write(self.client, self.plan, pieces, bytes_max).await?;
            rows += written;
            if more == More::Never {
                return Ok(rows);
            }
            let next = ["COMMIT".to_owned(), "START TRANSACTION".to_owned()];
            run_all(self.client, self.plan, &next).await?;
        }
    }

    /// The record of what was copied, in the transaction of the (last) rows.
    async fn close(&self, counts: Counts) -> Result<(), Fault> {
        let Counts { rows, bytes } = counts;
        let place = place(&self.plan.table.name);
        let update = match &self.plan.reading {
            Reading::Whole => format!(
                "UPDATE pointsman.table_copy SET copied = 1, watermark = {}, `rows` = {rows}, \
                 bytes = {bytes} {place}",
                quote_literal(&self.reader.position.to_string())
            ),
            Reading::Ranges(_) => format!(
                "UPDATE pointsman.copied_range SET `rows` = {rows}, bytes = {bytes} {place} \
                 AND range_number = {}",
                self.job.range
            ),
        };
        run_all(self.client, self.plan, &[update, "COMMIT".to_owned()]).await
    }
}
