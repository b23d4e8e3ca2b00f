//! Conditions that find rows.
//!
//! A key is compared as its unique index does it, so that one row is found however it is spelt. Where
//! a row has no key, all its values must be the same bytes: two rows may differ by no more than case
//! or a trailing space.

use router::Cell;

use crate::apply::error::ApplyError;
use crate::apply::field::FieldType;
use crate::apply::render;
use crate::apply::target_table::{Column, Generated, TargetIdentity, TargetTable};
use crate::apply::work::Image;
use crate::name::{hex_literal, quote_identifier};

/// The condition that finds the row of an image.
pub(in crate::apply) fn condition(
    table: &TargetTable,
    image: Image<'_>,
) -> Result<String, ApplyError> {
    let (cells, compare): (Vec<_>, Compare) = match image {
        Image::None => return Ok("FALSE".to_owned()),
        Image::Key(key) => match &table.identity {
            TargetIdentity::Key(columns) => {
                let cells = columns
                    .iter()
                    .copied()
                    .zip(key.values().map(Cell::Value))
                    .collect();
                (cells, loosely)
            }
            TargetIdentity::WholeRow => return Ok("FALSE".to_owned()),
        },
        Image::Row(row) => (row.cells().iter().cloned().enumerate().collect(), exactly),
    };
    let mut parts = Vec::with_capacity(cells.len());
    for (place, cell) in cells {
        let column = &table.columns[place];
        if column.generated == Generated::Virtual {
            continue;
        }
        let name = quote_identifier(&column.name);
        parts.push(match &cell {
            Cell::Null => format!("{name} IS NULL"),
            Cell::Value(field) => compare(column, &name, field)
                .map_err(|_bad| refused(table, column, "its type cannot be written as SQL"))?,
            Cell::Unchanged => return Err(refused(table, column, "the stream left it out")),
        });
    }
    Ok(format!("({})", parts.join(" AND ")))
}

type Compare = fn(&Column, &str, &[u8]) -> Result<String, render::Unwritten>;

pub(super) fn refused(table: &TargetTable, column: &Column, why: &'static str) -> ApplyError {
    ApplyError::Value {
        table: table.name.clone(),
        column: column.name.clone(),
        why,
        row: None,
    }
}

/// As the column's own type and collation compare.
fn loosely(column: &Column, name: &str, field: &[u8]) -> Result<String, render::Unwritten> {
    Ok(format!("{name}={}", render::literal(column, field)?))
}

/// By the bytes of the value. The looser comparison stands before it, since it may use an index.
fn exactly(column: &Column, name: &str, field: &[u8]) -> Result<String, render::Unwritten> {
    let literal = render::literal(column, field)?;
    // Servers compare documents by value: 1 is 1.0 to them.
    if let FieldType::Json { .. } = column.conversion.to() {
        return Ok(format!(
            "CAST(CAST({name} AS CHAR) AS BINARY)=CAST(CAST({literal} AS CHAR) AS BINARY)"
        ));
    }
    if let FieldType::Geometry { .. } | FieldType::Vector { .. } = column.conversion.to() {
        return Ok(format!("HEX({name})=HEX({literal})"));
    }
    let loosely = format!("{name}={literal}");
    let is_text = matches!(
        column.conversion.to(),
        FieldType::Char { .. }
            | FieldType::VarChar { .. }
            | FieldType::Blob { .. }
            | FieldType::VarCharCompressed { .. }
            | FieldType::BlobCompressed { .. }
    );
    match column.target_charset {
        None => Ok(loosely),
        Some(_) if !is_text => Ok(loosely),
        Some(_) => {
            let bytes = hex_literal(&render::stored_text(column, field)?);
            Ok(format!("{loosely} AND CAST({name} AS BINARY)={bytes}"))
        }
    }
}
