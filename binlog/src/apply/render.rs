//! Writes a field of the source's row image as an SQL literal that gives exactly its value.
//!
//! Text is written as the bytes of its character set, in hex: nothing depends on the session's set
//! or on escaping. Numbers in floating point are written so that reading them gives the same bits.
//! Enumerations and sets are written as their numbers.

pub(super) mod decimal;
pub(super) mod times;

use super::field::{BadField, FieldType};
use super::json::{self, Loses};
use super::target_table::Column;
use crate::name::hex_literal;

/// The literal of a field of `column`.
///
/// # Errors
/// When its bytes do not fit its type, or the type has no literal here.
pub(super) fn literal(column: &Column, field: &[u8]) -> Result<String, BadField> {
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
        FieldType::Bit { .. } => hex_literal(value),
        FieldType::Char { .. } | FieldType::VarChar { .. } | FieldType::Blob { .. } => {
            match column.charset.as_deref() {
                None | Some("binary") => hex_literal(value),
                Some(charset) => format!("_{charset} {}", hex_literal(value)),
            }
        }
        FieldType::Geometry { .. } | FieldType::Vector { .. } => hex_literal(value),
        FieldType::Json { .. } => {
            let json = json::text(value)?;
            let text = format!("_utf8mb4 {}", hex_literal(json.text.as_bytes()));
            match (column.conversion.makes_text_of_json(), json.loses) {
                (true, _) => text,
                (false, Loses::Nothing) => format!("CAST({text} AS JSON)"),
                (false, Loses::Types) => return Err(BadField),
            }
        }
        FieldType::VarCharCompressed { .. } | FieldType::BlobCompressed { .. } => {
            return Err(BadField);
        }
    })
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

/// A number whose reading gives the same bits again; the exponent makes it a floating-point one.
fn float(value: f64) -> String {
    format!("{value:e}")
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
