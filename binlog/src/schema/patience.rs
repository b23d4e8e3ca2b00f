//! Waiting for a lock without ever standing in the application's way for long.
//!
//! A statement that waits for a strong lock makes every later statement wait behind it. So each
//! attempt waits a short time only, and between attempts the queue drains.

use std::time::Duration;

/// How long and how often to try for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockPatience {
    /// The longest that the application may be held up by one attempt.
    pub lock_timeout: Duration,
    /// How many attempts are made.
    pub attempts: u32,
}

impl Default for LockPatience {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_millis(1_000),
            attempts: 60,
        }
    }
}

/// The wait of the first attempt; it doubles up to the configured one.
const FIRST_LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);

impl LockPatience {
    /// How long this attempt may wait.
    #[must_use]
    pub fn lock_timeout_of(&self, attempt: u32) -> Duration {
        let doubled = FIRST_LOCK_TIMEOUT.saturating_mul(1 << attempt.min(10));
        doubled.min(self.lock_timeout)
    }

    /// How long to let the queue drain after it.
    #[must_use]
    pub fn pause_after(&self, attempt: u32) -> Duration {
        self.lock_timeout_of(attempt)
            .saturating_mul(2)
            .min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_grow_more_patient_up_to_the_limit() {
        let patience = LockPatience {
            lock_timeout: Duration::from_millis(500),
            attempts: 5,
        };
        let waits: Vec<u128> = (0..5)
            .map(|n| patience.lock_timeout_of(n).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 500, 500]);
        assert_eq!(
            patience.lock_timeout_of(u32::MAX),
            Duration::from_millis(500)
        );
        assert_eq!(patience.pause_after(9), Duration::from_secs(1));
    }
}
