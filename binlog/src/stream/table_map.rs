//! `Table_map_event`: which table the rows events that follow are about, and its columns' types.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Table__map__event.html>

use super::error::EventError;
use super::event::{ColumnType, TableMap};
use crate::wire::{FieldError, Fields};

/// More columns than any server has.
const COLUMNS_MAX: u64 = 4096;

/// Type bytes that matter here; all others have no metadata and no sign or collation.
mod code {
    pub(super) const STRING: u8 = 254;
    pub(super) const ENUM: u8 = 247;
    pub(super) const SET: u8 = 248;
}

/// The id and the names in the body of a table map, without its columns.
pub(super) fn names(body: &[u8], short_ids: bool) -> Result<(u64, String, String), EventError> {
    let mut fields = Fields::new(body);
    let head = read_names(&mut fields, short_ids)?;
    Ok(head)
}

fn read_names(
    fields: &mut Fields<'_>,
    short_ids: bool,
) -> Result<(u64, String, String), FieldError> {
    let id = table_id(fields, short_ids)?;
    let _flags = fields.u16()?;
    let mut name = || {
        let length = usize::from(fields.u8()?);
        let name = fields.bytes(length)?;
        let _terminator = fields.u8()?;
        String::from_utf8(name.to_vec()).map_err(|_bad| FieldError("a name is not UTF-8"))
    };
    Ok((id, name()?, name()?))
}

/// A table's number: 6 bytes, or 4 in logs of old servers.
pub(super) fn table_id(fields: &mut Fields<'_>, short: bool) -> Result<u64, FieldError> {
    if short {
        Ok(fields.u32()?.into())
    } else {
        fields.u48()
    }
}

/// The table's number in the body of a table map.
pub(super) fn id(body: &[u8], short_ids: bool) -> Result<u64, EventError> {
    Ok(table_id(&mut Fields::new(body), short_ids)?)
}

/// Reads a table map, but for its number.
pub(super) fn parse(body: &[u8], short_ids: bool) -> Result<TableMap, EventError> {
    let mut fields = Fields::new(body);
    let (_id, schema, table) = read_names(&mut fields, short_ids)?;
    let count = fields.lenenc_int()?;
    if count > COLUMNS_MAX {
        return Err(FieldError("it has more columns than a table can").into());
    }
    let count = usize::try_from(count).map_err(|_large| FieldError("too many columns"))?;
    let codes = fields.bytes(count)?;
    let mut metadata = Fields::new(fields.lenenc_bytes()?);
    let mut columns = Vec::with_capacity(count);
    for &code in codes {
        columns.push(ColumnType {
            code,
            metadata: metadata.bytes(metadata_bytes(code)?)?.to_vec(),
            unsigned: None,
            collation: None,
        });
    }
    if !metadata.is_empty() {
        return Err(FieldError("its metadata is longer than its types have").into());
    }
    let _nullable = fields.bytes(count.div_ceil(8))?;
    read_optional(fields, &mut columns)?;
    Ok(TableMap {
        schema,
        table,
        columns,
    })
}

/// Bytes of metadata that a type has. A type that is not known ends the stream: nothing behind it
/// can be read.
fn metadata_bytes(code: u8) -> Result<usize, FieldError> {
    match code {
        // Numbers without a length, and the temporal types of old servers.
        1..=3 | 6..=14 => Ok(0),
        // FLOAT, DOUBLE, temporal types with fractions, and values with a long length.
        4 | 5 | 17..=19 | 140 | 242 | 245 | 249..=252 | 255 => Ok(1),
        // DECIMAL, VARCHAR, BIT, COMPRESSED, ENUM, SET, VAR_STRING, STRING.
        15 | 16 | 141 | 246..=248 | 253 | 254 => Ok(2),
        _unknown => Err(FieldError("a column has a type that is not known")),
    }
}

/// What `binlog_row_metadata` adds: pairs of a type and a length-encoded value.
fn read_optional(mut fields: Fields<'_>, columns: &mut [ColumnType]) -> Result<(), FieldError> {
    const SIGNEDNESS: u8 = 1;
    const DEFAULT_CHARSET: u8 = 2;
    const COLUMN_CHARSET: u8 = 3;
    const ENUM_AND_SET_DEFAULT_CHARSET: u8 = 10;
    const ENUM_AND_SET_COLUMN_CHARSET: u8 = 11;
    while !fields.is_empty() {
        let kind = fields.u8()?;
        let value = fields.lenenc_bytes()?;
        match kind {
            SIGNEDNESS => {
                let numbers = columns.iter_mut().filter(|column| is_number(column.code));
                for (place, column) in numbers.enumerate() {
                    let byte = value.get(place / 8).copied().unwrap_or_default();
                    column.unsigned = Some(byte & (0x80 >> (place % 8)) != 0);
                }
            }
            DEFAULT_CHARSET => default_collations(value, columns, is_text)?,
            COLUMN_CHARSET => collations(value, columns, is_text)?,
            ENUM_AND_SET_DEFAULT_CHARSET => default_collations(value, columns, is_list)?,
            ENUM_AND_SET_COLUMN_CHARSET => collations(value, columns, is_list)?,
            // Names, labels, keys, visibility: the target's catalogue tells them.
            _others => {}
        }
    }
    Ok(())
}

/// One collation, and pairs of place and collation for those columns that have another.
fn default_collations(
    value: &[u8],
    columns: &mut [ColumnType],
    wanted: fn(&ColumnType) -> bool,
) -> Result<(), FieldError> {
    let mut fields = Fields::new(value);
    let default = fields.lenenc_int()?;
    let mut of_kind: Vec<_> = columns.iter_mut().filter(|column| wanted(column)).collect();
    for column in &mut of_kind {
        column.collation = Some(default);
    }
    while !fields.is_empty() {
        let (place, collation) = (fields.lenenc_int()?, fields.lenenc_int()?);
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let column = of_kind.get_mut(place);
        column
            .ok_or(FieldError("a collation is of no column"))?
            .collation = Some(collation);
    }
    Ok(())
}

/// A collation for each column.
fn collations(
    value: &[u8],
    columns: &mut [ColumnType],
    wanted: fn(&ColumnType) -> bool,
) -> Result<(), FieldError> {
    let mut fields = Fields::new(value);
    for column in columns.iter_mut().filter(|column| wanted(column)) {
        column.collation = Some(fields.lenenc_int()?);
    }
    Ok(())
}

/// What has a sign to the servers; `YEAR` is among it.
fn is_number(code: u8) -> bool {
    matches!(code, 1..=5 | 8 | 9 | 13 | 246)
}

/// `ENUM` and `SET` have the type byte of `CHAR` and their own in the metadata.
fn is_list(column: &ColumnType) -> bool {
    column.code == code::STRING
        && matches!(column.metadata.first(), Some(&(code::ENUM | code::SET)))
}

fn is_text(column: &ColumnType) -> bool {
    matches!(column.code, 15 | 140 | 141 | 252..=254) && !is_list(column)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn signs_and_collations_go_to_the_columns_they_are_of() {
        let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2];
        body.extend(b"db\0\x01t\0");
        // int, varchar(10), enum, bigint unsigned
        body.extend([4, 3, 15, 254, 8, 4, 10, 0, 247, 1, 0]);
        body.extend([1, 1, 0b0100_0000, 2, 1, 45, 10, 1, 8]);
        let map = parse(&body, false).unwrap();
        let id = id(&body, false).unwrap();
        assert_eq!(
            (id, map.schema.as_str(), map.table.as_str()),
            (7, "db", "t")
        );
        let unsigned: Vec<_> = map.columns.iter().map(|column| column.unsigned).collect();
        assert_eq!(unsigned, [Some(false), None, None, Some(true)]);
        let collations: Vec<_> = map.columns.iter().map(|column| column.collation).collect();
        assert_eq!(collations, [None, Some(45), Some(8), None]);
        for end in 0..body.len() - 9 {
            assert!(parse(&body[..end], false).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            drop(parse(&bytes, false));
            drop(parse(&bytes, true));
        }
    }
}
