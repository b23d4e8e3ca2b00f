//! The policy of windows: when a batch goes to the target, and when it is committed.
//!
//! A window is a run of whole source transactions that the target sees as one. A big window is
//! cheap (one commit, rows that change often are written once), a small one is fresh. So the window
//! is as small as one transaction while the stream is quiet, and grows to its limits only while
//! more is waiting. A transaction that is larger than a batch is flushed in several batches into
//! the same target transaction: memory stays bounded, and the window's end is still a commit of the
//! source.
//!
//! This is a value: it is told what was added and asked what to do, the time comes as an argument.

use std::time::Duration;

use crate::limits;

/// How large windows may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Rows of one batch of net changes.
    pub batch_rows_max: usize,
    /// Bytes of one batch of net changes.
    pub batch_bytes_max: usize,
    /// Rows of one window; reached at a source commit, it ends the window.
    pub window_rows_max: usize,
    /// Bytes of one window.
    pub window_bytes_max: usize,
    /// How long a window may stay open while more is waiting.
    pub open_max: Duration,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self {
            batch_rows_max: limits::BATCH_ROWS_MAX,
            batch_bytes_max: limits::BATCH_BYTES_MAX,
            window_rows_max: limits::WINDOW_ROWS_MAX,
            window_bytes_max: limits::WINDOW_BYTES_MAX,
            open_max: limits::WINDOW_OPEN_MAX,
        }
    }
}

/// What is gathered of a batch: asked of the net change, since updates of one row do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gathered {
    /// Rows that the batch touches.
    pub rows: usize,
    /// Memory that it holds.
    pub bytes: usize,
}

/// Whether the stream has more for us at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The next whole transaction is already here.
    More,
    /// The stream is quiet.
    Nothing,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on gathering.
    Gather,
    /// Write the batch into the open target transaction, and go on.
    Flush,
    /// Write the batch and commit the target transaction with its progress.
    Commit,
}

/// The open window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    limits: WindowLimits,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing of a source transaction is in it.
    Empty,
    /// It began at this time; `flushed` is what was already written of it.
    Open { since: Duration, flushed: Gathered },
}

impl Window {
    /// An empty window.
    #[must_use]
    pub fn new(limits: WindowLimits) -> Self {
        Self {
            limits,
            progress: Progress::Empty,
        }
    }

    /// A source transaction begins to be gathered at `now`, by any clock that never goes back.
    pub fn begin(&mut self, now: Duration) {
        if self.progress == Progress::Empty {
            self.progress = Progress::Open {
                since: now,
                flushed: Gathered::default(),
            };
        }
    }

    /// What to do within a source transaction, after a change of it was gathered.
    #[must_use]
    pub fn after_change(&self, batch: Gathered) -> Verdict {
        let WindowLimits {
            batch_rows_max,
            batch_bytes_max,
            ..
        } = self.limits;
        if batch.rows >= batch_rows_max || batch.bytes >= batch_bytes_max {
            Verdict::Flush
        } else {
            Verdict::Gather
        }
    }

    /// What to do after a source transaction was gathered whole.
    #[must_use]
    pub fn after_commit(&self, batch: Gathered, waiting: Waiting, now: Duration) -> Verdict {
        let Progress::Open { since, flushed } = self.progress else {
            return Verdict::Gather;
        };
        let is_full = flushed.rows + batch.rows >= self.limits.window_rows_max
            || flushed.bytes + batch.bytes >= self.limits.window_bytes_max
            || now.saturating_sub(since) >= self.limits.open_max;
        match waiting {
            Waiting::Nothing => Verdict::Commit,
            Waiting::More if is_full => Verdict::Commit,
            Waiting::More => self.after_change(batch),
        }
    }

    /// The batch was written into the open target transaction.
    pub fn flushed(&mut self, batch: Gathered) {
        if let Progress::Open { flushed, .. } = &mut self.progress {
            flushed.rows += batch.rows;
            flushed.bytes += batch.bytes;
        }
    }

    /// The target transaction is committed: the next window is empty.
    pub fn committed(&mut self) {
        self.progress = Progress::Empty;
    }

    /// Whether no source transaction is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.progress == Progress::Empty
    }

    /// When the window must be committed at the next source commit, if it is open.
    #[must_use]
    pub fn due_at(&self) -> Option<Duration> {
        match self.progress {
            Progress::Empty => None,
            Progress::Open { since, .. } => Some(since + self.limits.open_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: WindowLimits = WindowLimits {
        batch_rows_max: 10,
        batch_bytes_max: 1000,
        window_rows_max: 25,
        window_bytes_max: 2500,
        open_max: Duration::from_millis(100),
    };

    const NOW: Duration = Duration::from_secs(5);

    fn rows(rows: usize) -> Gathered {
        Gathered { rows, bytes: 0 }
    }

    fn bytes(bytes: usize) -> Gathered {
        Gathered { rows: 1, bytes }
    }

    fn open() -> Window {
        let mut window = Window::new(LIMITS);
        window.begin(NOW);
        window
    }

    #[test]
    fn a_quiet_stream_commits_every_transaction() {
        assert_eq!(
            open().after_commit(rows(1), Waiting::Nothing, NOW),
            Verdict::Commit
        );
    }

    #[test]
    fn a_backlog_gathers_until_a_limit_of_the_window() {
        let mut window = open();
        assert_eq!(
            window.after_commit(rows(9), Waiting::More, NOW),
            Verdict::Gather
        );
        assert_eq!(
            window.after_commit(rows(10), Waiting::More, NOW),
            Verdict::Flush
        );
        window.flushed(rows(10));
        window.flushed(rows(10));
        assert_eq!(
            window.after_commit(rows(4), Waiting::More, NOW),
            Verdict::Gather
        );
        assert_eq!(
            window.after_commit(rows(5), Waiting::More, NOW),
            Verdict::Commit
        );
        assert_eq!(
            window.after_commit(bytes(2500), Waiting::More, NOW),
            Verdict::Commit
        );
    }

    #[test]
    fn a_backlog_commits_when_the_window_was_open_for_long() {
        let window = open();
        assert_eq!(window.due_at(), Some(NOW + LIMITS.open_max));
        let later = NOW + LIMITS.open_max;
        assert_eq!(
            window.after_commit(rows(1), Waiting::More, later),
            Verdict::Commit
        );
    }

    #[test]
    fn a_large_transaction_is_flushed_but_never_committed_in_its_middle() {
        let mut window = open();
        for _ in 0..100 {
            assert_eq!(window.after_change(rows(9)), Verdict::Gather);
            assert_eq!(window.after_change(rows(10)), Verdict::Flush);
            assert_eq!(window.after_change(bytes(1000)), Verdict::Flush);
            window.flushed(rows(10));
        }
        assert_eq!(
            window.after_commit(rows(0), Waiting::More, NOW),
            Verdict::Commit
        );
    }

    #[test]
    fn a_committed_window_starts_anew() {
        let mut window = open();
        window.flushed(rows(24));
        window.committed();
        assert!(window.is_empty());
        assert_eq!(window.due_at(), None);
        window.begin(NOW);
        assert_eq!(
            window.after_commit(rows(1), Waiting::More, NOW),
            Verdict::Gather
        );
    }
}
