//! Rows in the order of their first appearance, found by hash.
//!
//! A hash map would give the rows back in no order, and a target's B-trees like rows that arrive in
//! key order. So the rows stand in a vector, and the hash table holds only places in it: one copy
//! of each key, no allocation for a look-up.

use hashbrown::HashTable;

/// Places in a vector of entries, found by the entries' hashes.
#[derive(Debug)]
pub(super) struct Ordered<E> {
    entries: Vec<Hashed<E>>,
    places: HashTable<usize>,
}

/// An entry with its hash, kept so that growing never hashes again.
#[derive(Debug)]
struct Hashed<E> {
    hash: u64,
    entry: E,
}

impl<E> Default for Ordered<E> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            places: HashTable::new(),
        }
    }
}

impl<E> Ordered<E> {
    /// Memory of one entry beyond what it owns: itself, its place and the table's control byte,
    /// with a quarter more for capacity that is not used yet.
    pub(super) const ENTRY_BYTES: usize = (size_of::<Hashed<E>>() + size_of::<usize>() + 1) * 5 / 4;

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The place of the entry of this hash that `is_it` accepts.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(&E) -> bool) -> Option<usize> {
        let entries = &self.entries;
        let found = self.places.find(hash, |&place| {
            entries
                .get(place)
                .is_some_and(|found| found.hash == hash && is_it(&found.entry))
        });
        found.copied()
    }

    /// Adds an entry that is not there yet; its place stays its own until [`Ordered::clear`].
    pub(super) fn push(&mut self, hash: u64, entry: E) -> usize {
        let place = self.entries.len();
        self.entries.push(Hashed { hash, entry });
        let entries = &self.entries;
        self.places
            .insert_unique(hash, place, |&place| entries[place].hash);
        place
    }

    /// The entry at a place that [`Ordered::find`] or [`Ordered::push`] gave.
    pub(super) fn at(&mut self, place: usize) -> &mut E {
        &mut self.entries[place].entry
    }

    /// Forgets everything and keeps the capacity for the next window.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.places.clear();
    }
}
