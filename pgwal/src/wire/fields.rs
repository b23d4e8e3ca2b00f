//! Reading the parts of a message body, each read checked.

/// A cursor over a message body. Every read says whether the bytes were there.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// A message body that ends too early or holds what it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
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

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], FieldError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(FieldError(what))?;
        self.rest = rest;
        Ok(*head)
    }

    /// One byte.
    ///
    /// # Errors
    /// The body ended.
    pub fn u8(&mut self) -> Result<u8, FieldError> {
        let [byte] = self.array("it ends before a byte")?;
        Ok(byte)
    }

    /// An `Int16`.
    ///
    /// # Errors
    /// The body ended.
    pub fn i16(&mut self) -> Result<i16, FieldError> {
        Ok(i16::from_be_bytes(self.array("it ends before an Int16")?))
    }

    /// An `Int32`.
    ///
    /// # Errors
    /// The body ended.
    pub fn i32(&mut self) -> Result<i32, FieldError> {
        Ok(i32::from_be_bytes(self.array("it ends before an Int32")?))
    }

    /// An `Int32` that the manual calls an object id or that is read without a sign.
    ///
    /// # Errors
    /// The body ended.
    pub fn u32(&mut self) -> Result<u32, FieldError> {
        Ok(u32::from_be_bytes(self.array("it ends before an Int32")?))
    }

    /// An `Int64`.
    ///
    /// # Errors
    /// The body ended.
    pub fn u64(&mut self) -> Result<u64, FieldError> {
        Ok(u64::from_be_bytes(self.array("it ends before an Int64")?))
    }

    /// A given number of bytes.
    ///
    /// # Errors
    /// The body ended.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], FieldError> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(FieldError("it ends inside a value"))?;
        self.rest = rest;
        Ok(head)
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

    /// A string that must be UTF-8.
    ///
    /// # Errors
    /// There is no zero byte, or the text is not UTF-8.
    pub fn utf8(&mut self) -> Result<&'a str, FieldError> {
        std::str::from_utf8(self.string()?)
            .map_err(|_not_utf8| FieldError("a string is not valid UTF-8"))
    }
}
