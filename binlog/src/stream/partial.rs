//! `Partial_update_rows_event`: updates of which an image after the change has parts of JSON values.
//!
//! Before such an image stands a number of options and, if it says so, a bit for every JSON column
//! of the table, whether the image has the column or not. A column whose bit is set holds a vector of
//! diffs instead of a value. They are applied here to the value before, so that nobody behind knows
//! of it.
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Rows__event.html>

use bytes::Bytes;
use router::{Cell, Row};

use super::error::{EventError, StopReason};
use super::rows::{Layout, bits};
use crate::apply::field::Framing;
use crate::json::diff;
use crate::wire::{FieldError, Fields};

/// The option of parts of JSON values; others are not known.
const PARTIAL_JSON: u64 = 1;

/// The columns of one image that are there in part, by the image before.
#[derive(Debug)]
pub(super) struct PartialColumns<'a> {
    layout: &'a Layout,
    before: &'a Row,
    /// By column.
    partial: Vec<bool>,
}

impl<'a> PartialColumns<'a> {
    /// Reads what stands before the image.
    pub(super) fn begin(
        fields: &mut Fields<'_>,
        layout: &'a Layout,
        before: &'a Row,
    ) -> Result<Self, EventError> {
        let json = layout.json();
        let count = match fields.lenenc_int()? {
            0 => 0,
            PARTIAL_JSON => json.iter().filter(|json| **json).count(),
            _unknown => return Err(FieldError("its value options are not known").into()),
        };
        let mut partial = bits(fields.bytes(count.div_ceil(8))?, count).into_iter();
        let partial = json
            .iter()
            .map(|json| *json && partial.next().unwrap_or_default());
        Ok(Self {
            layout,
            before,
            partial: partial.collect(),
        })
    }

    /// Whether this column holds diffs.
    pub(super) fn has(&self, column: usize) -> bool {
        self.partial.get(column) == Some(&true)
    }

    /// Takes the diffs of a column, and gives its value after them.
    pub(super) fn value(
        &self,
        column: usize,
        framing: Framing,
        fields: &mut Fields<'_>,
    ) -> Result<Cell, EventError> {
        let length = usize::try_from(fields.u32()?);
        let diffs = fields.bytes(length.map_err(|_large| FieldError("a length is too large"))?)?;
        let field = match self.before.cells().get(column) {
            Some(Cell::Value(field)) => field,
            Some(Cell::Null) => {
                return Err(FieldError("a part of a JSON value is changed that was NULL").into());
            }
            Some(Cell::Unchanged) | None => {
                let table = self.layout.table().to_owned();
                return Err(StopReason::PartialJson { table }.into());
            }
        };
        if diffs.is_empty() {
            return Ok(Cell::Value(field.clone()));
        }
        let too_long = FieldError("a JSON value is longer than its column can hold");
        let before = framing.payload(field).map_err(|_bad| too_long)?;
        let after = diff::apply(before, diffs)?;
        let mut field = Vec::with_capacity(after.len() + 4);
        framing
            .write(&after, &mut field)
            .map_err(|_long| too_long)?;
        Ok(Cell::Value(Bytes::from(field)))
    }
}
