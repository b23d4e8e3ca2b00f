//! Compressed parts of events: MySQL's whole transactions, MariaDB's rows and statements.

use std::io::Read;

use bytes::{Buf, Bytes};
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

/// The events in the body of a `Transaction_payload_event`, uncompressed one after the other: all
/// together may have 1 GiB and more.
/// <https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Transaction__payload__event.html>
pub(super) struct Payload {
    events: Box<dyn Read + Send>,
    /// Bytes that are still to come, if it is told.
    left: Option<u64>,
}

impl Payload {
    /// Reads what stands before the events.
    pub(super) fn begin(body: Bytes) -> Result<Self, EventError> {
        const END: u64 = 0;
        const ALGORITHM: u64 = 2;
        const UNCOMPRESSED_BYTES: u64 = 3;
        const ZSTD: u64 = 0;
        const NONE: u64 = 255;
        let mut fields = Fields::new(&body);
        let (mut algorithm, mut left) = (NONE, None);
        loop {
            let field = fields.lenenc_int()?;
            if field == END {
                break;
            }
            let mut value = Fields::new(fields.lenenc_bytes()?);
            match field {
                ALGORITHM => algorithm = value.lenenc_int()?,
                UNCOMPRESSED_BYTES => left = Some(value.lenenc_int()?),
                _payload_bytes_or_later => {}
            }
        }
        let data = body.slice_ref(fields.rest());
        let events: Box<dyn Read + Send> = match (algorithm, left) {
            (NONE, _) => {
                left = u64::try_from(data.len()).ok();
                Box::new(data.reader())
            }
            (ZSTD, Some(_)) => {
                let decoder = zstd::Decoder::with_buffer(data.reader());
                Box::new(decoder.map_err(|_bad| EventError::Compressed("zstd does not begin"))?)
            }
            (ZSTD, None) => return Err(EventError::Compressed("it does not tell its length")),
            (_, _) => return Err(EventError::Compressed("its algorithm is not known")),
        };
        Ok(Self { events, left })
    }

    /// The next event with its header.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, EventError> {
        const HEADER_BYTES: u64 = 19;
        let short = EventError::Compressed("it ends before the length that it tells");
        let left = self.left.unwrap_or(0);
        if left == 0 {
            let mut more = [0];
            return match self.events.read(&mut more) {
                Ok(0) => Ok(None),
                Ok(_) => Err(EventError::Compressed("it is longer than it tells")),
                Err(_) => Err(EventError::Compressed("it is damaged")),
            };
        }
        let mut event = Vec::new();
        let mut read = |event: &mut Vec<u8>, bytes: u64| {
            let part = self.events.by_ref().take(bytes).read_to_end(event);
            let part = part.map_err(|_bad| EventError::Compressed("it is damaged"))?;
            if u64::try_from(part) == Ok(bytes) {
                Ok(())
            } else {
                Err(short.clone())
            }
        };
        read(&mut event, HEADER_BYTES)?;
        let length = event
            .get(9..13)
            .and_then(|bytes| bytes.try_into().ok())
            .map(|bytes| u64::from(u32::from_le_bytes(bytes)))
            .filter(|length| (HEADER_BYTES..=left.min(BYTES_MAX)).contains(length))
            .ok_or(EventError::Compressed("an event in it has no length"))?;
        read(&mut event, length - HEADER_BYTES)?;
        self.left = Some(left - length);
        Ok(Some(Bytes::from(event)))
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

    fn payload(body: &[u8]) -> Result<Vec<Bytes>, EventError> {
        let mut payload = Payload::begin(Bytes::copy_from_slice(body))?;
        let mut events = Vec::new();
        while let Some(event) = payload.next()? {
            events.push(event);
        }
        Ok(events)
    }

    /// An event of so many bytes in all.
    fn event(bytes: u8) -> Vec<u8> {
        let mut event = vec![7; usize::from(bytes)];
        event[9..13].copy_from_slice(&u32::from(bytes).to_le_bytes());
        event
    }

    #[test]
    fn a_damaged_payload_is_an_error_and_never_empty() {
        let events = [event(19), event(100)];
        let plain = events.concat();
        let compressed = zstd::encode_all(&plain[..], 3).unwrap();
        let told = |length: u8| {
            let mut body = vec![2, 1, 0, 3, 1, length, 0];
            body.extend(&compressed);
            body
        };
        let body = told(119);
        assert_eq!(payload(&body).unwrap(), events);
        assert!(payload(&told(118)).is_err());
        assert!(payload(&told(120)).is_err());
        assert!(payload(&told(19)).is_err());
        for place in 7..body.len() {
            let mut damaged = body.clone();
            damaged[place] ^= 0x55;
            if let Ok(data) = payload(&damaged) {
                assert_eq!(data.concat().len(), plain.len());
            }
            assert!(payload(&damaged[..place]).is_err());
        }
        let uncompressed = [&[2, 3, 0xfc, 255, 0, 0][..], &plain].concat();
        assert_eq!(payload(&uncompressed).unwrap(), events);
        assert!(payload(&uncompressed[..uncompressed.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            drop(inflate(&bytes));
            drop(payload(&bytes));
        }
    }
}
