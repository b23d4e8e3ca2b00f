//! Reads both sides: sums first, and rows where the sums differ.
//!
//! Each side has its workers, which take the tables in the same order. Whoever reads the second side
//! of a table compares it, so that only the sums of tables that are being read are kept.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use router::Side;
use router::verify::{
    BucketSum, Differences, HashedRow, Progress, Sums, TableReport, Verdict, compare, pair,
    worth_narrowing,
};

use super::VerifyOptions;
use super::align::{Aligned, release};
use super::error::VerifyError;
use super::plan::{Plan, SideWork, Work};
use crate::copy::throttle::Throttle;
use crate::wire::{SqlConn, SqlError, TextRow};

/// Compares all tables of the plan.
///
/// # Errors
/// When a server is lost: its snapshots are gone then.
pub(super) async fn compare_all(
    aligned: &Aligned,
    plan: &Plan,
    options: &VerifyOptions,
    progress: &Progress,
) -> Result<Vec<TableReport>, VerifyError> {
    progress.expect(plan.works.len(), plan.bytes());
    progress.step("comparing rows");
    let hall = Hall {
        plan,
        progress,
        next_of_source: AtomicUsize::new(0),
        next_of_target: AtomicUsize::new(0),
        throttle_of_source: Throttle::new(options.bytes_per_second),
        throttle_of_target: Throttle::new(options.bytes_per_second),
        states: plan.works.iter().map(|_| Mutex::default()).collect(),
    };
    let source = aligned.source.readers.iter();
    let source = source.map(|reader| (Side::Source, &reader.client));
    let target = aligned.target.iter().map(|client| (Side::Target, client));
    let workers = source.chain(target);
    try_join_all(workers.map(|(side, client)| work(&hall, side, client))).await?;
    let first = aligned.source.readers.first();
    let clients = first
        .map(|reader| &reader.client)
        .zip(aligned.target.first());
    let (here, there) = clients.ok_or(VerifyError::Unread)?;
    let mut reports = Vec::with_capacity(plan.works.len());
    for (work, state) in plan.works.iter().zip(hall.states) {
        reports.push(TableReport {
            name: work.name.to_string(),
            verdict: verdict(here, there, work, state.into_inner()).await?,
        });
    }
    Ok(reports)
}

/// What the workers share.
struct Hall<'a> {
    plan: &'a Plan,
    progress: &'a Progress,
    next_of_source: AtomicUsize,
    next_of_target: AtomicUsize,
    throttle_of_source: Throttle,
    throttle_of_target: Throttle,
    states: Vec<Mutex<State>>,
}

/// How far a table is.
#[derive(Default)]
enum State {
    /// No side is read.
    #[default]
    Unread,
    /// This side is read.
    Half(Side, Sums),
    /// It cannot be read.
    Unreadable(String),
    /// Both sides are read.
    Summed {
        source_rows: u64,
        target_rows: u64,
        /// Buckets that differ.
        differing: usize,
        /// Those that are read row by row.
        chosen: Vec<u32>,
    },
}

impl State {
    fn and(self, side: Side, sums: Sums) -> Self {
        match self {
            Self::Unread => Self::Half(side, sums),
            Self::Half(first, other) => {
                let (source, target) = match first {
                    Side::Source => (other, sums),
                    Side::Target => (sums, other),
                };
                let differing = compare(&source, &target);
                Self::Summed {
                    source_rows: source.rows(),
                    target_rows: target.rows(),
                    differing: differing.len(),
                    chosen: worth_narrowing(&differing, &source, &target),
                }
            }
            done @ (Self::Unreadable(_) | Self::Summed { .. }) => done,
        }
    }
}

impl<'a> Hall<'a> {
    fn next(&self, side: Side) -> Option<(&'a Work, &Mutex<State>)> {
        let next = match side {
            Side::Source => &self.next_of_source,
            Side::Target => &self.next_of_target,
        };
        let place = next.fetch_add(1, Ordering::Relaxed);
        self.plan.works.get(place).zip(self.states.get(place))
    }

    fn throttle(&self, side: Side) -> &Throttle {
        match side {
            Side::Source => &self.throttle_of_source,
            Side::Target => &self.throttle_of_target,
        }
    }
}

async fn work(hall: &Hall<'_>, side: Side, client: &SqlConn) -> Result<(), VerifyError> {
    while let Some((work, state)) = hall.next(side) {
        let own = side_of(work, side);
        let bytes = usize::try_from(own.bytes).unwrap_or(usize::MAX);
        hall.throttle(side).take(bytes).await;
        let read = sum(client, work, own).await;
        release(client).await;
        let read = in_words(side, read)?.and_then(|sums| known(side, sums));
        hall.progress.read(own.bytes);
        let mut state = state.lock();
        *state = match read {
            Ok(sums) => std::mem::take(&mut *state).and(side, sums),
            Err(why) => State::Unreadable(why),
        };
        if matches!(*state, State::Summed { .. }) {
            hall.progress.compared();
        }
    }
    Ok(())
}

fn side_of(work: &Work, side: Side) -> &SideWork {
    match side {
        Side::Source => &work.source,
        Side::Target => &work.target,
    }
}

/// What the server refuses concerns the table alone.
fn in_words<T>(side: Side, read: Result<T, SqlError>) -> Result<Result<T, String>, VerifyError> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(error) => match error.server() {
            Some(server) => Ok(Err(format!(
                "the {side} cannot read it (error {}): {}",
                server.code, server.message
            ))),
            None => Err(VerifyError::sql(side, "reading a table")(error)),
        },
    }
}

/// What was read, if all of it means something to us: what does not is never taken for nothing, since
/// nothing on both sides would be equal.
fn known<T>(side: Side, read: Option<T>) -> Result<T, String> {
    read.ok_or_else(|| format!("the {side} answers in a form that pointsman does not know"))
}

async fn sum(client: &SqlConn, work: &Work, own: &SideWork) -> Result<Option<Sums>, SqlError> {
    let SideWork {
        row_hash, bucket, ..
    } = own;
    // A row that has no hash, for whatever reason, gets one that no other row has.
    let sql = format!(
        "SELECT {bucket} AS `pointsman bucket`, COUNT(*), SUM(IFNULL({row_hash}, \
         CRC32(RAND()))) FROM {} GROUP BY 1 ORDER BY NULL",
        work.name.quoted(),
    );
    let rows = client.query(&sql).await?;
    let mut sums = Sums::default();
    for row in &rows {
        let Some((bucket, part)) = bucket_sum(row) else {
            return Ok(None);
        };
        sums.add(bucket, part);
    }
    Ok(Some(sums))
}

fn bucket_sum(row: &TextRow) -> Option<(u32, BucketSum)> {
    let part = BucketSum {
        rows: row.text(1)?.parse().ok()?,
        hash: row.text(2)?.parse().ok()?,
        // One sum is enough: the hash is no linear function of the row.
        rehash: 0,
    };
    Some((row.text(0)?.parse().ok()?, part))
}

async fn verdict(
    here: &SqlConn,
    there: &SqlConn,
    work: &Work,
    state: State,
) -> Result<Verdict, VerifyError> {
    let (source_rows, target_rows, differing, chosen) = match state {
        State::Unread | State::Half(..) => return Err(VerifyError::Unread),
        State::Unreadable(why) => return Ok(Verdict::CannotCompare { why }),
        State::Summed {
            source_rows,
            differing: 0,
            ..
        } => return Ok(Verdict::Equal { rows: source_rows }),
        State::Summed {
            source_rows,
            target_rows,
            differing,
            chosen,
        } => (source_rows, target_rows, differing, chosen),
    };
    let rows = tokio::try_join!(
        rows(here, Side::Source, work, &chosen),
        rows(there, Side::Target, work, &chosen)
    )?;
    let differences = match rows {
        (Ok(source), Ok(target)) => pair(source, target, work.has_key),
        // That they differ is known all the same.
        (Err(_), _) | (_, Err(_)) => Differences::default(),
    };
    Ok(Verdict::Differs {
        source_rows,
        target_rows,
        more: chosen.len() < differing || differences.found == 0,
        differences,
    })
}

/// The rows of these buckets.
async fn rows(
    client: &SqlConn,
    side: Side,
    work: &Work,
    buckets: &[u32],
) -> Result<Result<Vec<HashedRow>, String>, VerifyError> {
    if buckets.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let SideWork {
        row_hash,
        bucket,
        row_name,
        ..
    } = side_of(work, side);
    let buckets: Vec<String> = buckets.iter().map(u32::to_string).collect();
    let sql = format!(
        "SELECT {row_name}, {row_hash} FROM {} WHERE {bucket} IN ({})",
        work.name.quoted(),
        buckets.join(", ")
    );
    let read = client.query(&sql).await;
    release(client).await;
    let read = in_words(side, read)?;
    let hashed = |row: &TextRow| {
        Some(HashedRow {
            name: String::from_utf8_lossy(row.bytes(0)?).into_owned(),
            hash: row.text(1)?.parse().ok()?,
        })
    };
    let all = |rows: Vec<TextRow>| known(side, rows.iter().map(hashed).collect());
    Ok(read.and_then(all))
}
