//! Parameters of our statements: bytes that the stream gave, sent on as `text` and `text[]`.
//!
//! The stream's values are text in UTF8, written by the source server. Nothing is validated or
//! copied on the way but into the message to the target, which validates by itself.

use std::error::Error;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// One `text` array; `None` is NULL.
#[derive(Clone)]
pub(super) struct TextArray(pub(super) Vec<Option<Bytes>>);

/// Its values are the application's data, and the driver may print its parameters.
impl fmt::Debug for TextArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TextArray({})", self.0.len())
    }
}

impl ToSql for TextArray {
    /// The binary form of an array: `array_recv` in the server's `arrayfuncs.c`.
    fn to_sql(
        &self,
        _ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let values = self.0.iter().flatten().map(Bytes::len).sum::<usize>();
        out.reserve(20 + self.0.len() * 4 + values);
        let (dimensions, has_null) = (i32::from(!self.0.is_empty()), self.0.contains(&None));
        out.put_i32(dimensions);
        out.put_i32(i32::from(has_null));
        out.put_u32(Type::TEXT.oid());
        if self.0.is_empty() {
            return Ok(IsNull::No);
        }
        out.put_i32(i32::try_from(self.0.len())?);
        out.put_i32(1);
        for value in &self.0 {
            match value {
                Some(value) => {
                    out.put_i32(i32::try_from(value.len())?);
                    out.put_slice(value);
                }
                None => out.put_i32(-1),
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TEXT_ARRAY
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_written_like_the_driver_writes_one() {
        let ours = TextArray(vec![
            Some(Bytes::from_static(b"a\\b")),
            None,
            Some(Bytes::new()),
        ]);
        let theirs: Vec<Option<&str>> = vec![Some("a\\b"), None, Some("")];
        let (mut left, mut right) = (BytesMut::new(), BytesMut::new());
        ours.to_sql(&Type::TEXT_ARRAY, &mut left).unwrap();
        theirs.to_sql(&Type::TEXT_ARRAY, &mut right).unwrap();
        // The driver always sets the flag for NULLs, and so does an array with one.
        assert_eq!(left, right);
    }

    #[test]
    fn values_are_not_printed() {
        let array = TextArray(vec![Some(Bytes::from_static(b"secret"))]);
        assert_eq!(format!("{array:?}"), "TextArray(1)");
    }
}
