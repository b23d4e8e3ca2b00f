//! One record in a file: a header with a checksum over everything that follows it, and the payload.
//!
//! | bytes | field |
//! |---|---|
//! | 4 | CRC-32 of all that follows |
//! | 4 | length of the stored payload |
//! | 4 | length of the payload before compression |
//! | 4 | flags |
//! | 8 | position, if the record ends a unit |
//!
//! All numbers are big endian. A file that ends inside a record, or whose checksum does not fit, is
//! torn there: what was written last before a crash may be.

use std::io::{self, Read};

/// Bytes before the payload.
pub(super) const HEADER_BYTES: usize = 24;

/// Payloads from here on are compressed, if that makes them smaller.
const COMPRESS_BYTES_MIN: usize = 512;

/// Largest payload: the largest message of a server (1 GiB), and what stands around it.
pub const PAYLOAD_BYTES_MAX: usize = 0x4100_0000;

const COMPRESSED: u32 = 1;
const ENDS_UNIT: u32 = 2;
const PREAMBLE: u32 = 4;

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// Part of a unit; more follows.
    Part,
    /// The last record of a unit (or of several), with the position after it.
    UnitEnd(u64),
    /// What a reader that starts at this segment must know first.
    Preamble,
}

/// A record as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is for.
    pub kind: RecordKind,
    /// Its content.
    pub payload: Vec<u8>,
}

/// What is found at a place in a file.
#[derive(Debug)]
pub(super) enum Found {
    /// A record, and the bytes it takes in the file.
    Record { record: Record, bytes: u64 },
    /// The end of the file, exactly between two records.
    End,
    /// Something that is not a whole record.
    Torn(&'static str),
}

/// Appends the record's bytes to `out`. The payload must not be longer than
/// [`PAYLOAD_BYTES_MAX`]; `None` says that it is.
#[must_use]
pub(super) fn encode(kind: RecordKind, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let raw_len = u32::try_from(payload.len()).ok()?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return None;
    }
    let compressed = compress(payload);
    let stored = compressed.as_deref().unwrap_or(payload);
    let (mut flags, position) = match kind {
        RecordKind::Part => (0, 0),
        RecordKind::UnitEnd(position) => (ENDS_UNIT, position),
        RecordKind::Preamble => (PREAMBLE, 0),
    };
    if compressed.is_some() {
        flags |= COMPRESSED;
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&u32::try_from(stored.len()).ok()?.to_be_bytes());
    out.extend_from_slice(&raw_len.to_be_bytes());
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&position.to_be_bytes());
    out.extend_from_slice(stored);
    let crc = crc32fast::hash(out.get(start + 4..)?);
    out.get_mut(start..start + 4)?
        .copy_from_slice(&crc.to_be_bytes());
    Some(())
}

/// Reads the record at the reader's place.
pub(super) fn read(reader: &mut impl Read) -> io::Result<Found> {
    let mut header = [0; HEADER_BYTES];
    match fill(reader, &mut header)? {
        0 => return Ok(Found::End),
        HEADER_BYTES => {}
        _short => return Ok(Found::Torn("it ends inside a record's header")),
    }
    let Some(header) = Header::parse(&header) else {
        return Ok(Found::Torn("a record's header is impossible"));
    };
    let mut stored = Vec::new();
    let taken = reader.take(header.stored_len).read_to_end(&mut stored)?;
    if u64::try_from(taken).ok() != Some(header.stored_len) {
        return Ok(Found::Torn("it ends inside a record"));
    }
    if header.crc_of(&stored) != header.crc {
        return Ok(Found::Torn("a record's checksum is wrong"));
    }
    let Some(payload) = header.unpack(stored) else {
        return Ok(Found::Torn("a record cannot be decompressed"));
    };
    let bytes = header.stored_len + 24;
    Ok(Found::Record {
        record: Record {
            kind: header.kind,
            payload,
        },
        bytes,
    })
}

struct Header {
    crc: u32,
    covered: [u8; HEADER_BYTES - 4],
    stored_len: u64,
    raw_len: usize,
    compressed: bool,
    kind: RecordKind,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (crc, covered) = bytes.split_first_chunk::<4>()?;
        let (stored_len, rest) = covered.split_first_chunk::<4>()?;
        let (raw_len, rest) = rest.split_first_chunk::<4>()?;
        let (flags, position) = rest.split_first_chunk::<4>()?;
        let stored_len = u32::from_be_bytes(*stored_len);
        let raw_len = usize::try_from(u32::from_be_bytes(*raw_len)).ok()?;
        let flags = u32::from_be_bytes(*flags);
        let kind = match flags & !COMPRESSED {
            0 => RecordKind::Part,
            ENDS_UNIT => RecordKind::UnitEnd(u64::from_be_bytes(position.try_into().ok()?)),
            PREAMBLE => RecordKind::Preamble,
            _unknown => return None,
        };
        let possible = raw_len <= PAYLOAD_BYTES_MAX && usize::try_from(stored_len).ok()? <= raw_len;
        possible.then_some(Self {
            crc: u32::from_be_bytes(*crc),
            covered: covered.try_into().ok()?,
            stored_len: u64::from(stored_len),
            raw_len,
            compressed: flags & COMPRESSED != 0,
            kind,
        })
    }

    fn crc_of(&self, stored: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.covered);
        crc.update(stored);
        crc.finalize()
    }

    fn unpack(&self, stored: Vec<u8>) -> Option<Vec<u8>> {
        let payload = if self.compressed {
            lz4_flex::block::decompress(&stored, self.raw_len).ok()?
        } else {
            stored
        };
        (payload.len() == self.raw_len).then_some(payload)
    }
}

fn compress(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() < COMPRESS_BYTES_MIN {
        return None;
    }
    let compressed = lz4_flex::block::compress(payload);
    (compressed.len() < payload.len()).then_some(compressed)
}

/// Reads until the buffer is full or the file ends; says how much was read.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
