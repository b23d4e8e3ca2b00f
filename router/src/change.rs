//! One change of one row, the way both engines' streams tell it.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

/// One column's value in a row image, in the stream's own rendering (PostgreSQL: text output).
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Cell {
    /// SQL NULL.
    Null,
    /// The value's bytes.
    Value(Bytes),
    /// The stream left the value out since it did not change (PostgreSQL: an out-of-line TOAST
    /// value, `u` in pgoutput's tuple data; MySQL: a column left out of a minimal row image).
    Unchanged,
}

impl fmt::Debug for Cell {
    /// Values are the application's data and are never printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Value(value) => write!(f, "Value({} bytes)", value.len()),
            Self::Unchanged => f.write_str("Unchanged"),
        }
    }
}

/// A row image: the cells of the table's streamed columns, in the stream's order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Row(Box<[Cell]>);

impl Row {
    /// A row of these cells.
    #[must_use]
    pub fn new(cells: impl Into<Box<[Cell]>>) -> Self {
        Self(cells.into())
    }

    /// The cells in the stream's column order.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.0
    }

    /// The cells, to be changed in place.
    pub fn cells_mut(&mut self) -> &mut [Cell] {
        &mut self.0
    }

    /// Whether every cell's value is known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.0.iter().any(|cell| matches!(cell, Cell::Unchanged))
    }

    /// Fills the cells that are [`Cell::Unchanged`] here from `earlier`, an older image of the row.
    pub fn fill_unchanged_from(&mut self, earlier: &Self) {
        for (cell, earlier) in self.0.iter_mut().zip(&earlier.0) {
            if matches!(cell, Cell::Unchanged) {
                cell.clone_from(earlier);
            }
        }
    }

    /// Memory that the row's values hold, in bytes, with a flat charge for each cell.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let values = self.0.iter().map(|cell| match cell {
            Cell::Value(value) => value.len(),
            Cell::Null | Cell::Unchanged => 0,
        });
        values.sum::<usize>() + size_of_val(&*self.0)
    }
}

/// The identity of a row: the bytes of its key columns' values, as the stream renders them.
///
/// Two keys are equal when every value's bytes are equal. Values that the server finds equal though
/// their bytes differ (`citext`, nondeterministic collations) are different keys here.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Bytes);

impl Key {
    /// The key of `row` by the columns at these indexes.
    ///
    /// # Errors
    /// When a key column is missing from the row, NULL, or not in the image.
    pub fn of(row: &Row, columns: &[usize]) -> Result<Self, KeyError> {
        let mut encoded = Vec::new();
        Self::encode(row, columns, &mut encoded)?;
        Ok(Self(Bytes::from(encoded)))
    }

    /// Writes what [`Key::of`] would hold over `encoded`, so that a look-up needs no allocation.
    pub(crate) fn encode(
        row: &Row,
        columns: &[usize],
        encoded: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        encoded.clear();
        for &column in columns {
            match row.cells().get(column) {
                Some(Cell::Value(value)) => {
                    let len = u32::try_from(value.len())
                        .map_err(|_too_long| KeyError::TooLong { column })?;
                    encoded.extend_from_slice(&len.to_be_bytes());
                    encoded.extend_from_slice(value);
                }
                Some(Cell::Null) => return Err(KeyError::Null { column }),
                Some(Cell::Unchanged) => return Err(KeyError::Unchanged { column }),
                None => return Err(KeyError::Missing { column }),
            }
        }
        Ok(())
    }

    /// A key of bytes that [`Key::encode`] wrote.
    pub(crate) fn from_encoded(encoded: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(encoded))
    }

    /// The bytes that [`Key::encode`] wrote.
    pub(crate) fn as_encoded(&self) -> &[u8] {
        &self.0
    }

    /// Moves the key out, leaving one of no columns behind.
    pub(crate) fn take(&mut self) -> Self {
        Self(std::mem::take(&mut self.0))
    }

    /// The values of the key columns, in the order the key was made with; none is copied.
    pub fn values(&self) -> impl Iterator<Item = Bytes> + '_ {
        let mut rest = self.0.clone();
        std::iter::from_fn(move || {
            let (len, _) = rest.split_first_chunk::<4>()?;
            let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
            let mut value = rest.split_to(4 + len);
            Some(value.split_off(4))
        })
    }

    /// Memory that the key holds, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.len() + size_of::<Self>()
    }
}

impl fmt::Debug for Key {
    /// Key values are the application's data and are not printed; an operator's message that must
    /// name a row asks for [`Key::values`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

/// Why a row has no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The image has fewer columns.
    #[error("the row image has no column {column}")]
    Missing {
        /// Index of the key column.
        column: usize,
    },
    /// The value is NULL.
    #[error("key column {column} is NULL")]
    Null {
        /// Index of the key column.
        column: usize,
    },
    /// The stream left the value out.
    #[error("key column {column} is not in the row image")]
    Unchanged {
        /// Index of the key column.
        column: usize,
    },
    /// The value has 4 GiB or more.
    #[error("key column {column} is too long")]
    TooLong {
        /// Index of the key column.
        column: usize,
    },
}

/// The image of a row before its change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OldImage {
    /// Only the key columns hold values; the other cells mean nothing.
    Key(Row),
    /// All columns hold values.
    Full(Row),
}

impl OldImage {
    /// The row, of which only the key columns are sure to hold values.
    #[must_use]
    pub fn row(&self) -> &Row {
        match self {
            Self::Key(row) | Self::Full(row) => row,
        }
    }
}

/// One change of one row of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new row; every cell holds its value.
    Insert {
        /// The row.
        row: Row,
    },
    /// A row with other values.
    Update {
        /// The image before, `None` if the key did not change and the stream does not tell it.
        old: Option<OldImage>,
        /// The image after; cells may be [`Cell::Unchanged`].
        row: Row,
    },
    /// A row that is gone.
    Delete {
        /// The image before.
        old: OldImage,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &'static str) -> Cell {
        Cell::Value(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_key_gives_back_the_values_it_was_made_of() {
        let row = Row::new(vec![value("a"), Cell::Null, value(""), value("long value")]);
        let key = Key::of(&row, &[3, 0, 2]).unwrap();
        let values: Vec<_> = key.values().collect();
        assert_eq!(values, ["long value", "a", ""]);
    }

    #[test]
    fn keys_of_shifted_values_differ() {
        let one = Key::of(&Row::new(vec![value("ab"), value("c")]), &[0, 1]).unwrap();
        let two = Key::of(&Row::new(vec![value("a"), value("bc")]), &[0, 1]).unwrap();
        assert_ne!(one, two);
    }

    #[test]
    fn a_null_or_missing_key_column_is_an_error() {
        let row = Row::new(vec![Cell::Null, Cell::Unchanged]);
        assert_eq!(Key::of(&row, &[0]), Err(KeyError::Null { column: 0 }));
        assert_eq!(Key::of(&row, &[1]), Err(KeyError::Unchanged { column: 1 }));
        assert_eq!(Key::of(&row, &[2]), Err(KeyError::Missing { column: 2 }));
    }
}
