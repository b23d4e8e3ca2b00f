//! A document that is being changed: open where somebody looked, as it came everywhere else.

use std::borrow::Cow;

use super::read::{DEPTH_MAX, Parts, Value, Width, kind};
use crate::apply::field::BadField;

/// A value of a document.
#[derive(Debug, Clone)]
pub(super) enum Node<'a> {
    /// As it came: a scalar, or an object or array that nobody looked into.
    Packed(Value<'a>),
    /// Ordered by length and then by bytes, as servers keep them and look for them.
    Object(Vec<(Cow<'a, [u8]>, Self)>),
    Array(Vec<Self>),
}

impl<'a> Node<'a> {
    /// The value that a column holds.
    pub(super) fn of(binary: &'a [u8]) -> Result<Self, BadField> {
        Ok(Self::Packed(Value::of(binary)?))
    }

    /// Makes what is in it reachable, one level deep.
    pub(super) fn open(&mut self) -> Result<&mut Self, BadField> {
        if let Self::Packed(value) = self {
            match value.parts()? {
                Parts::Scalar => {}
                Parts::Object(members) => {
                    let members = members.into_iter();
                    let members =
                        members.map(|(key, value)| (Cow::Borrowed(key), Self::Packed(value)));
                    *self = Self::Object(members.collect());
                }
                Parts::Array(elements) => {
                    *self = Self::Array(elements.into_iter().map(Self::Packed).collect());
                }
            }
        }
        Ok(self)
    }

    /// Makes everything in it reachable; the node itself stands so deep.
    pub(super) fn open_all(&mut self, depth: u32) -> Result<(), BadField> {
        if depth > DEPTH_MAX {
            return Err(BadField);
        }
        match self.open()? {
            Self::Packed(_) => Ok(()),
            Self::Object(members) => members
                .iter_mut()
                .try_for_each(|(_, member)| member.open_all(depth + 1)),
            Self::Array(elements) => elements
                .iter_mut()
                .try_for_each(|element| element.open_all(depth + 1)),
        }
    }

    /// The member of an object.
    pub(super) fn member(&mut self, key: &[u8]) -> Option<&mut Self> {
        let Self::Object(members) = self else {
            return None;
        };
        let place = place_of(members, key).ok()?;
        members.get_mut(place).map(|(_, member)| member)
    }

    /// As bytes of a column.
    pub(super) fn binary(&self) -> Result<Vec<u8>, BadField> {
        let mut binary = vec![0];
        let kind = self.write(0, &mut binary)?;
        if let Some(first) = binary.first_mut() {
            *first = kind;
        }
        Ok(binary)
    }

    /// Writes its bytes and gives its type. The node itself stands so deep.
    fn write(&self, depth: u32, into: &mut Vec<u8>) -> Result<u8, BadField> {
        if depth > DEPTH_MAX {
            return Err(BadField);
        }
        let (keys, values): (Vec<&[u8]>, Vec<&Self>) = match self {
            Self::Packed(value) => {
                into.extend_from_slice(value.bytes);
                return Ok(value.kind);
            }
            Self::Object(members) => {
                let members = members.iter();
                members.map(|(key, value)| (&**key, value)).unzip()
            }
            Self::Array(elements) => (Vec::new(), elements.iter().collect()),
        };
        let mut written = Vec::with_capacity(values.len());
        for value in values {
            let mut bytes = Vec::new();
            let kind = value.write(depth + 1, &mut bytes)?;
            written.push((kind, bytes));
        }
        let is_object = matches!(self, Self::Object(_));
        let small = bytes_of(&keys, &written, Width::Small)?;
        let (width, size) = match u16::try_from(small) {
            Ok(_fits) => (Width::Small, small),
            Err(_large) => (Width::Large, bytes_of(&keys, &written, Width::Large)?),
        };
        container(&keys, &written, width, size, into)?;
        Ok(match (is_object, width) {
            (true, Width::Small) => kind::SMALL_OBJECT,
            (true, Width::Large) => kind::LARGE_OBJECT,
            (false, Width::Small) => kind::SMALL_ARRAY,
            (false, Width::Large) => kind::LARGE_ARRAY,
        })
    }
}

/// Where a key is, or would have to be.
pub(super) fn place_of(members: &[(Cow<'_, [u8]>, Node<'_>)], key: &[u8]) -> Result<usize, usize> {
    members.binary_search_by(|(other, _)| (other.len(), &**other).cmp(&(key.len(), key)))
}

/// Bytes of an object or array of these values; an array has no keys.
fn bytes_of(keys: &[&[u8]], values: &[(u8, Vec<u8>)], width: Width) -> Result<usize, BadField> {
    let wide = width.bytes();
    let keys = keys.iter().map(|key| wide + 2 + key.len());
    let values = values.iter().map(|(kind, bytes)| {
        let elsewhere = if width.holds(*kind) { 0 } else { bytes.len() };
        wide + 1 + elsewhere
    });
    let mut parts = keys.chain(values);
    parts.try_fold(2 * wide, usize::checked_add).ok_or(BadField)
}

/// Writes an object or array: count and size, the keys' entries, the values' entries, the keys, the
/// values.
fn container(
    keys: &[&[u8]],
    values: &[(u8, Vec<u8>)],
    width: Width,
    size: usize,
    into: &mut Vec<u8>,
) -> Result<(), BadField> {
    let wide = width.bytes();
    into.reserve(size);
    number(values.len(), width, into)?;
    number(size, width, into)?;
    let mut place = 2 * wide + keys.len() * (wide + 2) + values.len() * (wide + 1);
    for key in keys {
        number(place, width, into)?;
        let length = u16::try_from(key.len()).map_err(|_long| BadField)?;
        into.extend(length.to_le_bytes());
        place += key.len();
    }
    for (kind, bytes) in values {
        into.push(*kind);
        if width.holds(*kind) {
            let end = into.len() + wide;
            into.extend_from_slice(bytes);
            // A number that is narrower than its entry keeps its sign.
            let negative =
                *kind == kind::INT16 && bytes.last().is_some_and(|high| high & 0x80 != 0);
            into.resize(end, if negative { 0xFF } else { 0 });
        } else {
            number(place, width, into)?;
            place += bytes.len();
        }
    }
    keys.iter().for_each(|key| into.extend_from_slice(key));
    let elsewhere = values.iter().filter(|(kind, _)| !width.holds(*kind));
    elsewhere.for_each(|(_, bytes)| into.extend_from_slice(bytes));
    Ok(())
}

fn number(number: usize, width: Width, into: &mut Vec<u8>) -> Result<(), BadField> {
    match width {
        Width::Small => {
            let number = u16::try_from(number).map_err(|_large| BadField)?;
            into.extend(number.to_le_bytes());
        }
        Width::Large => {
            let number = u32::try_from(number).map_err(|_large| BadField)?;
            into.extend(number.to_le_bytes());
        }
    }
    Ok(())
}
