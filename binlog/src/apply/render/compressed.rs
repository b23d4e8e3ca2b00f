//! Values of MariaDB's compressed columns.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, ZlibDecoder};

use crate::apply::field::BadField;

/// The value of a stored one: a byte that tells the method and how long the length is, the length
/// with its highest byte first, then the data. An empty value has nothing of this.
pub(super) fn inflate(stored: &[u8]) -> Result<Cow<'_, [u8]>, BadField> {
    const ZLIB: u8 = 8;
    const WITHOUT_HEAD: u8 = 0x08;
    let Some((&head, rest)) = stored.split_first() else {
        return Ok(Cow::Borrowed(stored));
    };
    match head >> 4 {
        0 => Ok(Cow::Borrowed(rest)),
        ZLIB => {
            let digits = usize::from(head & 0x07);
            let (length, data) = rest.split_at_checked(digits).ok_or(BadField)?;
            let length = length
                .iter()
                .fold(0_u64, |length, digit| length << 8 | u64::from(*digit));
            let mut value = Vec::new();
            // One more than there may be: a length that lies is noticed, and never believed.
            let read = if head & WITHOUT_HEAD == 0 {
                ZlibDecoder::new(data)
                    .take(length.saturating_add(1))
                    .read_to_end(&mut value)
            } else {
                DeflateDecoder::new(data)
                    .take(length.saturating_add(1))
                    .read_to_end(&mut value)
            };
            read.map_err(|_broken| BadField)?;
            let is_whole = u64::try_from(value.len()) == Ok(length);
            is_whole.then_some(Cow::Owned(value)).ok_or(BadField)
        }
        _unknown => Err(BadField),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    #[test]
    fn values_are_read_as_they_are_stored_and_lengths_that_lie_are_noticed() {
        assert_eq!(inflate(b"").unwrap(), b"".as_slice());
        assert_eq!(inflate(b"\0abc").unwrap(), b"abc".as_slice());
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&[7; 300]).unwrap();
        let data = encoder.finish().unwrap();
        let stored = |head: &[u8]| [head, &data].concat();
        assert_eq!(
            inflate(&stored(&[0x82, 1, 44])).unwrap(),
            [7; 300].as_slice()
        );
        for head in [&[0x82, 1, 43][..], &[0x82, 1, 45], &[0x8A, 1, 44], &[0x70]] {
            assert_eq!(inflate(&stored(head)), Err(BadField), "{head:?}");
        }
        assert_eq!(inflate(&[0x84, 1]), Err(BadField));
    }
}
