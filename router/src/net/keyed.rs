//! The net change of a table with a key.
//!
//! Every key that the window touches has an entry with two facts: what became of the row that had
//! the key *before* the window, and which row has the key *now*. A row that came from another key
//! remembers the entry of the key it had before the window.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::index::Ordered;
use super::{Moved, NetChange, NetError, Updated};
use crate::change::{Cell, Key, KeyError, OldImage, Row};

/// The rows of a table with a key that a window has touched.
#[derive(Debug)]
pub(super) struct Keyed {
    key_columns: Vec<usize>,
    hasher: RandomState,
    rows: Ordered<Entry>,
    memory_bytes: usize,
    /// The bytes of the key that is looked for, kept between look-ups.
    wanted: Vec<u8>,
}

/// A key that the window has touched.
#[derive(Debug)]
struct Entry {
    key: Key,
    state: State,
}

/// What is known about a key.
#[derive(Debug)]
enum State {
    /// The row that had the key before the window has it still; its values are these.
    Kept(Row),
    /// Another row than before the window has the key now.
    Taken {
        before: Before,
        row: Row,
        origin: Origin,
    },
    /// No row has the key now.
    Free(Before),
}

/// What became of the row that had a key before the window.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// There was no such row.
    Nothing,
    /// It was deleted.
    Deleted,
    /// It lives under another key, where a [`State::Taken`] names this entry as its origin.
    Moved,
}

/// Where a row that lives now was before the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It was inserted in the window, so all its values are known.
    Inserted,
    /// It had the key of the entry at this place.
    Place(usize),
}

impl Keyed {
    pub(super) fn new(key_columns: Vec<usize>) -> Self {
        Self {
            key_columns,
            hasher: RandomState::default(),
            rows: Ordered::default(),
            memory_bytes: 0,
            wanted: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(super) fn insert(&mut self, row: Row) -> Result<(), NetError> {
        let (hash, place) = self.look_up(&row)?;
        self.memory_bytes += row.memory_bytes();
        let Some(place) = place else {
            let state = State::Taken {
                before: Before::Nothing,
                row,
                origin: Origin::Inserted,
            };
            self.add(hash, state);
            return Ok(());
        };
        let entry = self.rows.at(place);
        match entry.state {
            State::Free(before) => {
                entry.state = State::Taken {
                    before,
                    row,
                    origin: Origin::Inserted,
                };
                Ok(())
            }
            State::Kept(_) | State::Taken { .. } => Err(NetError::InsertOverLiveRow {
                key: entry.key.clone(),
            }),
        }
    }

    pub(super) fn delete(&mut self, old: &Row) -> Result<(), NetError> {
        let (hash, place) = self.look_up(old)?;
        let Some(place) = place else {
            self.add(hash, State::Free(Before::Deleted));
            return Ok(());
        };
        let (row, origin) =
            self.vacate(place, Before::Deleted)
                .ok_or_else(|| NetError::DeleteOfGoneRow {
                    key: self.rows.at(place).key.clone(),
                })?;
        self.memory_bytes -= row.memory_bytes();
        match origin {
            Origin::Place(origin) if origin != place => {
                self.rows.at(origin).lose_moved_row();
            }
            Origin::Place(_) | Origin::Inserted => {}
        }
        Ok(())
    }

    pub(super) fn update(&mut self, old: Option<&OldImage>, mut row: Row) -> Result<(), NetError> {
        let moved_from = match old {
            None => None,
            Some(old) => {
                self.fill_from_old(old, &mut row);
                self.key_differs(old.row(), &row).then_some(old.row())
            }
        };
        match moved_from {
            None => self.update_in_place(row),
            Some(old) => self.change_key(old, row),
        }
    }

    /// The net change, in the order in which keys were first touched.
    pub(super) fn take(&mut self) -> NetChange {
        let mut net = NetChange::default();
        for place in 0..self.rows.len() {
            let entry = self.rows.at(place);
            let state = std::mem::replace(&mut entry.state, State::Free(Before::Nothing));
            match state {
                State::Kept(row) => net.updates.push(Updated {
                    key: entry.key.take(),
                    row,
                }),
                State::Free(Before::Deleted) => net.deletes.push(entry.key.take()),
                // The key of a row that moved away is told by the row, wherever it is now.
                State::Free(Before::Nothing | Before::Moved) => {}
                State::Taken {
                    before,
                    row,
                    origin,
                } => match (origin, before) {
                    (Origin::Inserted, Before::Deleted) => {
                        net.moves.push(Moved {
                            from: entry.key.take(),
                            row,
                        });
                    }
                    (Origin::Inserted, Before::Nothing | Before::Moved) => net.inserts.push(row),
                    (Origin::Place(origin), before) => {
                        if matches!(before, Before::Deleted) {
                            net.deletes.push(entry.key.take());
                        }
                        let from = self.rows.at(origin).key.take();
                        net.moves.push(Moved { from, row });
                    }
                },
            }
        }
        self.rows.clear();
        self.memory_bytes = 0;
        net
    }

    fn update_in_place(&mut self, mut row: Row) -> Result<(), NetError> {
        let (hash, place) = self.look_up(&row)?;
        let Some(place) = place else {
            self.memory_bytes += row.memory_bytes();
            self.add(hash, State::Kept(row));
            return Ok(());
        };
        let entry = self.rows.at(place);
        match &mut entry.state {
            State::Kept(earlier) | State::Taken { row: earlier, .. } => {
                row.fill_unchanged_from(earlier);
                self.memory_bytes += row.memory_bytes();
                self.memory_bytes -= earlier.memory_bytes();
                *earlier = row;
                Ok(())
            }
            State::Free(_) => Err(NetError::UpdateOfGoneRow {
                key: entry.key.clone(),
            }),
        }
    }

    fn change_key(&mut self, old: &Row, mut row: Row) -> Result<(), NetError> {
        let (old_hash, old_place) = self.look_up(old)?;
        let (origin_place, origin) = match old_place {
            None => {
                let place = self.add(old_hash, State::Free(Before::Moved));
                (place, Origin::Place(place))
            }
            Some(place) => {
                let (earlier, origin) =
                    self.vacate(place, Before::Moved)
                        .ok_or_else(|| NetError::UpdateOfGoneRow {
                            key: self.rows.at(place).key.clone(),
                        })?;
                self.memory_bytes -= earlier.memory_bytes();
                row.fill_unchanged_from(&earlier);
                (place, origin)
            }
        };
        debug_assert!(!matches!(self.rows.at(origin_place).state, State::Kept(_)));
        self.memory_bytes += row.memory_bytes();
        let (hash, place) = self.look_up(&row)?;
        let Some(place) = place else {
            self.add(
                hash,
                State::Taken {
                    before: Before::Nothing,
                    row,
                    origin,
                },
            );
            return Ok(());
        };
        let entry = self.rows.at(place);
        match entry.state {
            State::Free(before) => {
                entry.state = if origin == Origin::Place(place) {
                    State::Kept(row)
                } else {
                    State::Taken {
                        before,
                        row,
                        origin,
                    }
                };
                Ok(())
            }
            State::Kept(_) | State::Taken { .. } => Err(NetError::MoveOntoLiveRow {
                key: entry.key.clone(),
            }),
        }
    }

    /// Takes the live row out of an entry; `fate` is what became of it if it is the row that had
    /// the key before the window. `None` if no row is there.
    fn vacate(&mut self, place: usize, fate: Before) -> Option<(Row, Origin)> {
        let entry = self.rows.at(place);
        match std::mem::replace(&mut entry.state, State::Free(fate)) {
            State::Kept(row) => Some((row, Origin::Place(place))),
            State::Taken {
                before,
                row,
                origin,
            } => {
                entry.state = State::Free(before);
                Some((row, origin))
            }
            State::Free(before) => {
                entry.state = State::Free(before);
                None
            }
        }
    }

    /// Takes from the image before what the image after leaves out: all of it if the image before
    /// is full, else the key (a key value may be stored out of line and is left out like others).
    fn fill_from_old(&self, old: &OldImage, row: &mut Row) {
        match old {
            OldImage::Full(old) => row.fill_unchanged_from(old),
            OldImage::Key(old) => {
                for &column in &self.key_columns {
                    if let (Some(cell @ Cell::Unchanged), Some(old)) =
                        (row.cells_mut().get_mut(column), old.cells().get(column))
                    {
                        cell.clone_from(old);
                    }
                }
            }
        }
    }

    fn key_differs(&self, old: &Row, row: &Row) -> bool {
        self.key_columns
            .iter()
            .any(|&column| old.cells().get(column) != row.cells().get(column))
    }

    /// The hash of the row's key and its entry's place; the key's bytes are left in `wanted`.
    fn look_up(&mut self, row: &Row) -> Result<(u64, Option<usize>), KeyError> {
        Key::encode(row, &self.key_columns, &mut self.wanted)?;
        let hash = self.hasher.hash_one(&*self.wanted);
        let wanted = &*self.wanted;
        Ok((
            hash,
            self.rows
                .find(hash, |entry| entry.key.as_encoded() == wanted),
        ))
    }

    /// Adds an entry for the key that was looked up last; the row in `state` is already counted.
    fn add(&mut self, hash: u64, state: State) -> usize {
        self.memory_bytes += self.wanted.len() + Ordered::<Entry>::ENTRY_BYTES;
        self.rows.push(
            hash,
            Entry {
                key: Key::from_encoded(&self.wanted),
                state,
            },
        )
    }
}

impl Entry {
    /// The row that had this key before the window was deleted under another key.
    fn lose_moved_row(&mut self) {
        match &mut self.state {
            State::Taken { before, .. } | State::Free(before) => *before = Before::Deleted,
            State::Kept(_) => debug_assert!(false, "a row that moved away is not kept"),
        }
    }
}
