//! Where numbers of types stand in messages.
//! See <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use super::values::{Cut, Renumber};
use crate::wire::{FieldError, Fields};

/// A column of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    /// The server's number of its type.
    pub(super) of: u32,
    pub(super) is_binary: bool,
}

/// What a Bind message says besides its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    /// For all columns if it is one, for none if it is none.
    pub(super) formats: Vec<u16>,
}

/// Bytes of a column in a `RowDescription` between its name and the number of its type: table and
/// place; and those behind it: length, modifier and format.
const BEFORE_TYPE_BYTES: usize = 6;
const BEHIND_TYPE_BYTES: usize = 8;

/// Each column's table and type in a `RowDescription`.
pub(super) fn each_column(body: &[u8], mut found: impl FnMut(u32, u32)) {
    let Some((_count, rest)) = body.split_at_checked(2) else {
        return;
    };
    let mut fields = Fields::new(rest);
    let mut next = || -> Result<(u32, u32), FieldError> {
        let _name = fields.string()?;
        let (table, _place) = (fields.u32()?, fields.i16()?);
        let of = fields.u32()?;
        let _others = fields.bytes(BEHIND_TYPE_BYTES)?;
        Ok((table, of))
    };
    while let Ok((table, of)) = next() {
        found(table, of);
    }
}

/// Each type in a `ParameterDescription`.
pub(super) fn each_parameter(body: &[u8], mut found: impl FnMut(u32)) {
    let types = body.get(2..).unwrap_or_default();
    for word in types.as_chunks().0 {
        found(u32::from_be_bytes(*word));
    }
}

/// Each type in a Parse message.
pub(super) fn each_parse_type(body: &[u8], found: impl FnMut(u32)) {
    let mut fields = Fields::new(body);
    if fields.string().is_ok() && fields.string().is_ok() {
        each_parameter(fields.rest(), found);
    }
}

/// The types of a statement's parameters, as the server calls them.
pub(super) fn parameter_description(body: &mut [u8], renumber: &mut Renumber<'_>) -> Vec<u32> {
    let types = body.get_mut(2..).unwrap_or_default();
    let types = types.as_chunks_mut().0.iter_mut();
    types.map(|word| renumber.number(word)).collect()
}

/// The columns of a result, as the server calls their types.
pub(super) fn row_description(body: &mut [u8], renumber: &mut Renumber<'_>) -> Vec<Column> {
    let mut fields = Cut(body);
    let count = fields.u16().unwrap_or_default();
    let mut column = || {
        let _name = fields.string()?;
        let _table_and_place = fields.take(BEFORE_TYPE_BYTES)?;
        let of = renumber.number(fields.word()?);
        let _length_and_modifier = fields.take(6)?;
        let is_binary = fields.u16()? == 1;
        Some(Column { of, is_binary })
    };
    (0..count).map_while(|_column| column()).collect()
}

/// The name of a statement in a Parse message and the types that are given in it, as the server
/// calls them; 0 where the server is to find out.
pub(super) fn parse<'a>(
    body: &'a mut [u8],
    renumber: &mut Renumber<'_>,
) -> Option<(&'a [u8], Vec<u32>)> {
    let mut fields = Cut(body);
    let name = fields.string()?;
    let _text = fields.string()?;
    let count = fields.u16()?;
    let types = (0..count).map_while(|_type| Some(renumber.number(fields.word()?)));
    Some((name, types.collect()))
}

/// The names of portal and statement at the beginning of a Bind message, if they are there.
pub(super) fn bind_names(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = Fields::new(body);
    Some((fields.string().ok()?, fields.string().ok()?))
}

/// The values of a whole Bind message; a message that is not one is for the server to refuse.
pub(super) fn bind(
    body: &mut [u8],
    parameters: &[u32],
    renumber: &mut Renumber<'_>,
) -> Option<Bound> {
    let mut fields = Cut(body);
    let _portal = fields.string()?;
    let _statement = fields.string()?;
    let count = fields.u16()?;
    let formats: Option<Vec<u16>> = (0..count).map(|_format| fields.u16()).collect();
    let formats = formats?;
    let count = usize::from(fields.u16()?);
    for place in 0..count {
        let Some(value) = fields.value()? else {
            continue;
        };
        if format_of(&formats, place) == 1
            && let Some(of) = parameters.get(place)
        {
            renumber.value(*of, value);
        }
    }
    let count = fields.u16()?;
    let formats: Option<Vec<u16>> = (0..count).map(|_format| fields.u16()).collect();
    Some(Bound { formats: formats? })
}

/// The format of a value where a message says it for none, for all, or for each.
pub(super) fn format_of(formats: &[u16], place: usize) -> u16 {
    match formats {
        [] => 0,
        [all] => *all,
        each => each.get(place).copied().unwrap_or_default(),
    }
}

/// The values of a row.
pub(super) fn data_row(body: &mut [u8], columns: &[Column], renumber: &mut Renumber<'_>) {
    let mut fields = Cut(body);
    let _count = fields.u16();
    for column in columns {
        match fields.value() {
            None => return,
            Some(Some(value)) if column.is_binary => renumber.value(column.of, value),
            Some(_) => {}
        }
    }
}
