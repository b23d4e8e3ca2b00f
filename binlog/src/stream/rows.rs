//! Rows events: their rows, split into fields.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Rows__event.html>

use bytes::Bytes;
use router::{Cell, Change, OldImage, Row};

use super::error::EventError;
use super::event::TableMap;
use super::kind::{RowsChange, RowsKind};
use super::partial::PartialColumns;
use super::table_map::table_id;
use crate::apply::field::{FieldType, Framing};
use crate::wire::{FieldError, Fields};

/// How the fields of a table's rows are told apart.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// As `database.table`, for errors.
    table: String,
    framings: Vec<Framing>,
    /// Which columns are binary JSON.
    json: Vec<bool>,
}

impl Layout {
    /// The layout of a table's rows.
    pub(super) fn of(map: &TableMap) -> Result<Self, EventError> {
        let mut layout = Self {
            table: format!("{}.{}", map.schema, map.table),
            framings: Vec::with_capacity(map.columns.len()),
            json: Vec::with_capacity(map.columns.len()),
        };
        for column in &map.columns {
            let field = FieldType::decode(column.code, &column.metadata);
            let field = field.map_err(|_unknown| FieldError("a column's type is not known"))?;
            layout.framings.push(field.framing());
            let is_json = matches!(field, FieldType::Json { .. });
            layout.json.push(is_json);
        }
        Ok(layout)
    }

    /// As `database.table`.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// Which columns are binary JSON.
    pub(super) fn json(&self) -> &[bool] {
        &self.json
    }
}

/// The head of a rows event: enough to know whether it is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowsHead {
    pub(super) table: u64,
    pub(super) flags: u16,
}

/// Reads the head of a rows event.
pub(super) fn head(body: &[u8], short_ids: bool) -> Result<RowsHead, EventError> {
    let mut fields = Fields::new(body);
    Ok(RowsHead {
        table: table_id(&mut fields, short_ids)?,
        flags: fields.u16()?,
    })
}

/// The rows of an event, one change after the other.
#[derive(Debug)]
pub(super) struct Rows {
    kind: RowsKind,
    before: Vec<bool>,
    after: Vec<bool>,
    /// What was not read yet.
    rest: Bytes,
}

impl Rows {
    /// Begins to read an event of a table with this layout.
    pub(super) fn begin(
        body: &Bytes,
        kind: RowsKind,
        short_ids: bool,
        layout: &Layout,
    ) -> Result<Self, EventError> {
        let mut fields = Fields::new(body);
        let _id = table_id(&mut fields, short_ids)?;
        let _flags = fields.u16()?;
        if kind.has_extra {
            // The length counts itself.
            let extra = usize::from(fields.u16()?).checked_sub(2);
            fields.bytes(extra.ok_or(FieldError("its extra data has a length below 2"))?)?;
        }
        let count = fields.lenenc_int()?;
        if u64::try_from(layout.framings.len()) != Ok(count) {
            return Err(FieldError("it has another number of columns than its table").into());
        }
        let columns = layout.framings.len();
        let first = bits(fields.bytes(columns.div_ceil(8))?, columns);
        let second = match kind.change {
            RowsChange::Update => bits(fields.bytes(columns.div_ceil(8))?, columns),
            RowsChange::Insert | RowsChange::Delete => first.clone(),
        };
        let rest = if kind.compressed {
            Bytes::from(super::compressed::inflate(fields.rest())?)
        } else {
            body.slice_ref(fields.rest())
        };
        Ok(Self {
            kind,
            before: first,
            after: second,
            rest,
        })
    }

    /// The next change, or the end.
    pub(super) fn next(&mut self, layout: &Layout) -> Result<Option<Change>, EventError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        Ok(Some(match self.kind.change {
            RowsChange::Insert => {
                let row = self.row(layout, Image::After { before: None })?;
                Change::Insert { row }
            }
            RowsChange::Delete => {
                let row = self.row(layout, Image::Before)?;
                Change::Delete { old: old(row) }
            }
            RowsChange::Update => {
                let before = self.row(layout, Image::Before)?;
                let after = Image::After {
                    before: self.kind.partial.then_some(&before),
                };
                let row = self.row(layout, after)?;
                Change::Update {
                    old: Some(old(before)),
                    row,
                }
            }
        }))
    }

    fn row(&mut self, layout: &Layout, image: Image<'_>) -> Result<Row, EventError> {
        let present = match image {
            Image::Before => &self.before,
            Image::After { .. } => &self.after,
        };
        let count = present.iter().filter(|present| **present).count();
        let mut fields = Fields::new(&self.rest);
        let partial = match image {
            Image::After {
                before: Some(before),
            } => Some(PartialColumns::begin(&mut fields, layout, before)?),
            Image::Before | Image::After { before: None } => None,
        };
        let nulls = bits(fields.bytes(count.div_ceil(8))?, count);
        let mut nulls = nulls.into_iter();
        let mut cells = Vec::with_capacity(layout.framings.len());
        for (place, (framing, present)) in layout.framings.iter().zip(present).enumerate() {
            cells.push(if !present {
                Cell::Unchanged
            } else if nulls.next().unwrap_or_default() {
                Cell::Null
            } else if let Some(partial) = partial.as_ref().filter(|some| some.has(place)) {
                partial.value(place, *framing, &mut fields)?
            } else {
                let bytes = fields.bytes(field_bytes(*framing, fields.rest())?)?;
                Cell::Value(self.rest.slice_ref(bytes))
            });
        }
        let rest = self.rest.slice_ref(fields.rest());
        if rest.len() == self.rest.len() {
            return Err(FieldError("a row has no bytes").into());
        }
        self.rest = rest;
        Ok(Row::new(cells))
    }
}

/// Which image of an update.
#[derive(Debug, Clone, Copy)]
enum Image<'a> {
    Before,
    /// With the image before, if it may have parts of that one's values.
    After {
        before: Option<&'a Row>,
    },
}

/// With `binlog_row_image` other than `FULL` only the key's columns are there.
fn old(row: Row) -> OldImage {
    if row.is_complete() {
        OldImage::Full(row)
    } else {
        OldImage::Key(row)
    }
}

/// Bytes of a field, with those of its length.
fn field_bytes(framing: Framing, rest: &[u8]) -> Result<usize, FieldError> {
    match framing {
        Framing::Fixed(bytes) => Ok(usize::from(bytes)),
        Framing::Prefixed(bytes) => {
            let bytes = usize::from(bytes);
            let prefix = rest.get(..bytes).ok_or(FieldError("it ends in a length"))?;
            let length = prefix
                .iter()
                .rev()
                .fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
            Ok(bytes + length)
        }
    }
}

/// The lowest `count` bits, lowest first.
pub(super) fn bits(bytes: &[u8], count: usize) -> Vec<bool> {
    (0..count)
        .map(|place| {
            let byte = bytes.get(place / 8).copied().unwrap_or_default();
            byte & (1 << (place % 8)) != 0
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::event::ColumnType;
    use super::*;

    const KIND: RowsKind = RowsKind {
        change: RowsChange::Update,
        has_extra: true,
        compressed: false,
        partial: false,
    };

    fn layout() -> Layout {
        let column = |code, metadata: &[u8]| ColumnType {
            code,
            metadata: metadata.to_vec(),
            unsigned: None,
            collation: None,
        };
        Layout::of(&TableMap {
            schema: "db".to_owned(),
            table: "t".to_owned(),
            columns: vec![column(3, &[]), column(15, &[40, 0]), column(252, &[2])],
        })
        .unwrap()
    }

    fn changes(body: Vec<u8>) -> Result<Vec<Change>, EventError> {
        let layout = layout();
        let mut rows = Rows::begin(&Bytes::from(body), KIND, false, &layout)?;
        let mut changes = Vec::new();
        while let Some(change) = rows.next(&layout)? {
            changes.push(change);
        }
        Ok(changes)
    }

    #[test]
    fn fields_keep_their_length_and_columns_that_are_left_out_are_unchanged() {
        // Before: the key alone. After: the key and the text.
        let mut body = vec![1, 0, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0b001, 0b101];
        body.extend([0, 5, 0, 0, 0]);
        body.extend([0, 5, 0, 0, 0, 2, 0, b'h', b'i']);
        body.extend([0, 6, 0, 0, 0]);
        body.extend([0b10, 6, 0, 0, 0]);
        let value = |bytes: &'static [u8]| Cell::Value(Bytes::from_static(bytes));
        let found = changes(body.clone()).unwrap();
        assert_eq!(found.len(), 2);
        let Change::Update {
            old: Some(OldImage::Key(key)),
            row,
        } = &found[0]
        else {
            panic!("{found:?}")
        };
        assert_eq!(key.cells()[0], value(b"\x05\0\0\0"));
        assert_eq!(
            row.cells(),
            [value(b"\x05\0\0\0"), Cell::Unchanged, value(b"\x02\0hi")]
        );
        let Change::Update { row, .. } = &found[1] else {
            panic!("{found:?}")
        };
        assert_eq!(row.cells()[2], Cell::Null);
        let ends_of_rows = [13, 27, body.len()];
        for end in (0..body.len()).filter(|end| !ends_of_rows.contains(end)) {
            assert!(changes(body[..end].to_vec()).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            drop(changes(bytes));
        }
    }
}
