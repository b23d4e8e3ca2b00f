//! Documents of rows that are known by all their columns.
//!
//! A server that changes a document in place leaves other bytes than one that writes it anew, and so
//! does what is made of a document and its logged parts. Where rows have no key, changes of one row
//! are brought together by the bytes of all its values: there, equal documents must have equal bytes.

use bytes::Bytes;
use router::{Cell, Change, OldImage, Row};

use super::error::ApplyError;
use super::field::{BadField, FieldType};
use super::target_table::{Column, TargetIdentity, TargetTable};
use crate::json;

/// Gives the documents in the change of a table without a key the one form that each has.
///
/// # Errors
/// When a value is no document.
pub(super) fn level(table: &TargetTable, change: Change) -> Result<Change, ApplyError> {
    let is_json = |column: &Column| matches!(column.from, FieldType::Json { .. });
    if table.identity != TargetIdentity::WholeRow || !table.columns.iter().any(is_json) {
        return Ok(change);
    }
    let row = |mut row: Row| {
        for (cell, column) in row.cells_mut().iter_mut().zip(&table.columns) {
            if let (Cell::Value(field), true) = (&*cell, is_json(column)) {
                let leveled = level_field(column, field).map_err(|_bad| ApplyError::Value {
                    table: table.name.clone(),
                    column: column.name.clone(),
                    why: "its bytes do not fit its type in the source's log",
                    row: None,
                })?;
                *cell = Cell::Value(leveled);
            }
        }
        Ok::<_, ApplyError>(row)
    };
    let old = |old: OldImage| {
        Ok::<_, ApplyError>(match old {
            OldImage::Key(key) => OldImage::Key(row(key)?),
            OldImage::Full(full) => OldImage::Full(row(full)?),
        })
    };
    Ok(match change {
        Change::Insert { row: new } => Change::Insert { row: row(new)? },
        Change::Update {
            old: before,
            row: new,
        } => Change::Update {
            old: before.map(old).transpose()?,
            row: row(new)?,
        },
        Change::Delete { old: before } => Change::Delete { old: old(before)? },
    })
}

fn level_field(column: &Column, field: &[u8]) -> Result<Bytes, BadField> {
    let framing = column.from.framing();
    let document = json::canonical(framing.payload(field)?)?;
    let mut leveled = Vec::with_capacity(field.len());
    framing.write(&document, &mut leveled)?;
    Ok(Bytes::from(leveled))
}
