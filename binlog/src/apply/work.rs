//! The net change of a table sorted into the pieces that apply it, in the order in which they must
//! be applied: deletes, updates in place, inserts.

use bytes::Bytes;
use router::net::{Moved, NetChange, Updated};
use router::{Cell, Key, Row};

use super::compose::{Columns, ForeignKeys, RowsKind};
use super::error::{Action, ApplyError, RowName};
use super::sql;
use super::target_table::{TargetIdentity, TargetTable};

/// Rows of one table to which the same is done.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) table: &'a TargetTable,
    pub(super) kind: RowsKind,
    pub(super) foreign_keys: ForeignKeys,
    /// Columns of the images before.
    pub(super) before: Columns,
    /// Columns of the images after.
    pub(super) after: Columns,
    pub(super) rows: Vec<Change<'a>>,
}

/// One row's change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) before: Image<'a>,
    pub(super) after: Image<'a>,
}

/// An image of a row.
#[derive(Debug, Clone, Copy)]
pub(super) enum Image<'a> {
    None,
    Key(&'a Key),
    Row(&'a Row),
}

/// The three phases of a table's change.
#[derive(Debug, Default)]
pub(super) struct Pieces<'a> {
    pub(super) deletes: Vec<Piece<'a>>,
    pub(super) updates: Vec<Piece<'a>>,
    pub(super) inserts: Vec<Piece<'a>>,
}

impl<'a> Pieces<'a> {
    /// Sorts `change`.
    pub(super) fn new(
        table: &'a TargetTable,
        change: &'a NetChange,
        foreign_keys: ForeignKeys,
    ) -> Self {
        let mut sorted = Sorted::new(table, foreign_keys);
        // An update of a row without a key, alone so that it cascades: a delete would cascade too.
        if let (ForeignKeys::On, [(one, times), (other, 1 | -1)]) = (foreign_keys, &*change.bag) {
            let (old, new) = if *times < 0 {
                (one, other)
            } else {
                (other, one)
            };
            sorted.update(Image::Row(old), new);
            return sorted.into_pieces();
        }
        for key in &change.deletes {
            sorted.delete(Image::Key(key), 1);
        }
        for Moved { from, row } in &change.moves {
            // A row that changes alone is in no other's way, and where the target's cascades act, a
            // delete would be another thing than the update that it was.
            let alone = change.rows() == 1;
            if row.is_complete() && !alone {
                sorted.delete(Image::Key(from), 1);
                sorted.insert(row, 1);
            } else {
                sorted.update(Image::Key(from), row);
            }
        }
        for Updated { key, row } in &change.updates {
            sorted.update(Image::Key(key), row);
        }
        for row in &change.inserts {
            sorted.insert(row, 1);
        }
        for (row, times) in &change.bag {
            if *times < 0 {
                sorted.delete(Image::Row(row), times.unsigned_abs());
            } else {
                sorted.insert(row, times.unsigned_abs());
            }
        }
        sorted.into_pieces()
    }
}

/// Pieces in the making.
struct Sorted<'a> {
    table: &'a TargetTable,
    foreign_keys: ForeignKeys,
    identity: Columns,
    deletes: Vec<Change<'a>>,
    updates: Vec<(Columns, Vec<Change<'a>>)>,
    inserts: Vec<(Columns, Vec<Change<'a>>)>,
}

impl<'a> Sorted<'a> {
    fn new(table: &'a TargetTable, foreign_keys: ForeignKeys) -> Self {
        let count = table.columns.len();
        let identity = match &table.identity {
            TargetIdentity::Key(key) => Columns::new((0..count).map(|at| key.contains(&at))),
            TargetIdentity::WholeRow => Columns::new((0..count).map(|_| true)),
        };
        Self {
            table,
            foreign_keys,
            identity,
            deletes: Vec::new(),
            updates: Vec::new(),
            inserts: Vec::new(),
        }
    }

    fn delete(&mut self, before: Image<'a>, times: u64) {
        let change = Change {
            before,
            after: Image::None,
        };
        self.deletes.extend((0..times).map(|_| change));
    }

    fn insert(&mut self, row: &'a Row, times: u64) {
        let change = Change {
            before: Image::None,
            after: Image::Row(row),
        };
        let rows = group(&mut self.inserts, row);
        rows.extend((0..times).map(|_| change));
    }

    fn update(&mut self, before: Image<'a>, row: &'a Row) {
        group(&mut self.updates, row).push(Change {
            before,
            after: Image::Row(row),
        });
    }

    fn into_pieces(self) -> Pieces<'a> {
        let (table, foreign_keys) = (self.table, self.foreign_keys);
        let none = Columns::new([]);
        let piece = |kind, before, after, rows: Vec<Change<'a>>| Piece {
            table,
            kind,
            foreign_keys,
            before,
            after,
            rows,
        };
        let mut pieces = Pieces::default();
        if !self.deletes.is_empty() {
            let before = self.identity.clone();
            pieces
                .deletes
                .push(piece(RowsKind::Delete, before, none.clone(), self.deletes));
        }
        for (after, rows) in self.updates {
            let before = self.identity.clone();
            pieces
                .updates
                .push(piece(RowsKind::Update, before, after, rows));
        }
        for (after, rows) in self.inserts {
            pieces
                .inserts
                .push(piece(RowsKind::Write, none.clone(), after, rows));
        }
        pieces
    }
}

/// The rows of which the same columns hold values; nearly always there is one such group. A column
/// that an insert leaves out gets its default on the target, as it did on the source.
fn group<'g, 'a>(
    groups: &'g mut Vec<(Columns, Vec<Change<'a>>)>,
    row: &Row,
) -> &'g mut Vec<Change<'a>> {
    let present = || {
        let cells = row.cells().iter();
        cells.map(|cell| !matches!(cell, Cell::Unchanged))
    };
    let known = groups.iter().position(|(columns, _)| columns.is(present()));
    let place = known.unwrap_or_else(|| {
        groups.push((Columns::new(present()), Vec::new()));
        groups.len() - 1
    });
    &mut groups[place].1
}

impl Piece<'_> {
    /// What the source did, in words.
    pub(super) fn action(&self) -> Action {
        match self.kind {
            RowsKind::Write => Action::Inserted,
            RowsKind::Update => Action::Updated,
            RowsKind::Delete => Action::Deleted,
        }
    }
}

impl Change<'_> {
    /// The key of its row, before the change where there was one.
    pub(super) fn key(&self, table: &TargetTable) -> Option<Key> {
        match (self.before, self.after, &table.identity) {
            (Image::Key(key), _, _) => Some(key.clone()),
            (_, Image::Row(row), TargetIdentity::Key(columns)) => Key::of(row, columns).ok(),
            (Image::Row(_) | Image::None, _, _) => None,
        }
    }

    /// Its row, for the operator; `None` if it cannot be written.
    pub(super) fn row_name(&self, table: &TargetTable) -> Option<RowName> {
        let key = self.key(table);
        let image = match (&key, self.before) {
            (Some(key), _) => Image::Key(key),
            (None, Image::None) => self.after,
            (None, before) => before,
        };
        Some(RowName {
            condition: sql::condition(table, image).ok()?,
            key: key.and_then(|key| table.readable(&key)),
        })
    }
}

impl ApplyError {
    /// Names the row of a value that cannot be written.
    pub(super) fn about(mut self, table: &TargetTable, change: Option<&Change<'_>>) -> Self {
        if let Self::Value { row, .. } = &mut self {
            *row = change
                .and_then(|change| change.row_name(table))
                .map(Box::new);
        }
        self
    }
}

impl Image<'_> {
    /// The values of these columns, in the columns' order; a column that the image lacks is NULL.
    pub(super) fn cells(self, table: &TargetTable, columns: &Columns) -> Vec<(usize, Cell)> {
        match self {
            Image::None => Vec::new(),
            Image::Row(row) => columns
                .indexes()
                .map(|column| {
                    let cell = row.cells().get(column).cloned();
                    (column, cell.unwrap_or(Cell::Null))
                })
                .collect(),
            Image::Key(key) => {
                let TargetIdentity::Key(order) = &table.identity else {
                    return Vec::new();
                };
                let values = key.values().map(|value: Bytes| Cell::Value(value));
                let mut cells: Vec<_> = order.iter().copied().zip(values).collect();
                cells.sort_unstable_by_key(|(column, _)| *column);
                cells
            }
        }
    }
}
