//! Looking into a value, one level at a time.

use crate::apply::field::BadField;

/// How deep values may be nested: MySQL's own limit.
pub(crate) const DEPTH_MAX: u32 = 100;

/// Type bytes of values.
pub(crate) mod kind {
    pub(crate) const SMALL_OBJECT: u8 = 0;
    pub(crate) const LARGE_OBJECT: u8 = 1;
    pub(crate) const SMALL_ARRAY: u8 = 2;
    pub(crate) const LARGE_ARRAY: u8 = 3;
    pub(crate) const LITERAL: u8 = 4;
    pub(crate) const INT16: u8 = 5;
    pub(crate) const UINT16: u8 = 6;
    pub(crate) const INT32: u8 = 7;
    pub(crate) const UINT32: u8 = 8;
    pub(crate) const INT64: u8 = 9;
    pub(crate) const UINT64: u8 = 10;
    pub(crate) const DOUBLE: u8 = 11;
    pub(crate) const STRING: u8 = 12;
    pub(crate) const OPAQUE: u8 = 15;
}

/// A value: its type, and its own bytes without anything that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) kind: u8,
    pub(crate) bytes: &'a [u8],
}

/// What a value has in it.
#[derive(Debug)]
pub(crate) enum Parts<'a> {
    Scalar,
    /// Keys and values, as they stand: ordered by length and then by bytes.
    Object(Vec<(&'a [u8], Value<'a>)>),
    Array(Vec<Value<'a>>),
}

/// How wide the numbers of an object or array are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Small,
    Large,
}

impl Width {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Small => 2,
            Self::Large => 4,
        }
    }

    /// Whether an entry of an object or array holds the value itself instead of its place.
    pub(super) fn holds(self, kind: u8) -> bool {
        match kind {
            kind::LITERAL | kind::INT16 | kind::UINT16 => true,
            kind::INT32 | kind::UINT32 => self == Self::Large,
            _elsewhere => false,
        }
    }
}

impl<'a> Value<'a> {
    /// The value that a column holds; servers read no bytes at all as null.
    pub(crate) fn of(binary: &'a [u8]) -> Result<Self, BadField> {
        match binary.split_first() {
            None => Ok(Self {
                kind: kind::LITERAL,
                bytes: &[0],
            }),
            Some((kind, rest)) => Self::at(*kind, rest),
        }
    }

    /// The value that begins with these bytes.
    fn at(kind: u8, bytes: &'a [u8]) -> Result<Self, BadField> {
        let length = match kind {
            kind::SMALL_OBJECT | kind::SMALL_ARRAY => number(bytes, 2, Width::Small)?,
            kind::LARGE_OBJECT | kind::LARGE_ARRAY => number(bytes, 4, Width::Large)?,
            kind::LITERAL => 1,
            kind::INT16 | kind::UINT16 => 2,
            kind::INT32 | kind::UINT32 => 4,
            kind::INT64 | kind::UINT64 | kind::DOUBLE => 8,
            kind::STRING => end_of_counted(bytes)?,
            kind::OPAQUE => 1 + end_of_counted(bytes.get(1..).ok_or(BadField)?)?,
            _unknown => return Err(BadField),
        };
        let bytes = bytes.get(..length).ok_or(BadField)?;
        Ok(Self { kind, bytes })
    }

    /// What is in it.
    pub(crate) fn parts(self) -> Result<Parts<'a>, BadField> {
        Ok(match self.kind {
            kind::SMALL_OBJECT => Parts::Object(self.members(Width::Small)?),
            kind::LARGE_OBJECT => Parts::Object(self.members(Width::Large)?),
            kind::SMALL_ARRAY => Parts::Array(self.elements(Width::Small)?),
            kind::LARGE_ARRAY => Parts::Array(self.elements(Width::Large)?),
            _scalar => Parts::Scalar,
        })
    }

    fn members(self, width: Width) -> Result<Vec<(&'a [u8], Self)>, BadField> {
        let wide = width.bytes();
        let count = number(self.bytes, 0, width)?;
        let values = at(2 * wide, count, wide + 2)?;
        let mut left = self.behind(at(values, count, wide + 1)?)?;
        let mut members = Vec::with_capacity(count);
        for nth in 0..count {
            let entry = at(2 * wide, nth, wide + 2)?;
            let start = number(self.bytes, entry, width)?;
            let length = array(self.bytes, entry + wide)?;
            let length = usize::from(u16::from_le_bytes(length));
            let end = start.checked_add(length).ok_or(BadField)?;
            let key = self.bytes.get(start..end).ok_or(BadField)?;
            left = left.checked_sub(length).ok_or(BadField)?;
            let value = self.element(at(values, nth, wide + 1)?, width, &mut left)?;
            members.push((key, value));
        }
        Ok(members)
    }

    fn elements(self, width: Width) -> Result<Vec<Self>, BadField> {
        let wide = width.bytes();
        let count = number(self.bytes, 0, width)?;
        let mut left = self.behind(at(2 * wide, count, wide + 1)?)?;
        let mut elements = Vec::with_capacity(count);
        for nth in 0..count {
            let entry = at(2 * wide, nth, wide + 1)?;
            elements.push(self.element(entry, width, &mut left)?);
        }
        Ok(elements)
    }

    /// Bytes behind the entries, which must be there: no count is believed before.
    fn behind(self, entries: usize) -> Result<usize, BadField> {
        self.bytes.len().checked_sub(entries).ok_or(BadField)
    }

    /// The value of the entry here. `left` are the bytes that no part has had: parts share none,
    /// else few bytes could be a value of any size.
    fn element(self, entry: usize, width: Width, left: &mut usize) -> Result<Self, BadField> {
        let [kind] = array(self.bytes, entry)?;
        if width.holds(kind) {
            return Self::at(kind, self.bytes.get(entry + 1..).ok_or(BadField)?);
        }
        let start = number(self.bytes, entry + 1, width)?;
        let value = Self::at(kind, self.bytes.get(start..).ok_or(BadField)?)?;
        *left = left.checked_sub(value.bytes.len()).ok_or(BadField)?;
        Ok(value)
    }
}

/// The place of the entry `nth`, without passing over the end of numbers.
fn at(base: usize, nth: usize, bytes: usize) -> Result<usize, BadField> {
    nth.checked_mul(bytes)
        .and_then(|offset| offset.checked_add(base))
        .ok_or(BadField)
}

fn number(bytes: &[u8], place: usize, width: Width) -> Result<usize, BadField> {
    let number = match width {
        Width::Small => u32::from(u16::from_le_bytes(array(bytes, place)?)),
        Width::Large => u32::from_le_bytes(array(bytes, place)?),
    };
    usize::try_from(number).map_err(|_large| BadField)
}

fn array<const N: usize>(bytes: &[u8], place: usize) -> Result<[u8; N], BadField> {
    first(bytes.get(place..).ok_or(BadField)?)
}

/// The first bytes.
pub(crate) fn first<const N: usize>(bytes: &[u8]) -> Result<[u8; N], BadField> {
    bytes.first_chunk().copied().ok_or(BadField)
}

/// Bytes behind their length, which has seven bits a byte.
pub(crate) fn counted(bytes: &[u8]) -> Result<&[u8], BadField> {
    let (start, length) = count(bytes)?;
    let end = start.checked_add(length).ok_or(BadField)?;
    bytes.get(start..end).ok_or(BadField)
}

fn end_of_counted(bytes: &[u8]) -> Result<usize, BadField> {
    let (start, length) = count(bytes)?;
    start.checked_add(length).ok_or(BadField)
}

/// Where counted bytes begin, and how many they are.
fn count(bytes: &[u8]) -> Result<(usize, usize), BadField> {
    let mut length = 0_usize;
    for (nth, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7F) << (7 * nth);
        if byte & 0x80 == 0 {
            return Ok((nth + 1, length));
        }
    }
    Err(BadField)
}
