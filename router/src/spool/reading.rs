//! Giving the records back.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use super::Spool;
use super::error::SpoolError;
use super::record::{self, Found, Record, RecordKind};
use super::segment::{SEGMENT_HEADER_BYTES, Segment};

/// The place of the next record to give.
#[derive(Debug)]
pub(super) struct Cursor {
    seq: u64,
    offset: u64,
    path: PathBuf,
    file: BufReader<File>,
    preamble: PreambleUse,
}

/// A preamble is given once, by the segment that is read first after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PreambleUse {
    /// The reader starts here and knows nothing.
    Give,
    /// The reader has read what came before.
    Skip,
}

impl Cursor {
    fn open(segment: &Segment, preamble: PreambleUse) -> Result<Self, SpoolError> {
        let failed = |source| SpoolError::io("open", &segment.path, source);
        let offset = u64::try_from(SEGMENT_HEADER_BYTES).unwrap_or(u64::MAX);
        let mut file =
            BufReader::with_capacity(128 * 1024, File::open(&segment.path).map_err(failed)?);
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let path = segment.path.clone();
        Ok(Self {
            seq: segment.seq,
            offset,
            path,
            file,
            preamble,
        })
    }

    /// Reads the record here; the caller knows that there is one.
    fn read(&mut self) -> Result<Record, SpoolError> {
        let found = record::read(&mut self.file)
            .map_err(|source| SpoolError::io("read", &self.path, source))?;
        let damaged = |what| SpoolError::Damaged {
            file: self.path.clone(),
            offset: self.offset,
            what,
        };
        match found {
            Found::Record { record, bytes } => {
                self.offset += bytes;
                Ok(record)
            }
            Found::End => Err(damaged("it ends too early")),
            Found::Torn(what) => Err(damaged(what)),
        }
    }
}

impl Spool {
    /// The next record, if there is one.
    ///
    /// # Errors
    /// A record is damaged or cannot be read.
    pub fn pop(&mut self) -> Result<Option<Record>, SpoolError> {
        while let Some(cursor) = self.unread()? {
            match cursor.read()? {
                record if record.kind == RecordKind::Preamble => {
                    if cursor.preamble == PreambleUse::Give {
                        return Ok(Some(record));
                    }
                }
                record => return Ok(Some(record)),
            }
        }
        Ok(None)
    }

    /// Whether every record was given.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.segments.back().is_none_or(|last| self.is_read(last))
    }

    /// Whether every record of a segment was given.
    pub(super) fn is_read(&self, segment: &Segment) -> bool {
        self.cursor.as_ref().is_some_and(|cursor| {
            cursor.seq > segment.seq || (cursor.seq == segment.seq && cursor.offset == segment.len)
        })
    }

    /// The cursor at the next record, or `None` if every record was given.
    fn unread(&mut self) -> Result<Option<&mut Cursor>, SpoolError> {
        let next = match &self.cursor {
            None => self.segments.front(),
            Some(cursor) => {
                let own = self
                    .segments
                    .iter()
                    .find(|segment| segment.seq == cursor.seq);
                if own.is_some_and(|own| cursor.offset < own.len) {
                    return Ok(self.cursor.as_mut());
                }
                self.segments
                    .iter()
                    .find(|segment| segment.seq > cursor.seq)
            }
        };
        let Some(next) = next else { return Ok(None) };
        let preamble = std::mem::replace(&mut self.preamble, PreambleUse::Skip);
        self.cursor = Some(Cursor::open(next, preamble)?);
        Ok(self.cursor.as_mut())
    }
}
