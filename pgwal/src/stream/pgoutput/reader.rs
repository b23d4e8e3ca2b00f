//! A reader of one message that checks every length before it is used.

use bytes::{Buf, Bytes};
use router::Lsn;

use super::{DecodeError, Tag};
use crate::stream::event::CommitTime;

/// The rest of a message that is being read; its tag is known.
#[derive(Debug)]
pub(super) struct Reader {
    tag: Tag,
    rest: Bytes,
}

impl Reader {
    /// Reads the tag.
    pub(super) fn new(mut message: Bytes) -> Result<Self, DecodeError> {
        if message.is_empty() {
            return Err(DecodeError::Empty);
        }
        let tag = Tag(message.get_u8());
        Ok(Self { tag, rest: message })
    }

    /// The error for a field with a value outside of the protocol.
    pub(super) fn malformed(&self, field: &'static str, value: impl Into<u64>) -> DecodeError {
        DecodeError::Malformed {
            tag: self.tag,
            field,
            value: value.into(),
        }
    }

    pub(super) fn tag(&self) -> Tag {
        self.tag
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.need(1, field)?;
        Ok(self.rest.get_u8())
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.need(2, field)?;
        Ok(self.rest.get_u16())
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.need(4, field)?;
        Ok(self.rest.get_u32())
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.need(4, field)?;
        Ok(self.rest.get_i32())
    }

    pub(super) fn lsn(&mut self, field: &'static str) -> Result<Lsn, DecodeError> {
        self.need(8, field)?;
        Ok(Lsn(self.rest.get_u64()))
    }

    pub(super) fn time(&mut self, field: &'static str) -> Result<CommitTime, DecodeError> {
        self.need(8, field)?;
        Ok(CommitTime(self.rest.get_i64()))
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.malformed(field, other)),
        }
    }

    /// A length of four bytes, which may be larger than the message.
    pub(super) fn len(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        let len = self.u32(field)?;
        usize::try_from(len).map_err(|_too_large| self.malformed(field, len))
    }

    pub(super) fn bytes(&mut self, len: usize, field: &'static str) -> Result<Bytes, DecodeError> {
        self.need(len, field)?;
        Ok(self.rest.split_to(len))
    }

    /// Bytes up to a zero byte, which is taken too.
    pub(super) fn text(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let Some(len) = self.rest.iter().position(|&byte| byte == 0) else {
            return Err(DecodeError::Truncated {
                tag: self.tag,
                field,
                missing: 1,
            });
        };
        let text = self.rest.split_to(len);
        self.rest.advance(1);
        Ok(text)
    }

    pub(super) fn string(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let text = self.text(field)?;
        String::from_utf8(text.to_vec()).map_err(|_not_utf8| DecodeError::NotUtf8 {
            tag: self.tag,
            field,
        })
    }

    /// The message must end here.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Trailing {
            tag: self.tag,
            extra: self.rest.len(),
        })
    }

    fn need(&self, len: usize, field: &'static str) -> Result<(), DecodeError> {
        match len.checked_sub(self.rest.len()) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(DecodeError::Truncated {
                tag: self.tag,
                field,
                missing,
            }),
        }
    }
}
