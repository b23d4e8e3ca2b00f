//! Rows in the text format of COPY, straight from the stream's bytes.
//!
//! <https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.2>

use bytes::{BufMut, BytesMut};
use router::{Cell, Row};

/// Appends one line: these columns of `row`.
pub(super) fn put_row(out: &mut BytesMut, row: &Row, columns: &[usize]) {
    for (place, &column) in columns.iter().enumerate() {
        if place > 0 {
            out.put_u8(b'\t');
        }
        match row.cells().get(column) {
            Some(Cell::Value(value)) => put_value(out, value),
            Some(Cell::Null | Cell::Unchanged) | None => out.put_slice(b"\\N"),
        }
    }
    out.put_u8(b'\n');
}

/// Appends a value; only the bytes that would end it, or that begin an escape, are escaped.
fn put_value(out: &mut BytesMut, value: &[u8]) {
    let mut rest = value;
    while let Some(place) = rest
        .iter()
        .position(|byte| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t'))
    {
        let (plain, special) = rest.split_at(place);
        out.put_slice(plain);
        let letter = match special.first() {
            Some(b'\n') => b'n',
            Some(b'\r') => b'r',
            Some(b'\t') => b't',
            Some(_) | None => b'\\',
        };
        out.put_slice(&[b'\\', letter]);
        rest = special.get(1..).unwrap_or_default();
    }
    out.put_slice(rest);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn special_bytes_are_escaped_and_null_is_told_from_text() {
        let cell = |text: &'static str| Cell::Value(Bytes::from_static(text.as_bytes()));
        let row = Row::new(vec![
            cell("a\tb\nc\rd\\e"),
            Cell::Null,
            cell("\\N"),
            cell(""),
        ]);
        let mut out = BytesMut::new();
        put_row(&mut out, &row, &[0, 1, 2, 3]);
        assert_eq!(&out[..], b"a\\tb\\nc\\rd\\\\e\t\\N\t\\\\N\t\n");
    }
}
