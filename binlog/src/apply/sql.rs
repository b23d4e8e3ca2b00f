//! Row changes as SQL, for targets that do not permit row events.
//!
//! Values are literals that give exactly the source's value ([`super::render`]); rows are found by
//! [`condition`]. Every statement tells how many rows it must find.

mod condition;

use std::ops::Range;

use router::Cell;

pub(super) use self::condition::condition;
use self::condition::refused;
use super::compose::RowsKind;
use super::error::ApplyError;
use super::field::FieldType;
use super::render;
use super::target_table::{Column, Generated, TargetIdentity, TargetTable};
use super::work::{Change, Image, Piece};
use crate::name::quote_identifier;

/// Rows of one statement, and its bytes.
const ROWS_MAX: usize = 500;
const BYTES_MAX: usize = 1 << 20;

/// A statement with the rows of the piece that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) rows: Range<usize>,
    pub(super) affected: Affected,
    /// Values in it that the target takes only when it is not strict: each gives a warning. A
    /// statement with any is about one row.
    pub(super) empty_labels: usize,
}

/// What the number of affected rows must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affected {
    /// As many as the statement is about.
    Rows,
    /// The same, as the rows of its answer.
    Counted,
    /// Servers count here only rows whose values are others than before.
    Any,
}

/// The statements of a piece, in order.
#[derive(Debug)]
pub(super) struct Statements<'p, 'a> {
    piece: &'p Piece<'a>,
    at: usize,
    bytes_max: usize,
    /// The longest statement that the target takes, in bytes.
    packet_max: usize,
    /// The second half of an update: the rows were counted, now they are changed.
    next: Option<Statement>,
}

impl<'p, 'a> Statements<'p, 'a> {
    pub(super) fn new(piece: &'p Piece<'a>, packet_max: usize) -> Self {
        Self {
            piece,
            at: 0,
            bytes_max: BYTES_MAX.min(packet_max.saturating_sub(4096)),
            // The command's own byte is part of the packet.
            packet_max: packet_max.saturating_sub(1),
            next: None,
        }
    }

    /// The server would close the connection, which looks as if it might pass.
    fn fits(&self, statement: Statement) -> Result<Statement, ApplyError> {
        let longest = self.next.as_ref().map_or(0, |next| next.sql.len());
        let bytes = statement.sql.len().max(longest);
        if bytes > self.packet_max {
            return Err(ApplyError::RowTooLarge {
                table: self.piece.table.name.clone(),
                bytes,
                limit: self.packet_max,
            });
        }
        Ok(statement)
    }

    fn build(&mut self) -> Result<Statement, ApplyError> {
        match self.piece.kind {
            RowsKind::Write => self.insert(),
            RowsKind::Delete => self.delete(),
            RowsKind::Update => self.update(),
        }
    }

    fn insert(&mut self) -> Result<Statement, ApplyError> {
        let table = self.piece.table;
        let columns = self.written();
        let names: Vec<_> = columns
            .iter()
            .map(|column| quote_identifier(&table.columns[*column].name))
            .collect();
        let empty_labels = |change: &Change<'a>| empty_labels(table, change.after, &columns);
        let alone = |change: &Change<'a>| empty_labels(change) > 0;
        let (rows, values) = self.gather(
            |change| {
                let values = literals(table, change.after, &columns)?;
                Ok(format!("({})", values.join(",")))
            },
            alone,
        )?;
        let into = format!("{} ({})", table.name.quoted(), names.join(","));
        Ok(Statement {
            sql: format!("INSERT INTO {into} VALUES {}", values.join(",")),
            empty_labels: self.piece.rows.get(rows.start).map_or(0, empty_labels),
            rows,
            affected: Affected::Rows,
        })
    }

    fn delete(&mut self) -> Result<Statement, ApplyError> {
        let table = self.piece.table;
        let name = table.name.quoted();
        match &table.identity {
            TargetIdentity::Key(_) => {
                let (rows, keys) =
                    self.gather(|change| condition(table, change.before), |_change| false)?;
                Ok(Statement {
                    sql: format!("DELETE FROM {name} WHERE {}", keys.join(" OR ")),
                    rows,
                    affected: Affected::Rows,
                    empty_labels: 0,
                })
            }
            TargetIdentity::WholeRow => {
                let row = self.at;
                let condition = condition(table, self.piece.rows[row].before)?;
                self.at += 1;
                Ok(Statement {
                    sql: format!("DELETE FROM {name} WHERE {condition} LIMIT 1"),
                    rows: row..row + 1,
                    affected: Affected::Rows,
                    empty_labels: 0,
                })
            }
        }
    }

    /// Looks for the row, and leaves its change for the next statement. Of equal rows one changes.
    fn update(&mut self) -> Result<Statement, ApplyError> {
        let table = self.piece.table;
        let name = table.name.quoted();
        let row = self.at;
        let change = self.piece.rows[row];
        let condition = condition(table, change.before)?;
        let columns = self.written();
        let values = literals(table, change.after, &columns)?;
        let set: Vec<_> = columns
            .iter()
            .zip(values)
            .map(|(column, value)| {
                format!("{}={value}", quote_identifier(&table.columns[*column].name))
            })
            .collect();
        let one = match table.identity {
            TargetIdentity::Key(_) => "",
            TargetIdentity::WholeRow => " LIMIT 1",
        };
        self.next = (!set.is_empty()).then(|| Statement {
            sql: format!("UPDATE {name} SET {} WHERE {condition}{one}", set.join(",")),
            rows: row..row + 1,
            affected: Affected::Any,
            empty_labels: empty_labels(table, change.after, &columns),
        });
        self.at += 1;
        Ok(Statement {
            sql: format!("SELECT 1 FROM {name} WHERE {condition}{one} FOR UPDATE"),
            rows: row..row + 1,
            affected: Affected::Counted,
            empty_labels: 0,
        })
    }

    /// The columns that statements write: none that is computed.
    fn written(&self) -> Vec<usize> {
        let columns = self.piece.after.indexes();
        columns
            .filter(|column| self.piece.table.columns[*column].generated == Generated::No)
            .collect()
    }

    /// Parts of as many rows as fit a statement; some rows have one alone.
    fn gather(
        &mut self,
        part: impl Fn(&Change<'a>) -> Result<String, ApplyError>,
        alone: impl Fn(&Change<'a>) -> bool,
    ) -> Result<(Range<usize>, Vec<String>), ApplyError> {
        let first = self.at;
        let mut parts = Vec::new();
        let mut bytes = 0;
        while let Some(change) = self.piece.rows.get(self.at) {
            let is_alone = alone(change);
            if is_alone && !parts.is_empty() {
                break;
            }
            let part = part(change)?;
            if !parts.is_empty() && (parts.len() >= ROWS_MAX || bytes + part.len() > self.bytes_max)
            {
                break;
            }
            bytes += part.len() + 4;
            parts.push(part);
            self.at += 1;
            if is_alone {
                break;
            }
        }
        Ok((first..self.at, parts))
    }
}

impl Iterator for Statements<'_, '_> {
    type Item = Result<Statement, ApplyError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(next) = self.next.take() {
            return Some(Ok(next));
        }
        if self.at >= self.piece.rows.len() {
            return None;
        }
        // A row that cannot be written is the one that is looked at.
        let built = self.build().map_err(|error| {
            let change = self.piece.rows.get(self.at);
            error.about(self.piece.table, change)
        });
        Some(built.and_then(|statement| self.fits(statement)))
    }
}

fn literals(
    table: &TargetTable,
    image: Image<'_>,
    columns: &[usize],
) -> Result<Vec<String>, ApplyError> {
    let Image::Row(row) = image else {
        return Ok(Vec::new());
    };
    columns
        .iter()
        .map(|column| {
            let cell = row.cells().get(*column).unwrap_or(&Cell::Null);
            one_literal(table, *column, cell)
        })
        .collect()
}

fn one_literal(table: &TargetTable, column: usize, cell: &Cell) -> Result<String, ApplyError> {
    let column = &table.columns[column];
    match cell {
        Cell::Null if !column.nullable => Err(refused(
            table,
            column,
            "it is NULL, and the target's column is NOT NULL",
        )),
        Cell::Null => Ok("NULL".to_owned()),
        Cell::Value(field) => render::literal(column, field)
            .map_err(|_bad| refused(table, column, "its type cannot be written as SQL")),
        Cell::Unchanged => Err(refused(table, column, "the stream left it out")),
    }
}

/// Enumerations without a label, which servers have where a statement that was not strict wrote one
/// that they did not know. Strict servers do not take them.
fn empty_labels(table: &TargetTable, image: Image<'_>, columns: &[usize]) -> usize {
    let Image::Row(row) = image else {
        return 0;
    };
    let is_empty = |column: &Column, cell: &Cell| match (column.from, cell) {
        (FieldType::Enum { .. }, Cell::Value(field)) => field.iter().all(|byte| *byte == 0),
        _other => false,
    };
    let cells = columns
        .iter()
        .filter_map(|place| row.cells().get(*place).map(|cell| (place, cell)));
    cells
        .filter(|(place, cell)| is_empty(&table.columns[**place], cell))
        .count()
}
