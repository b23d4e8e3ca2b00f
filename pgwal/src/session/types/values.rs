//! Numbers of types inside of values in binary format.
//!
//! Where they stand is what the servers' own functions send and receive: `array_send`,
//! `record_send`, `range_send` and `multirange_send` in the sources of PostgreSQL. Types in texts
//! have no numbers.

use router::Side;

use super::catalog::{Kind, TypeCatalog};
use super::numbers::Numbers;

/// How deep values may be nested in each other.
const DEPTH_MAX: usize = 32;

/// The most dimensions of an array: `MAXDIM` of the servers.
const DIMENSIONS_MAX: u32 = 6;

/// Flags of a range: nothing is in it, or a bound is not there.
const RANGE_EMPTY: u8 = 0x01;
const RANGE_LACKS_LOWER: u8 = 0x08 | 0x20;
const RANGE_LACKS_UPPER: u8 = 0x10 | 0x40;

/// Who is to read a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Client,
    Server,
}

/// Replaces numbers for one reader.
#[derive(Debug)]
pub(super) struct Renumber<'a> {
    pub(super) numbers: &'a mut Numbers,
    pub(super) catalog: &'a TypeCatalog,
    /// The server's.
    pub(super) side: Side,
    pub(super) reader: Reader,
}

/// Bytes that are taken off from the front.
#[derive(Debug)]
pub(super) struct Cut<'a>(pub(super) &'a mut [u8]);

impl<'a> Cut<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a mut [u8]> {
        let (front, rest) = std::mem::take(&mut self.0).split_at_mut_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    pub(super) fn word(&mut self) -> Option<&'a mut [u8; 4]> {
        self.take(4)?.first_chunk_mut()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.word().map(|word| u32::from_be_bytes(*word))
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let bytes: &[u8; 2] = self.take(2)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    }

    /// A text that ends in a zero byte.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(length + 1)?;
        text.get(..length)
    }

    /// A value with its length before it; `Some(None)` when it is null.
    pub(super) fn value(&mut self) -> Option<Option<&'a mut [u8]>> {
        match self.u32()?.cast_signed() {
            -1 => Some(None),
            length => self.take(usize::try_from(length).ok()?).map(Some),
        }
    }
}

impl Renumber<'_> {
    /// Replaces a number; gives the server's.
    pub(super) fn number(&mut self, word: &mut [u8; 4]) -> u32 {
        let before = u32::from_be_bytes(*word);
        let (numbers, side) = (&mut *self.numbers, self.side);
        let after = match self.reader {
            Reader::Client => numbers.for_client(before, side, self.catalog),
            Reader::Server => numbers.for_server(before, side, self.catalog),
        };
        *word = after.to_be_bytes();
        match self.reader {
            Reader::Client => before,
            Reader::Server => after,
        }
    }

    /// Whether there may be numbers in values of this type.
    pub(super) fn is_in(&self, of: u32) -> bool {
        self.catalog.holds_numbers(self.side, of)
    }

    /// Replaces the numbers in a value of the type that the server calls `of`. A value that is not
    /// what its type says is left as it is from there on: whoever reads it will refuse it.
    pub(super) fn value(&mut self, of: u32, value: &mut [u8]) {
        let _rest_is_left = self.inner(of, Cut(value), 0);
    }

    fn inner(&mut self, of: u32, mut value: Cut<'_>, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX || !self.is_in(of) {
            return Some(());
        }
        match self.catalog.kind(self.side, of) {
            Kind::Plain => Some(()),
            Kind::Domain(base) => self.inner(base, value, depth + 1),
            Kind::Array => self.array(value, depth),
            Kind::Composite => {
                let count = value.u32()?;
                for _column in 0..count {
                    let of = self.number(value.word()?);
                    if let Some(column) = value.value()? {
                        self.inner(of, Cut(column), depth + 1)?;
                    }
                }
                Some(())
            }
            Kind::Range(bound) => self.range(bound, value, depth),
            Kind::Multirange(bound) => {
                let count = value.u32()?;
                for _range in 0..count {
                    let range = value.value()??;
                    self.range(bound, Cut(range), depth)?;
                }
                Some(())
            }
        }
    }

    fn array(&mut self, mut value: Cut<'_>, depth: usize) -> Option<()> {
        let dimensions = value.u32()?;
        let _has_nulls = value.u32()?;
        let of = self.number(value.word()?);
        if dimensions > DIMENSIONS_MAX {
            return None;
        }
        if !self.is_in(of) {
            return Some(());
        }
        for _dimension in 0..dimensions {
            let _length_and_first = value.take(8)?;
        }
        while !value.0.is_empty() {
            if let Some(element) = value.value()? {
                self.inner(of, Cut(element), depth + 1)?;
            }
        }
        Some(())
    }

    fn range(&mut self, bound: u32, mut value: Cut<'_>, depth: usize) -> Option<()> {
        let flags = *value.take(1)?.first()?;
        for lacks in [RANGE_LACKS_LOWER, RANGE_LACKS_UPPER] {
            if flags & (lacks | RANGE_EMPTY) == 0
                && let Some(value) = value.value()?
            {
                self.inner(bound, Cut(value), depth + 1)?;
            }
        }
        Some(())
    }
}
