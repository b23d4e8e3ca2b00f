//! The net change of a window: what a run of whole transactions did to one table, row by row.
//!
//! The target serves nobody before the switch, so only window boundaries must be states that the
//! source had. Inside a window a row that was inserted, updated nine times and deleted needs no
//! statement at all. This file gathers the changes and gives back the least that leads from the
//! state before the window to the state after it.
//!
//! # Why no order among unique keys can conflict
//!
//! The state before the window and the state after it are both legal. Whoever applies a
//! [`NetChange`] in this order passes only through legal states:
//!
//! 1. all deletes, among them [`Moved::from`] of every move;
//! 2. all updates in place;
//! 3. all inserts, among them the row of every move.
//!
//! An update in place of which a column of a unique or exclusion index changes must be done as a
//! delete in step 1 and an insert in step 3. The net change cannot know which those are (a stream
//! need not tell the old values), so this is the applier's part.
//!
//! After step 1 the table is a subset of both states as far as unique columns go, and each later
//! step adds a row of the state after the window.
//!
//! # What it guarantees
//!
//! * Rows are tracked by identity: a row that changed its key twice is one move, from the key it
//!   had before the window to the key it has after it.
//! * A history that no source can have (an insert over a live row, an update or delete of a row
//!   known to be gone) is an error. It would mean that a change was lost or came twice.
//! * Output keeps the order in which the window first touched the keys, so that rows that were
//!   inserted in key order are written in key order.
//!
//! # What it does not do
//!
//! It knows nothing of the rows outside the window, nor of keys that a server finds equal though
//! their bytes differ (`citext`): with the order above these do no harm.

mod bag;
mod index;
mod keyed;

use thiserror::Error;

use self::bag::Bag;
use self::keyed::Keyed;
use crate::change::{Change, Key, KeyError, OldImage, Row};

/// What identifies a row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The values of these columns, by index in the stream's column order; none is ever NULL.
    Key(Vec<usize>),
    /// Nothing less than the whole row: the table has no key, rows may be there several times.
    WholeRow,
}

/// What must be known of a table to gather its net change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetShape {
    /// Number of columns in the stream's row images.
    pub columns: usize,
    /// What identifies a row.
    pub identity: Identity,
}

/// The net change of one table over one window.
///
/// For a table with a key `bag` is empty; for one without, everything else is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetChange {
    /// Rows that were there before the window and are gone.
    pub deletes: Vec<Key>,
    /// Rows that kept their key.
    pub updates: Vec<Updated>,
    /// Rows with another key than before, and rows deleted and inserted again under one key.
    pub moves: Vec<Moved>,
    /// Rows that were not there before the window; all cells hold values.
    pub inserts: Vec<Row>,
    /// How many times more (or, when negative, fewer) each row is there after the window; never 0.
    /// All cells hold values. The negative ones are to be applied first.
    pub bag: Vec<(Row, i64)>,
}

/// A row that kept its key and has other values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// The key, before and after.
    pub key: Key,
    /// The values after; [`Cell::Unchanged`](crate::Cell::Unchanged) cells keep what the target has.
    pub row: Row,
}

/// A row to be deleted under one key and inserted with all its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The key before the window.
    pub from: Key,
    /// The row after the window. [`Cell::Unchanged`](crate::Cell::Unchanged) cells, of which only
    /// a row that lived through the window has any, keep what the target has under `from`.
    pub row: Row,
}

impl NetChange {
    /// Whether there is nothing to apply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Number of rows to be touched.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.deletes.len()
            + self.updates.len()
            + self.moves.len()
            + self.inserts.len()
            + self.bag.len()
    }
}

/// Why a change cannot be part of the window.
///
/// Errors carry the key so that the operator can be told which row it is; the message itself shows
/// no values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetError {
    /// The image has another number of columns than the table.
    #[error("a row image has {got} columns instead of {expected}")]
    Columns {
        /// Columns of the table in the stream.
        expected: usize,
        /// Columns of the image.
        got: usize,
    },
    /// The row has no key.
    #[error("a row image has no key")]
    Key(#[from] KeyError),
    /// An image that must be complete leaves a column out.
    #[error("a row image that must be complete leaves out column {column}")]
    Incomplete {
        /// Index of the column.
        column: usize,
    },
    /// The table has no key, and the change does not tell the whole old row.
    #[error("the table has no key and a change does not tell the whole row before it")]
    OldRowMissing,
    /// An insert of a key that is there.
    #[error("a row was inserted under a key that is already there")]
    InsertOverLiveRow {
        /// The key.
        key: Key,
    },
    /// A key changed to one that is there.
    #[error("a row's key was changed to one that is already there")]
    MoveOntoLiveRow {
        /// The key after the change.
        key: Key,
    },
    /// An update of a row that was deleted earlier in the window, or moved to another key.
    #[error("a row was updated that is gone")]
    UpdateOfGoneRow {
        /// The key.
        key: Key,
    },
    /// A delete of a row that was deleted earlier in the window, or moved to another key.
    #[error("a row was deleted that is gone")]
    DeleteOfGoneRow {
        /// The key.
        key: Key,
    },
}

impl NetError {
    /// The key of the row that the error is about, if it is about one.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Columns { .. } | Self::Key(_) | Self::Incomplete { .. } | Self::OldRowMissing => {
                None
            }
            Self::InsertOverLiveRow { key }
            | Self::MoveOntoLiveRow { key }
            | Self::UpdateOfGoneRow { key }
            | Self::DeleteOfGoneRow { key } => Some(key),
        }
    }
}

/// Gathers the changes of one table and gives their net change.
///
/// After an error the table's content is of no use: the migration stops there.
#[derive(Debug)]
pub struct NetTable {
    columns: usize,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Keyed(Keyed),
    Bag(Bag),
}

impl NetTable {
    /// A table without changes.
    #[must_use]
    pub fn new(shape: NetShape) -> Self {
        let rows = match shape.identity {
            Identity::Key(columns) => Rows::Keyed(Keyed::new(columns)),
            Identity::WholeRow => Rows::Bag(Bag::default()),
        };
        Self {
            columns: shape.columns,
            rows,
        }
    }

    /// Adds the next change in the stream's order.
    ///
    /// # Errors
    /// When an image does not fit the table, or the history is one that no source can have.
    pub fn push(&mut self, change: Change) -> Result<(), NetError> {
        match change {
            Change::Insert { row } => {
                self.fits(&row)?;
                complete(&row)?;
                match &mut self.rows {
                    Rows::Keyed(rows) => rows.insert(row),
                    Rows::Bag(bag) => {
                        bag.add(row, 1);
                        Ok(())
                    }
                }
            }
            Change::Update { old, row } => {
                self.fits(&row)?;
                if let Some(old) = &old {
                    self.fits(old.row())?;
                }
                match &mut self.rows {
                    Rows::Keyed(rows) => rows.update(old.as_ref(), row),
                    Rows::Bag(bag) => update_bag(bag, old, row),
                }
            }
            Change::Delete { old } => {
                self.fits(old.row())?;
                match &mut self.rows {
                    Rows::Keyed(rows) => rows.delete(old.row()),
                    Rows::Bag(bag) => {
                        bag.add(whole(Some(old))?, -1);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Number of rows that the window has touched: what bounds the work of a flush.
    #[must_use]
    pub fn rows(&self) -> usize {
        match &self.rows {
            Rows::Keyed(rows) => rows.len(),
            Rows::Bag(bag) => bag.len(),
        }
    }

    /// Whether the window has touched no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Memory held by keys and values, in bytes, with a flat charge for each row and cell. What
    /// values hold on to beyond their own bytes (they are slices of what was read) is not counted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match &self.rows {
            Rows::Keyed(rows) => rows.memory_bytes(),
            Rows::Bag(bag) => bag.memory_bytes(),
        }
    }

    /// Takes the net change of everything added so far and starts anew.
    pub fn take(&mut self) -> NetChange {
        match &mut self.rows {
            Rows::Keyed(rows) => rows.take(),
            Rows::Bag(bag) => NetChange {
                bag: bag.take(),
                ..NetChange::default()
            },
        }
    }

    fn fits(&self, row: &Row) -> Result<(), NetError> {
        let got = row.cells().len();
        if got == self.columns {
            Ok(())
        } else {
            Err(NetError::Columns {
                expected: self.columns,
                got,
            })
        }
    }
}

/// An update of a row without a key: one fewer of the old row, one more of the new.
fn update_bag(bag: &mut Bag, old: Option<OldImage>, mut row: Row) -> Result<(), NetError> {
    let old = whole(old)?;
    row.fill_unchanged_from(&old);
    if row != old {
        bag.add(old, -1);
        bag.add(row, 1);
    }
    Ok(())
}

/// The whole old row.
fn whole(old: Option<OldImage>) -> Result<Row, NetError> {
    match old {
        Some(OldImage::Full(row)) => complete(&row).map(|()| row),
        Some(OldImage::Key(_)) | None => Err(NetError::OldRowMissing),
    }
}

fn complete(row: &Row) -> Result<(), NetError> {
    let missing = row
        .cells()
        .iter()
        .position(|cell| matches!(cell, crate::Cell::Unchanged));
    match missing {
        Some(column) => Err(NetError::Incomplete { column }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
