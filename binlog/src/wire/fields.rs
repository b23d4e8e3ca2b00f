//! Reading the parts of a packet, each read checked. All numbers are little-endian.

use super::lenenc;

/// A cursor over a packet. Every read says whether the bytes were there.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// A packet that ends too early or holds what it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet: {0}")]
pub struct FieldError(pub &'static str);

impl<'a> Fields<'a> {
    /// Starts at the beginning of `body`.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// What was not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A given number of bytes as an array.
    ///
    /// # Errors
    /// The packet ended.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FieldError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(FieldError(what))?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// The packet ended.
    pub fn u8(&mut self) -> Result<u8, FieldError> {
        let [byte] = self.array("it ends before a byte")?;
        Ok(byte)
    }

    /// An integer of two bytes.
    ///
    /// # Errors
    /// The packet ended.
    pub fn u16(&mut self) -> Result<u16, FieldError> {
        Ok(u16::from_le_bytes(self.array("it ends before an int<2>")?))
    }

    /// An integer of three bytes.
    ///
    /// # Errors
    /// The packet ended.
    pub fn u24(&mut self) -> Result<u32, FieldError> {
        let [a, b, c] = self.array("it ends before an int<3>")?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// An integer of four bytes.
    ///
    /// # Errors
    /// The packet ended.
    pub fn u32(&mut self) -> Result<u32, FieldError> {
        Ok(u32::from_le_bytes(self.array("it ends before an int<4>")?))
    }

    /// An integer of six bytes.
    ///
    /// # Errors
    /// The packet ended.
    pub fn u48(&mut self) -> Result<u64, FieldError> {
        let [a, b, c, d, e, f] = self.array("it ends before an int<6>")?;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// An integer of eight bytes.
    ///
    /// # Errors
    /// The packet ended.
    pub fn u64(&mut self) -> Result<u64, FieldError> {
        Ok(u64::from_le_bytes(self.array("it ends before an int<8>")?))
    }

    /// A length-encoded integer.
    ///
    /// # Errors
    /// The packet ended, or NULL stands there.
    pub fn lenenc_int(&mut self) -> Result<u64, FieldError> {
        let (value, rest) =
            lenenc::take_int(self.rest).ok_or(FieldError("it ends before an int<lenenc>"))?;
        self.rest = rest;
        Ok(value)
    }

    /// A length-encoded string.
    ///
    /// # Errors
    /// The packet ended, or NULL stands there.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], FieldError> {
        let (value, rest) =
            lenenc::take_bytes(self.rest).ok_or(FieldError("it ends inside a string<lenenc>"))?;
        self.rest = rest;
        Ok(value)
    }

    /// A length-encoded string or NULL, as in a row of the text protocol.
    ///
    /// # Errors
    /// The packet ended.
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, FieldError> {
        if let Some((&lenenc::NULL, rest)) = self.rest.split_first() {
            self.rest = rest;
            return Ok(None);
        }
        self.lenenc_bytes().map(Some)
    }

    /// A given number of bytes.
    ///
    /// # Errors
    /// The packet ended.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], FieldError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(FieldError("it ends inside a value"))?;
        self.rest = rest;
        Ok(head)
    }

    /// Everything that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A string up to its zero byte, which is skipped.
    ///
    /// # Errors
    /// There is no zero byte.
    pub fn string(&mut self) -> Result<&'a [u8], FieldError> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(FieldError("a string has no terminator"))?;
        let text = self.bytes(end)?;
        self.u8()?;
        Ok(text)
    }

    /// A string up to its zero byte or the end of the packet: some servers leave the zero out.
    pub fn string_or_rest(&mut self) -> &'a [u8] {
        self.string().unwrap_or_else(|_open| self.take_rest())
    }
}
