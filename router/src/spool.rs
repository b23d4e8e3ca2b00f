//! A queue of opaque records in files: what the reader of a stream takes and the applier cannot
//! take yet.
//!
//! Records come in *units* (transactions): a unit is one or more records, of which the last has the
//! position after the unit. Records are given back in the order they were pushed, once to each
//! reader; they stay on disk until [`Spool::trim`] says that everything up to a position is done, so
//! that a restart can give them again.
//!
//! # Files
//! Append-only segments of bounded size, named by number. Each begins with a header and a
//! *preamble* given by the writer, what a reader that starts there must know. A segment says
//! whether it continues the one before it, or whether units went past the spool in between
//! ([`Spool::passed`]: the memory queue in front of the spool took them).
//!
//! # Durability
//! [`Spool::push`] only writes. [`Spool::start_sync`] gives a ticket whose [`SyncTicket::run`] may
//! run without holding the spool; [`Spool::finish_sync`] then makes its units count in
//! [`Spool::durable_end`]. A failed sync is final: nothing that was not durable before ever counts.
//!
//! # Restart
//! [`Recovered`] reads the folder: segments up to the first torn record, in chains with nothing
//! missing inside. A chain can be used if everything before it is done; its tail after the last
//! whole unit is cut off, since the source sends that unit again from its beginning.
//!
//! # What it does not do
//! It has no thread and no clock, does not know what a record means, and does not retry.

mod error;
mod reading;
mod record;
mod record_file;
mod recovery;
mod segment;
mod sync;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

pub use error::SpoolError;
pub use record::{PAYLOAD_BYTES_MAX, Record, RecordKind};
pub use record_file::{RecordFileReader, RecordFileWriter};
pub use recovery::Recovered;
pub use sync::{SyncTicket, Synced};

use reading::{Cursor, PreambleUse};
use segment::{Link, Segment, StartsAt};
use sync::SyncState;

/// Where a spool is and how large it may become.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// Its folder, used by nobody else.
    pub dir: PathBuf,
    /// Bytes in all segments together. Reaching it is [`SpoolError::LimitReached`].
    pub limit_bytes: u64,
    /// Bytes after which a new segment is begun.
    pub segment_bytes: u64,
}

/// The queue. See the module's text.
#[derive(Debug)]
pub struct Spool {
    options: SpoolOptions,
    /// Held for the lock on the folder.
    _lock: File,
    segments: VecDeque<Segment>,
    /// The last segment's file, while it is written to.
    writer: Option<Arc<File>>,
    next_seq: u64,
    /// How the next segment will hang together with the last one.
    link: Link,
    /// The position after the last unit that ended, in the spool or past it.
    position: u64,
    /// Whether the last record, in the spool or past it, ended its unit.
    stands_at: StartsAt,
    cursor: Option<Cursor>,
    /// Segments with bytes that are not synced.
    unsynced: Vec<(u64, Arc<File>)>,
    sync: SyncState,
    /// What the next cursor does with a preamble.
    preamble: PreambleUse,
    /// Reused for every record.
    encoded: Vec<u8>,
}

impl Spool {
    fn new(options: SpoolOptions, lock: File, start: u64, next_seq: u64) -> Self {
        Self {
            options,
            _lock: lock,
            segments: VecDeque::new(),
            writer: None,
            next_seq,
            link: Link::Fresh,
            position: start,
            stands_at: StartsAt::Boundary,
            cursor: None,
            unsynced: Vec::new(),
            sync: SyncState::Works,
            preamble: PreambleUse::Skip,
            encoded: Vec::new(),
        }
    }

    /// Appends a record. `preamble` is asked for when a new segment begins, and must describe the
    /// state before this record. After an error that [`SpoolError::is_full`] the spool is as it was.
    ///
    /// # Errors
    /// The limit is reached, the disk is full, or the file system fails.
    pub fn push(
        &mut self,
        kind: RecordKind,
        payload: &[u8],
        preamble: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), SpoolError> {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        let pushed = match record::encode(kind, payload, &mut encoded) {
            Some(()) => self.push_encoded(kind, &encoded, preamble),
            None => Err(SpoolError::TooLarge {
                dir: self.options.dir.clone(),
                bytes: payload.len(),
            }),
        };
        self.encoded = encoded;
        pushed
    }

    fn push_encoded(
        &mut self,
        kind: RecordKind,
        encoded: &[u8],
        preamble: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), SpoolError> {
        let bytes = u64::try_from(encoded.len()).unwrap_or(u64::MAX);
        if self.bytes().saturating_add(bytes) > self.options.limit_bytes {
            return Err(SpoolError::LimitReached {
                dir: self.options.dir.clone(),
                limit_bytes: self.options.limit_bytes,
            });
        }
        let full = |segment: &Segment| segment.len >= self.options.segment_bytes;
        if self.link == Link::Fresh || self.segments.back().is_none_or(full) {
            self.writer = None;
        }
        if self.writer.is_none() {
            self.begin_segment(&preamble())?;
        }
        if let (Some(segment), Some(writer)) = (self.segments.back(), &self.writer) {
            record_file::append(writer, &segment.path, segment.len, encoded)?;
            if self
                .unsynced
                .last()
                .is_none_or(|(seq, _)| *seq != segment.seq)
            {
                self.unsynced.push((segment.seq, Arc::clone(writer)));
            }
        }
        self.advance(kind);
        if let Some(segment) = self.segments.back_mut() {
            segment.appended(kind, bytes);
        }
        Ok(())
    }

    /// Takes note of a record that went past the spool: the reader has it from elsewhere, after
    /// everything in the spool.
    pub fn passed(&mut self, kind: RecordKind) {
        self.link = Link::Fresh;
        self.advance(kind);
    }

    /// Deletes the segments that nobody needs once everything up to `done` is done. Records that
    /// were not given yet are never deleted.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn trim(&mut self, done: u64) -> Result<(), SpoolError> {
        while let Some(first) = self.segments.front() {
            if first.needed_until.is_none_or(|until| until > done) || !self.is_read(first) {
                break;
            }
            self.drop_first()?;
        }
        Ok(())
    }

    /// Bytes in all segments together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// The position after the last unit that was pushed or went past.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes over segments found after a restart, oldest first.
    fn adopt(&mut self, segments: VecDeque<Segment>) -> Result<(), SpoolError> {
        for segment in &segments {
            let file = File::open(&segment.path)
                .map_err(|source| SpoolError::io("open", &segment.path, source))?;
            self.unsynced.push((segment.seq, Arc::new(file)));
        }
        if !segments.is_empty() {
            self.link = Link::Continues;
            self.preamble = PreambleUse::Give;
        }
        self.segments = segments;
        Ok(())
    }

    fn drop_first(&mut self) -> Result<(), SpoolError> {
        let Some(first) = self.segments.pop_front() else {
            return Ok(());
        };
        self.unsynced.retain(|(seq, _)| *seq != first.seq);
        if self.segments.is_empty() {
            self.writer = None;
            self.cursor = None;
        }
        recovery::delete(vec![first.path])
    }

    fn begin_segment(&mut self, preamble: &[u8]) -> Result<(), SpoolError> {
        let dir = &self.options.dir;
        let seq = self.next_seq;
        let mut segment = Segment::new(dir, seq, self.link, self.stands_at, self.position);
        let mut bytes = segment.header();
        if record::encode(RecordKind::Preamble, preamble, &mut bytes).is_none() {
            return Err(SpoolError::TooLarge {
                dir: dir.clone(),
                bytes: preamble.len(),
            });
        }
        let file = File::options()
            .append(true)
            .create_new(true)
            .open(&segment.path)
            .map_err(|source| SpoolError::io("create", &segment.path, source))?;
        if let Err(error) = record_file::append(&file, &segment.path, 0, &bytes) {
            recovery::delete(vec![segment.path])?;
            return Err(error);
        }
        segment.len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.next_seq += 1;
        self.link = Link::Continues;
        self.segments.push_back(segment);
        self.writer = Some(Arc::new(file));
        Ok(())
    }

    fn advance(&mut self, kind: RecordKind) {
        match kind {
            RecordKind::Part => self.stands_at = StartsAt::InsideUnit,
            RecordKind::UnitEnd(position) => {
                self.stands_at = StartsAt::Boundary;
                self.position = position;
                // Those with an open unit are the last ones: the others were told before.
                let open = |segment: &&mut Segment| segment.needed_until.is_none();
                for segment in self.segments.iter_mut().rev().take_while(open) {
                    segment.unit_ended(position);
                }
            }
            RecordKind::Preamble => {}
        }
    }
}
