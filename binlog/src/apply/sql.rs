//! Row changes as SQL, for targets that do not permit row events.
//!
//! Values are literals that give exactly the source's value ([`super::render`]). Keys are compared
//! by the column's own collation: a unique key finds one row however it is spelt. Every statement
//! tells how many rows it must find.

use std::ops::Range;

use router::{Cell, Key};

use super::compose::RowsKind;
use super::error::ApplyError;
use super::render;
use super::target_table::{Generated, TargetIdentity, TargetTable};
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
}

/// What the number of affected rows must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affected {
    /// As many as the statement is about.
    Rows,
    /// The same, as the first cell of its answer.
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
        let (rows, values) = self.gather(|change| {
            let values = literals(table, change.after, &columns)?;
            Ok(format!("({})", values.join(",")))
        })?;
        let into = format!("{} ({})", table.name.quoted(), names.join(","));
        Ok(Statement {
            sql: format!("INSERT INTO {into} VALUES {}", values.join(",")),
            rows,
            affected: Affected::Rows,
        })
    }

    fn delete(&mut self) -> Result<Statement, ApplyError> {
        let table = self.piece.table;
        let name = table.name.quoted();
        match &table.identity {
            TargetIdentity::Key(_) => {
                let (rows, keys) = self.gather(|change| condition(table, change.before))?;
                Ok(Statement {
                    sql: format!("DELETE FROM {name} WHERE {}", keys.join(" OR ")),
                    rows,
                    affected: Affected::Rows,
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
                })
            }
        }
    }

    /// Counts the row, and leaves its change for the next statement.
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
        self.next = (!set.is_empty()).then(|| Statement {
            sql: format!("UPDATE {name} SET {} WHERE {condition}", set.join(",")),
            rows: row..row + 1,
            affected: Affected::Any,
        });
        self.at += 1;
        Ok(Statement {
            sql: format!("SELECT COUNT(*) FROM {name} WHERE {condition} FOR UPDATE"),
            rows: row..row + 1,
            affected: Affected::Counted,
        })
    }

    /// The columns that statements write: none that is computed.
    fn written(&self) -> Vec<usize> {
        let columns = self.piece.after.indexes();
        columns
            .filter(|column| self.piece.table.columns[*column].generated == Generated::No)
            .collect()
    }

    /// Parts of as many rows as fit a statement.
    fn gather(
        &mut self,
        part: impl Fn(&Change<'a>) -> Result<String, ApplyError>,
    ) -> Result<(Range<usize>, Vec<String>), ApplyError> {
        let first = self.at;
        let mut parts = Vec::new();
        let mut bytes = 0;
        while let Some(change) = self.piece.rows.get(self.at) {
            let part = part(change)?;
            if !parts.is_empty() && (parts.len() >= ROWS_MAX || bytes + part.len() > self.bytes_max)
            {
                break;
            }
            bytes += part.len() + 4;
            parts.push(part);
            self.at += 1;
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
        let built = self.build();
        Some(built.and_then(|statement| self.fits(statement)))
    }
}

/// The condition that finds the row of a key; `None` if it cannot be written.
pub(super) fn key_condition(table: &TargetTable, key: &Key) -> Option<String> {
    condition(table, Image::Key(key)).ok()
}

fn condition(table: &TargetTable, image: Image<'_>) -> Result<String, ApplyError> {
    let cells = match image {
        Image::None => Vec::new(),
        Image::Key(key) => match &table.identity {
            TargetIdentity::Key(columns) => columns
                .iter()
                .copied()
                .zip(key.values().map(Cell::Value))
                .collect(),
            TargetIdentity::WholeRow => Vec::new(),
        },
        Image::Row(row) => row.cells().iter().cloned().enumerate().collect(),
    };
    let mut parts = Vec::with_capacity(cells.len());
    for (place, cell) in cells {
        let column = &table.columns[place];
        if column.generated == Generated::Virtual {
            continue;
        }
        let name = quote_identifier(&column.name);
        parts.push(match cell {
            Cell::Null => format!("{name} IS NULL"),
            Cell::Value(_) | Cell::Unchanged => {
                format!("{name}={}", one_literal(table, place, &cell)?)
            }
        });
    }
    Ok(format!("({})", parts.join(" AND ")))
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
    let refused = |why| ApplyError::Value {
        table: table.name.clone(),
        column: column.name.clone(),
        why,
    };
    match cell {
        Cell::Null if !column.nullable => {
            Err(refused("it is NULL, and the target's column is NOT NULL"))
        }
        Cell::Null => Ok("NULL".to_owned()),
        Cell::Value(field) => render::literal(column, field)
            .map_err(|_bad| refused("its type cannot be written as SQL")),
        Cell::Unchanged => Err(refused("the stream left it out")),
    }
}
