//! The types of fields as row events know them: a type byte, and metadata in the table map.
//!
//! Both sides of a change have one: the source's comes with its table map, the target's is made
//! from its catalogue. Servers check neither the bytes nor the types of what a `BINLOG` statement
//! brings, so that everything is judged here.

use thiserror::Error;

/// Type bytes of the protocol: `enum_field_types` of the server.
mod code {
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const TIME: u8 = 11;
    pub(crate) const DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const NEWDATE: u8 = 14;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const TIMESTAMP2: u8 = 17;
    pub(crate) const DATETIME2: u8 = 18;
    pub(crate) const TIME2: u8 = 19;
    pub(crate) const BLOB_COMPRESSED: u8 = 140;
    pub(crate) const VARCHAR_COMPRESSED: u8 = 141;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const NEWDECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// A field's type with what its length in a row image depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum FieldType {
    /// Whole numbers of 1, 2, 3, 4 or 8 bytes, little-endian; the sign is no part of the type.
    Int(u8),
    Float,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Year,
    Date,
    Time {
        fsp: u8,
    },
    DateTime {
        fsp: u8,
    },
    Timestamp {
        fsp: u8,
    },
    /// `TIME` as before MySQL 5.6.4 and MariaDB's `mysql56_temporal_format`.
    OldTime,
    /// `DATETIME` likewise.
    OldDateTime,
    /// `TIMESTAMP` likewise.
    OldTimestamp,
    Bit {
        bits: u8,
    },
    /// `CHAR` and `BINARY` of at most so many bytes.
    Char {
        octets: u16,
    },
    /// `VARCHAR` and `VARBINARY` of at most so many bytes.
    VarChar {
        octets: u16,
    },
    /// `TEXT` and `BLOB`; the length has so many bytes.
    Blob {
        prefix: u8,
    },
    /// MariaDB's `VARCHAR .. COMPRESSED`: the value begins with how it is compressed.
    VarCharCompressed {
        octets: u16,
    },
    /// MariaDB's `TEXT .. COMPRESSED`.
    BlobCompressed {
        prefix: u8,
    },
    Json {
        prefix: u8,
    },
    Geometry {
        prefix: u8,
    },
    Vector {
        prefix: u8,
    },
    Enum {
        bytes: u8,
    },
    Set {
        bytes: u8,
    },
}

/// A type byte or metadata that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("field type {code} with {metadata_len} bytes of metadata is not known")]
pub(crate) struct UnknownType {
    pub(crate) code: u8,
    pub(crate) metadata_len: usize,
}

/// A field whose bytes do not fit its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the field's bytes do not fit its type")]
pub(crate) struct BadField;

impl FieldType {
    /// The type of a table map's type byte and metadata.
    ///
    /// # Errors
    /// When there is no such type, or its metadata is out of range.
    pub(crate) fn decode(code: u8, metadata: &[u8]) -> Result<Self, UnknownType> {
        let unknown = UnknownType {
            code,
            metadata_len: metadata.len(),
        };
        Self::known(code, metadata).ok_or(unknown)
    }

    fn known(code: u8, metadata: &[u8]) -> Option<Self> {
        let first = metadata.first().copied();
        let fsp = || first.filter(|fsp| *fsp <= 6);
        let prefix = || first.filter(|prefix| (1..=4).contains(prefix));
        Some(match code {
            code::TINY => Self::Int(1),
            code::SHORT => Self::Int(2),
            code::INT24 => Self::Int(3),
            code::LONG => Self::Int(4),
            code::LONGLONG => Self::Int(8),
            code::FLOAT => Self::Float,
            code::DOUBLE => Self::Double,
            code::YEAR => Self::Year,
            code::DATE | code::NEWDATE => Self::Date,
            code::TIME => Self::OldTime,
            code::DATETIME => Self::OldDateTime,
            code::TIMESTAMP => Self::OldTimestamp,
            code::TIME2 => Self::Time { fsp: fsp()? },
            code::DATETIME2 => Self::DateTime { fsp: fsp()? },
            code::TIMESTAMP2 => Self::Timestamp { fsp: fsp()? },
            code::NEWDECIMAL => {
                let (&[precision, scale], []) = metadata.split_first_chunk::<2>()? else {
                    return None;
                };
                let fits = (1..=65).contains(&precision) && scale <= precision.min(38);
                fits.then_some(Self::Decimal { precision, scale })?
            }
            code::BIT => {
                let (&[bits, bytes], []) = metadata.split_first_chunk::<2>()? else {
                    return None;
                };
                let bits = u16::from(bytes) * 8 + u16::from(bits);
                let bits = u8::try_from(bits).ok()?;
                (1..=64).contains(&bits).then_some(Self::Bit { bits })?
            }
            code::VARCHAR | code::VAR_STRING => {
                let (&octets, []) = metadata.split_first_chunk::<2>()? else {
                    return None;
                };
                Self::VarChar {
                    octets: u16::from_le_bytes(octets),
                }
            }
            code::VARCHAR_COMPRESSED => {
                let (&octets, []) = metadata.split_first_chunk::<2>()? else {
                    return None;
                };
                Self::VarCharCompressed {
                    octets: u16::from_le_bytes(octets),
                }
            }
            code::BLOB_COMPRESSED => Self::BlobCompressed { prefix: prefix()? },
            code::BLOB => Self::Blob { prefix: prefix()? },
            code::JSON => Self::Json { prefix: prefix()? },
            code::GEOMETRY => Self::Geometry { prefix: prefix()? },
            code::VECTOR => Self::Vector { prefix: prefix()? },
            code::STRING => Self::string(metadata)?,
            _unknown => return None,
        })
    }

    /// `CHAR`, `ENUM` and `SET` share a type byte. The metadata's first byte is the real type; of a
    /// `CHAR` of more than 255 bytes two bits of the length are folded into it, inverted.
    fn string(metadata: &[u8]) -> Option<Self> {
        let (&[real, length], []) = metadata.split_first_chunk::<2>()? else {
            return None;
        };
        match real {
            code::ENUM => matches!(length, 1 | 2).then_some(Self::Enum { bytes: length }),
            code::SET => matches!(length, 1 | 2 | 3 | 4 | 8).then_some(Self::Set { bytes: length }),
            _char if real & 0x30 == 0x30 => Some(Self::Char {
                octets: u16::from(length),
            }),
            _long_char => {
                let high = u16::from((real & 0x30) ^ 0x30) << 4;
                Some(Self::Char {
                    octets: high | u16::from(length),
                })
            }
        }
    }

    /// The type byte that a table map of ours has for it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Int(1) => code::TINY,
            Self::Int(2) => code::SHORT,
            Self::Int(3) => code::INT24,
            Self::Int(4) => code::LONG,
            Self::Int(_) => code::LONGLONG,
            Self::Float => code::FLOAT,
            Self::Double => code::DOUBLE,
            Self::Decimal { .. } => code::NEWDECIMAL,
            Self::Year => code::YEAR,
            Self::Date => code::DATE,
            Self::Time { .. } => code::TIME2,
            Self::DateTime { .. } => code::DATETIME2,
            Self::Timestamp { .. } => code::TIMESTAMP2,
            Self::OldTime => code::TIME,
            Self::OldDateTime => code::DATETIME,
            Self::OldTimestamp => code::TIMESTAMP,
            Self::Bit { .. } => code::BIT,
            Self::Char { .. } | Self::Enum { .. } | Self::Set { .. } => code::STRING,
            Self::VarChar { .. } => code::VARCHAR,
            Self::VarCharCompressed { .. } => code::VARCHAR_COMPRESSED,
            Self::BlobCompressed { .. } => code::BLOB_COMPRESSED,
            Self::Blob { .. } => code::BLOB,
            Self::Json { .. } => code::JSON,
            Self::Geometry { .. } => code::GEOMETRY,
            Self::Vector { .. } => code::VECTOR,
        }
    }

    /// Writes the metadata that a table map has for it.
    pub(crate) fn write_metadata(self, into: &mut Vec<u8>) {
        match self {
            Self::Int(_)
            | Self::Year
            | Self::Date
            | Self::OldTime
            | Self::OldDateTime
            | Self::OldTimestamp => {}
            Self::Float => into.push(4),
            Self::Double => into.push(8),
            Self::Decimal { precision, scale } => into.extend([precision, scale]),
            Self::Time { fsp } | Self::DateTime { fsp } | Self::Timestamp { fsp } => into.push(fsp),
            Self::Bit { bits } => into.extend([bits % 8, bits / 8]),
            Self::Char { octets } => {
                let [low, high] = octets.to_le_bytes();
                into.extend([code::STRING ^ ((high & 3) << 4), low]);
            }
            Self::VarChar { octets } | Self::VarCharCompressed { octets } => {
                into.extend(octets.to_le_bytes());
            }
            Self::Blob { prefix }
            | Self::BlobCompressed { prefix }
            | Self::Json { prefix }
            | Self::Geometry { prefix }
            | Self::Vector { prefix } => into.push(prefix),
            Self::Enum { bytes } => into.extend([code::ENUM, bytes]),
            Self::Set { bytes } => into.extend([code::SET, bytes]),
        }
    }

    /// How a value's length is told in a row image.
    pub(crate) fn framing(self) -> Framing {
        let by_octets = |octets: u16| if octets > 255 { 2 } else { 1 };
        match self {
            Self::Int(bytes) | Self::Enum { bytes } | Self::Set { bytes } => Framing::Fixed(bytes),
            Self::Float | Self::OldTimestamp => Framing::Fixed(4),
            Self::Double | Self::OldDateTime => Framing::Fixed(8),
            Self::Decimal { precision, scale } => Framing::Fixed(decimal_bytes(precision, scale)),
            Self::Year => Framing::Fixed(1),
            Self::Date | Self::OldTime => Framing::Fixed(3),
            Self::Time { fsp } => Framing::Fixed(3 + fsp.div_ceil(2)),
            Self::DateTime { fsp } => Framing::Fixed(5 + fsp.div_ceil(2)),
            Self::Timestamp { fsp } => Framing::Fixed(4 + fsp.div_ceil(2)),
            Self::Bit { bits } => Framing::Fixed(bits.div_ceil(8)),
            Self::Char { octets }
            | Self::VarChar { octets }
            | Self::VarCharCompressed { octets } => Framing::Prefixed(by_octets(octets)),
            Self::Blob { prefix }
            | Self::BlobCompressed { prefix }
            | Self::Json { prefix }
            | Self::Geometry { prefix }
            | Self::Vector { prefix } => Framing::Prefixed(prefix),
        }
    }

    /// The largest value, in bytes, without the length.
    pub(crate) fn octets_max(self) -> u64 {
        match self {
            Self::Char { octets }
            | Self::VarChar { octets }
            | Self::VarCharCompressed { octets } => u64::from(octets),
            Self::Blob { prefix }
            | Self::BlobCompressed { prefix }
            | Self::Json { prefix }
            | Self::Geometry { prefix }
            | Self::Vector { prefix } => (1_u64 << (8 * u32::from(prefix.min(4)))) - 1,
            Self::Int(_)
            | Self::Float
            | Self::Double
            | Self::Decimal { .. }
            | Self::Year
            | Self::Date
            | Self::Time { .. }
            | Self::DateTime { .. }
            | Self::Timestamp { .. }
            | Self::OldTime
            | Self::OldDateTime
            | Self::OldTimestamp
            | Self::Bit { .. }
            | Self::Enum { .. }
            | Self::Set { .. } => match self.framing() {
                Framing::Fixed(bytes) | Framing::Prefixed(bytes) => u64::from(bytes),
            },
        }
    }
}

/// How a value's length is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By the type: so many bytes.
    Fixed(u8),
    /// By a little-endian number of so many bytes before it.
    Prefixed(u8),
}

impl Framing {
    /// The value's own bytes of `field`.
    ///
    /// # Errors
    /// When the field is longer or shorter than it says.
    pub(crate) fn payload(self, field: &[u8]) -> Result<&[u8], BadField> {
        match self {
            Self::Fixed(bytes) => (field.len() == usize::from(bytes))
                .then_some(field)
                .ok_or(BadField),
            Self::Prefixed(bytes) => {
                let (prefix, payload) =
                    field.split_at_checked(usize::from(bytes)).ok_or(BadField)?;
                let mut length = [0; 8];
                for (byte, from) in length.iter_mut().zip(prefix) {
                    *byte = *from;
                }
                let fits = usize::try_from(u64::from_le_bytes(length)) == Ok(payload.len());
                fits.then_some(payload).ok_or(BadField)
            }
        }
    }

    /// Writes `payload` as a field.
    ///
    /// # Errors
    /// When its length cannot be told.
    pub(crate) fn write(self, payload: &[u8], into: &mut Vec<u8>) -> Result<(), BadField> {
        match self {
            Self::Fixed(bytes) if payload.len() == usize::from(bytes) => {}
            Self::Fixed(_) => return Err(BadField),
            Self::Prefixed(bytes) => {
                let length = u64::try_from(payload.len()).map_err(|_too_long| BadField)?;
                let length = length.to_le_bytes();
                let (prefix, rest) = length
                    .split_at_checked(usize::from(bytes))
                    .ok_or(BadField)?;
                if rest.iter().any(|byte| *byte != 0) {
                    return Err(BadField);
                }
                into.extend_from_slice(prefix);
            }
        }
        into.extend_from_slice(payload);
        Ok(())
    }
}

/// Bytes of a `DECIMAL`: nine digits in four bytes, the rest of each part in as few as hold it.
pub(crate) fn decimal_bytes(precision: u8, scale: u8) -> u8 {
    const REST: [u8; 9] = [0, 1, 1, 2, 2, 3, 3, 4, 4];
    let part = |digits: u8| {
        let rest = REST.get(usize::from(digits % 9)).copied().unwrap_or(0);
        digits / 9 * 4 + rest
    };
    part(precision.saturating_sub(scale)) + part(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: &[FieldType] = &[
        FieldType::Int(1),
        FieldType::Int(2),
        FieldType::Int(3),
        FieldType::Int(4),
        FieldType::Int(8),
        FieldType::Float,
        FieldType::Double,
        FieldType::Decimal {
            precision: 65,
            scale: 30,
        },
        FieldType::Year,
        FieldType::Date,
        FieldType::Time { fsp: 3 },
        FieldType::DateTime { fsp: 6 },
        FieldType::Timestamp { fsp: 0 },
        FieldType::Bit { bits: 9 },
        FieldType::Bit { bits: 64 },
        FieldType::Char { octets: 40 },
        FieldType::Char { octets: 1020 },
        FieldType::VarChar { octets: 65_532 },
        FieldType::Blob { prefix: 3 },
        FieldType::Json { prefix: 4 },
        FieldType::Enum { bytes: 2 },
        FieldType::Set { bytes: 8 },
    ];

    #[test]
    fn a_type_survives_its_way_through_a_table_map() {
        for field in TYPES {
            let mut metadata = Vec::new();
            field.write_metadata(&mut metadata);
            assert_eq!(FieldType::decode(field.code(), &metadata), Ok(*field));
        }
    }

    #[test]
    fn a_value_survives_its_framing_and_a_length_that_lies_is_noticed() {
        let framing = FieldType::VarChar { octets: 300 }.framing();
        let mut field = Vec::new();
        framing.write(b"abc", &mut field).unwrap();
        assert_eq!(field, b"\x03\x00abc");
        assert_eq!(framing.payload(&field), Ok(b"abc".as_slice()));
        assert_eq!(framing.payload(b"\x04\x00abc"), Err(BadField));
        assert_eq!(framing.payload(b"\x04"), Err(BadField));
        let short = Framing::Prefixed(1);
        assert_eq!(short.write(&[0; 256], &mut field), Err(BadField));
    }

    #[test]
    fn decimals_have_the_lengths_that_the_manual_gives() {
        assert_eq!(decimal_bytes(20, 6), 10);
        assert_eq!(decimal_bytes(10, 0), 5);
        assert_eq!(decimal_bytes(65, 30), 30);
    }
}
