//! What is copied in which order: tables biggest first, large ones in ranges of their key.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::CopyOptions;
use super::values::{self, Lane};
use crate::name::quote_identifier;
use crate::schema::catalog::{Column, Table};

/// The most ranges of one table; they become longer instead.
const RANGES_MAX: u64 = 16_384;

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
    /// By several at once, in ranges of this column; one transaction each.
    Ranges(String),
}

/// One run through a table or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) table: usize,
    /// Number of the range; 0 for a whole table.
    pub(super) range: usize,
    /// The first key; `None` for an open beginning.
    pub(super) from: Option<i128>,
    /// The key after the last; `None` for an open end.
    pub(super) to: Option<i128>,
}

/// Whether the job that ended was its table's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// All ranges are copied now.
    Table,
    /// Others are left.
    Range,
}

/// A table and the smallest and largest value of the column that its ranges are of.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) table: Table,
    pub(super) bounds: Option<(i128, i128)>,
}

/// The column by whose values a table can be read in ranges: the first of the primary key, if it
/// is an integer.
pub(super) fn range_column(table: &Table) -> Option<&Column> {
    let primary = table.indexes.iter().find(|index| index.is_primary())?;
    let column = table.column(primary.parts.first()?.column.as_deref()?)?;
    let is_integer = matches!(
        column.data_type.as_str(),
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint"
    );
    is_integer.then_some(column)
}

/// How many ranges a table is worth.
pub(super) fn ranges_of(table: &Table, options: &CopyOptions) -> u64 {
    if options.workers < 2 || range_column(table).is_none() {
        return 1;
    }
    (table.bytes / options.range_bytes.max(1)).clamp(1, RANGES_MAX)
}

impl Plan {
    pub(super) fn new(mut tables: Vec<Measured>, options: &CopyOptions) -> Self {
        tables.sort_by(|a, b| {
            let by_size = b.table.bytes.cmp(&a.table.bytes);
            by_size.then_with(|| a.table.name.cmp(&b.table.name))
        });
        let mut jobs = VecDeque::new();
        let mut plans = Vec::new();
        for (index, Measured { table, bounds }) in tables.into_iter().enumerate() {
            let ranges = ranges_of(&table, options);
            let cut = split(index, bounds, ranges);
            let reading = match range_column(&table) {
                Some(column) if cut.len() > 1 => Reading::Ranges(column.name.clone()),
                Some(_) | None => Reading::Whole,
            };
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

    /// The query that reads a job's rows from the source.
    pub(super) fn query(&self, job: Job) -> String {
        let list = values::select_list(&self.lanes);
        let table = self.table.name.quoted();
        let list = if list.is_empty() { "1" } else { list.as_str() };
        let Reading::Ranges(column) = &self.reading else {
            return format!("SELECT {list} FROM {table}");
        };
        let column = quote_identifier(column);
        let from = job.from.map(|from| format!("{column} >= {from}"));
        let to = job.to.map(|to| format!("{column} < {to}"));
        let bounds: Vec<String> = from.into_iter().chain(to).collect();
        format!("SELECT {list} FROM {table} WHERE {}", bounds.join(" AND "))
    }
}

/// Cuts the values from the smallest to the largest into ranges that are open at both ends.
fn split(table: usize, bounds: Option<(i128, i128)>, ranges: u64) -> Vec<Job> {
    let whole = Job {
        table,
        range: 0,
        from: None,
        to: None,
    };
    let Some((smallest, largest)) = bounds else {
        return vec![whole];
    };
    let ranges = i128::from(ranges);
    // 64-bit bounds: nothing here comes near the limits of 128 bits.
    let width = (largest - smallest) / ranges + 1;
    let cuts: Vec<i128> = (1..ranges)
        .map(|cut| smallest + cut * width)
        .take_while(|cut| *cut <= largest)
        .collect();
    let starts = std::iter::once(None).chain(cuts.iter().copied().map(Some));
    let ends = cuts.iter().copied().map(Some).chain([None]);
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
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_is_in_exactly_one_range(
            smallest in any::<i64>(),
            span in any::<u64>(),
            ranges in 1_u64..300,
            probe in any::<i64>(),
        ) {
            let smallest = i128::from(smallest);
            let largest = smallest + i128::from(span);
            let jobs = split(0, Some((smallest, largest)), ranges);
            prop_assert!(u64::try_from(jobs.len()).unwrap() <= ranges);
            for key in [smallest, largest, i128::from(probe), smallest - 1, largest + 1] {
                let holders = jobs.iter().filter(|job| {
                    job.from.is_none_or(|from| key >= from) && job.to.is_none_or(|to| key < to)
                });
                prop_assert_eq!(holders.count(), 1);
            }
        }
    }

    #[test]
    fn a_table_without_bounds_is_one_job() {
        let whole = Job {
            table: 3,
            range: 0,
            from: None,
            to: None,
        };
        assert_eq!(split(3, None, 9), [whole]);
        assert_eq!(split(3, Some((5, 5)), 9), [whole]);
    }
}
