//! Length-encoded integers and strings: one byte up to 250, else a marker and 2, 3 or 8 bytes.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>

use bytes::{BufMut, BytesMut};

/// The byte that stands for NULL where a string of a text row is expected.
pub const NULL: u8 = 0xfb;

/// Reads an integer at the beginning of `bytes`: its value and what follows. `None` when the bytes
/// end too early or begin with a marker that is no integer (0xfb, 0xff).
#[must_use]
pub fn take_int(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    match first {
        0..=0xfa => Some((u64::from(first), rest)),
        0xfc => little_endian::<2>(rest),
        0xfd => little_endian::<3>(rest),
        0xfe => little_endian::<8>(rest),
        NULL | 0xff => None,
    }
}

/// Reads a string at the beginning of `bytes`: its bytes and what follows.
#[must_use]
pub fn take_bytes(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = take_int(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

/// Writes an integer in its shortest form.
pub fn put_int(value: u64, out: &mut BytesMut) {
    let bytes = value.to_le_bytes();
    let [a, b, c, ..] = bytes;
    if value < 0xfb {
        out.put_u8(a);
    } else if value <= 0xffff {
        out.put_slice(&[0xfc, a, b]);
    } else if value <= 0x00ff_ffff {
        out.put_slice(&[0xfd, a, b, c]);
    } else {
        out.put_u8(0xfe);
        out.put_slice(&bytes);
    }
}

/// Writes a string with its length.
pub fn put_bytes(value: &[u8], out: &mut BytesMut) {
    put_int(length(value), out);
    out.put_slice(value);
}

fn length(value: &[u8]) -> u64 {
    u64::try_from(value.len()).unwrap_or(u64::MAX)
}

fn little_endian<const N: usize>(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    let mut wide = [0; 8];
    for (to, from) in wide.iter_mut().zip(head) {
        *to = *from;
    }
    Some((u64::from_le_bytes(wide), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_width_is_written_in_its_shortest_form() {
        for (value, bytes) in [
            (0, &[0][..]),
            (250, &[250]),
            (251, &[0xfc, 251, 0]),
            (0xffff, &[0xfc, 0xff, 0xff]),
            (0x1_0000, &[0xfd, 0, 0, 1]),
            (0x100_0000, &[0xfe, 0, 0, 0, 1, 0, 0, 0, 0]),
        ] {
            let mut out = BytesMut::new();
            put_int(value, &mut out);
            assert_eq!(&out[..], bytes);
        }
    }

    #[test]
    fn null_error_and_short_bytes_are_no_integers() {
        for bytes in [
            &[][..],
            &[NULL],
            &[0xff],
            &[0xfc, 1],
            &[0xfd, 1, 2],
            &[0xfe, 1, 2, 3],
        ] {
            assert_eq!(take_int(bytes), None);
        }
        assert_eq!(take_bytes(&[5, 1, 2]), None);
        assert_eq!(
            take_bytes(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 255]),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value: u64, tail: Vec<u8>) {
            let mut out = BytesMut::new();
            put_int(value, &mut out);
            out.put_slice(&tail);
            prop_assert_eq!(take_int(&out), Some((value, &tail[..])));
        }

        #[test]
        fn strings_come_back_whole(value: Vec<u8>, tail: Vec<u8>) {
            let mut out = BytesMut::new();
            put_bytes(&value, &mut out);
            out.put_slice(&tail);
            prop_assert_eq!(take_bytes(&out), Some((&value[..], &tail[..])));
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _read = (take_int(&bytes), take_bytes(&bytes));
        }
    }
}
