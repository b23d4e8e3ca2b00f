//! Compressed parts of events: MySQL's whole transactions, MariaDB's rows and statements.

use std::io::Read;

use flate2::read::ZlibDecoder;

use super::error::EventError;
use crate::wire::Fields;

/// Most bytes that compressed data may become: the most that `max_allowed_packet` and
/// `transaction_payload` of a server can be, 1 GiB.
const BYTES_MAX: u64 = 1 << 30;

/// Uncompresses what MariaDB's `binlog_buf_compress` wrote: a byte with the algorithm and the number
/// of bytes of the length, the length with its highest byte first, then the data.
pub(super) fn inflate(bytes: &[u8]) -> Result<Vec<u8>, EventError> {
    let bad = EventError::Compressed("its head cannot be");
    let (&head, rest) = bytes.split_first().ok_or(bad.clone())?;
    if head & 0x80 == 0 || head & 0x70 != 0 {
        return Err(EventError::Compressed("its algorithm is not zlib"));
    }
    let digits = usize::from(head & 0x07);
    if !(1..=4).contains(&digits) {
        return Err(bad);
    }
    let (length, data) = rest.split_at_checked(digits).ok_or(bad)?;
    let length = length
        .iter()
        .fold(0_u64, |length, digit| length << 8 | u64::from(*digit));
    read_exactly(ZlibDecoder::new(data), length)
}

/// The events in the body of a `Transaction_payload_event`.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Transaction__payload__event.html>
pub(super) fn payload(body: &[u8]) -> Result<Vec<u8>, EventError> {
    const END: u64 = 0;
    const ALGORITHM: u64 = 2;
    const UNCOMPRESSED_BYTES: u64 = 3;
    const ZSTD: u64 = 0;
    const NONE: u64 = 255;
    let mut fields = Fields::new(body);
    let (mut algorithm, mut length) = (NONE, None);
    loop {
        let field = fields.lenenc_int()?;
        if field == END {
            break;
        }
        let mut value = Fields::new(fields.lenenc_bytes()?);
        match field {
            ALGORITHM => algorithm = value.lenenc_int()?,
            UNCOMPRESSED_BYTES => length = Some(value.lenenc_int()?),
            _payload_bytes_or_later => {}
        }
    }
    let data = fields.rest();
    match (algorithm, length) {
        (NONE, _) => Ok(data.to_vec()),
        (ZSTD, Some(length)) => {
            let decoder = zstd::Decoder::new(data)
                .map_err(|_bad| EventError::Compressed("zstd does not begin"))?;
            read_exactly(decoder, length)
        }
        (ZSTD, None) => Err(EventError::Compressed("it does not tell its length")),
        (_, _) => Err(EventError::Compressed("its algorithm is not known")),
    }
}

/// Reads until the end, which must be after so many bytes. The length is believed only as a limit.
fn read_exactly(decoder: impl Read, length: u64) -> Result<Vec<u8>, EventError> {
    if length > BYTES_MAX {
        return Err(EventError::Compressed("it becomes more than 1 GiB"));
    }
    let mut data = Vec::new();
    decoder
        .take(length + 1)
        .read_to_end(&mut data)
        .map_err(|_bad| EventError::Compressed("it is damaged"))?;
    if u64::try_from(data.len()) == Ok(length) {
        Ok(data)
    } else {
        Err(EventError::Compressed(
            "it has another length than it tells",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    fn deflated(data: &[u8], length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        let mut encoder = ZlibEncoder::new(vec![0x82, high, low], Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn data_comes_back_and_a_wrong_length_is_an_error() {
        let data = b"abc".repeat(100);
        assert_eq!(inflate(&deflated(&data, 300)), Ok(data.clone()));
        assert!(inflate(&deflated(&data, 299)).is_err());
        assert!(inflate(&deflated(&data, 301)).is_err());
        let whole = deflated(&data, 300);
        assert!(inflate(&whole[..whole.len() - 6]).is_err());
    }

    #[test]
    fn a_damaged_payload_is_an_error_and_never_empty() {
        let compressed = zstd::encode_all(&b"events"[..], 3).unwrap();
        let mut body = vec![2, 1, 0, 3, 1, 6, 0];
        body.extend(&compressed);
        assert_eq!(payload(&body), Ok(b"events".to_vec()));
        let last = body.len() - 1;
        for place in 7..last {
            let mut damaged = body.clone();
            damaged[place] ^= 0x55;
            if let Ok(data) = payload(&damaged) {
                assert_eq!(data.len(), 6);
            }
            assert!(payload(&damaged[..place]).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            drop(inflate(&bytes));
            drop(payload(&bytes));
        }
    }
}
