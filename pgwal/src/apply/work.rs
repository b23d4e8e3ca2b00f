//! The net change of a table sorted into the statements that apply it.

use std::collections::HashMap;

use bytes::Bytes;
use router::net::{Moved, NetChange, Updated};
use router::{Cell, Key, Row};

use super::raw::TextArray;
use super::sql::{Presence, compared_columns, set_columns, whole_row_columns};
use super::target_table::{TargetIdentity, TargetTable};

/// Rows in one statement: a generic plan works best with some thousands (see the statement shapes
/// measured for the design), and an error costs no more than this to look into.
pub(super) const STATEMENT_ROWS_MAX: usize = 5_000;

/// The rows of one table, by what is done to them; in the order in which it must be done.
#[derive(Debug)]
pub(super) struct Work<'a> {
    pub(super) table: &'a TargetTable,
    pub(super) deletes: Vec<&'a Key>,
    pub(super) deleted_rows: Vec<(&'a Row, u64)>,
    /// Moves of rows that lack values which the stream left out.
    pub(super) moves: Vec<(&'a Key, &'a Row)>,
    pub(super) updates: Vec<(Presence, Vec<&'a Updated>)>,
    pub(super) inserts: Vec<&'a Row>,
}

impl<'a> Work<'a> {
    /// Sorts `change`. Updates are all taken as updates in place until [`Work::divert`].
    pub(super) fn new(table: &'a TargetTable, change: &'a NetChange) -> Self {
        let mut work = Self {
            table,
            deletes: change.deletes.iter().collect(),
            deleted_rows: Vec::new(),
            moves: Vec::new(),
            updates: by_presence(&change.updates),
            inserts: Vec::new(),
        };
        for Moved { from, row } in &change.moves {
            work.add_move(from, row);
        }
        work.inserts.extend(&change.inserts);
        for (row, times) in &change.bag {
            if *times < 0 {
                work.deleted_rows.push((row, times.unsigned_abs()));
            } else {
                work.inserts.extend((0..*times).map(|_| row));
            }
        }
        work
    }

    /// Makes moves of the updates of this presence at these places (ascending).
    pub(super) fn divert(&mut self, presence: usize, places: &[usize]) {
        let mut places = places.iter().copied().peekable();
        let updates = std::mem::take(&mut self.updates[presence].1);
        for (place, update) in updates.into_iter().enumerate() {
            if places.next_if_eq(&place).is_some() {
                self.add_move(&update.key, &update.row);
            } else {
                self.updates[presence].1.push(update);
            }
        }
    }

    fn add_move(&mut self, from: &'a Key, row: &'a Row) {
        if row.is_complete() {
            self.deletes.push(from);
            self.inserts.push(row);
        } else {
            self.moves.push((from, row));
        }
    }
}

/// Groups updates by which of their columns hold values; nearly always there is one group.
fn by_presence(updates: &[Updated]) -> Vec<(Presence, Vec<&Updated>)> {
    let mut groups: Vec<(Presence, Vec<&Updated>)> = Vec::new();
    let mut places: HashMap<Presence, usize> = HashMap::new();
    let mut last: Option<usize> = None;
    for update in updates {
        let fits = |presence: &Presence| {
            let present = update.row.cells().iter().map(is_present);
            present.eq(presence.iter().copied())
        };
        let place = match last {
            Some(place) if fits(&groups[place].0) => place,
            Some(_) | None => {
                let presence: Presence = update.row.cells().iter().map(is_present).collect();
                *places.entry(presence).or_insert_with_key(|presence| {
                    groups.push((presence.clone(), Vec::new()));
                    groups.len() - 1
                })
            }
        };
        groups[place].1.push(update);
        last = Some(place);
    }
    groups
}

fn is_present(cell: &Cell) -> bool {
    !matches!(cell, Cell::Unchanged)
}

/// The parameters of `Shape::Delete` and `Shape::FindMissing`: the key columns.
pub(super) fn key_arrays<'a>(
    table: &TargetTable,
    keys: impl ExactSizeIterator<Item = &'a Key>,
) -> Vec<TextArray> {
    let TargetIdentity::Key(columns) = &table.identity else {
        return Vec::new();
    };
    let rows = keys.len();
    let mut arrays = vec![TextArray(Vec::with_capacity(rows)); columns.len()];
    for key in keys {
        for (array, value) in arrays.iter_mut().zip(key.values()) {
            array.0.push(Some(value));
        }
    }
    arrays
}

/// The parameters of `Shape::FindMoving`.
pub(super) fn compared_arrays(
    table: &TargetTable,
    presence: &[bool],
    updates: &[&Updated],
) -> Vec<TextArray> {
    update_arrays(table, updates, &compared_columns(table, presence))
}

/// The parameters of `Shape::Update`.
pub(super) fn set_arrays(
    table: &TargetTable,
    presence: &[bool],
    updates: &[&Updated],
) -> Vec<TextArray> {
    update_arrays(table, updates, &set_columns(table, presence))
}

fn update_arrays(table: &TargetTable, updates: &[&Updated], columns: &[usize]) -> Vec<TextArray> {
    let mut arrays = key_arrays(table, updates.iter().map(|update| &update.key));
    arrays.extend(
        columns
            .iter()
            .map(|&column| column_array(updates.iter().map(|u| &u.row), column)),
    );
    arrays
}

/// The parameters of `Shape::Insert`.
pub(super) fn insert_arrays(table: &TargetTable, rows: &[&Row]) -> Vec<TextArray> {
    table
        .inserted()
        .map(|column| column_array(rows.iter().copied(), column))
        .collect()
}

/// The parameters of `Shape::Move`.
pub(super) fn move_arrays(table: &TargetTable, moves: &[(&Key, &Row)]) -> Vec<TextArray> {
    let mask = |row: &Row| {
        let marks: Vec<u8> = row
            .cells()
            .iter()
            .map(|cell| if is_present(cell) { b'v' } else { b'u' })
            .collect();
        Some(Bytes::from(marks))
    };
    let mut arrays = vec![TextArray(moves.iter().map(|(_, row)| mask(row)).collect())];
    arrays.extend(key_arrays(table, moves.iter().map(|(key, _)| *key)));
    arrays.extend(
        table
            .inserted()
            .map(|column| column_array(moves.iter().map(|(_, row)| *row), column)),
    );
    arrays
}

/// The parameters of `Shape::DeleteRows`.
pub(super) fn deleted_row_arrays(table: &TargetTable, rows: &[(&Row, u64)]) -> Vec<TextArray> {
    let times = rows
        .iter()
        .map(|(_, times)| Some(Bytes::from(times.to_string())));
    let mut arrays = vec![TextArray(times.collect())];
    arrays.extend(
        whole_row_columns(table)
            .into_iter()
            .map(|column| column_array(rows.iter().map(|(row, _)| *row), column)),
    );
    arrays
}

fn column_array<'a>(rows: impl Iterator<Item = &'a Row>, column: usize) -> TextArray {
    TextArray(
        rows.map(|row| match row.cells().get(column) {
            Some(Cell::Value(value)) => Some(value.clone()),
            Some(Cell::Null | Cell::Unchanged) | None => None,
        })
        .collect(),
    )
}
