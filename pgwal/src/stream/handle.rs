//! What others may ask of a stream while its consumer works: how far it is, and what they tell it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use router::Lsn;
use tokio::sync::Notify;

use super::buffer::{Buffer, Taken};
use super::error::StreamError;

/// A handle to a stream, for the applier's progress and for status. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StreamHandle {
    pub(super) shared: Arc<Shared>,
}

/// What reader, consumer and handles share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Held while files are read or written: locked on blocking threads, elsewhere only tried, or
    /// when no file can be in play.
    buffer: Mutex<Buffer>,
    /// What the buffer had on disk when it was last touched; never held for long.
    disk: Mutex<DiskUse>,
    /// There is something to take, or the reader has failed.
    pub(super) filled: Notify,
    /// Something was taken or acknowledged.
    pub(super) relieved: Notify,
    /// Why the reader ended.
    pub(super) failure: Mutex<Option<StreamError>>,
    acknowledged: AtomicU64,
    flushed: AtomicU64,
    received: AtomicU64,
    transactions_received: AtomicU64,
    transactions_consumed: AtomicU64,
}

/// What of the buffer is on disk.
#[derive(Debug, Clone, Copy)]
struct DiskUse {
    spool_bytes: u64,
    /// Not taken by the consumer yet.
    backlog: bool,
    /// Not durable yet.
    unsynced: bool,
    /// Can be deleted some time.
    trimmable: bool,
}

impl DiskUse {
    fn of(buffer: &Buffer) -> Self {
        Self {
            spool_bytes: buffer.spool_bytes(),
            backlog: buffer.has_backlog_on_disk(),
            unsynced: buffer.needs_sync(),
            trimmable: buffer.has_files(),
        }
    }
}

/// How far the consumer is behind what was received.
///
/// What the source has not sent yet is not in here: ask it for `pg_current_wal_lsn()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Up to where the source has sent.
    pub received: Lsn,
    /// Up to where the consumer has acknowledged.
    pub acknowledged: Lsn,
    /// Bytes of the source's log between the two.
    pub bytes: u64,
    /// Whole transactions received and not yet given to the consumer; what a restart found in the
    /// spool is not counted.
    pub transactions: u64,
    /// Bytes in the spool, without the files of single large transactions.
    pub spool_bytes: u64,
}

impl StreamHandle {
    /// Tells that everything up to `position` is applied **and written down durably on the target
    /// together with the position**. Only such a position may be given: the source forgets what
    /// comes before it, and a restart compares the slot with what is written down (a slot that is
    /// further would be taken for a foreign one). For the position of an
    /// [`super::StreamEvent::Idle`] that means to write the progress row before.
    pub fn acknowledge(&self, position: Lsn) {
        self.shared
            .acknowledged
            .fetch_max(position.0, Ordering::SeqCst);
        self.shared.relieved.notify_one();
    }

    /// The highest position that was acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> Lsn {
        Lsn(self.shared.acknowledged.load(Ordering::SeqCst))
    }

    /// The position that the source was told it may forget: what is acknowledged, or what is
    /// durable in the spool.
    #[must_use]
    pub fn flushed(&self) -> Lsn {
        Lsn(self.shared.flushed.load(Ordering::SeqCst))
    }

    /// Up to where the source has sent: the end of the last transaction, or further when it said
    /// that nothing for us follows.
    #[must_use]
    pub fn received(&self) -> Lsn {
        Lsn(self.shared.received.load(Ordering::SeqCst))
    }

    /// Whether another whole transaction can be had without waiting for the source. While the
    /// backlog is on disk the answer is yes, also if it is part of one very large transaction.
    #[must_use]
    pub fn has_transaction(&self) -> bool {
        self.shared.transactions_waiting() > 0 || self.shared.disk.lock().backlog
    }

    /// How far the consumer is behind.
    #[must_use]
    pub fn lag(&self) -> Lag {
        let (received, acknowledged) = (self.received(), self.acknowledged());
        Lag {
            received,
            acknowledged,
            bytes: received.bytes_since(acknowledged),
            transactions: self.shared.transactions_waiting(),
            spool_bytes: self.shared.disk.lock().spool_bytes,
        }
    }
}

impl Shared {
    /// `applied` is acknowledged, `confirmed` is what the slot was told already (and never goes
    /// back), `received` is where the source begins to send.
    pub(super) fn new(buffer: Buffer, applied: Lsn, confirmed: Lsn, received: Lsn) -> Self {
        let disk = DiskUse::of(&buffer);
        Self {
            buffer: Mutex::new(buffer),
            disk: Mutex::new(disk),
            filled: Notify::new(),
            relieved: Notify::new(),
            failure: Mutex::new(None),
            acknowledged: AtomicU64::new(applied.0),
            flushed: AtomicU64::new(applied.max(confirmed).0),
            received: AtomicU64::new(received.0),
            transactions_received: AtomicU64::new(0),
            transactions_consumed: AtomicU64::new(0),
        }
    }

    /// Works on the buffer, waiting for whoever works on it now.
    pub(super) fn with_buffer<T>(&self, work: impl FnOnce(&mut Buffer) -> T) -> T {
        let mut buffer = self.buffer.lock();
        let outcome = work(&mut buffer);
        *self.disk.lock() = DiskUse::of(&buffer);
        outcome
    }

    /// The next items if they are in memory and nobody works on the buffer's files now.
    pub(super) fn take_from_memory(&self, bytes_max: usize) -> Taken {
        let Some(mut buffer) = self.buffer.try_lock() else {
            return Taken::OnDisk;
        };
        let taken = buffer.take_from_memory(bytes_max);
        drop(buffer);
        if matches!(taken, Taken::Items(_)) {
            self.relieved.notify_one();
        }
        taken
    }

    /// Whether a push of this many bytes may touch a file, or wait for one who does.
    pub(super) fn may_use_disk(&self, bytes: usize) -> bool {
        self.buffer
            .try_lock()
            .is_none_or(|buffer| buffer.may_use_disk(bytes))
    }

    /// The position that the source may forget now.
    pub(super) fn flushed_now(&self) -> Lsn {
        let applied = self.acknowledged();
        let safe = self
            .buffer
            .try_lock()
            .map(|buffer| buffer.acknowledgeable(applied));
        let safe = safe.map_or(applied, |safe| safe.max(applied));
        Lsn(self.flushed.fetch_max(safe.0, Ordering::SeqCst)).max(safe)
    }

    pub(super) fn has_unsynced(&self) -> bool {
        self.disk.lock().unsynced
    }

    pub(super) fn has_files(&self) -> bool {
        self.disk.lock().trimmable
    }

    pub(super) fn acknowledged(&self) -> Lsn {
        Lsn(self.acknowledged.load(Ordering::SeqCst))
    }

    pub(super) fn raise_received(&self, position: Lsn) {
        self.received.fetch_max(position.0, Ordering::SeqCst);
    }

    pub(super) fn received(&self) -> Lsn {
        Lsn(self.received.load(Ordering::SeqCst))
    }

    pub(super) fn count_received(&self, transactions: u64) {
        self.transactions_received
            .fetch_add(transactions, Ordering::SeqCst);
    }

    pub(super) fn count_consumed(&self) {
        self.transactions_consumed.fetch_add(1, Ordering::SeqCst);
    }

    fn transactions_waiting(&self) -> u64 {
        let consumed = self.transactions_consumed.load(Ordering::SeqCst);
        self.transactions_received
            .load(Ordering::SeqCst)
            .saturating_sub(consumed)
    }

    /// Keeps the reader's last word for the consumer.
    pub(super) fn fail(&self, error: StreamError) {
        *self.failure.lock() = Some(error);
        self.filled.notify_one();
    }
}
