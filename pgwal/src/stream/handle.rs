//! What others may ask of a stream, and tell it, while its consumer works.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use router::Lsn;
use tokio::sync::Notify;

use super::buffer::Buffer;

/// A handle to a stream, for the applier's progress and for status. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StreamHandle {
    /// Without the buffer: a handle that outlives its stream must not hold the spool.
    pub(super) progress: Arc<Progress>,
}

/// How far reader and consumer are.
#[derive(Debug)]
pub(super) struct Progress {
    /// Something was taken or acknowledged.
    pub(super) relieved: Notify,
    /// What the buffer had on disk when it was last touched; never held for long.
    disk: Mutex<DiskUse>,
    acknowledged: AtomicU64,
    flushed: AtomicU64,
    received: AtomicU64,
    transactions_received: AtomicU64,
    transactions_consumed: AtomicU64,
    /// Why the reader waits for space, while it does; a sentence for the operator.
    waits_for_space: Mutex<Option<String>>,
    /// Process id of the source's walsender.
    backend_pid: i32,
}

/// What of the buffer is on disk.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct DiskUse {
    pub(super) spool_bytes: u64,
    /// Not taken by the consumer yet.
    pub(super) backlog: bool,
    /// Not durable yet.
    pub(super) unsynced: bool,
    /// Can be deleted some time.
    pub(super) trimmable: bool,
}

impl DiskUse {
    pub(super) fn of(buffer: &Buffer) -> Self {
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
        self.progress
            .acknowledged
            .fetch_max(position.0, Ordering::SeqCst);
        self.progress.relieved.notify_one();
    }

    /// The highest position that was acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> Lsn {
        self.progress.acknowledged()
    }

    /// The position that the source was told it may forget: what is acknowledged, or what is
    /// durable in the spool.
    #[must_use]
    pub fn flushed(&self) -> Lsn {
        Lsn(self.progress.flushed.load(Ordering::SeqCst))
    }

    /// Up to where the source has sent: the end of the last transaction, or further when it said
    /// that nothing for us follows.
    #[must_use]
    pub fn received(&self) -> Lsn {
        self.progress.received()
    }

    /// Whether another whole transaction can be had without waiting for the source. While the
    /// backlog is on disk the answer is yes, also if it is part of one very large transaction.
    #[must_use]
    pub fn has_transaction(&self) -> bool {
        self.progress.transactions_waiting() > 0 || self.progress.disk().backlog
    }

    /// Why nothing more is taken from the source, while there is no space for it: the disk is full,
    /// or the spool has come to its limit. The source keeps its log meanwhile.
    #[must_use]
    pub fn waits_for_space(&self) -> Option<String> {
        self.progress.waits_for_space.lock().clone()
    }

    /// Process id of the source's walsender, which a fence must spare.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.progress.backend_pid
    }

    /// How far the consumer is behind.
    #[must_use]
    pub fn lag(&self) -> Lag {
        let (received, acknowledged) = (self.received(), self.acknowledged());
        Lag {
            received,
            acknowledged,
            bytes: received.bytes_since(acknowledged),
            transactions: self.progress.transactions_waiting(),
            spool_bytes: self.progress.disk().spool_bytes,
        }
    }
}

impl Progress {
    /// `applied` is acknowledged, `confirmed` is what the slot was told already (and never goes
    /// back), `received` is where the source begins to send.
    pub(super) fn new(backend_pid: i32, applied: Lsn, confirmed: Lsn, received: Lsn) -> Self {
        Self {
            relieved: Notify::new(),
            disk: Mutex::new(DiskUse::default()),
            acknowledged: AtomicU64::new(applied.0),
            flushed: AtomicU64::new(applied.max(confirmed).0),
            received: AtomicU64::new(received.0),
            transactions_received: AtomicU64::new(0),
            transactions_consumed: AtomicU64::new(0),
            waits_for_space: Mutex::new(None),
            backend_pid,
        }
    }

    pub(super) fn note_waiting_for_space(&self, why: Option<String>) {
        *self.waits_for_space.lock() = why;
    }

    pub(super) fn note(&self, disk: DiskUse) {
        *self.disk.lock() = disk;
    }

    pub(super) fn disk(&self) -> DiskUse {
        *self.disk.lock()
    }

    pub(super) fn acknowledged(&self) -> Lsn {
        Lsn(self.acknowledged.load(Ordering::SeqCst))
    }

    /// Raises the position that the source may forget; it never goes back.
    pub(super) fn raise_flushed(&self, position: Lsn) -> Lsn {
        Lsn(self.flushed.fetch_max(position.0, Ordering::SeqCst)).max(position)
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
        let received = self.transactions_received.load(Ordering::SeqCst);
        received.saturating_sub(consumed)
    }
}
