//! Reads both sides: sums first, and rows where the sums differ.
//!
//! Each side has its workers, which take the pieces of their side in the same order. Whoever reads
//! the last piece of a table compares it, so that only the sums of tables that are being read are
//! kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use router::Side;
use router::verify::{
    BucketSum, Differences, HashedRow, Progress, Sums, TableReport, Verdict, compare, pair,
    worth_narrowing,
};
use tokio_postgres::Row;

use super::VerifyOptions;
use super::error::VerifyError;
use super::plan::{Piece, Plan, Work};
use super::session::{Reader, Readers, Unread};
use crate::schema::error::message_without_values;

/// Compares all tables of the plan.
///
/// # Errors
/// When a server is lost.
pub(super) async fn compare_all(
    readers: &Readers,
    plan: Plan,
    options: &VerifyOptions,
    progress: &Arc<Progress>,
) -> Result<Vec<TableReport>, VerifyError> {
    progress.expect(plan.works.len(), plan.bytes());
    progress.step("comparing rows");
    let hall = Hall::new(&plan, progress);
    let workers = [Side::Source, Side::Target].into_iter().flat_map(|side| {
        let hall = &hall;
        (0..options.workers.max(1)).map(move |_| work(hall, readers.reader(side)))
    });
    try_join_all(workers).await?;
    let mut narrowed = Vec::with_capacity(plan.works.len());
    for (work, table) in plan.works.iter().zip(hall.tables) {
        narrowed.push(report(readers, work, table.into_inner()));
    }
    stream::iter(narrowed)
        .buffered(options.workers.max(1))
        .try_collect()
        .await
}

async fn report(readers: &Readers, work: &Work, state: State) -> Result<TableReport, VerifyError> {
    Ok(TableReport {
        name: work.name.to_string(),
        verdict: verdict(readers, work, state).await?,
    })
}

/// What the workers share.
struct Hall<'a> {
    plan: &'a Plan,
    progress: &'a Progress,
    next_of_source: AtomicUsize,
    next_of_target: AtomicUsize,
    tables: Vec<Mutex<State>>,
}

/// How far a table is.
enum State {
    /// Pieces are missing.
    Reading {
        pieces_left: usize,
        source: Sums,
        target: Sums,
    },
    /// It cannot be read.
    Unreadable(String),
    /// Both sides' sums are complete.
    Summed {
        source_rows: u64,
        target_rows: u64,
        /// Buckets that differ.
        differing: usize,
        /// Those that are read row by row.
        chosen: Vec<u32>,
    },
}

impl<'a> Hall<'a> {
    fn new(plan: &'a Plan, progress: &'a Progress) -> Self {
        let mut pieces: HashMap<usize, usize> = HashMap::new();
        for piece in plan.source.iter().chain(&plan.target) {
            *pieces.entry(piece.work).or_default() += 1;
        }
        let tables = (0..plan.works.len()).map(|work| {
            Mutex::new(State::Reading {
                pieces_left: pieces.get(&work).copied().unwrap_or_default(),
                source: Sums::default(),
                target: Sums::default(),
            })
        });
        Self {
            plan,
            progress,
            next_of_source: AtomicUsize::new(0),
            next_of_target: AtomicUsize::new(0),
            tables: tables.collect(),
        }
    }

    fn next(&self, side: Side) -> Option<&'a Piece> {
        let (next, pieces) = match side {
            Side::Source => (&self.next_of_source, &self.plan.source),
            Side::Target => (&self.next_of_target, &self.plan.target),
        };
        pieces.get(next.fetch_add(1, Ordering::Relaxed))
    }

    /// Adds what was read of a table.
    fn add(&self, side: Side, piece: &Piece, read: Result<Sums, String>) {
        self.progress.read(piece.bytes);
        let Some(table) = self.tables.get(piece.work) else {
            return;
        };
        let mut state = table.lock();
        let State::Reading {
            pieces_left,
            source,
            target,
        } = &mut *state
        else {
            return;
        };
        match read {
            Ok(sums) => match side {
                Side::Source => source.merge(sums),
                Side::Target => target.merge(sums),
            },
            Err(why) => {
                *state = State::Unreadable(why);
                self.progress.compared();
                return;
            }
        }
        *pieces_left -= 1;
        if *pieces_left == 0 {
            let differing = compare(source, target);
            *state = State::Summed {
                source_rows: source.rows(),
                target_rows: target.rows(),
                differing: differing.len(),
                chosen: worth_narrowing(&differing, source, target),
            };
            self.progress.compared();
        }
    }
}

async fn work(hall: &Hall<'_>, mut reader: Reader<'_>) -> Result<(), VerifyError> {
    while let Some(piece) = hall.next(reader.side) {
        let Some(work) = hall.plan.works.get(piece.work) else {
            continue;
        };
        reader.throttle(piece.bytes).await;
        let read = sum(&mut reader, work, piece).await;
        let read = in_words(reader.side, read)?;
        hall.add(
            reader.side,
            piece,
            read.and_then(|sums| known(reader.side, sums)),
        );
    }
    Ok(())
}

/// What the server refuses concerns the table alone.
fn in_words<T>(side: Side, read: Result<T, Unread>) -> Result<Result<T, String>, VerifyError> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(Unread::Lost(error)) => Err(error),
        Err(Unread::Refused(error)) => {
            let why = error.as_db_error().map_or_else(
                || error.to_string(),
                |error| message_without_values(error.code().code(), error.message()),
            );
            Ok(Err(format!("the {side} cannot read it: {why}")))
        }
    }
}

/// What was read, if all of it means something to us: what does not is never taken for nothing, since
/// nothing on both sides would be equal.
fn known<T>(side: Side, read: Option<T>) -> Result<T, String> {
    read.ok_or_else(|| format!("the {side} answers in a form that pointsman does not know"))
}

async fn sum(reader: &mut Reader<'_>, work: &Work, piece: &Piece) -> Result<Option<Sums>, Unread> {
    let Work {
        name,
        row_hash,
        bucket,
        ..
    } = work;
    let bounds: Vec<String> = [
        piece.from.map(|page| format!("ctid >= '({page},0)'::tid")),
        piece.to.map(|page| format!("ctid < '({page},0)'::tid")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let bounds = match bounds.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", bounds.join(" AND ")),
    };
    // The offset keeps the planner from computing the hash at each place where it is used.
    let sql = format!(
        "SELECT b, count(*), sum(h)::text, sum(pg_catalog.hashint8extended(h, 1))::text \
         FROM (SELECT {row_hash} AS h, {bucket} AS b FROM ONLY {}{bounds} OFFSET 0) AS r \
         GROUP BY b",
        name.quoted()
    );
    let rows = reader.query(&sql, &[]).await?;
    let mut sums = Sums::default();
    for row in &rows {
        let Some((bucket, part)) = bucket_sum(row) else {
            return Ok(None);
        };
        sums.add(bucket, part);
    }
    Ok(Some(sums))
}

fn bucket_sum(row: &Row) -> Option<(u32, BucketSum)> {
    let number = |column| -> Option<u128> {
        let text: String = row.try_get(column).ok()?;
        text.parse().ok().map(i128::cast_unsigned)
    };
    let part = BucketSum {
        rows: u64::try_from(row.try_get::<_, i64>(1).ok()?).ok()?,
        hash: number(2)?,
        rehash: number(3)?,
    };
    let bucket = u32::try_from(row.try_get::<_, i32>(0).ok()?).ok()?;
    Some((bucket, part))
}

async fn verdict(readers: &Readers, work: &Work, state: State) -> Result<Verdict, VerifyError> {
    let (source_rows, target_rows, differing, chosen) = match state {
        State::Reading { .. } => return Err(VerifyError::Panicked),
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
    let mut here = readers.reader(Side::Source);
    let mut there = readers.reader(Side::Target);
    let more = chosen.len() < differing;
    let rows = tokio::try_join!(
        rows(&mut here, work, &chosen),
        rows(&mut there, work, &chosen)
    )?;
    let differences = match rows {
        (Ok(source), Ok(target)) => pair(source, target, work.has_key),
        // That they differ is known all the same.
        (Err(_), _) | (_, Err(_)) => Differences::default(),
    };
    Ok(Verdict::Differs {
        source_rows,
        target_rows,
        more: more || differences.found == 0,
        differences,
    })
}

/// The rows of these buckets.
async fn rows(
    reader: &mut Reader<'_>,
    work: &Work,
    buckets: &[u32],
) -> Result<Result<Vec<HashedRow>, String>, VerifyError> {
    if buckets.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let Work {
        name,
        row_hash,
        bucket,
        row_name,
        ..
    } = work;
    let sql = format!(
        "SELECT {row_name}, {row_hash} FROM ONLY {} WHERE {bucket} = ANY ($1)",
        name.quoted()
    );
    let buckets: Vec<i32> = buckets.iter().map(|bucket| bucket.cast_signed()).collect();
    let read = reader.query(&sql, &[&buckets]).await;
    let read = in_words(reader.side, read)?;
    let hashed = |rows: Vec<Row>| known(reader.side, rows.iter().map(hashed_row).collect());
    Ok(read.and_then(hashed))
}

fn hashed_row(row: &Row) -> Option<HashedRow> {
    Some(HashedRow {
        name: row.try_get(0).ok()?,
        hash: row.try_get::<_, i64>(1).ok()?.cast_unsigned(),
    })
}
