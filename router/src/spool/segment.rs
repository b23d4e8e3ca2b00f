//! One segment: a file with a header that says how it hangs together with the segment before it,
//! and records.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::error::SpoolError;
use super::record::{self, Found, RecordKind};

/// The last byte is the format's version.
const MAGIC: &[u8; 8] = b"PMSPOOL\x01";

pub(super) const SEGMENT_HEADER_BYTES: usize = 32;

const CONTINUES: u32 = 1;
const INSIDE_UNIT: u32 = 2;

/// How a segment hangs together with the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// What was pushed between the two did not come into the spool.
    Fresh,
    /// Nothing is missing between the two.
    Continues,
}

/// Where a segment's first record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartsAt {
    /// Between two units.
    Boundary,
    /// Behind the beginning of a unit.
    InsideUnit,
}

/// What the spool knows about one of its segments.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its number; they are given without gaps.
    pub(super) seq: u64,
    pub(super) path: PathBuf,
    pub(super) link: Link,
    pub(super) starts_at: StartsAt,
    /// The position after the last unit that ended before this segment.
    pub(super) base: u64,
    /// Bytes in the file.
    pub(super) len: u64,
    /// The position after the first unit that ends in it.
    pub(super) first_unit_end: Option<u64>,
    /// The position after the last unit that ends in it, and the file's length there.
    pub(super) last_unit_end: Option<(u64, u64)>,
    /// The last unit end that is known to be on stable storage.
    pub(super) durable_unit_end: Option<u64>,
    /// Once everything up to this position is done, the segment is not needed any more. `None`
    /// while the unit of its last record has not ended.
    pub(super) needed_until: Option<u64>,
}

impl Segment {
    /// A segment that is about to be written.
    pub(super) fn new(dir: &Path, seq: u64, link: Link, starts_at: StartsAt, base: u64) -> Self {
        Self {
            seq,
            path: path_of(dir, seq),
            link,
            starts_at,
            base,
            len: 0,
            first_unit_end: None,
            last_unit_end: None,
            durable_unit_end: None,
            needed_until: None,
        }
    }

    pub(super) fn header(&self) -> Vec<u8> {
        let mut flags = 0;
        if self.link == Link::Continues {
            flags |= CONTINUES;
        }
        if self.starts_at == StartsAt::InsideUnit {
            flags |= INSIDE_UNIT;
        }
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.base.to_be_bytes());
        out.extend_from_slice(&flags.to_be_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// Takes note of a record that was appended (or found) at the segment's end.
    pub(super) fn appended(&mut self, kind: RecordKind, bytes: u64) {
        self.len += bytes;
        match kind {
            RecordKind::Part => self.needed_until = None,
            RecordKind::UnitEnd(position) => {
                self.first_unit_end.get_or_insert(position);
                self.last_unit_end = Some((position, self.len));
                self.needed_until = Some(position);
            }
            RecordKind::Preamble => {}
        }
    }

    /// Takes note that the unit which was open at the segment's end has ended elsewhere.
    pub(super) fn unit_ended(&mut self, position: u64) {
        self.needed_until.get_or_insert(position);
    }
}

pub(super) fn path_of(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{seq:016x}.spool"))
}

/// The number of a segment by the name of its file.
pub(super) fn seq_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".spool")?;
    (name.len() == 16).then(|| u64::from_str_radix(name, 16).ok())?
}

/// How a segment looked when it was read after a restart.
#[derive(Debug)]
pub(super) enum Scanned {
    /// Every record is whole.
    Whole(Segment),
    /// It is whole up to its `len`, what follows was torn.
    Torn(Segment),
    /// Not even the header is whole.
    Headless,
}

/// Reads a whole segment and checks each record.
pub(super) fn scan(path: &Path, seq: u64) -> Result<Scanned, SpoolError> {
    let failed = |source| SpoolError::io("read", path, source);
    let file = File::open(path).map_err(|source| SpoolError::io("open", path, source))?;
    let mut file = BufReader::with_capacity(256 * 1024, file);
    let mut header = [0; SEGMENT_HEADER_BYTES];
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Ok(Scanned::Headless);
        }
        Err(error) => return Err(failed(error)),
    }
    let Some(mut segment) = parse_header(path, seq, &header) else {
        return Ok(Scanned::Headless);
    };
    loop {
        match record::read(&mut file).map_err(failed)? {
            Found::Record { record, bytes } => segment.appended(record.kind, bytes),
            Found::End => return Ok(Scanned::Whole(segment)),
            Found::Torn(_) => return Ok(Scanned::Torn(segment)),
        }
    }
}

fn parse_header(path: &Path, seq: u64, header: &[u8; SEGMENT_HEADER_BYTES]) -> Option<Segment> {
    let (covered, crc) = header.split_last_chunk::<4>()?;
    let (magic, rest) = covered.split_first_chunk::<8>()?;
    let (own_seq, rest) = rest.split_first_chunk::<8>()?;
    let (base, flags) = rest.split_first_chunk::<8>()?;
    let flags = u32::from_be_bytes(flags.try_into().ok()?);
    let right = magic == MAGIC
        && u32::from_be_bytes(*crc) == crc32fast::hash(covered)
        && u64::from_be_bytes(*own_seq) == seq
        && flags & !(CONTINUES | INSIDE_UNIT) == 0;
    if !right {
        return None;
    }
    let link = if flags & CONTINUES == 0 {
        Link::Fresh
    } else {
        Link::Continues
    };
    let inside = flags & INSIDE_UNIT != 0;
    let starts_at = if inside {
        StartsAt::InsideUnit
    } else {
        StartsAt::Boundary
    };
    let base = u64::from_be_bytes(*base);
    let mut segment = Segment::new(path.parent()?, seq, link, starts_at, base);
    segment.len = u64::try_from(SEGMENT_HEADER_BYTES).ok()?;
    Some(segment)
}
