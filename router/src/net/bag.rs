//! The net change of a table without a key: how many times each whole row came and went.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::index::Ordered;
use crate::change::Row;

/// A multiset of whole rows with signed counts.
#[derive(Debug, Default)]
pub(super) struct Bag {
    hasher: RandomState,
    rows: Ordered<Counted>,
    memory_bytes: usize,
}

#[derive(Debug)]
struct Counted {
    row: Row,
    /// 0 when as many came as went; the entry stays, since rows of one kind come and go together.
    count: i64,
}

impl Bag {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Counts a complete row that came (1) or went (-1).
    pub(super) fn add(&mut self, row: Row, count: i64) {
        let hash = self.hasher.hash_one(&row);
        if let Some(place) = self.rows.find(hash, |counted| counted.row == row) {
            self.rows.at(place).count += count;
        } else {
            self.memory_bytes += row.memory_bytes() + Ordered::<Counted>::ENTRY_BYTES;
            self.rows.push(hash, Counted { row, count });
        }
    }

    /// The rows whose number changed, in the order in which they first appeared.
    pub(super) fn take(&mut self) -> Vec<(Row, i64)> {
        let mut bag = Vec::with_capacity(self.rows.len());
        for place in 0..self.rows.len() {
            let Counted { row, count } = self.rows.at(place);
            if *count != 0 {
                bag.push((std::mem::replace(row, Row::new([])), *count));
            }
        }
        self.rows.clear();
        self.memory_bytes = 0;
        bag
    }
}
