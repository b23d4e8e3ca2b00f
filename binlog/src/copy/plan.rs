//! What is copied in which order: tables biggest first, large ones in ranges of their key.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::CopyOptions;
use super::bounds::{Bound, Key};
use super::values::{self, Lane};
use crate::schema::catalog::Table;

/// The most ranges of one table; they become longer instead.
const RANGES_MAX: u64 = 16_384;

/// How many ranges each worker would read if all were of the same size.
const RANGES_A_WORKER: u64 = 4;

/// Ranges are not made smaller than this for the workers' sake.
const RANGE_BYTES_LEAST: u64 = 16 << 20;

/// The list of jobs that all workers share.
#[derive(Debug)]
pub(super) struct Plan {
    tables: Vec<TablePlan>,
    jobs: Mutex<VecDeque<Job>>,
}

/// A table and how it is read.
#[derive(Debug)]
pub(super) struct TablePlan {
    pub(super) table: Table,
    pub(super) lanes: Vec<Lane>,
    pub(super) reading: Reading,
    ranges_left: AtomicUsize,
}

/// How a table is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// By one connection, into an emptied table, with a commit now and then.
    Whole,
    /// By several at once, in ranges of this key; one transaction each.
    Ranges(Key),
}

/// One run through a table or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) table: usize,
    /// Number of the range; 0 for a whole table.
    pub(super) range: usize,
    /// The first key; `None` for an open beginning.
    pub(super) from: Option<Bound>,
    /// The key after the last; `None` for an open end.
    pub(super) to: Option<Bound>,
}

/// Whether the job that ended was its table's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// All ranges are copied now.
    Table,
    /// Others are left.
    Range,
}

/// A table and where it is cut.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) table: Table,
    pub(super) key: Option<Key>,
    pub(super) cuts: Vec<Bound>,
}

/// How many ranges a table is worth.
pub(super) fn ranges_of(table: &Table, range_bytes: u64) -> u64 {
    (table.bytes / range_bytes.max(1)).clamp(1, RANGES_MAX)
}

/// About how large a range is: the readers shall end at about the same time, but many small
/// transactions cost more than they give.
pub(super) fn range_bytes(tables: &[&Table], options: &CopyOptions) -> u64 {
    let all: u64 = tables.iter().map(|table| table.bytes).sum();
    let workers = u64::try_from(options.workers).unwrap_or(u64::MAX).max(1);
    let share = all / workers.saturating_mul(RANGES_A_WORKER);
    share.max(RANGE_BYTES_LEAST).min(options.range_bytes)
}

impl Plan {
    pub(super) fn new(mut tables: Vec<Measured>, options: &CopyOptions) -> Self {
        tables.sort_by(|a, b| {
            let by_size = b.table.bytes.cmp(&a.table.bytes);
            by_size.then_with(|| a.table.name.cmp(&b.table.name))
        });
        let mut jobs = VecDeque::new();
        let mut plans = Vec::new();
        for (index, Measured { table, key, cuts }) in tables.into_iter().enumerate() {
            let reading = match key {
                Some(key) if !cuts.is_empty() => Reading::Ranges(key),
                Some(_) | None => Reading::Whole,
            };
            let cut = jobs_of(index, &cuts);
            plans.push(TablePlan {
                lanes: values::lanes(&table, options.documents),
                table,
                reading,
                ranges_left: AtomicUsize::new(cut.len()),
            });
            jobs.extend(cut);
        }
        Self {
            tables: plans,
            jobs: Mutex::new(jobs),
        }
    }

    /// The tables that are read in ranges.
    pub(super) fn split_tables(&self) -> impl Iterator<Item = &Table> {
        let split = self
            .tables
            .iter()
            .filter(|plan| plan.reading != Reading::Whole);
        split.map(|plan| &plan.table)
    }

    pub(super) fn jobs_left(&self) -> usize {
        self.jobs.lock().len()
    }

    pub(super) fn next_job(&self) -> Option<Job> {
        self.jobs.lock().pop_front()
    }

    /// Gives a job back, for a worker that can still do it.
    pub(super) fn give_back(&self, job: Job) {
        self.jobs.lock().push_front(job);
    }

    pub(super) fn table(&self, job: &Job) -> Option<&TablePlan> {
        self.tables.get(job.table)
    }
}

impl TablePlan {
    /// Counts one range as copied. Called once a range.
    pub(super) fn range_copied(&self) -> Completion {
        if self.ranges_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            Completion::Table
        } else {
            Completion::Range
        }
    }

    /// The query that reads a job's rows from the source.
    pub(super) fn query(&self, job: &Job) -> String {
        let list = values::select_list(&self.lanes);
        let table = self.table.name.quoted();
        let list = if list.is_empty() { "1" } else { list.as_str() };
        match &self.reading {
            Reading::Whole => format!("SELECT {list} FROM {table}"),
            Reading::Ranges(key) => {
                let condition = key.condition(job.from.as_ref(), job.to.as_ref());
                format!("SELECT {list} FROM {table} WHERE {condition}")
            }
        }
    }
}

/// The ranges between the cuts, open at both ends.
fn jobs_of(table: usize, cuts: &[Bound]) -> Vec<Job> {
    let starts = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
    let ends = cuts.iter().cloned().map(Some).chain([None]);
    starts
        .zip(ends)
        .enumerate()
        .map(|(range, (from, to))| Job {
            table,
            range,
            from,
            to,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_each_other_without_a_gap() {
        let bound = |number: u32| Bound::from([number.to_string()]);
        let jobs = jobs_of(3, &[bound(5), bound(9)]);
        let ends: Vec<_> = jobs
            .iter()
            .map(|job| (job.from.clone(), job.to.clone()))
            .collect();
        assert_eq!(
            ends,
            [
                (None, Some(bound(5))),
                (Some(bound(5)), Some(bound(9))),
                (Some(bound(9)), None)
            ]
        );
        assert_eq!(jobs_of(3, &[]).len(), 1);
    }

    #[test]
    fn ranges_are_of_a_size_that_all_workers_share() {
        let options = CopyOptions::default();
        assert_eq!(range_bytes(&[], &options), RANGE_BYTES_LEAST);
        let small = CopyOptions {
            range_bytes: 1 << 10,
            ..options
        };
        assert_eq!(range_bytes(&[], &small), 1 << 10);
    }
}
