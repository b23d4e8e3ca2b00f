//! The queue between the task that reads the log and the consumer: memory first, then the spool,
//! always in order.
//!
//! While the consumer keeps up, everything stays in memory. When that is full, what comes next goes
//! to the spool, and goes on going there until the consumer has read the spool to its end. So the
//! log is read on while the target is slow, and the source may remove it by its own rules.
//!
//! Transactions that are larger than their share of memory have a file each already; the spool has
//! a mark in their place. When everything is full, [`Queue::push`] gives back what it could not
//! take. There is always room when the consumer has nothing, so the two never wait for each other.
//!
//! Nothing outlives the stream: after a restart the source is asked again.

mod stored;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use router::spool::{RecordKind, Recovered, Spool, SpoolError, SpoolOptions};
use tokio::sync::Notify;

use self::stored::Stored;
use super::assembler::Output;
use super::error::StreamError;
use super::transaction::Transaction;

/// The usual size of the spool's files.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Most transactions in memory, which are small then.
const TRANSACTIONS_MAX: usize = 16 * 1024;

/// Most files of large transactions that wait.
const FILES_MAX: usize = 128;

/// How much is held where.
#[derive(Debug, Clone)]
pub(super) struct QueueOptions {
    pub(super) memory_bytes: usize,
    /// The spool's folder.
    pub(super) folder: PathBuf,
    /// Spool and files of large transactions together.
    pub(super) disk_bytes: u64,
}

/// What was read and not yet given.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    options: QueueOptions,
    /// Something came, or the end.
    came: Notify,
    /// Something was taken.
    taken: Notify,
}

#[derive(Debug)]
struct State {
    /// Older than what is in the spool.
    memory: VecDeque<Output>,
    /// Of these and of what the consumer holds.
    memory_bytes: usize,
    spool: Spool,
    /// How many records the spool has had.
    records: u64,
    /// In the order of their marks in the spool.
    files: VecDeque<Box<Transaction>>,
    life: Life,
}

/// Whether more will come.
#[derive(Debug)]
enum Life {
    Reading,
    /// With why, until that is told.
    Ended(Option<StreamError>),
}

/// Whether there was room.
#[derive(Debug)]
pub(super) enum Pushed {
    Taken,
    Full(Output, SpoolError),
}

/// Something for the consumer, which holds memory until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) output: Output,
    pub(super) held: Held,
}

/// Memory that the consumer holds.
#[derive(Debug)]
pub(super) struct Held {
    queue: Arc<Queue>,
    bytes: usize,
}

impl Queue {
    /// An empty queue; what an earlier one left in the folder is deleted.
    pub(super) fn open(options: QueueOptions) -> Result<Arc<Self>, SpoolError> {
        let spool = Recovered::read(SpoolOptions {
            dir: options.folder.clone(),
            limit_bytes: options.disk_bytes,
            segment_bytes: SEGMENT_BYTES.min(options.disk_bytes / 4),
        })?;
        Ok(Arc::new(Self {
            state: Mutex::new(State {
                memory: VecDeque::new(),
                memory_bytes: 0,
                spool: spool.discard(0)?,
                records: 0,
                files: VecDeque::new(),
                life: Life::Reading,
            }),
            options,
            came: Notify::new(),
            taken: Notify::new(),
        }))
    }

    /// Takes what was read, if there is room.
    pub(super) fn push(&self, output: Output) -> Result<Pushed, StreamError> {
        let pushed = self.state.lock().push(output, &self.options)?;
        self.came.notify_one();
        Ok(pushed)
    }

    /// Waits until something was taken after the last call.
    pub(super) async fn taken(&self) {
        self.taken.notified().await;
    }

    /// Nothing will come any more.
    pub(super) fn end(&self, why: Option<StreamError>) {
        let mut state = self.state.lock();
        if let Life::Reading = state.life {
            state.life = Life::Ended(why);
        }
        drop(state);
        self.came.notify_one();
    }

    /// Whether nothing will come that is not here already.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state.lock().life, Life::Ended(_))
    }

    /// What comes next.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn pop(self: &Arc<Self>) -> Result<Taken, StreamError> {
        loop {
            if let Some(taken) = self.try_pop()? {
                return Ok(taken);
            }
            self.came.notified().await;
        }
    }

    fn try_pop(self: &Arc<Self>) -> Result<Option<Taken>, StreamError> {
        let mut state = self.state.lock();
        let (output, bytes) = if let Some(output) = state.memory.pop_front() {
            let bytes = output.memory_bytes();
            (output, bytes)
        } else if let Some(output) = state.unspool()? {
            let bytes = output.memory_bytes();
            state.memory_bytes += bytes;
            (output, bytes)
        } else {
            return match &mut state.life {
                Life::Reading => Ok(None),
                Life::Ended(why) => Err(why.take().unwrap_or(StreamError::Ended)),
            };
        };
        drop(state);
        self.taken.notify_one();
        let queue = Arc::clone(self);
        Ok(Some(Taken {
            output,
            held: Held { queue, bytes },
        }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.queue.state.lock().memory_bytes -= self.bytes;
        self.queue.taken.notify_one();
    }
}

impl State {
    fn push(&mut self, output: Output, options: &QueueOptions) -> Result<Pushed, StreamError> {
        let bytes = output.memory_bytes();
        let fits = self.memory_bytes == 0
            || self.memory_bytes.saturating_add(bytes) <= options.memory_bytes
                && self.memory.len() < TRANSACTIONS_MAX;
        if fits && self.spool.is_drained() {
            self.memory_bytes += bytes;
            self.memory.push_back(output);
            return Ok(Pushed::Taken);
        }
        match self.spool(&output, options) {
            Ok(()) => {}
            Err(error) if error.is_full() => return Ok(Pushed::Full(output, error)),
            Err(error) => return Err(error.into()),
        }
        if let Output::Transaction(transaction) = output
            && transaction.file_bytes() > 0
        {
            self.files.push_back(transaction);
        }
        Ok(Pushed::Taken)
    }

    fn spool(&mut self, output: &Output, options: &QueueOptions) -> Result<(), SpoolError> {
        let files: u64 = self.files.iter().map(|file| file.file_bytes()).sum();
        let new = match output {
            Output::Transaction(transaction) => transaction.file_bytes(),
            Output::Idle(_) => 0,
        };
        let bytes = files.saturating_add(new).saturating_add(self.spool.bytes());
        let waits = !self.spool.is_drained();
        if waits && (bytes > options.disk_bytes || self.files.len() >= FILES_MAX) {
            return Err(SpoolError::LimitReached {
                dir: options.folder.clone(),
                limit_bytes: options.disk_bytes,
            });
        }
        let kind = RecordKind::UnitEnd(self.records + 1);
        self.spool.push(kind, &stored::encode(output), Vec::new)?;
        self.records += 1;
        Ok(())
    }

    fn unspool(&mut self) -> Result<Option<Output>, StreamError> {
        let Some(record) = self.spool.pop()? else {
            return Ok(None);
        };
        let output = match stored::decode(record.payload) {
            Some(Stored::Whole(output)) => output,
            Some(Stored::File) => {
                let file = self.files.pop_front().ok_or(StreamError::Spooled)?;
                Output::Transaction(file)
            }
            None => return Err(StreamError::Spooled),
        };
        if let RecordKind::UnitEnd(place) = record.kind {
            self.spool.trim(place)?;
        }
        Ok(Some(output))
    }
}

#[cfg(test)]
mod tests;
