//! How far a comparison has come.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// How far a comparison has come; written by those who compare, read by those who show it.
#[derive(Debug, Default)]
pub struct Progress {
    step: Mutex<String>,
    bytes: AtomicU64,
    bytes_expected: AtomicU64,
    tables: AtomicU64,
    tables_expected: AtomicU64,
}

impl Progress {
    /// Says what is being done.
    pub fn step(&self, step: impl Into<String>) {
        *self.step.lock() = step.into();
    }

    /// Tells how much there is to read.
    pub fn expect(&self, tables: usize, bytes: u64) {
        let tables = u64::try_from(tables).unwrap_or(u64::MAX);
        self.tables_expected.store(tables, Ordering::Relaxed);
        self.bytes_expected.store(bytes, Ordering::Relaxed);
    }

    /// Notes what was read.
    pub fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that a table is compared.
    pub fn compared(&self) {
        self.tables.fetch_add(1, Ordering::Relaxed);
    }

    /// In words, for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let step = self.step.lock().clone();
        let expected = self.bytes_expected.load(Ordering::Relaxed);
        if expected == 0 {
            return step;
        }
        let bytes = self.bytes.load(Ordering::Relaxed).min(expected);
        let percent = u128::from(bytes) * 100 / u128::from(expected);
        format!(
            "{step}: {} of {} tables, {percent} % of the bytes of both sides",
            self.tables.load(Ordering::Relaxed),
            self.tables_expected.load(Ordering::Relaxed),
        )
    }
}
