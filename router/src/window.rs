//! The policy of windows: when the target is given what was gathered, and when that is a commit.
//!
//! A window is a run of whole source transactions that the target sees as one. A big window is
//! cheap (one commit, rows that change often are written once), a small one is fresh. So the window
//! is as small as one transaction while the stream is quiet and the target is free, and grows only
//! while the target is busy or more is waiting, up to its limits. A transaction that is larger than
//! the limits is written in several parts into one target transaction: memory stays bounded, and
//! the window's end is still a commit of the source.
//!
//! This is a function of values: who applies counts and measures the time.

use std::time::Duration;

use crate::limits;

/// How large windows may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Row changes that are held for the target at most.
    pub rows_max: u64,
    /// Bytes of row changes that are held for the target at most.
    pub bytes_max: u64,
    /// How long a window with changes stays open although the target is free.
    pub open_max: Duration,
    /// How long a window without changes stays open: its position only has to be written down now
    /// and then.
    pub idle_max: Duration,
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self {
            rows_max: limits::WINDOW_ROWS_MAX,
            bytes_max: limits::WINDOW_BYTES_MAX,
            open_max: limits::WINDOW_OPEN_MAX,
            idle_max: limits::WINDOW_IDLE_MAX,
        }
    }
}

/// How much is held for the target, before it is netted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Row changes.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a window has to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Only the position has moved.
    Position,
    /// There is something that somebody waits for: rows or markers.
    Changes,
}

/// An open window, between two source transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// What it has to commit.
    pub content: Content,
    /// What is held of it; parts that the target was given already do not count.
    pub held: Volume,
    /// How long it is open.
    pub age: Duration,
}

/// Whether the target can take a window now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// It would start at once.
    Free,
    /// It works on the one before.
    Busy,
}

/// What to do with an open window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// End it now, and wait for the target if that is busy.
    End,
    /// Take what the stream has at once; end it when there is nothing and the target is free.
    EndWhenQuiet,
    /// Wait for the stream; end it when nothing was added for this time.
    EndAfter(Duration),
}

impl WindowLimits {
    /// Whether the target must be given what is held before more is taken, even in the middle of a
    /// source transaction.
    #[must_use]
    pub fn is_full(&self, held: Volume) -> bool {
        held.rows >= self.rows_max || held.bytes >= self.bytes_max
    }

    /// What to do with `window`, after a source transaction was taken whole.
    #[must_use]
    pub fn verdict(&self, window: Window, target: Target) -> Verdict {
        let due = match window.content {
            Content::Changes => self.open_max,
            Content::Position => self.idle_max,
        };
        if self.is_full(window.held) {
            Verdict::End
        } else if window.age >= due {
            match target {
                Target::Free => Verdict::End,
                Target::Busy => Verdict::EndWhenQuiet,
            }
        } else {
            match window.content {
                Content::Changes => Verdict::EndWhenQuiet,
                Content::Position => Verdict::EndAfter(due.saturating_sub(window.age)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: WindowLimits = WindowLimits {
        rows_max: 10,
        bytes_max: 1000,
        open_max: Duration::from_millis(100),
        idle_max: Duration::from_secs(3),
    };

    fn holding(rows: u64, bytes: u64, age_ms: u64) -> Window {
        Window {
            content: Content::Changes,
            held: Volume { rows, bytes },
            age: Duration::from_millis(age_ms),
        }
    }

    fn position(age_ms: u64) -> Window {
        Window {
            content: Content::Position,
            ..holding(0, 0, age_ms)
        }
    }

    #[test]
    fn a_quiet_stream_commits_every_transaction() {
        let window = holding(1, 10, 0);
        assert_eq!(LIMITS.verdict(window, Target::Free), Verdict::EndWhenQuiet);
    }

    #[test]
    fn a_window_grows_while_the_target_is_busy_until_a_limit() {
        let verdict = |rows, bytes| LIMITS.verdict(holding(rows, bytes, 5000), Target::Busy);
        assert_eq!(verdict(9, 999), Verdict::EndWhenQuiet);
        assert_eq!(verdict(10, 0), Verdict::End);
        assert_eq!(verdict(1, 1000), Verdict::End);
    }

    #[test]
    fn a_backlog_does_not_keep_a_window_open_for_long_when_the_target_is_free() {
        let verdict = |age_ms| LIMITS.verdict(holding(1, 10, age_ms), Target::Free);
        assert_eq!(verdict(99), Verdict::EndWhenQuiet);
        assert_eq!(verdict(100), Verdict::End);
    }

    #[test]
    fn a_large_transaction_is_given_in_parts() {
        assert!(!LIMITS.is_full(Volume {
            rows: 9,
            bytes: 999
        }));
        assert!(LIMITS.is_full(Volume { rows: 10, bytes: 0 }));
        assert!(LIMITS.is_full(Volume {
            rows: 1,
            bytes: 1000
        }));
    }

    #[test]
    fn the_end_of_a_transaction_that_was_given_in_parts_is_not_held_back() {
        let window = holding(0, 0, 0);
        assert_eq!(LIMITS.verdict(window, Target::Free), Verdict::EndWhenQuiet);
    }

    #[test]
    fn a_position_alone_is_committed_now_and_then() {
        let left = Verdict::EndAfter(Duration::from_secs(1));
        assert_eq!(LIMITS.verdict(position(2000), Target::Free), left);
        assert_eq!(LIMITS.verdict(position(2000), Target::Busy), left);
        assert_eq!(LIMITS.verdict(position(3000), Target::Free), Verdict::End);
        assert_eq!(
            LIMITS.verdict(position(3000), Target::Busy),
            Verdict::EndWhenQuiet
        );
    }
}
