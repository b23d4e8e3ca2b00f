//! From the queue's items to the events that the applier sees.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use router::spool::{RecordFileReader, SpoolError};
use router::{Change, Lsn, OldImage, Row};

use super::assembler::Messages;
use super::error::StreamError;
use super::event::{Relation, StreamEvent};
use super::item::TransactionFile;
use super::pgoutput::{self, Begin, Commit, Framing, Message, Tag};

/// Decodes messages and leaves out transactions that committed before the start.
///
/// Relations are told even from transactions that are left out: the source announces a relation
/// once, and it stays known to what follows.
#[derive(Debug)]
pub(super) struct Decoder {
    start: Lsn,
    place: Place,
    relations: HashMap<u32, Arc<Relation>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In what a resumed spool begins with: maybe the rest of a transaction that is applied.
    Resumed,
    Between,
    /// In a transaction that is handed on.
    Transaction(Begin),
    /// In a transaction that committed before the start.
    Skipped,
}

/// Where a stream's messages come from, at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// From the source.
    Source,
    /// From a spool that was found after a restart.
    Spool,
}

impl Decoder {
    pub(super) fn new(start: Lsn, origin: Origin) -> Self {
        let place = match origin {
            Origin::Source => Place::Between,
            Origin::Spool => Place::Resumed,
        };
        Self {
            start,
            place,
            relations: HashMap::new(),
        }
    }

    /// Nothing was committed up to here.
    pub(super) fn idle(&mut self, wal_end: Lsn) -> Option<StreamEvent> {
        self.place = Place::Between;
        (wal_end > self.start).then_some(StreamEvent::Idle { wal_end })
    }

    /// The event of a message, if it has one.
    pub(super) fn message(&mut self, bytes: Bytes) -> Result<Option<StreamEvent>, StreamError> {
        let tag = Tag(bytes.first().copied().unwrap_or_default());
        let message = pgoutput::decode(bytes, Framing::Plain)?.message;
        let event = match message {
            Message::Relation(relation) => {
                self.relations.insert(relation.oid, Arc::clone(&relation));
                return Ok(Some(StreamEvent::Relation(relation)));
            }
            // The applier works with the target's types, by the columns' names.
            Message::Type { .. } => return Ok(None),
            Message::Begin(begin) => return self.begin(begin),
            Message::Commit(commit) => return self.commit(commit),
            Message::Origin { name, .. } => StreamEvent::Origin { name },
            Message::Change { relation, change } => StreamEvent::Change { relation, change },
            Message::Truncate {
                relations,
                cascade,
                restart_identity,
            } => StreamEvent::Truncate {
                relations,
                cascade,
                restart_identity,
            },
            Message::Logical { .. }
            | Message::StreamStart { .. }
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_) => {
                return Err(StreamError::Misplaced {
                    tag,
                    place: "in a committed transaction",
                });
            }
        };
        match self.place {
            Place::Transaction(_) => self.check(&event).map(|()| Some(event)),
            Place::Skipped | Place::Resumed => Ok(None),
            Place::Between => Err(StreamError::Misplaced {
                tag,
                place: "between two transactions",
            }),
        }
    }

    fn begin(&mut self, begin: Begin) -> Result<Option<StreamEvent>, StreamError> {
        if matches!(self.place, Place::Transaction(_) | Place::Skipped) {
            return Err(StreamError::Misplaced {
                tag: Tag(b'B'),
                place: "inside a transaction",
            });
        }
        if begin.commit_lsn < self.start {
            self.place = Place::Skipped;
            return Ok(None);
        }
        self.place = Place::Transaction(begin);
        let Begin {
            commit_lsn,
            commit_time,
            xid,
        } = begin;
        Ok(Some(StreamEvent::Begin {
            xid,
            commit_lsn,
            commit_time,
        }))
    }

    fn commit(&mut self, commit: Commit) -> Result<Option<StreamEvent>, StreamError> {
        match std::mem::replace(&mut self.place, Place::Between) {
            Place::Transaction(begin) => {
                let Commit {
                    commit_lsn,
                    end_lsn,
                    commit_time,
                } = commit;
                let xid = begin.xid;
                Ok(Some(StreamEvent::Commit {
                    xid,
                    commit_lsn,
                    end_lsn,
                    commit_time,
                }))
            }
            Place::Skipped | Place::Resumed => Ok(None),
            Place::Between => {
                let place = "between two transactions";
                Err(StreamError::Misplaced {
                    tag: Tag(b'C'),
                    place,
                })
            }
        }
    }

    /// Every row must have as many cells as its relation has columns.
    fn check(&self, event: &StreamEvent) -> Result<(), StreamError> {
        match event {
            StreamEvent::Change { relation, change } => {
                let columns = self
                    .relations
                    .get(relation)
                    .map(|known| known.columns.len());
                let fits = |row: &Row| Some(row.cells().len()) == columns;
                let fit = match change {
                    Change::Insert { row } => fits(row),
                    Change::Update { old, row } => {
                        fits(row) && old.as_ref().is_none_or(|old| fits(old.row()))
                    }
                    Change::Delete {
                        old: OldImage::Key(row) | OldImage::Full(row),
                    } => fits(row),
                };
                if fit {
                    Ok(())
                } else {
                    Err(StreamError::Relation {
                        relation: *relation,
                    })
                }
            }
            StreamEvent::Truncate { relations, .. } => {
                let unknown = relations
                    .iter()
                    .find(|oid| !self.relations.contains_key(oid));
                match unknown {
                    Some(&relation) => Err(StreamError::Relation { relation }),
                    None => Ok(()),
                }
            }
            StreamEvent::Begin { .. }
            | StreamEvent::Relation(_)
            | StreamEvent::Origin { .. }
            | StreamEvent::Commit { .. }
            | StreamEvent::Idle { .. } => Ok(()),
        }
    }
}

/// A transaction that is read back from its file, chunk by chunk.
#[derive(Debug)]
pub(super) struct Replay {
    file: Arc<TransactionFile>,
    reader: Option<RecordFileReader>,
    messages: VecDeque<Bytes>,
    place: ReplayPlace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplayPlace {
    Chunks,
    Commit,
    Over,
}

/// What a replay can give without touching its file.
#[derive(Debug)]
pub(super) enum Next {
    Message(Bytes),
    /// Call [`Replay::read`] where blocking does no harm.
    OnDisk,
    Over,
}

impl Replay {
    pub(super) fn new(file: Arc<TransactionFile>) -> Self {
        let messages = VecDeque::from([file.begin().encode()]);
        Self {
            file,
            reader: None,
            messages,
            place: ReplayPlace::Chunks,
        }
    }

    pub(super) fn next(&mut self) -> Next {
        if let Some(message) = self.messages.pop_front() {
            return Next::Message(message);
        }
        match self.place {
            ReplayPlace::Chunks => Next::OnDisk,
            ReplayPlace::Commit => {
                self.place = ReplayPlace::Over;
                Next::Message(self.file.commit.encode())
            }
            ReplayPlace::Over => Next::Over,
        }
    }

    /// Reads the next chunk.
    pub(super) fn read(&mut self) -> Result<(), SpoolError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let opened = RecordFileReader::open(&self.file.path, self.file.len)?;
                self.reader.insert(opened)
            }
        };
        match reader.pop()? {
            Some(chunk) => {
                self.messages
                    .extend(Messages::new(chunk.into(), &self.file.aborted));
            }
            None => self.place = ReplayPlace::Commit,
        }
        Ok(())
    }
}
