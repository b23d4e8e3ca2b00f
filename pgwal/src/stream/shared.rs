//! What the reader's task and the consumer share.

use std::sync::Arc;

use parking_lot::Mutex;
use router::Lsn;
use router::spool::SpoolError;
use tokio::sync::Notify;

use super::buffer::{Buffer, Taken};
use super::error::StreamError;
use super::handle::{DiskUse, Progress};

/// The queue between the two, and how each tells the other.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) progress: Arc<Progress>,
    /// Held while files are read or written: locked on blocking threads, elsewhere only tried, or
    /// when no file can be in play.
    buffer: Mutex<Buffer>,
    /// There is something to take, or the reader has failed.
    pub(super) filled: Notify,
    /// Why the reader ended.
    pub(super) failure: Mutex<Option<StreamError>>,
}

impl Shared {
    pub(super) fn new(buffer: Buffer, progress: Progress) -> Self {
        progress.note(DiskUse::of(&buffer));
        Self {
            progress: Arc::new(progress),
            buffer: Mutex::new(buffer),
            filled: Notify::new(),
            failure: Mutex::new(None),
        }
    }

    /// Works on the buffer, waiting for whoever works on it now.
    pub(super) fn with_buffer<T>(&self, work: impl FnOnce(&mut Buffer) -> T) -> T {
        let mut buffer = self.buffer.lock();
        let outcome = work(&mut buffer);
        self.progress.note(DiskUse::of(&buffer));
        outcome
    }

    /// The next items if they are in memory and nobody works on the buffer's files now.
    pub(super) fn take_from_memory(&self, bytes_max: usize) -> Taken {
        let Some(mut buffer) = self.buffer.try_lock() else {
            return Taken::OnDisk;
        };
        let taken = buffer.take_from_memory(bytes_max);
        drop(buffer);
        self.relieve(&taken);
        taken
    }

    /// The next items, wherever they are. May read a file.
    pub(super) fn take(&self, bytes_max: usize) -> Result<Taken, SpoolError> {
        let taken = self.with_buffer(|buffer| buffer.take(bytes_max))?;
        self.relieve(&taken);
        Ok(taken)
    }

    /// Whether a push of this many bytes may touch a file, or wait for one who does.
    pub(super) fn may_use_disk(&self, bytes: usize) -> bool {
        let buffer = self.buffer.try_lock();
        buffer.is_none_or(|buffer| buffer.may_use_disk(bytes))
    }

    /// The position that the source may forget now.
    pub(super) fn flushed_now(&self) -> Lsn {
        let applied = self.progress.acknowledged();
        let buffer = self.buffer.try_lock();
        let safe = buffer.map_or(applied, |buffer| buffer.acknowledgeable(applied));
        self.progress.raise_flushed(safe.max(applied))
    }

    /// Keeps the reader's last word for the consumer.
    pub(super) fn fail(&self, error: StreamError) {
        *self.failure.lock() = Some(error);
        self.filled.notify_one();
    }

    fn relieve(&self, taken: &Taken) {
        match taken {
            Taken::Items(_) => self.progress.relieved.notify_one(),
            Taken::Nothing | Taken::OnDisk => {}
        }
    }
}
