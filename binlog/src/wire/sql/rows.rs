//! Rows in text form.

use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;

use crate::wire::column::Column;
use crate::wire::fields::{FieldError, Fields};

/// The columns of a result.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns(Arc<[Column]>);

/// A row in text form. Its bytes are those that came; nothing is copied.
#[derive(Clone)]
pub struct TextRow {
    columns: Columns,
    packet: Bytes,
    cells: Box<[Option<Range<usize>>]>,
}

/// A cell that is not what its reader expects. The value is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column} of the server's answer is {found} where {expected} was expected")]
pub struct ParseCellError {
    /// The column's name, or its number when there is none of it.
    column: String,
    /// What is there.
    found: &'static str,
    /// The type that was asked for.
    expected: &'static str,
}

impl Columns {
    pub(super) fn new(columns: Vec<Column>) -> Self {
        Self(columns.into())
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none: the statement gave no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Column] {
        &self.0
    }

    /// Where the column of this name is; upper and lower case are the same.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.0
            .iter()
            .position(|column| column.name.eq_ignore_ascii_case(name))
    }
}

impl TextRow {
    /// Reads a row.
    pub(super) fn read(columns: &Columns, packet: Bytes) -> Result<Self, FieldError> {
        let mut fields = Fields::new(&packet);
        let mut cells = Vec::with_capacity(columns.len());
        for _column in columns.as_slice() {
            let length = fields.nullable_bytes()?.map(<[u8]>::len);
            let end = packet.len() - fields.rest().len();
            cells.push(length.map(|length| end - length..end));
        }
        if !fields.is_empty() {
            return Err(FieldError("a row is longer than its columns"));
        }
        Ok(Self {
            columns: columns.clone(),
            packet,
            cells: cells.into(),
        })
    }

    /// The bytes of a cell; `None` for NULL and for a column that is not there.
    #[must_use]
    pub fn bytes(&self, index: usize) -> Option<&[u8]> {
        let range = self.cells.get(index)?.clone()?;
        self.packet.get(range)
    }

    /// The bytes of a cell, to be kept without copying.
    #[must_use]
    pub fn shared(&self, index: usize) -> Option<Bytes> {
        Some(self.packet.slice_ref(self.bytes(index)?))
    }

    /// The text of a cell; `None` for NULL, for a column that is not there, and for bytes that are
    /// not UTF-8.
    #[must_use]
    pub fn text(&self, index: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes(index)?).ok()
    }

    /// The text of the column of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&str> {
        self.text(self.columns.position(name)?)
    }

    /// Whether a cell is NULL; a column that is not there is.
    #[must_use]
    pub fn is_null(&self, index: usize) -> bool {
        self.bytes(index).is_none()
    }

    /// A cell as a number or anything else that is read from text.
    ///
    /// # Errors
    /// It is NULL, not there, or does not read as `T`.
    pub fn parse<T: FromStr>(&self, index: usize) -> Result<T, ParseCellError> {
        match self.parse_nullable(index) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(self.unexpected::<T>(index, "NULL")),
            Err(error) => Err(error),
        }
    }

    /// As [`TextRow::parse`], with NULL allowed.
    ///
    /// # Errors
    /// It does not read as `T`.
    pub fn parse_nullable<T: FromStr>(&self, index: usize) -> Result<Option<T>, ParseCellError> {
        if self.is_null(index) {
            return Ok(None);
        }
        self.text(index)
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or_else(|| self.unexpected::<T>(index, "something else"))
    }

    /// The columns.
    #[must_use]
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// What the row costs in memory, about.
    pub(super) fn held_bytes(&self) -> usize {
        self.packet.len() + self.cells.len() * size_of::<Option<Range<usize>>>()
    }

    /// How many cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    fn unexpected<T>(&self, index: usize, found: &'static str) -> ParseCellError {
        let column = self.columns.as_slice().get(index);
        ParseCellError {
            column: column.map_or_else(|| index.to_string(), |column| column.name.clone()),
            found,
            expected: std::any::type_name::<T>(),
        }
    }
}

/// The values stay out: they are somebody's rows.
impl std::fmt::Debug for TextRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TextRow({} cells)", self.cells.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn columns(count: usize) -> Columns {
        let column = |index: usize| Column {
            name: format!("c{index}"),
            ..Column::default()
        };
        Columns::new((0..count).map(column).collect())
    }

    fn row(cells: &[Option<Vec<u8>>]) -> Result<TextRow, FieldError> {
        let mut packet = BytesMut::new();
        for cell in cells {
            match cell {
                Some(value) => crate::wire::lenenc::put_bytes(value, &mut packet),
                None => packet.extend_from_slice(&[crate::wire::lenenc::NULL]),
            }
        }
        TextRow::read(&columns(cells.len()), packet.freeze())
    }

    #[test]
    fn cells_are_read_as_what_they_are_asked_for() {
        let row = row(&[Some(b"42".to_vec()), None, Some(vec![0xff])]).unwrap();
        assert_eq!(row.parse::<u64>(0), Ok(42));
        assert_eq!(row.named("C0"), Some("42"));
        assert_eq!(row.parse_nullable::<u64>(1), Ok(None));
        assert!(row.is_null(1) && row.is_null(9));
        assert_eq!((row.text(2), row.bytes(2)), (None, Some(&[0xff][..])));
        let error = row.parse::<u8>(1).unwrap_err().to_string();
        assert!(error.contains("c1") && error.contains("NULL"), "{error}");
        assert!(!format!("{row:?}").contains("42"));
    }

    proptest! {
        #[test]
        fn cells_come_back_as_they_were_sent(
            cells in prop::collection::vec(prop::option::of(any::<Vec<u8>>()), 1..10),
        ) {
            let row = row(&cells).unwrap();
            for (index, cell) in cells.iter().enumerate() {
                prop_assert_eq!(row.bytes(index), cell.as_deref());
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, count in 0_usize..10) {
            let _row = TextRow::read(&columns(count), bytes.into());
        }
    }
}
