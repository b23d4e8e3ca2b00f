//! What is copied in which order: tables biggest first, large ones in ranges of their pages.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::CopyOptions;
use crate::schema::catalog::Table;

/// TID range scans read only the asked pages from this source version on.
const READS_TID_RANGES: u32 = 14;

/// The most ranges of one table; they become longer instead.
const RANGES_MAX: u64 = 1_024;

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
    pub(super) reading: Reading,
    ranges_left: AtomicUsize,
}

/// How a table is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// By one COPY, into an emptied table, frozen.
    Whole,
    /// By several at once.
    Ranges,
}

/// One COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) table: usize,
    /// Number of the range; 0 for a whole table.
    pub(super) range: usize,
    /// First page; 0 for a whole table.
    pub(super) from_page: u32,
    /// The page after the last; `None` for the rest of the table.
    pub(super) to_page: Option<u32>,
}

/// Whether the job that ended was its table's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// All ranges are copied now.
    Table,
    /// Others are left.
    Range,
}

impl Plan {
    pub(super) fn new(mut tables: Vec<Table>, source_major: u32, options: &CopyOptions) -> Self {
        tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        let mut jobs = VecDeque::new();
        let mut plans = Vec::new();
        for (index, table) in tables.into_iter().enumerate() {
            let may_split = source_major >= READS_TID_RANGES
                && options.workers > 1
                && !table.carried_columns().is_empty();
            let ranges = if may_split {
                ranges_of(&table, options.range_bytes)
            } else {
                1
            };
            let first = jobs.len();
            jobs.extend(split(index, table.pages, ranges));
            let count = jobs.len() - first;
            plans.push(TablePlan {
                table,
                reading: if count > 1 {
                    Reading::Ranges
                } else {
                    Reading::Whole
                },
                ranges_left: AtomicUsize::new(count),
            });
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
            .filter(|plan| plan.reading == Reading::Ranges);
        split.map(|plan| &plan.table)
    }

    pub(super) fn jobs_left(&self) -> usize {
        self.jobs.lock().len()
    }

    pub(super) fn next_job(&self) -> Option<Job> {
        self.jobs.lock().pop_front()
    }

    pub(super) fn table(&self, job: Job) -> Option<&TablePlan> {
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
}

fn ranges_of(table: &Table, range_bytes: u64) -> u64 {
    // Counted in bytes with TOAST: a table of few pages and large values is worth splitting too.
    (table.bytes / range_bytes.max(1)).clamp(1, RANGES_MAX)
}

fn split(table: usize, pages: u32, ranges: u64) -> Vec<Job> {
    let ranges = u32::try_from(ranges).unwrap_or(1).min(pages.max(1));
    let pages_each = pages.div_ceil(ranges).max(1);
    let starts: Vec<u32> = (0..ranges).map(|range| range * pages_each).collect();
    let starts: Vec<u32> = starts
        .into_iter()
        .filter(|start| *start == 0 || *start < pages)
        .collect();
    let ends = starts
        .iter()
        .skip(1)
        .map(|start| Some(*start))
        .chain([None]);
    let numbered = starts.iter().zip(ends).enumerate();
    numbered
        .map(|(range, (from_page, to_page))| Job {
            table,
            range,
            from_page: *from_page,
            to_page,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_all_pages_once_and_the_last_is_open() {
        for (pages, ranges) in [
            (0, 1),
            (1, 4),
            (10, 3),
            (1_000_003, 7),
            (5, 1_024),
            (u32::MAX, 9),
        ] {
            let jobs = split(0, pages, ranges);
            assert_eq!(jobs[0].from_page, 0);
            assert_eq!(jobs.last().unwrap().to_page, None);
            for pair in jobs.windows(2) {
                assert_eq!(pair[0].to_page, Some(pair[1].from_page));
                assert!(pair[0].from_page < pair[1].from_page);
            }
            assert!(jobs.len() <= usize::try_from(ranges).unwrap());
        }
    }

    #[test]
    fn an_empty_table_is_one_job() {
        assert_eq!(
            split(3, 0, 1),
            [Job {
                table: 3,
                range: 0,
                from_page: 0,
                to_page: None
            }]
        );
    }
}
