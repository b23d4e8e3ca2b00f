//! The answer to a question of ours, packet by packet: the rows of one result in text form.

use bytes::Bytes;

use super::limits::ANSWER_BYTES_MAX;
use super::pulse::EofStyle;
use crate::wire::column::Column;
use crate::wire::response::{EOF, ERR, LOCAL_INFILE, OK};
use crate::wire::{FieldError, Fields, ServerError};

/// The rows of an answer.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<Option<Bytes>>>,
}

/// Rows, or the server's refusal.
pub(super) type Answer = Result<Rows, Box<ServerError>>;

/// Collects an answer.
#[derive(Debug)]
pub(super) struct Collector {
    eof: EofStyle,
    place: Place,
    rows: Rows,
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    First,
    Columns { left: u64, all: u64 },
    ColumnsEnd { all: u64 },
    Rows { columns: u64 },
}

impl Collector {
    pub(super) fn new(eof: EofStyle) -> Self {
        Self {
            eof,
            place: Place::First,
            rows: Rows::default(),
            bytes: 0,
        }
    }

    /// Takes a packet; the answer when it was the last.
    pub(super) fn take(&mut self, packet: &Bytes) -> Result<Option<Answer>, FieldError> {
        let first = *packet.first().ok_or(FieldError("it is empty"))?;
        if first == ERR {
            return Ok(Some(Err(Box::new(ServerError::parse(packet)?))));
        }
        match self.place {
            Place::First => match first {
                OK => return Ok(Some(Ok(Rows::default()))),
                LOCAL_INFILE => return Err(FieldError("it asks for a file")),
                _count => {
                    let all = Fields::new(packet).lenenc_int()?;
                    self.place = Place::Columns { left: all, all };
                }
            },
            Place::Columns { left, all } => {
                self.rows.columns.push(Column::parse(packet)?);
                self.place = match (left.saturating_sub(1), self.eof) {
                    (0, EofStyle::Packets) => Place::ColumnsEnd { all },
                    (0, EofStyle::Deprecated) => Place::Rows { columns: all },
                    (left, _) => Place::Columns { left, all },
                }
            }
            Place::ColumnsEnd { all } => self.place = Place::Rows { columns: all },
            Place::Rows { .. } if first == EOF && packet.len() < 0x00ff_ffff => {
                return Ok(Some(Ok(std::mem::take(&mut self.rows))));
            }
            Place::Rows { columns } => self.row(packet, columns)?,
        }
        Ok(None)
    }

    fn row(&mut self, packet: &Bytes, columns: u64) -> Result<(), FieldError> {
        self.bytes = self.bytes.saturating_add(packet.len());
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(FieldError("the answer is too long"));
        }
        let mut fields = Fields::new(packet);
        let cells = (0..columns).map(|_| {
            let cell = fields.nullable_bytes()?;
            Ok(cell.map(Bytes::copy_from_slice))
        });
        self.rows
            .rows
            .push(cells.collect::<Result<_, FieldError>>()?);
        Ok(())
    }
}
