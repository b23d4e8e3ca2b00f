//! MySQL's binary JSON as text, for targets that keep JSON as text (MariaDB) and for SQL.
//!
//! The text is the one that MySQL itself shows. What only the binary form tells (that a string is a
//! date, that a number is a decimal) is lost in it; [`Text::loses`] says whether there is such a
//! thing.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/json__binary_8h.html>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::field::BadField;
use super::render::{decimal, times};
use crate::json::read::{DEPTH_MAX, Parts, Value, counted, first, kind};

/// Field types of opaque values.
mod opaque {
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const DECIMAL: u8 = 246;
}

/// A JSON value as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    /// Whether a server that reads the text may get another value.
    pub(super) loses: Loses,
}

/// What reading the text again gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loses {
    Nothing,
    /// Types, or the last bit of a floating-point number.
    Types,
}

/// The text of a binary value; of no bytes at all, which servers read as null.
///
/// # Errors
/// When the bytes are no value.
pub(super) fn text(binary: &[u8]) -> Result<Text, BadField> {
    let mut writer = Writer {
        text: String::with_capacity(binary.len() + 16),
        loses: Loses::Nothing,
    };
    writer.value(Value::of(binary)?, 0)?;
    Ok(Text {
        text: writer.text,
        loses: writer.loses,
    })
}

struct Writer {
    text: String,
    loses: Loses,
}

impl Writer {
    fn value(&mut self, value: Value<'_>, depth: u32) -> Result<(), BadField> {
        if depth > DEPTH_MAX {
            return Err(BadField);
        }
        match value.parts()? {
            Parts::Scalar => self.scalar(value.kind, value.bytes)?,
            Parts::Object(members) => {
                self.text.push('{');
                for (nth, (key, member)) in members.into_iter().enumerate() {
                    self.comma(nth);
                    self.string(key)?;
                    self.text.push_str(": ");
                    self.value(member, depth + 1)?;
                }
                self.text.push('}');
            }
            Parts::Array(elements) => {
                self.text.push('[');
                for (nth, element) in elements.into_iter().enumerate() {
                    self.comma(nth);
                    self.value(element, depth + 1)?;
                }
                self.text.push(']');
            }
        }
        Ok(())
    }

    fn scalar(&mut self, kind: u8, bytes: &[u8]) -> Result<(), BadField> {
        let shown = match kind {
            kind::LITERAL => match bytes.first() {
                Some(0) => "null".to_owned(),
                Some(1) => "true".to_owned(),
                Some(2) => "false".to_owned(),
                Some(_) | None => return Err(BadField),
            },
            kind::INT16 => i16::from_le_bytes(first(bytes)?).to_string(),
            kind::UINT16 => u16::from_le_bytes(first(bytes)?).to_string(),
            kind::INT32 => i32::from_le_bytes(first(bytes)?).to_string(),
            kind::UINT32 => u32::from_le_bytes(first(bytes)?).to_string(),
            kind::INT64 => i64::from_le_bytes(first(bytes)?).to_string(),
            kind::UINT64 => u64::from_le_bytes(first(bytes)?).to_string(),
            kind::DOUBLE => {
                self.loses = Loses::Types;
                double(f64::from_le_bytes(first(bytes)?))
            }
            kind::STRING => return self.string(counted(bytes)?),
            kind::OPAQUE => {
                self.loses = Loses::Types;
                let (field, rest) = bytes.split_first().ok_or(BadField)?;
                opaque_text(*field, counted(rest)?)?
            }
            _unknown => return Err(BadField),
        };
        self.text.push_str(&shown);
        Ok(())
    }

    fn comma(&mut self, nth: usize) {
        if nth > 0 {
            self.text.push_str(", ");
        }
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), BadField> {
        let string = std::str::from_utf8(bytes).map_err(|_invalid| BadField)?;
        self.text.push('"');
        for letter in string.chars() {
            match letter {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                control if u32::from(control) < 0x20 => {
                    self.text
                        .push_str(&format!("\\u{:04x}", u32::from(control)));
                }
                other => self.text.push(other),
            }
        }
        self.text.push('"');
        Ok(())
    }
}

/// As the server shows it: the shortest digits, an exponent only for what is very large or small.
fn double(value: f64) -> String {
    let exponential = format!("{value:e}");
    let exponent = exponential
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    match exponent {
        Some(exponent) if (-15..15).contains(&exponent) => {
            let plain = value.to_string();
            if plain.contains('.') {
                plain
            } else {
                format!("{plain}.0")
            }
        }
        Some(_) | None => exponential,
    }
}

/// Values of SQL types: numbers bare, everything else as a string.
fn opaque_text(field: u8, bytes: &[u8]) -> Result<String, BadField> {
    match field {
        opaque::DECIMAL => {
            let (&[precision, scale], digits) = bytes.split_first_chunk::<2>().ok_or(BadField)?;
            decimal::text(digits, precision, scale).ok_or(BadField)
        }
        opaque::DATE | opaque::DATETIME | opaque::TIMESTAMP | opaque::TIME => {
            let packed = i64::from_le_bytes(bytes.try_into().map_err(|_length| BadField)?);
            let shown = match field {
                opaque::TIME => times::packed_time(packed),
                opaque::DATE => times::packed_date(packed),
                _date_and_time => times::packed_date_time(packed),
            };
            Ok(format!("\"{shown}\""))
        }
        other => Ok(format!("\"base64:type{other}:{}\"", STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(binary: &[u8]) -> String {
        text(binary).unwrap().text
    }

    #[test]
    fn values_are_shown_as_the_server_shows_them() {
        // {"a": 1, "bc": [true, "x\n"]}, as JSON_STORAGE_SIZE's bytes would be.
        let array = [2, 0, 13, 0, 4, 1, 0, 12, 10, 0, 2, b'x', b'\n'];
        let mut object = vec![0, 2, 0, 34, 0, 18, 0, 1, 0, 19, 0, 2, 0, 5, 1, 0, 2, 21, 0];
        object.extend(b"abc");
        object.extend(array);
        assert_eq!(of(&object), r#"{"a": 1, "bc": [true, "x\n"]}"#);
        assert_eq!(of(&[]), "null");
        assert_eq!(of(&[5, 0xFE, 0xFF]), "-2");
    }

    #[test]
    fn doubles_have_a_fraction_or_an_exponent() {
        let double = |value: f64| {
            let mut binary = vec![11];
            binary.extend(value.to_le_bytes());
            of(&binary)
        };
        assert_eq!(double(1.0), "1.0");
        assert_eq!(double(0.1), "0.1");
        assert_eq!(double(1e20), "1e20");
        assert_eq!(double(1.5e-20), "1.5e-20");
        assert_eq!(
            text(&[11, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap().loses,
            Loses::Types
        );
    }

    #[test]
    fn bytes_that_are_no_value_are_refused() {
        for binary in [
            &[0][..],
            &[0, 255, 255, 4, 0],
            &[2, 1, 0, 7, 0, 2, 0, 0],
            &[12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            &[12, 5, b'x'],
            &[99],
        ] {
            assert_eq!(text(binary), Err(BadField), "{binary:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(binary: Vec<u8>) {
            let _shown = text(&binary);
        }
    }
}
