//! A look at a stream from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::position::Position;

/// How far a stream has come. Clones look at the same stream.
#[derive(Debug, Clone)]
pub struct StreamHandle {
    pub(super) progress: Arc<Progress>,
}

/// What reader and consumer write down.
#[derive(Debug)]
pub(super) struct Progress {
    received: Mutex<Position>,
    acknowledged: Mutex<Position>,
    transactions_received: AtomicU64,
    transactions_consumed: AtomicU64,
    /// Why the reader waits for space, while it does; a sentence for the operator.
    waits_for_space: Mutex<Option<String>>,
    backend_id: u32,
}

/// How far the consumer is behind what was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// Up to where the source has sent.
    pub received: Position,
    /// Up to where the consumer has acknowledged.
    pub acknowledged: Position,
    /// Whole transactions received and not yet given to the consumer.
    pub transactions: u64,
}

impl StreamHandle {
    /// Tells that everything up to `position` is applied and written down durably on the target.
    /// The source keeps its log by its own rules, so that this is for whoever looks.
    pub fn acknowledge(&self, position: Position) {
        *self.progress.acknowledged.lock() = position;
    }

    /// The position that was acknowledged last.
    #[must_use]
    pub fn acknowledged(&self) -> Position {
        self.progress.acknowledged.lock().clone()
    }

    /// Up to where the source has sent.
    #[must_use]
    pub fn received(&self) -> Position {
        self.progress.received()
    }

    /// Whether another whole transaction can be had without waiting for the source.
    #[must_use]
    pub fn has_transaction(&self) -> bool {
        self.progress.waiting() > 0
    }

    /// Why nothing more is taken from the source, while there is no space for it: the disk is full,
    /// or the spool has come to its limit. The source keeps its log by its own rules meanwhile.
    #[must_use]
    pub fn waits_for_space(&self) -> Option<String> {
        self.progress.waits_for_space.lock().clone()
    }

    /// Id of the source's connection that sends the log, which a fence must spare.
    #[must_use]
    pub fn backend_id(&self) -> u32 {
        self.progress.backend_id
    }

    /// How far the consumer is behind.
    #[must_use]
    pub fn lag(&self) -> Lag {
        Lag {
            received: self.received(),
            acknowledged: self.acknowledged(),
            transactions: self.progress.waiting(),
        }
    }
}

impl Progress {
    pub(super) fn new(start: &Position, backend_id: u32) -> Self {
        Self {
            received: Mutex::new(start.clone()),
            acknowledged: Mutex::new(start.clone()),
            transactions_received: AtomicU64::new(0),
            transactions_consumed: AtomicU64::new(0),
            waits_for_space: Mutex::new(None),
            backend_id,
        }
    }

    pub(super) fn received(&self) -> Position {
        self.received.lock().clone()
    }

    pub(super) fn note_waiting_for_space(&self, why: Option<String>) {
        *self.waits_for_space.lock() = why;
    }

    /// The position never goes back: a server may begin to read before what it sends.
    pub(super) fn note_received(&self, position: &Position) {
        let mut received = self.received.lock();
        if *position > *received {
            received.clone_from(position);
        }
    }

    pub(super) fn count_received(&self) {
        self.transactions_received.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn count_consumed(&self) {
        self.transactions_consumed.fetch_add(1, Ordering::SeqCst);
    }

    fn waiting(&self) -> u64 {
        let received = self.transactions_received.load(Ordering::SeqCst);
        received.saturating_sub(self.transactions_consumed.load(Ordering::SeqCst))
    }
}
