//! Rows as the target takes them: lines of `LOAD DATA`, or tuples of a multi-row `INSERT`.
//!
//! Both forms carry bytes without a character set, so that nothing is converted on the way.

use bytes::{BufMut, Bytes, BytesMut};

use super::values::Carriage;

/// One field of a tuple.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field<'a> {
    Null,
    /// The source's bytes.
    Value(Carriage, &'a [u8]),
    /// SQL that makes the value.
    Expression(&'a str),
}

/// The format of the lines; written into the statement, since defaults depend on `sql_mode`.
pub(super) const LINE_FORMAT: &str =
    r"FIELDS TERMINATED BY '\t' OPTIONALLY ENCLOSED BY '' ESCAPED BY '\\' LINES TERMINATED BY '\n'";

/// Appends one row as a line of `LOAD DATA`.
pub(super) fn put_line<'a>(fields: impl Iterator<Item = Option<&'a [u8]>>, out: &mut BytesMut) {
    for (at, field) in fields.enumerate() {
        if at > 0 {
            out.put_u8(b'\t');
        }
        match field {
            None => out.put_slice(b"\\N"),
            Some(bytes) => put_escaped(bytes, out),
        }
    }
    out.put_u8(b'\n');
}

/// Everything that ends a field, a line or begins an escape gets a backslash before it.
fn put_escaped(bytes: &[u8], out: &mut BytesMut) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| escape_of(*byte).is_some()) {
        let (plain, special) = rest.split_at(at);
        out.put_slice(plain);
        let Some((first, after)) = special.split_first() else {
            break;
        };
        out.put_u8(b'\\');
        out.put_u8(escape_of(*first).unwrap_or(*first));
        rest = after;
    }
    out.put_slice(rest);
}

fn escape_of(byte: u8) -> Option<u8> {
    match byte {
        b'\\' => Some(b'\\'),
        b'\t' => Some(b't'),
        b'\n' => Some(b'n'),
        b'\r' => Some(b'r'),
        0 => Some(b'0'),
        _other => None,
    }
}

/// Appends one row as a tuple of literals.
pub(super) fn put_tuple<'a>(fields: impl Iterator<Item = Field<'a>>, out: &mut BytesMut) {
    out.put_u8(b'(');
    put_list(fields, out);
    out.put_u8(b')');
}

/// Appends one row as a list of literals.
pub(super) fn put_list<'a>(fields: impl Iterator<Item = Field<'a>>, out: &mut BytesMut) {
    for (at, field) in fields.enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        match field {
            Field::Null => out.put_slice(b"NULL"),
            Field::Value(carriage, bytes) => put_literal(carriage, bytes, out),
            Field::Expression(sql) => out.put_slice(sql.as_bytes()),
        }
    }
}

fn put_literal(carriage: Carriage, bytes: &[u8], out: &mut BytesMut) {
    match carriage {
        Carriage::Plain | Carriage::Double | Carriage::Words => {
            // Numbers and dates: the server wrote them, without quotes and backslashes.
            out.put_u8(b'\'');
            out.put_slice(bytes);
            out.put_u8(b'\'');
        }
        // Digits as bytes too: converted to a wide character set they would be no number.
        Carriage::Bytes | Carriage::Ordinal { .. } => put_hex(bytes, out),
        Carriage::Json | Carriage::Document => {
            out.put_slice(b"CONVERT(");
            put_hex(bytes, out);
            out.put_slice(b" USING utf8mb4)");
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn put_hex(bytes: &[u8], out: &mut BytesMut) {
    if bytes.is_empty() {
        out.put_slice(b"''");
        return;
    }
    out.reserve(bytes.len() * 2 + 3);
    out.put_slice(b"x'");
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.put_u8(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0'));
        }
    }
    out.put_u8(b'\'');
}

/// A buffer that is handed on in pieces of about one size.
#[derive(Debug)]
pub(super) struct Pieces {
    buffer: BytesMut,
    bytes_each: usize,
}

impl Pieces {
    pub(super) fn new(bytes_each: usize) -> Self {
        Self {
            buffer: BytesMut::with_capacity(bytes_each + bytes_each / 4),
            bytes_each,
        }
    }

    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// A piece, once there is enough for one.
    pub(super) fn full(&mut self) -> Option<Bytes> {
        (self.buffer.len() >= self.bytes_each).then(|| {
            let next = BytesMut::with_capacity(self.bytes_each + self.bytes_each / 4);
            std::mem::replace(&mut self.buffer, next).freeze()
        })
    }

    /// What is left.
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.buffer).freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads lines as `LOAD DATA` does.
    fn read_lines(text: &[u8]) -> Vec<Vec<Option<Vec<u8>>>> {
        let mut rows = Vec::new();
        let mut row = Vec::new();
        let mut field = Vec::new();
        let mut is_null = false;
        let mut bytes = text.iter();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => match bytes.next().unwrap() {
                    b'N' => is_null = true,
                    b'0' => field.push(0),
                    b't' => field.push(b'\t'),
                    b'n' => field.push(b'\n'),
                    b'r' => field.push(b'\r'),
                    other => field.push(*other),
                },
                b'\t' | b'\n' => {
                    let value = std::mem::take(&mut field);
                    row.push((!std::mem::take(&mut is_null)).then_some(value));
                    if *byte == b'\n' {
                        rows.push(std::mem::take(&mut row));
                    }
                }
                other => field.push(*other),
            }
        }
        assert!(row.is_empty() && field.is_empty());
        rows
    }

    proptest! {
        #[test]
        fn lines_carry_any_bytes_and_tell_null_from_the_letters_of_it(
            rows in proptest::collection::vec(
                proptest::collection::vec(
                    proptest::option::of(proptest::collection::vec(
                        prop_oneof![any::<u8>(), Just(b'\\'), Just(b'N'), Just(b'\t'), Just(b'\n')],
                        0..12,
                    )),
                    1..4,
                ),
                0..6,
            )
        ) {
            let mut out = BytesMut::new();
            for row in &rows {
                put_line(row.iter().map(Option::as_deref), &mut out);
            }
            prop_assert_eq!(read_lines(&out), rows);
        }
    }

    #[test]
    fn tuples_hold_bytes_as_hex_and_numbers_as_they_are() {
        let mut out = BytesMut::new();
        let fields = [
            Field::Value(Carriage::Plain, b"-1.50"),
            Field::Value(Carriage::Bytes, b"\xff'\\"),
            Field::Value(Carriage::Bytes, b""),
            Field::Value(Carriage::Json, b"{}"),
            Field::Expression("CAST('1' AS JSON)"),
            Field::Null,
        ];
        put_tuple(fields.into_iter(), &mut out);
        assert_eq!(
            &out[..],
            b"('-1.50',x'ff275c','',CONVERT(x'7b7d' USING utf8mb4),CAST('1' AS JSON),NULL)"
        );
    }

    #[test]
    fn pieces_are_handed_on_when_they_are_full() {
        let mut pieces = Pieces::new(4);
        pieces.buffer().put_slice(b"abc");
        assert_eq!(pieces.full(), None);
        pieces.buffer().put_slice(b"de");
        assert_eq!(pieces.full().unwrap(), Bytes::from_static(b"abcde"));
        assert!(pieces.rest().is_empty());
    }
}
