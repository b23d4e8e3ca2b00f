//! Numbers of types that a client reads from the catalog.
//!
//! Most drivers ask for the types that they are to know by name, and get their numbers in a column
//! of the type `oid`. Which rows belong to which description is told by their count of columns
//! alone: a number that is noted for nothing does no harm.

use super::messages;
use crate::wire::Fields;

const OID: u32 = 26;
const OIDS: u32 = 1028;

/// The tables of the catalog that have numbers of types, `pg_type`, `pg_attribute`, `pg_enum` and
/// `pg_range`; and none, which is said of what is computed.
const OF_TYPES: [u32; 5] = [0, 1247, 1249, 3501, 3541];

/// Bytes of an array in binary format before the first element: dimensions, flag of nulls, type of the elements,
/// then length and first place of the one dimension.
const ARRAY_HEADER_BYTES: usize = 20;

/// The columns of numbers in the result that was described last.
#[derive(Debug, Default)]
pub(super) struct Watch {
    columns: u16,
    /// In ascending order.
    of_numbers: Vec<u16>,
}

impl Watch {
    /// Whether rows are to be looked at.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        !self.of_numbers.is_empty()
    }

    /// The rows have ended: those that come next are not known to be of that description.
    pub(super) fn end(&mut self) {
        self.of_numbers.clear();
    }

    /// Takes a `RowDescription`; gives each type in it.
    pub(super) fn description(&mut self, body: &[u8], mut found: impl FnMut(u32)) {
        self.of_numbers.clear();
        self.columns = 0;
        messages::each_column(body, |table, of| {
            if matches!(of, OID | OIDS) && OF_TYPES.contains(&table) {
                self.of_numbers.push(self.columns);
            }
            self.columns = self.columns.saturating_add(1);
            found(of);
        });
    }

    /// Takes a `DataRow`; gives each number in it.
    pub(super) fn row(&self, body: &[u8], mut found: impl FnMut(u32)) {
        let mut fields = Fields::new(body);
        if fields.i16().map(i16::cast_unsigned) != Ok(self.columns) {
            return;
        }
        for column in 0..self.columns {
            let Ok(length) = fields.i32() else { return };
            let Ok(length) = usize::try_from(length) else {
                continue;
            };
            let Ok(value) = fields.bytes(length) else {
                return;
            };
            if self.of_numbers.binary_search(&column).is_ok() {
                numbers_in(value, &mut found);
            }
        }
    }
}

/// The numbers in a value of one of both types, in either format. In text, four digits are no number
/// that a server gives out by itself.
fn numbers_in(value: &[u8], found: &mut impl FnMut(u32)) {
    let mut of_text = |text: &[u8]| {
        let number = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok());
        number.into_iter().for_each(&mut *found);
    };
    match value {
        [a, b, c, d] if !value.iter().all(u8::is_ascii_digit) => {
            found(u32::from_be_bytes([*a, *b, *c, *d]));
        }
        [b'{', list @ .., b'}'] => list.split(|byte| *byte == b',').for_each(of_text),
        [0, ..] => {
            let elements = value.get(ARRAY_HEADER_BYTES..).unwrap_or_default();
            for element in elements.as_chunks::<8>().0 {
                if let Some((&[0, 0, 0, 4], [a, b, c, d])) = element.split_first_chunk() {
                    found(u32::from_be_bytes([*a, *b, *c, *d]));
                }
            }
        }
        text => of_text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use proptest::prelude::*;

    fn description(types: &[u32]) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u16(u16::try_from(types.len()).unwrap());
        for of in types {
            body.put_slice(b"name\0\0\0\x04\xdf\0\x02");
            body.put_u32(*of);
            body.put_slice(&[0; 8]);
        }
        body
    }

    fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u16(u16::try_from(values.len()).unwrap());
        for value in values {
            match value {
                None => body.put_i32(-1),
                Some(value) => {
                    body.put_i32(i32::try_from(value.len()).unwrap());
                    body.put_slice(value);
                }
            }
        }
        body
    }

    #[test]
    fn numbers_are_read_in_both_formats_and_from_their_columns_alone() {
        let mut watch = Watch::default();
        let mut types = Vec::new();
        watch.description(&description(&[23, OID, 16_400, OIDS]), |of| types.push(of));
        assert_eq!(types, [23, OID, 16_400, OIDS]);
        let array = {
            let mut array = Vec::new();
            for word in [1, 0, OID, 2, 1, 4, 16_401, 4, 16_402] {
                array.put_u32(word);
            }
            array
        };
        let binary = 16_400_u32.to_be_bytes();
        for (values, expected) in [
            (
                [
                    Some(&b"16999"[..]),
                    Some(b"16400"),
                    None,
                    Some(b"{16401,NULL,16402}"),
                ],
                vec![16_400, 16_401, 16_402],
            ),
            (
                [Some(b"\0\0\x42\0"), Some(&binary), None, Some(&array)],
                vec![16_400, 16_401, 16_402],
            ),
            ([None, None, None, None], vec![]),
        ] {
            let mut numbers = Vec::new();
            watch.row(&row(&values), |number| numbers.push(number));
            assert_eq!(numbers, expected);
        }
        let mut numbers = Vec::new();
        watch.row(&row(&[Some(b"16400")]), |number| numbers.push(number));
        assert!(numbers.is_empty());
        watch.description(&description(&[23]), |_of| {});
        assert!(!watch.is_on());
    }

    proptest! {
        #[test]
        fn no_length_is_believed(
            bad in proptest::collection::vec(any::<u8>(), 0..80),
            row in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut watch = Watch::default();
            watch.description(&bad, |_of| {});
            watch.row(&row, |_number| {});
            watch.description(&description(&[OID, OIDS]), |_of| {});
            watch.row(&row, |_number| {});
        }
    }
}
