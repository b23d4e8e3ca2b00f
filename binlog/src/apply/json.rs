//! MySQL's binary JSON as text, for targets that keep JSON as text (MariaDB) and for SQL.
//!
//! The text is the one that MySQL itself shows. What only the binary form tells (that a string is a
//! date, that a number is a decimal) is lost in it; [`expression`] sets such values with their types.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/json__binary_8h.html>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::field::BadField;
use super::render::{decimal, float, times};
use crate::json::read::{DEPTH_MAX, Parts, Value, counted, first, kind};
use crate::name::{hex_literal, quote_literal};

/// Field types of opaque values.
mod opaque {
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATETIME: u8 = 12;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const DECIMAL: u8 = 246;
}

/// The most values that one call of `JSON_SET` sets.
const SET_AT_ONCE: usize = 1_000;

/// The text of a binary value; of no bytes at all, which servers read as null.
///
/// # Errors
/// When the bytes are no value.
pub(super) fn text(binary: &[u8]) -> Result<String, BadField> {
    let mut writer = Writer::new(binary, None);
    writer.value(Value::of(binary)?, 0)?;
    Ok(writer.text)
}

/// What makes the value in a statement, each part of it with its type; `None` if a part has a type of
/// which no expression makes a value.
///
/// # Errors
/// When the bytes are no value.
pub(super) fn expression(binary: &[u8]) -> Result<Option<String>, BadField> {
    let mut writer = Writer::new(binary, Some(Typed::default()));
    writer.value(Value::of(binary)?, 0)?;
    let Typed {
        sets,
        timestamps,
        has_others,
    } = writer.typed.unwrap_or_default();
    if has_others {
        return Ok(None);
    }
    let text = hex_literal(writer.text.as_bytes());
    let mut made = format!("CAST(_utf8mb4 {text} AS JSON)");
    for some in sets.chunks(SET_AT_ONCE) {
        made = format!("JSON_SET({made},{})", some.join(","));
    }
    if timestamps.is_empty() {
        return Ok(Some(made));
    }
    // Only a column makes a TIMESTAMP.
    let columns: Vec<_> = (0..timestamps.len())
        .map(|nth| format!("v{nth} TIMESTAMP(6) PATH '$[{nth}]'"))
        .collect();
    let values = format!("[{}]", timestamps.join(","));
    let values = quote_literal(&values);
    let columns = columns.join(",");
    Ok(Some(format!(
        "(SELECT {made} FROM JSON_TABLE({values}, '$' COLUMNS ({columns})) AS t)"
    )))
}

struct Writer {
    text: String,
    /// Where the value is, as `JSON_SET` takes it.
    path: String,
    /// `None` where only the text is asked for.
    typed: Option<Typed>,
}

/// Values whose types the text does not tell.
#[derive(Default)]
struct Typed {
    /// Paths with the expressions of their values.
    sets: Vec<String>,
    timestamps: Vec<String>,
    /// Whether there are any that no expression makes.
    has_others: bool,
}

impl Writer {
    fn new(binary: &[u8], typed: Option<Typed>) -> Self {
        Self {
            text: String::with_capacity(binary.len() + 16),
            path: "$".to_owned(),
            typed,
        }
    }

    fn value(&mut self, value: Value<'_>, depth: u32) -> Result<(), BadField> {
        if depth > DEPTH_MAX {
            return Err(BadField);
        }
        let here = self.path.len();
        match value.parts()? {
            Parts::Scalar => self.scalar(value.kind, value.bytes)?,
            Parts::Object(members) => {
                self.text.push('{');
                for (nth, (key, member)) in members.into_iter().enumerate() {
                    self.comma(nth);
                    let from = self.text.len();
                    self.string(key)?;
                    if self.typed.is_some() {
                        self.path.push('.');
                        self.path
                            .push_str(self.text.get(from..).unwrap_or_default());
                    }
                    self.text.push_str(": ");
                    self.value(member, depth + 1)?;
                    self.path.truncate(here);
                }
                self.text.push('}');
            }
            Parts::Array(elements) => {
                self.text.push('[');
                for (nth, element) in elements.into_iter().enumerate() {
                    self.comma(nth);
                    if self.typed.is_some() {
                        self.path.push_str(&format!("[{nth}]"));
                    }
                    self.value(element, depth + 1)?;
                    self.path.truncate(here);
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
            kind::UINT16 => self.unsigned(u16::from_le_bytes(first(bytes)?).into()),
            kind::INT32 => i32::from_le_bytes(first(bytes)?).to_string(),
            kind::UINT32 => self.unsigned(u32::from_le_bytes(first(bytes)?).into()),
            kind::INT64 => {
                let number = i64::from_le_bytes(first(bytes)?);
                // The server reads larger ones as unsigned.
                if number > i64::from(u32::MAX) {
                    self.set(|_typed| format!("CAST({number} AS SIGNED)"));
                }
                number.to_string()
            }
            kind::UINT64 => self.unsigned(u64::from_le_bytes(first(bytes)?)),
            kind::DOUBLE => {
                let number = f64::from_le_bytes(first(bytes)?);
                // A reader of the text may get another last bit.
                self.set(|_typed| float(number));
                double(number)
            }
            kind::STRING => return self.string(counted(bytes)?),
            kind::OPAQUE => {
                let (field, rest) = bytes.split_first().ok_or(BadField)?;
                let bytes = counted(rest)?;
                let shown = opaque_text(*field, bytes)?;
                self.set_opaque(*field, bytes, &shown)?;
                shown
            }
            _unknown => return Err(BadField),
        };
        self.text.push_str(&shown);
        Ok(())
    }

    /// The server reads numbers up to here as signed.
    fn unsigned(&mut self, number: u64) -> String {
        if number <= u64::from(u32::MAX) {
            self.set(|_typed| format!("CAST({number} AS UNSIGNED)"));
        }
        number.to_string()
    }

    /// Sets the value here to an expression's.
    fn set(&mut self, expression: impl FnOnce(&mut Typed) -> String) {
        if let Some(typed) = &mut self.typed {
            let expression = expression(typed);
            typed
                .sets
                .push(format!("{},{expression}", quote_literal(&self.path)));
        }
    }

    fn set_opaque(&mut self, field: u8, bytes: &[u8], shown: &str) -> Result<(), BadField> {
        let cast = |kind: &str| format!("CAST('{}' AS {kind})", shown.trim_matches('"'));
        match field {
            opaque::DECIMAL => {
                let (&[precision, scale], _digits) =
                    bytes.split_first_chunk::<2>().ok_or(BadField)?;
                self.set(|_typed| cast(&format!("DECIMAL({precision},{scale})")));
            }
            opaque::DATE => self.set(|_typed| cast("DATE")),
            opaque::TIME => self.set(|_typed| cast("TIME(6)")),
            opaque::DATETIME => self.set(|_typed| cast("DATETIME(6)")),
            opaque::TIMESTAMP => self.set(|typed| {
                typed.timestamps.push(shown.to_owned());
                format!("v{}", typed.timestamps.len() - 1)
            }),
            opaque::VARCHAR => self.set(|_typed| hex_literal(bytes)),
            _other => {
                if let Some(typed) = &mut self.typed {
                    typed.has_others = true;
                }
            }
        }
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
        text(binary).unwrap()
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
    }

    #[test]
    fn values_that_the_text_does_not_tell_are_set_with_their_types() {
        let made = |binary: &[u8]| expression(binary).unwrap();
        let document =
            |text: &str| format!("CAST(_utf8mb4 {} AS JSON)", hex_literal(text.as_bytes()));
        assert_eq!(made(&[5, 0xFE, 0xFF]), Some(document("-2")));
        // [65535], unsigned.
        let set = format!(
            "JSON_SET({},'$[0]',CAST(65535 AS UNSIGNED))",
            document("[65535]")
        );
        assert_eq!(made(&[2, 1, 0, 7, 0, 6, 0xFF, 0xFF]), Some(set));
        // 1.5 as a DECIMAL(2,1), and bytes of a type that nothing makes.
        let decimal = format!(
            "JSON_SET({},'$',CAST('1.5' AS DECIMAL(2,1)))",
            document("1.5")
        );
        assert_eq!(made(&[15, 246, 4, 2, 1, 0x81, 5]), Some(decimal));
        assert_eq!(made(&[15, 252, 1, 0xFF]), None);
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
