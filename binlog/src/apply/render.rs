//! Writes a field of the source's row image as an SQL literal that gives exactly its value.
//!
//! Text is written as the bytes of its character set, in hex: nothing depends on the session's set
//! or on escaping. Numbers in floating point are written so that reading them gives the same bits.
//! Enumerations and sets are written as their numbers.

pub(super) mod decimal;
pub(super) mod times;

mod compressed;
mod own_types;

use std::borrow::Cow;

use super::field::{BadField, FieldType};
use super::json;
use super::target_table::{Column, Notation};
use crate::name::hex_literal;

/// Why a value has no literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// Its bytes do not fit its type.
    Malformed,
    /// SQL has no way to say it.
    NoLiteral,
}

impl From<BadField> for Unwritten {
    fn from(_bad: BadField) -> Self {
        Self::Malformed
    }
}

/// The literal of a field of `column`.
///
/// # Errors
/// When its bytes do not fit its type, or the type has no literal here.
pub(super) fn literal(column: &Column, field: &[u8]) -> Result<String, Unwritten> {
    let value = column.from.framing().payload(field)?;
    let unsigned = little_endian(value);
    Ok(match column.from {
        FieldType::Int(_) if column.unsigned => unsigned.to_string(),
        FieldType::Int(_) => signed(value).to_string(),
        FieldType::Enum { .. } | FieldType::Set { .. } => unsigned.to_string(),
        FieldType::Float => {
            let bits = u32::from_le_bytes(value.try_into().map_err(|_length| BadField)?);
            float(f64::from(f32::from_bits(bits)))
        }
        FieldType::Double => {
            let bits = u64::from_le_bytes(value.try_into().map_err(|_length| BadField)?);
            float(f64::from_bits(bits))
        }
        FieldType::Decimal { precision, scale } => {
            decimal::text(value, precision, scale).ok_or(BadField)?
        }
        // 0 is the year 0000, as a number also to the server; others count from 1900.
        FieldType::Year if unsigned == 0 => "0".to_owned(),
        FieldType::Year => (1900 + unsigned).to_string(),
        FieldType::Date => quoted(&times::date(unsigned)),
        FieldType::Time { fsp } => quoted(&times::time(value, fsp).ok_or(BadField)?),
        FieldType::DateTime { fsp } => quoted(&times::date_time(value, fsp).ok_or(BadField)?),
        FieldType::Timestamp { fsp } => quoted(&times::timestamp(value, fsp).ok_or(BadField)?),
        FieldType::OldTime => quoted(&times::old_time(unsigned)),
        FieldType::OldDateTime => quoted(&times::old_date_time(unsigned)),
        FieldType::OldTimestamp => quoted(&times::of_unix_time(unsigned, "")),
        // As a number: MariaDB compares bytes with such a column as text.
        FieldType::Bit { .. } => big_endian(value).to_string(),
        FieldType::Char { .. }
        | FieldType::VarChar { .. }
        | FieldType::Blob { .. }
        | FieldType::VarCharCompressed { .. }
        | FieldType::BlobCompressed { .. } => text(column, value)?,
        FieldType::Geometry { .. } | FieldType::Vector { .. } => hex_literal(value),
        FieldType::Json { .. } if column.conversion.makes_text_of_json() => {
            let json = json::text(value)?;
            format!("_utf8mb4 {}", hex_literal(json.as_bytes()))
        }
        FieldType::Json { .. } => json::expression(value)?.ok_or(Unwritten::NoLiteral)?,
    })
}

/// Text and bytes.
fn text(column: &Column, value: &[u8]) -> Result<String, BadField> {
    let value = plain(column, value)?;
    match (column.notation, column.charset.as_deref()) {
        (Notation::Uuid, _) => own_types::uuid(&value).map(|text| quoted(&text)),
        (Notation::Inet4, _) => own_types::inet4(&value).map(|text| quoted(&text)),
        (Notation::Inet6, _) => own_types::inet6(&value).map(|text| quoted(&text)),
        (Notation::Plain, None | Some("binary")) => Ok(hex_literal(&value)),
        (Notation::Plain, Some(charset)) => Ok(format!("_{charset} {}", hex_literal(&value))),
    }
}

/// The value's own bytes: servers log `BINARY` without the zeros at its end, and keep some columns
/// compressed.
fn plain<'v>(column: &Column, value: &'v [u8]) -> Result<Cow<'v, [u8]>, BadField> {
    match column.from {
        FieldType::VarCharCompressed { .. } | FieldType::BlobCompressed { .. } => {
            compressed::inflate(value)
        }
        FieldType::Char { octets } if is_bytes(column) => {
            let octets = match column.conversion.to() {
                FieldType::Char { octets } => octets,
                _other => octets,
            };
            let mut padded = value.to_vec();
            padded.resize(padded.len().max(usize::from(octets)), 0);
            Ok(Cow::Owned(padded))
        }
        _other => Ok(Cow::Borrowed(value)),
    }
}

fn is_bytes(column: &Column) -> bool {
    column.notation != Notation::Plain || matches!(column.charset.as_deref(), None | Some("binary"))
}

/// The bytes that the target has for a field of text.
///
/// # Errors
/// When its bytes do not fit its type, or the target's.
pub(super) fn stored_text(column: &Column, field: &[u8]) -> Result<Vec<u8>, Unwritten> {
    let value = column.from.framing().payload(field)?;
    match column.from {
        FieldType::VarCharCompressed { .. } | FieldType::BlobCompressed { .. } => {
            Ok(compressed::inflate(value)?.into_owned())
        }
        _other => {
            let mut stored = Vec::with_capacity(field.len());
            column
                .conversion
                .write(field, &mut Vec::new(), &mut stored)
                .map_err(|_unconverted| Unwritten::Malformed)?;
            Ok(column.conversion.to().framing().payload(&stored)?.to_vec())
        }
    }
}

/// The value of a field of `column` for the eyes of the operator: text as it is, where it can be
/// shown, and the literal of all else, without quotes.
///
/// # Errors
/// As [`literal`].
pub(super) fn readable(column: &Column, field: &[u8]) -> Result<String, Unwritten> {
    let is_text = matches!(
        column.from,
        FieldType::Char { .. } | FieldType::VarChar { .. } | FieldType::Blob { .. }
    );
    let shown = match column.charset.as_deref() {
        Some("utf8mb4" | "utf8mb3" | "utf8" | "ascii") if is_text => {
            let value = column.from.framing().payload(field)?;
            std::str::from_utf8(value).ok().map(str::to_owned)
        }
        Some(_) | None => None,
    };
    if let Some(shown) = shown {
        return Ok(shown);
    }
    let literal = literal(column, field)?;
    let inner = literal
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    Ok(inner.map_or(literal.clone(), str::to_owned))
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

/// A number whose reading gives the same bits again; the exponent makes it a floating-point one.
pub(in crate::apply) fn float(value: f64) -> String {
    format!("{value:e}")
}

fn big_endian(value: &[u8]) -> u64 {
    value
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn little_endian(value: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(value) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

fn signed(value: &[u8]) -> i64 {
    let negative = value.last().is_some_and(|high| high & 0x80 != 0);
    let mut bytes = [if negative { 0xFF } else { 0 }; 8];
    for (to, from) in bytes.iter_mut().zip(value) {
        *to = *from;
    }
    i64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
