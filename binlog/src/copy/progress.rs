//! How far the copy has come: written by the workers, read by `status` at any time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::name::QualifiedName;
use crate::schema::catalog::Table;

/// The copy's progress.
#[derive(Debug, Default)]
pub struct CopyProgress {
    tables: RwLock<Vec<Arc<TableProgress>>>,
}

/// One table's progress; the numbers only go back when a range is copied again.
#[derive(Debug)]
pub struct TableProgress {
    name: QualifiedName,
    rows_expected: u64,
    bytes_expected: u64,
    rows: AtomicU64,
    bytes: AtomicU64,
    done: AtomicBool,
}

/// One table's progress at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStatus {
    /// The table.
    pub name: QualifiedName,
    /// Rows copied in this run.
    pub rows: u64,
    /// Bytes copied in this run, as the source sends them.
    pub bytes: u64,
    /// Rows by the server's estimate.
    pub rows_expected: u64,
    /// Bytes on the source's disk.
    pub bytes_expected: u64,
    /// Whether it is copied and recorded.
    pub done: bool,
}

impl CopyProgress {
    /// A new one, empty until [`super::run`] begins.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// All tables, biggest first.
    #[must_use]
    pub fn tables(&self) -> Vec<TableStatus> {
        self.tables
            .read()
            .iter()
            .map(|table| table.status())
            .collect()
    }

    pub(super) fn begin(&self, tables: &[Table], copied: &HashSet<QualifiedName>) {
        let mut list: Vec<Arc<TableProgress>> = tables
            .iter()
            .map(|table| {
                Arc::new(TableProgress {
                    name: table.name.clone(),
                    rows_expected: table.rows_estimate,
                    bytes_expected: table.bytes,
                    rows: AtomicU64::new(0),
                    bytes: AtomicU64::new(0),
                    done: AtomicBool::new(copied.contains(&table.name)),
                })
            })
            .collect();
        list.sort_by_key(|table| std::cmp::Reverse(table.bytes_expected));
        *self.tables.write() = list;
    }

    pub(super) fn table(&self, name: &QualifiedName) -> Option<Arc<TableProgress>> {
        self.tables
            .read()
            .iter()
            .find(|table| &table.name == name)
            .cloned()
    }
}

impl TableProgress {
    /// The numbers now.
    #[must_use]
    pub fn status(&self) -> TableStatus {
        TableStatus {
            name: self.name.clone(),
            rows: self.rows.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            rows_expected: self.rows_expected,
            bytes_expected: self.bytes_expected,
            done: self.done.load(Ordering::Relaxed),
        }
    }

    pub(super) fn add(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn take_back(&self, rows: u64, bytes: u64) {
        self.rows.fetch_sub(rows, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn finish(&self) {
        self.done.store(true, Ordering::Relaxed);
    }
}
