//! From the messages of one connection to whole committed transactions, in commit order.
//!
//! Transactions that the server sends after their commit pass as they are. Transactions that it
//! streams while they run are collected by xid: in memory up to a bound all together, beyond it the
//! largest goes to a file. At their Stream Commit they come out as Begin .. Commit at that place;
//! the changes of aborted subtransactions are left out, and an aborted transaction is dropped.
//! What was collected is worth nothing once the connection ends: the server streams a transaction
//! again unless its commit was acknowledged.
//!
//! # Which position is compared with which
//! * Transactions come in the order of their commit records. The position of a transaction is
//!   `end_lsn`, just behind its commit record; the next commit record starts there or later.
//! * Only `end_lsn` values, and the server's `wal_end` while no transaction is open, are ever
//!   written down, acknowledged or started at.
//! * A transaction is left out on a restart at `start` if its **commit** record starts before
//!   `start` (`commit_lsn < start`). That is the server's own rule (`SnapBuildXactNeedsSkip`). The
//!   position of its *first* record says nothing: a transaction that began long before `start` and
//!   committed after it must be applied (pgcopydb #1044).
//! * `wal_end` in a keepalive says that everything that committed up to it was sent before. Inside
//!   an open transaction it is ignored, though it then lies before that transaction's commit.
//!
//! No socket and no clock here; files only through [`running::Running`].

mod running;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;
use router::Lsn;
use router::spool::SpoolError;

use super::error::StreamError;
use super::item::{Content, Item};
use super::limits::{RUNNING_BYTES_MAX, RUNNING_TRANSACTIONS_MAX};
use super::pgoutput::{self, DecodeError, Framing, Message, StreamAbort, StreamCommit, Tag};
pub(super) use running::Messages;
use running::Running;

/// Collects one connection's messages.
#[derive(Debug)]
pub(super) struct Assembler {
    dir: PathBuf,
    place: Place,
    running: HashMap<u32, Running>,
    /// Memory that the running transactions take.
    running_bytes: usize,
    running_bytes_max: usize,
    /// The position after the last commit; it only grows.
    position: Lsn,
}

/// Where in the stream we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between two transactions or blocks.
    Between,
    /// Between Begin and Commit.
    InTransaction,
    /// Between Stream Start and Stream Stop of this transaction.
    InBlock { xid: u32 },
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Self::Between => "between two transactions",
            Self::InTransaction => "inside a transaction",
            Self::InBlock { .. } => "inside a block of a running transaction",
        }
    }
}

impl Assembler {
    /// Files of running transactions are made in `dir`; the stream starts at `position`.
    pub(super) fn new(dir: PathBuf, position: Lsn) -> Self {
        Self {
            dir,
            place: Place::Between,
            running: HashMap::new(),
            running_bytes: 0,
            running_bytes_max: RUNNING_BYTES_MAX,
            position,
        }
    }

    /// Whether the next message may touch the disk.
    pub(super) fn may_use_disk(&self) -> bool {
        !self.running.is_empty()
    }

    /// Takes one message; what is complete now is appended to `out`.
    ///
    /// # Errors
    /// The message has no place here. The disk is not a reason: see [`Assembler::relieve`].
    pub(super) fn accept(
        &mut self,
        message: Bytes,
        out: &mut Vec<Item>,
    ) -> Result<(), StreamError> {
        let tag = Tag(*message.first().ok_or(DecodeError::Empty)?);
        match (self.place, tag.0) {
            (Place::Between, b'B') => {
                self.place = Place::InTransaction;
                out.push(part(message));
            }
            (Place::InTransaction, b'C') => self.commit(message, out)?,
            (Place::InTransaction, b'O' | b'R' | b'Y' | b'I' | b'U' | b'D' | b'T') => {
                out.push(part(message));
            }
            (Place::Between, b'S' | b'c' | b'A') => self.control(message, out)?,
            (Place::InBlock { .. }, b'E') => {
                pgoutput::decode(message, Framing::Streamed)?;
                self.place = Place::Between;
            }
            (Place::InBlock { xid }, b'O' | b'R' | b'Y' | b'I' | b'U' | b'D' | b'T') => {
                self.collect(xid, tag, message)?;
            }
            (place, _) => return Err(misplaced(message, tag, place)),
        }
        Ok(())
    }

    /// The server has sent everything that was committed up to `wal_end`.
    pub(super) fn keepalive(&mut self, wal_end: Lsn) -> Option<Item> {
        if self.place != Place::Between || wal_end <= self.position {
            return None;
        }
        self.position = wal_end;
        Some(Item {
            content: Content::Idle,
            ends_at: Some(wal_end),
        })
    }

    /// Moves running transactions to files until the rest fits the memory. To be called after
    /// each message; can be called again after an error that [`SpoolError::is_full`].
    ///
    /// # Errors
    /// The disk is full or fails.
    pub(super) fn relieve(&mut self) -> Result<(), SpoolError> {
        while self.running_bytes > self.running_bytes_max {
            let largest = self
                .running
                .iter_mut()
                .max_by_key(|(_, running)| running.memory_bytes());
            let Some((&xid, largest)) = largest else {
                break;
            };
            let before = largest.memory_bytes();
            let spilled = largest.spill(&self.dir, xid);
            self.running_bytes = self.running_bytes - before + largest.memory_bytes();
            spilled?;
        }
        Ok(())
    }

    fn commit(&mut self, message: Bytes, out: &mut Vec<Item>) -> Result<(), StreamError> {
        let decoded = pgoutput::decode(message.clone(), Framing::Plain)?;
        let Message::Commit(commit) = decoded.message else {
            return Err(misplaced(message, Tag(b'C'), self.place));
        };
        self.advance(commit.end_lsn)?;
        self.place = Place::Between;
        out.push(Item {
            content: Content::Message(message),
            ends_at: Some(commit.end_lsn),
        });
        Ok(())
    }

    fn control(&mut self, message: Bytes, out: &mut Vec<Item>) -> Result<(), StreamError> {
        match pgoutput::decode(message.clone(), Framing::Plain)?.message {
            Message::StreamStart { xid, first } => self.block(xid, first),
            Message::StreamCommit(commit) => self.stream_commit(commit, out),
            Message::StreamAbort(abort) => self.stream_abort(abort),
            Message::Begin(_)
            | Message::Commit(_)
            | Message::Origin { .. }
            | Message::Relation(_)
            | Message::Type { .. }
            | Message::Change { .. }
            | Message::Truncate { .. }
            | Message::Logical { .. }
            | Message::StreamStop => {
                let tag = Tag(message.first().copied().unwrap_or_default());
                Err(misplaced(message, tag, self.place))
            }
        }
    }

    fn block(&mut self, xid: u32, first: bool) -> Result<(), StreamError> {
        let tag = Tag(b'S');
        match (first, self.running.contains_key(&xid)) {
            (true, false) if self.running.len() >= RUNNING_TRANSACTIONS_MAX => {
                return Err(StreamError::TooMany {
                    what: "transactions streamed while they run",
                    limit: RUNNING_TRANSACTIONS_MAX,
                });
            }
            (true, false) => {
                self.running.insert(xid, Running::default());
            }
            (false, true) => {}
            (true, true) => {
                return Err(StreamError::Misplaced {
                    tag,
                    place: "as first block a second time",
                });
            }
            (false, false) => {
                return Err(StreamError::Misplaced {
                    tag,
                    place: "without its first block",
                });
            }
        }
        self.place = Place::InBlock { xid };
        Ok(())
    }

    fn collect(&mut self, xid: u32, tag: Tag, message: Bytes) -> Result<(), StreamError> {
        let Some(running) = self.running.get_mut(&xid) else {
            return Err(misplaced(message, tag, self.place));
        };
        let before = running.memory_bytes();
        running.collect(xid, message)?;
        self.running_bytes = self.running_bytes - before + running.memory_bytes();
        Ok(())
    }

    fn stream_abort(&mut self, abort: StreamAbort) -> Result<(), StreamError> {
        if abort.xid == abort.subxid {
            self.remove(abort.xid);
            return Ok(());
        }
        // What was never streamed needs no abort.
        match self.running.get_mut(&abort.xid) {
            Some(running) => running.abort(abort.subxid),
            None => Ok(()),
        }
    }

    fn stream_commit(
        &mut self,
        StreamCommit { xid, commit }: StreamCommit,
        out: &mut Vec<Item>,
    ) -> Result<(), StreamError> {
        let Some(running) = self.remove(xid) else {
            let place = "for a transaction that was not streamed";
            return Err(StreamError::Misplaced {
                tag: Tag(b'c'),
                place,
            });
        };
        self.advance(commit.end_lsn)?;
        running.commit(xid, commit, &self.dir, out)
    }

    fn remove(&mut self, xid: u32) -> Option<Running> {
        let running = self.running.remove(&xid)?;
        self.running_bytes -= running.memory_bytes();
        Some(running)
    }

    fn advance(&mut self, end_lsn: Lsn) -> Result<(), StreamError> {
        if end_lsn <= self.position {
            // A stream never goes back; a server that did would make us skip or repeat.
            return Err(StreamError::Order {
                after: self.position,
                found: end_lsn,
            });
        }
        self.position = end_lsn;
        Ok(())
    }
}

fn part(message: Bytes) -> Item {
    Item {
        content: Content::Message(message),
        ends_at: None,
    }
}

/// The error for a message in the wrong place; one that cannot be decoded at all says so.
fn misplaced(message: Bytes, tag: Tag, place: Place) -> StreamError {
    match pgoutput::decode(message, Framing::Plain) {
        Err(error @ (DecodeError::Unknown { .. } | DecodeError::Unexpected { .. })) => error.into(),
        Ok(_) | Err(_) => StreamError::Misplaced {
            tag,
            place: place.as_str(),
        },
    }
}
