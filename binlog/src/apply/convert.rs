//! Turns a field of the source's row image into one of the target's.
//!
//! Nearly always that is copying its bytes: the target's tables are made from the source's. What
//! differs is converted where no value can be lost by it, and refused otherwise: the server would
//! believe whatever bytes it gets.

use super::charset::Recode;
use super::field::{FieldType, Framing};
use super::json;

/// How fields of one column are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Conversion {
    from: FieldType,
    to: FieldType,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Types and character sets are equal.
    Copy,
    /// A whole number of more bytes.
    Widen(Sign),
    /// Text or bytes, perhaps with another length before them or in another character set.
    Recode(Recode),
    /// Times as they were stored before fractions of seconds.
    OldTemporal,
    /// MySQL's binary JSON, as text.
    JsonText,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Signed,
    Unsigned,
}

/// One side's facts about a column.
#[derive(Debug, Clone, Copy)]
pub(super) struct SideOf<'a> {
    pub(super) field: FieldType,
    /// `None` if that side's log does not tell.
    pub(super) unsigned: Option<bool>,
    /// `None` if that side's log does not tell, or the column has none.
    pub(super) charset: Option<&'a str>,
}

/// Why a value cannot be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unconverted {
    /// Its bytes do not fit its type.
    Malformed,
    /// The target's character set does not have it.
    NotInCharset,
    /// It is too long for the target's column.
    TooLong,
    /// The target's type does not have it.
    OutOfRange,
}

impl Conversion {
    /// How to get from the source's column to the target's; `None` if there is no way.
    pub(super) fn between(from: SideOf<'_>, to: SideOf<'_>) -> Option<Self> {
        let how = Self::how(from, to)?;
        Some(Self {
            from: from.field,
            to: to.field,
            how,
        })
    }

    fn how(from: SideOf<'_>, to: SideOf<'_>) -> Option<How> {
        use FieldType as F;
        let same_sign = from.unsigned.is_none_or(|from| to.unsigned == Some(from));
        match (from.field, to.field) {
            (F::Int(narrow), F::Int(wide)) => match from.unsigned {
                _ if narrow == wide => same_sign.then_some(How::Copy),
                Some(true) if narrow < wide => Some(How::Widen(Sign::Unsigned)),
                Some(false) if narrow < wide && to.unsigned == Some(false) => {
                    Some(How::Widen(Sign::Signed))
                }
                Some(_) | None => None,
            },
            (F::Enum { bytes: narrow }, F::Enum { bytes: wide })
            | (F::Set { bytes: narrow }, F::Set { bytes: wide })
                if narrow < wide =>
            {
                Some(How::Widen(Sign::Unsigned))
            }
            (F::OldTime, F::Time { fsp: 0 })
            | (F::OldDateTime, F::DateTime { fsp: 0 })
            | (F::OldTimestamp, F::Timestamp { fsp: 0 }) => Some(How::OldTemporal),
            // MariaDB's JSON is text with a check.
            (F::Json { .. }, F::Blob { .. }) => {
                (to.charset == Some("utf8mb4")).then_some(How::JsonText)
            }
            (F::Char { .. }, F::Char { .. })
            | (F::VarChar { .. }, F::VarChar { .. })
            | (F::Blob { .. }, F::Blob { .. }) => Self::text(from, to),
            (F::VarCharCompressed { .. }, F::VarCharCompressed { .. })
            | (F::BlobCompressed { .. }, F::BlobCompressed { .. }) => {
                let same = from.charset.is_none() || from.charset == to.charset;
                (same && from.field == to.field).then_some(How::Copy)
            }
            (one, other) => (one == other).then_some(How::Copy),
        }
    }

    /// The type of the target's fields.
    pub(super) fn to(&self) -> FieldType {
        self.to
    }

    /// Whether it makes text of binary JSON.
    pub(super) fn makes_text_of_json(&self) -> bool {
        self.how == How::JsonText
    }

    fn text(from: SideOf<'_>, to: SideOf<'_>) -> Option<How> {
        // A column without a character set holds bytes; its collation is told as `binary`, or not.
        let to_set = to.charset.unwrap_or("binary");
        let recode = Recode::between(from.charset, to_set)?;
        if from.field == to.field && recode == Recode::AsIs {
            return Some(How::Copy);
        }
        // Lengths are told in bytes. Where the sets are not known, other lengths mean other sets.
        let lengths_tell = !matches!(to.field, FieldType::Blob { .. });
        if from.charset.is_none() && lengths_tell && from.field != to.field {
            return None;
        }
        Some(How::Recode(recode))
    }

    /// Writes the source's field as one of the target's.
    ///
    /// # Errors
    /// When the value cannot be said in the target's column.
    pub(super) fn write(
        &self,
        field: &[u8],
        scratch: &mut Vec<u8>,
        into: &mut Vec<u8>,
    ) -> Result<(), Unconverted> {
        let from = self.from.framing();
        match self.how {
            How::Copy => {
                from.payload(field).map_err(|_bad| Unconverted::Malformed)?;
                into.extend_from_slice(field);
                Ok(())
            }
            How::Widen(sign) => {
                let bytes = from.payload(field).map_err(|_bad| Unconverted::Malformed)?;
                let negative = bytes.last().is_some_and(|high| high & 0x80 != 0);
                let fill = match sign {
                    Sign::Signed if negative => 0xFF,
                    Sign::Signed | Sign::Unsigned => 0,
                };
                into.extend_from_slice(bytes);
                let Framing::Fixed(wide) = self.to.framing() else {
                    return Err(Unconverted::OutOfRange);
                };
                into.resize(into.len() + usize::from(wide) - bytes.len(), fill);
                Ok(())
            }
            How::Recode(recode) => {
                let text = from.payload(field).map_err(|_bad| Unconverted::Malformed)?;
                let text = recode
                    .recode(text, scratch)
                    .map_err(|_not| Unconverted::NotInCharset)?;
                let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
                if length > self.to.octets_max() {
                    return Err(Unconverted::TooLong);
                }
                self.to
                    .framing()
                    .write(text, into)
                    .map_err(|_long| Unconverted::TooLong)
            }
            How::JsonText => {
                let binary = from.payload(field).map_err(|_bad| Unconverted::Malformed)?;
                let json = json::text(binary).map_err(|_bad| Unconverted::Malformed)?;
                let to = self.to.framing();
                to.write(json.as_bytes(), into)
                    .map_err(|_long| Unconverted::TooLong)
            }
            How::OldTemporal => {
                let bytes = from.payload(field).map_err(|_bad| Unconverted::Malformed)?;
                old_temporal(self.from, bytes, into).ok_or(Unconverted::OutOfRange)
            }
        }
    }
}

/// Writes an old time as a new one without a fraction.
fn old_temporal(from: FieldType, bytes: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let mut number = [0; 8];
    for (to, byte) in number.iter_mut().zip(bytes) {
        *to = *byte;
    }
    let number = u64::from_le_bytes(number);
    match from {
        FieldType::OldTimestamp => {
            into.extend(u32::try_from(number).ok()?.to_be_bytes());
        }
        FieldType::OldDateTime => {
            // YYYYMMDDhhmmss as a decimal number.
            let (date, time) = (number / 1_000_000, number % 1_000_000);
            let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
            let (hour, minute, second) = (time / 10_000, time / 100 % 100, time % 100);
            if year > 9999 || month > 12 || day > 31 {
                return None;
            }
            let days = (year * 13 + month) << 5 | day;
            let packed = days << 17 | hour << 12 | minute << 6 | second;
            let packed = packed + 0x80_0000_0000;
            into.extend(packed.to_be_bytes().into_iter().skip(3));
        }
        FieldType::OldTime => {
            // hhmmss as a signed decimal number of three bytes.
            let negative = number & 0x80_0000 != 0;
            let time = if negative {
                0x100_0000 - number
            } else {
                number
            };
            let (hour, minute, second) = (time / 10_000, time / 100 % 100, time % 100);
            if hour > 838 {
                return None;
            }
            let packed = hour << 12 | minute << 6 | second;
            let packed = if negative {
                0x80_0000 - packed
            } else {
                0x80_0000 + packed
            };
            into.extend(packed.to_be_bytes().into_iter().skip(5));
        }
        _other => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(field: FieldType, unsigned: Option<bool>, charset: Option<&str>) -> SideOf<'_> {
        SideOf {
            field,
            unsigned,
            charset,
        }
    }

    fn converted(conversion: Option<Conversion>, field: &[u8]) -> Result<Vec<u8>, Unconverted> {
        let mut into = Vec::new();
        let conversion = conversion.expect("a way");
        conversion
            .write(field, &mut Vec::new(), &mut into)
            .map(|()| into)
    }

    #[test]
    fn whole_numbers_are_widened_only_when_their_sign_is_known() {
        let (int, big) = (FieldType::Int(4), FieldType::Int(8));
        let between = |unsigned, to| {
            Conversion::between(side(int, unsigned, None), side(big, Some(to), None))
        };
        let minus = (-2_i32).to_le_bytes();
        assert_eq!(
            converted(between(Some(false), false), &minus),
            Ok((-2_i64).to_le_bytes().to_vec())
        );
        assert_eq!(
            converted(between(Some(true), true), &minus),
            Ok(u64::from(u32::MAX - 1).to_le_bytes().to_vec())
        );
        assert_eq!(between(None, false), None);
        assert_eq!(between(Some(false), true), None);
        let narrower =
            Conversion::between(side(big, Some(false), None), side(int, Some(false), None));
        assert_eq!(narrower, None);
    }

    #[test]
    fn text_gets_a_longer_prefix_and_a_wider_set() {
        let from = side(FieldType::VarChar { octets: 120 }, None, Some("utf8mb3"));
        let to = side(FieldType::VarChar { octets: 400 }, None, Some("utf8mb4"));
        assert_eq!(
            converted(Conversion::between(from, to), "\u{3}é!".as_bytes()),
            Ok("\u{3}\0é!".as_bytes().to_vec())
        );
    }

    #[test]
    fn text_of_another_length_is_refused_when_nobody_tells_its_set() {
        let from = side(FieldType::VarChar { octets: 120 }, None, None);
        let to = side(FieldType::VarChar { octets: 160 }, None, Some("utf8mb4"));
        assert_eq!(Conversion::between(from, to), None);
    }

    #[test]
    fn text_that_does_not_fit_is_refused() {
        let from = side(FieldType::VarChar { octets: 4 }, None, Some("latin1"));
        let to = side(FieldType::VarChar { octets: 4 }, None, Some("utf8mb4"));
        let between = Conversion::between(from, to);
        assert_eq!(converted(between, b"\x02\xe9\xe9").unwrap().len(), 5);
        assert_eq!(
            converted(between, b"\x03\xe9\xe9\xe9"),
            Err(Unconverted::TooLong)
        );
    }

    #[test]
    fn old_times_become_new_ones() {
        let between = |from, to| Conversion::between(side(from, None, None), side(to, None, None));
        let datetime = between(FieldType::OldDateTime, FieldType::DateTime { fsp: 0 });
        assert_eq!(
            converted(datetime, &20_251_122_200_501_u64.to_le_bytes()),
            Ok(vec![0x99, 0xB8, 0x2D, 0x41, 0x41])
        );
        let time = between(FieldType::OldTime, FieldType::Time { fsp: 0 });
        assert_eq!(
            converted(time, &(-10_203_i32).to_le_bytes()[..3]),
            Ok(vec![0x7F, 0xEF, 0x7D])
        );
    }
}
