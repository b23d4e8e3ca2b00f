//! Rows of the source gathered to pieces for the target.

use bytes::{Bytes, BytesMut};

use super::document::{self, Held, Typed, Uncarried};
use super::lines::{Field, Pieces, put_line, put_list, put_tuple};
use super::plan::TablePlan;
use super::target::{Form, Piece, opening};
use super::values;
use super::{CopyError, Loading};
use crate::wire::TextRow;

/// The size of a piece; an INSERT statement is as large, or one row larger.
const PIECE_BYTES: usize = 256 << 10;

/// The temporary table for values that only a column makes.
const HELD_TABLE: &str = "pointsman.copy_value";

/// How a row is written.
#[derive(Debug)]
pub(super) enum Row {
    /// As the others.
    Usual,
    /// With these expressions instead of the documents of the columns at these places.
    Typed(Vec<(usize, String)>),
    /// The same, out of a temporary table with these values.
    Held(Vec<(usize, String)>, Vec<Held>),
}

/// A piece, and the bytes that the source sent for it.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) piece: Piece,
    pub(super) bytes: u64,
}

/// Looks whether a row has documents that are more than their text.
pub(super) fn read(plan: &TablePlan, row: &TextRow) -> Result<Row, CopyError> {
    let mut made = Vec::new();
    let mut held: Vec<Held> = Vec::new();
    for (nth, (place, lane)) in values::documents(&plan.lanes).enumerate() {
        let types = row.bytes(plan.lanes.len() + nth);
        let (Some(text), Some(types)) = (row.bytes(place), types) else {
            continue;
        };
        if document::text_tells_all(types) {
            continue;
        }
        let typed = document::rebuild(text, types, held.len());
        let typed = typed.map_err(|why| CopyError::Document {
            table: plan.table.name.clone(),
            column: lane.column.clone(),
            why: match why {
                Uncarried::Unreadable => "its text and its types do not fit each other".to_owned(),
                Uncarried::NotUtf8 => "text in it is not UTF-8".to_owned(),
                Uncarried::Type(name) => format!("no statement makes a value of {name}"),
            },
        })?;
        let Typed {
            expression,
            held: more,
        } = typed;
        made.push((place, expression));
        held.extend(more);
    }
    Ok(match (made.is_empty(), held.is_empty()) {
        (true, _) => Row::Usual,
        (false, true) => Row::Typed(made),
        (false, false) => Row::Held(made, held),
    })
}

fn fields<'a>(
    plan: &'a TablePlan,
    row: &'a TextRow,
    documents: &'a [(usize, String)],
) -> impl Iterator<Item = Field<'a>> {
    plan.lanes.iter().enumerate().map(move |(place, lane)| {
        let made = documents.iter().find(|(at, _)| *at == place);
        match (made, row.bytes(place)) {
            (Some((_, sql)), _) => Field::Expression(sql),
            (None, None) => Field::Null,
            (None, Some(bytes)) => Field::Value(lane.carriage, bytes),
        }
    })
}

/// How many values of ENUMs in a row have no label.
fn without_label(plan: &TablePlan, row: &TextRow) -> u64 {
    let lanes = plan.lanes.iter().enumerate();
    let without = lanes.filter(|(place, lane)| {
        row.bytes(*place)
            .is_some_and(|value| lane.is_without_label(value))
    });
    u64::try_from(without.count()).unwrap_or(u64::MAX)
}

/// The statements that write one row with values out of a temporary table.
pub(super) fn held_piece(
    plan: &TablePlan,
    row: &TextRow,
    documents: &[(usize, String)],
    held: &[Held],
) -> Ready {
    let columns = held.iter().enumerate();
    let columns: String = columns
        .map(|(nth, held)| format!(", {} {}", document::held(nth), held.column_type))
        .collect();
    let literals: String = held
        .iter()
        .map(|held| format!(", {}", held.literal))
        .collect();
    let before = vec![
        format!("CREATE TEMPORARY TABLE {HELD_TABLE} (only_row TINYINT PRIMARY KEY{columns})"),
        format!("INSERT INTO {HELD_TABLE} VALUES (1{literals})"),
    ];
    let mut text = BytesMut::from(opening(plan, Loading::Insert).as_bytes());
    text.truncate(text.len() - b"VALUES ".len());
    text.extend_from_slice(b"SELECT ");
    put_list(fields(plan, row, documents), &mut text);
    text.extend_from_slice(b" FROM ");
    text.extend_from_slice(HELD_TABLE.as_bytes());
    let after = vec![format!("DROP TEMPORARY TABLE {HELD_TABLE}")];
    Ready {
        piece: Piece {
            form: Form::Statement { before, after },
            text: text.freeze(),
            rows: 1,
            without_label: without_label(plan, row),
        },
        bytes: size_of(plan, row),
    }
}

/// Rows that become one piece.
#[derive(Debug)]
pub(super) struct Batch {
    loading: Loading,
    head: String,
    pieces: Pieces,
    rows: u64,
    without_label: u64,
    bytes: u64,
}

impl Batch {
    pub(super) fn new(plan: &TablePlan, loading: Loading) -> Self {
        Self {
            loading,
            head: opening(plan, loading),
            pieces: Pieces::new(PIECE_BYTES),
            rows: 0,
            without_label: 0,
            bytes: 0,
        }
    }

    /// Takes a row; gives a piece once there is enough for one.
    pub(super) fn put_usual(&mut self, plan: &TablePlan, row: &TextRow) -> Option<Ready> {
        match self.loading {
            Loading::LoadData => {
                let fields = (0..plan.lanes.len()).map(|index| row.bytes(index));
                put_line(fields, self.pieces.buffer());
                self.count(plan, row)
            }
            Loading::Insert => self.put_typed(plan, row, &[]),
        }
    }

    /// The same for `INSERT`, with these expressions instead of the documents at these places.
    pub(super) fn put_typed(
        &mut self,
        plan: &TablePlan,
        row: &TextRow,
        documents: &[(usize, String)],
    ) -> Option<Ready> {
        let out = self.pieces.buffer();
        let before = if self.rows == 0 {
            self.head.as_bytes()
        } else {
            b","
        };
        out.extend_from_slice(before);
        put_tuple(fields(plan, row, documents), out);
        self.count(plan, row)
    }

    fn count(&mut self, plan: &TablePlan, row: &TextRow) -> Option<Ready> {
        self.rows += 1;
        self.without_label += without_label(plan, row);
        self.bytes += size_of(plan, row);
        let text = self.pieces.full()?;
        Some(self.ready(text))
    }

    /// What is left.
    pub(super) fn rest(mut self) -> Option<Ready> {
        let text = self.pieces.rest();
        (self.rows > 0).then(|| self.ready(text))
    }

    fn ready(&mut self, text: Bytes) -> Ready {
        let form = match self.loading {
            Loading::LoadData => Form::Lines,
            Loading::Insert => Form::Statement {
                before: Vec::new(),
                after: Vec::new(),
            },
        };
        let rows = std::mem::take(&mut self.rows);
        let without_label = std::mem::take(&mut self.without_label);
        Ready {
            piece: Piece {
                form,
                text,
                rows,
                without_label,
            },
            bytes: std::mem::take(&mut self.bytes),
        }
    }
}

/// The bytes of the table's own columns.
fn size_of(plan: &TablePlan, row: &TextRow) -> u64 {
    let bytes: usize = (0..plan.lanes.len())
        .map(|index| row.bytes(index).map_or(0, <[u8]>::len))
        .sum();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
