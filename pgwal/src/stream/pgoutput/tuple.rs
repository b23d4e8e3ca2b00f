//! Row images (`TupleData`): `n` is NULL, `u` an unchanged TOAST value, `t` a value as text.
//!
//! `b`, a value in the type's binary form, comes only with the option `binary`, which we leave off.

use router::{Cell, Row};

use super::{DecodeError, Reader};

pub(super) fn read(reader: &mut Reader) -> Result<Row, DecodeError> {
    let count = usize::from(reader.u16("number of columns")?);
    // Each cell takes at least one byte, so the message bounds what is allocated.
    let mut cells = Vec::with_capacity(count.min(reader.remaining()));
    for _ in 0..count {
        cells.push(cell(reader)?);
    }
    Ok(Row::new(cells))
}

fn cell(reader: &mut Reader) -> Result<Cell, DecodeError> {
    match reader.u8("column kind")? {
        b'n' => Ok(Cell::Null),
        b'u' => Ok(Cell::Unchanged),
        b't' => {
            let len = reader.len("value length")?;
            Ok(Cell::Value(reader.bytes(len, "value")?))
        }
        b'b' => Err(DecodeError::Unexpected {
            tag: reader.tag(),
            what: "a binary value",
        }),
        other => Err(reader.malformed("column kind", other)),
    }
}
