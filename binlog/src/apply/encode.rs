//! Packs pieces of work into `BINLOG` statements.
//!
//! A statement takes as many rows, of as many tables, as fit into it: round trips are what small
//! windows cost. What it holds is remembered, so that a refusal can be explained.

use std::ops::Range;

use router::Cell;

use super::compose::{Columns, Events, MappedTable, Rows, statement_bytes, write_bits};
use super::convert::Unconverted;
use super::error::ApplyError;
use super::field::BadField;
use super::target_table::TargetTable;
use super::work::{Image, Piece};

/// Bytes of a statement that takes more than one row: past this a larger one is no faster.
const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// What is kept free of the target's packet limit, for the packet's own bytes.
const PACKET_RESERVE_BYTES: usize = 1024;

/// Room for a table map and the head of a rows event.
const HEAD_BYTES: usize = 512;

/// A statement, and what it does.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    /// Rows of pieces, by the piece's place: in the order in which they are applied.
    pub(super) slices: Vec<(usize, Range<usize>)>,
}

/// Packs `pieces` into statements, in order.
#[derive(Debug)]
pub(super) struct Packer<'p, 'a> {
    pieces: &'p [Piece<'a>],
    /// The next piece and row.
    piece: usize,
    row: usize,
    timestamp_s: u32,
    packet_max: usize,
    image: Vec<u8>,
    scratch: Vec<u8>,
}

impl<'p, 'a> Packer<'p, 'a> {
    pub(super) fn new(pieces: &'p [Piece<'a>], timestamp_s: u32, packet_max: usize) -> Self {
        Self {
            pieces,
            piece: 0,
            row: 0,
            timestamp_s,
            packet_max: packet_max.saturating_sub(PACKET_RESERVE_BYTES),
            image: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The next statement; `None` when all are packed.
    ///
    /// # Errors
    /// When a value cannot be written on the target, or a row fits no statement.
    pub(super) fn next(&mut self) -> Result<Option<Statement>, ApplyError> {
        let limit = STATEMENT_BYTES_MAX.min(self.packet_max);
        let mut events = Events::at(self.timestamp_s);
        let mut slices = Vec::new();
        while let Some(piece) = self.pieces.get(self.piece) {
            let first = self.row;
            let head = HEAD_BYTES + 6 * piece.table.columns.len();
            let mut images = Vec::new();
            while let Some(change) = piece.rows.get(self.row) {
                self.image.clear();
                for (image, columns) in
                    [(change.before, &piece.before), (change.after, &piece.after)]
                {
                    write_image(
                        piece.table,
                        image,
                        columns,
                        &mut self.scratch,
                        &mut self.image,
                    )
                    .map_err(|error| error.about(piece.table, Some(change)))?;
                }
                let bytes = events.bytes() + head + images.len() + self.image.len();
                let empty = images.is_empty() && events.is_empty();
                if !empty && statement_bytes(bytes) > limit {
                    break;
                }
                if empty && statement_bytes(bytes) > self.packet_max {
                    return Err(ApplyError::RowTooLarge {
                        table: piece.table.name.clone(),
                        bytes: statement_bytes(bytes),
                        limit: self.packet_max,
                    });
                }
                images.extend_from_slice(&self.image);
                self.row += 1;
            }
            if self.row > first {
                add(&mut events, piece, &images);
                slices.push((self.piece, first..self.row));
            }
            if self.row < piece.rows.len() {
                break;
            }
            self.piece += 1;
            self.row = 0;
        }
        Ok((!events.is_empty()).then(|| Statement {
            sql: events.statement(),
            slices,
        }))
    }
}

fn add(events: &mut Events, piece: &Piece<'_>, images: &[u8]) {
    let table = MappedTable {
        id: piece.table.id,
        schema: &piece.table.name.schema,
        table: &piece.table.name.name,
        columns: &piece.table.mapped,
        vectors: &piece.table.vectors,
    };
    let rows = Rows {
        kind: piece.kind,
        foreign_keys: piece.foreign_keys,
        before: &piece.before,
        after: &piece.after,
        images,
    };
    events.rows(table, rows);
}

/// Writes one image: which of its columns are NULL, then the values of the others.
fn write_image(
    table: &TargetTable,
    image: Image<'_>,
    columns: &Columns,
    scratch: &mut Vec<u8>,
    into: &mut Vec<u8>,
) -> Result<(), ApplyError> {
    let cells = image.cells(table, columns);
    write_bits(
        cells
            .iter()
            .map(|(_, cell)| !matches!(cell, Cell::Value(_))),
        into,
    );
    for (column, cell) in cells {
        let column = &table.columns[column];
        let refused = |why| ApplyError::Value {
            table: table.name.clone(),
            column: column.name.clone(),
            why,
            row: None,
        };
        match cell {
            Cell::Value(field) => column
                .conversion
                .write(&field, scratch, into)
                .map_err(|error| refused(error.why()))?,
            // A server may make 0 of it in silence.
            Cell::Null if !column.nullable => {
                return Err(refused("it is NULL, and the target's column is NOT NULL"));
            }
            Cell::Null => {}
            Cell::Unchanged => return Err(refused("the stream left it out")),
        }
    }
    Ok(())
}

impl Unconverted {
    fn why(self) -> &'static str {
        match self {
            Self::Malformed => "its bytes do not fit its type in the source's log",
            Self::NotInCharset => {
                "it is not in the target's character set, or not valid in its own"
            }
            Self::TooLong => "it is longer than the target's column",
            Self::OutOfRange => "the target's type does not have it",
        }
    }
}

impl From<BadField> for Unconverted {
    fn from(_bad: BadField) -> Self {
        Self::Malformed
    }
}
