//! Character sets of text columns: which may be copied as bytes, which can be converted without
//! loss by us, and which must not pass.

/// The character set of a collation's number, as table maps tell it; `None` if it is not known
/// here. MySQL and MariaDB share these numbers, but for those that only one of them has.
pub(super) fn of_collation(id: u64) -> Option<&'static str> {
    const OLD: &[(&str, &[u64])] = &[
        ("big5", &[1, 84]),
        ("latin2", &[2, 9, 21, 27, 77]),
        ("dec8", &[3, 69]),
        ("cp850", &[4, 80]),
        ("latin1", &[5, 8, 15, 31, 47, 48, 49, 94]),
        ("hp8", &[6, 72]),
        ("koi8r", &[7, 74]),
        ("swe7", &[10, 82]),
        ("ascii", &[11, 65]),
        ("ujis", &[12, 91]),
        ("sjis", &[13, 88]),
        ("cp1251", &[14, 23, 50, 51, 52]),
        ("hebrew", &[16, 71]),
        ("tis620", &[18, 89]),
        ("euckr", &[19, 85]),
        ("latin7", &[20, 41, 42, 79]),
        ("koi8u", &[22, 75]),
        ("gb2312", &[24, 86]),
        ("greek", &[25, 70]),
        ("cp1250", &[26, 34, 44, 66, 99]),
        ("gbk", &[28, 87]),
        ("cp1257", &[29, 58, 59]),
        ("latin5", &[30, 78]),
        ("armscii8", &[32, 64]),
        ("cp866", &[36, 68]),
        ("keybcs2", &[37, 73]),
        ("macce", &[38, 43]),
        ("macroman", &[39, 53]),
        ("cp852", &[40, 81]),
        ("cp1256", &[57, 67]),
        ("binary", &[63]),
        ("geostd8", &[92, 93]),
        ("cp932", &[95, 96]),
        ("eucjpms", &[97, 98]),
    ];
    match id {
        33 | 76 | 83 | 192..=223 => Some("utf8mb3"),
        45 | 46 | 224..=247 | 255..=323 => Some("utf8mb4"),
        35 | 90 | 128..=151 | 159 => Some("ucs2"),
        54 | 55 | 101..=124 => Some("utf16"),
        56 | 62 => Some("utf16le"),
        60 | 61 | 160..=183 => Some("utf32"),
        248..=250 => Some("gb18030"),
        // MariaDB's UCA 14.0.0 collations, a block of 256 for each character set.
        2048..=2303 => Some("utf8mb3"),
        2304..=2559 => Some("utf8mb4"),
        2560..=2815 => Some("ucs2"),
        2816..=3071 => Some("utf16"),
        3072..=3327 => Some("utf32"),
        _ => OLD
            .iter()
            .find(|(_, ids)| ids.contains(&id))
            .map(|(name, _)| *name),
    }
}

/// How text of one character set becomes text of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recode {
    /// The bytes are the same.
    AsIs,
    /// The bytes are the same, and must be valid: nobody said that the sets are equal.
    Utf8 {
        /// Bytes of the longest character that the target's set has.
        longest: u8,
    },
    /// Only ASCII is the same in both.
    Ascii,
    /// MySQL's `latin1`, which is Windows' code page 1252, to UTF-8.
    Latin1ToUtf8,
}

/// Text that is not in the other character set, or not even in its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotInSet;

impl Recode {
    /// How to get from one set to the other without loss; `None` if no way is known here. `from` is
    /// `None` when the source's log does not tell its sets: they are then the target's, which has
    /// its tables from the source.
    pub(super) fn between(from: Option<&str>, to: &str) -> Option<Self> {
        let Some(from) = from else {
            return Some(match to {
                "utf8mb4" => Self::Utf8 { longest: 4 },
                "utf8mb3" => Self::Utf8 { longest: 3 },
                _ => Self::AsIs,
            });
        };
        if from == to {
            return Some(Self::AsIs);
        }
        match (from, to) {
            ("utf8mb3", "utf8mb4") => Some(Self::AsIs),
            ("utf8mb4", "utf8mb3") => Some(Self::Utf8 { longest: 3 }),
            ("latin1", "utf8mb4" | "utf8mb3") => Some(Self::Latin1ToUtf8),
            ("ascii", "utf8mb4" | "utf8mb3" | "latin1")
            | ("utf8mb4" | "utf8mb3" | "latin1", "ascii") => Some(Self::Ascii),
            _ => None,
        }
    }

    /// Writes `text` in the target's set.
    ///
    /// # Errors
    /// When it cannot be said there.
    pub(super) fn recode<'a>(
        self,
        text: &'a [u8],
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], NotInSet> {
        match self {
            Self::AsIs => Ok(text),
            Self::Ascii => text.is_ascii().then_some(text).ok_or(NotInSet),
            Self::Utf8 { longest } => {
                let chars = std::str::from_utf8(text).map_err(|_invalid| NotInSet)?;
                let fits = longest >= 4 || chars.chars().all(|c| c.len_utf8() <= 3);
                fits.then_some(text).ok_or(NotInSet)
            }
            Self::Latin1ToUtf8 => {
                scratch.clear();
                let mut encoded = [0; 4];
                for byte in text {
                    let letter = latin1(*byte);
                    scratch.extend_from_slice(letter.encode_utf8(&mut encoded).as_bytes());
                }
                Ok(scratch)
            }
        }
    }
}

/// A letter of MySQL's `latin1`. The five places that code page 1252 leaves empty are the control
/// letters of the same number, as the server has it.
fn latin1(byte: u8) -> char {
    const C1: [u16; 32] = [
        0x20AC, 0x81, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
        0x2039, 0x0152, 0x8D, 0x017D, 0x8F, 0x90, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013,
        0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D, 0x017E, 0x0178,
    ];
    byte.checked_sub(0x80)
        .and_then(|place| C1.get(usize::from(place)))
        .and_then(|code| char::from_u32(u32::from(*code)))
        .unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collations_belong_to_their_sets() {
        assert_eq!(of_collation(8), Some("latin1"));
        assert_eq!(of_collation(255), Some("utf8mb4"));
        assert_eq!(of_collation(63), Some("binary"));
        assert_eq!(of_collation(9999), None);
    }

    #[test]
    fn only_what_is_lossless_is_converted() {
        let mut scratch = Vec::new();
        let latin1 = Recode::between(Some("latin1"), "utf8mb4").unwrap();
        assert_eq!(
            latin1.recode(b"\x80\xe9a", &mut scratch),
            Ok("€éa".as_bytes())
        );
        assert_eq!(Recode::between(Some("sjis"), "utf8mb4"), None);
        let unknown = Recode::between(None, "utf8mb4").unwrap();
        assert_eq!(unknown.recode(b"\xff\xfe", &mut scratch), Err(NotInSet));
        let narrow = Recode::between(Some("utf8mb4"), "utf8mb3").unwrap();
        assert_eq!(narrow.recode("🚂".as_bytes(), &mut scratch), Err(NotInSet));
        assert!(narrow.recode("é".as_bytes(), &mut scratch).is_ok());
    }
}
