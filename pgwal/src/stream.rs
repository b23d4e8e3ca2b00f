//! The stream of changes after the copy's snapshot, by logical decoding with pgoutput.
//!
//! ```text
//! source --- reader (task) --- assembler --- buffer: memory, spool --- decoder --- StreamEvent
//!               |                  |
//!          status updates     files of running transactions
//! ```
//!
//! # Guarantees
//! * Whole committed transactions, in the order of their commits; a transaction whose commit
//!   record starts before the start position is not given. `assembler` says which position is
//!   compared with which.
//! * The source is never told that it may forget what is neither applied nor durable in the spool.
//! * Nothing is skipped in silence: a message that is not understood ends the stream.
//! * Memory is bounded, whatever the size of a transaction or the slowness of the consumer.
//!
//! # Resumption and crashes
//! A stream that failed with a transient error is dropped and opened again at the applied
//! position, as after a crash. Of the spool, whole transactions up to the first torn record are
//! used if they go on from there; the source sends the rest. If neither the spool nor the slot has
//! what follows, opening fails with a sentence that says so ([`slot::ResumeError`]).
//!
//! # What it does not do
//! It does not reconnect by itself, does not know the target, and does not ask the source how far
//! its log goes.

pub mod copy_both;
pub mod event;
pub mod limits;
pub mod pgoutput;
pub mod slot;

mod assembler;
mod buffer;
mod consumer;
mod error;
mod frame;
mod handle;
mod item;
mod open;
mod reader;
mod shared;

use std::collections::VecDeque;
use std::sync::Arc;

use router::Lsn;
use router::spool::SpoolError;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use copy_both::SystemIdentity;
pub use error::StreamError;
pub use event::{CommitTime, Relation, RelationColumn, ReplicaIdentity, StreamEvent};
pub use handle::{Lag, StreamHandle};
pub use open::StreamOptions;

use buffer::Taken;
use consumer::{Decoder, Next, Replay};
use item::{Content, Item};
use limits::{STATUS_TIMEOUT, TAKE_BYTES};
use shared::Shared;

/// The consumer's end of a stream. Dropping it ends the reader.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    decoder: Decoder,
    /// Taken from the buffer and not yet handed on.
    items: VecDeque<Item>,
    /// The transaction in a file that is being handed on.
    replay: Option<Replay>,
    /// A read from disk that is under way; it is kept here so that nothing is lost when
    /// [`Stream::next`] is dropped.
    job: Option<JoinHandle<Job>>,
    reader: JoinSet<()>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    /// What is counted as received begins after this position.
    counted_from: Lsn,
    life: Life,
}

/// Whether a stream still gives events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// It has not failed.
    Open,
    /// It has: whatever comes is the same error.
    Over,
}

/// The outcome of a read from disk.
#[derive(Debug)]
enum Job {
    Taken(Result<Taken, SpoolError>),
    Replayed(Box<Replay>, Result<(), SpoolError>),
}

impl Stream {
    /// The next event. After an error the stream gives nothing more. Transactions that were
    /// received before a connection broke are given first, unless they are on disk: opening the
    /// stream again finds them there.
    ///
    /// # Cancel safety
    /// Dropped while it waits, nothing is lost.
    ///
    /// # Errors
    /// The stream cannot go on; an open transaction is to be rolled back.
    pub async fn next(&mut self) -> Result<StreamEvent, StreamError> {
        if self.life == Life::Over {
            return Err(StreamError::ReaderGone);
        }
        let event = self.advance().await;
        if event.is_err() {
            // What follows a message that failed must never be given as if nothing were missing.
            self.life = Life::Over;
        }
        event
    }

    async fn advance(&mut self) -> Result<StreamEvent, StreamError> {
        loop {
            if let Some(job) = &mut self.job {
                let done = job.await;
                self.job = None;
                self.settle(done.map_err(|_gone| StreamError::ReaderGone)?)?;
            }
            if let Some(event) = self.ready()? {
                return Ok(event);
            }
            if self.job.is_some() {
                continue;
            }
            match self.shared.take_from_memory(TAKE_BYTES) {
                Taken::Items(items) => self.items.extend(items),
                Taken::OnDisk => {
                    self.failure()?;
                    let shared = Arc::clone(&self.shared);
                    self.job = Some(spawn_blocking(move || Job::Taken(shared.take(TAKE_BYTES))));
                }
                Taken::Nothing => {
                    self.failure()?;
                    // The reader's end wakes too: it may have left no word.
                    tokio::select! {
                        () = self.shared.filled.notified() => {}
                        _ended = self.reader.join_next() => {}
                    }
                }
            }
        }
    }

    /// Whether the reader has ended, so that after what was received nothing more comes.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.life == Life::Over || self.shared.failure.lock().is_some()
    }

    /// A handle for others.
    #[must_use]
    pub fn handle(&self) -> StreamHandle {
        StreamHandle {
            progress: Arc::clone(&self.shared.progress),
        }
    }

    /// Tells the source the last acknowledged position and ends the connection in order.
    pub async fn close(mut self) {
        self.stop.cancel();
        let ended = timeout(STATUS_TIMEOUT, async {
            while self.reader.join_next().await.is_some() {}
        });
        if ended.await.is_err() {
            tracing::warn!("the stream's reader did not end in time and was dropped");
        }
    }

    /// The next event that needs no waiting. A read from disk may be begun.
    fn ready(&mut self) -> Result<Option<StreamEvent>, StreamError> {
        loop {
            let event = match self.replay.as_mut().map(Replay::next) {
                Some(Next::Message(message)) => self.decode(message)?,
                Some(Next::Over) => {
                    self.replay = None;
                    continue;
                }
                Some(Next::OnDisk) => {
                    self.read_replay();
                    return Ok(None);
                }
                None => {
                    let Some(item) = self.items.pop_front() else {
                        return Ok(None);
                    };
                    match item.content {
                        Content::Message(message) => self.decode(message)?,
                        Content::File(file) => {
                            self.replay = Some(Replay::new(file));
                            continue;
                        }
                        Content::Idle => {
                            item.ends_at.and_then(|wal_end| self.decoder.idle(wal_end))
                        }
                    }
                }
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Begins to read the next chunk of the transaction that is being handed on.
    fn read_replay(&mut self) {
        if let Some(mut replay) = self.replay.take().map(Box::new) {
            self.job = Some(spawn_blocking(move || {
                let read = replay.read();
                Job::Replayed(replay, read)
            }));
        }
    }

    fn decode(&mut self, message: bytes::Bytes) -> Result<Option<StreamEvent>, StreamError> {
        let event = self.decoder.message(message)?;
        if let Some(StreamEvent::Commit { end_lsn, .. }) = &event
            && *end_lsn > self.counted_from
        {
            self.shared.progress.count_consumed();
        }
        Ok(event)
    }

    fn settle(&mut self, job: Job) -> Result<(), StreamError> {
        match job {
            Job::Taken(Ok(Taken::Items(items))) => self.items.extend(items),
            Job::Taken(Ok(Taken::Nothing | Taken::OnDisk)) => {}
            Job::Taken(Err(error)) => return Err(error.into()),
            Job::Replayed(replay, read) => {
                read?;
                self.replay = Some(*replay);
            }
        }
        Ok(())
    }

    /// The reader's error, once there is one.
    fn failure(&mut self) -> Result<(), StreamError> {
        let failure = self.shared.failure.lock().take();
        if let Some(error) = failure {
            return Err(error);
        }
        while self.reader.try_join_next().is_some() {}
        if !self.reader.is_empty() {
            return Ok(());
        }
        // It may have left its word just before it ended.
        let failure = self.shared.failure.lock().take();
        Err(failure.unwrap_or(StreamError::ReaderGone))
    }
}
