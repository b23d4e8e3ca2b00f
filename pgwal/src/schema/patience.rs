//! Taking a lock on the application's tables without ever standing in its way for long.
//!
//! A statement that waits for a strong lock makes every later statement on the table wait behind
//! it. So each attempt waits a short time only, and between attempts the queue drains.

use std::time::Duration;

use router::Side;
use tokio_postgres::Client;

use super::error::{SchemaError, SqlCause};

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
    fn lock_timeout_of(&self, attempt: u32) -> Duration {
        let doubled = FIRST_LOCK_TIMEOUT.saturating_mul(1 << attempt.min(10));
        doubled.min(self.lock_timeout)
    }

    /// Runs statements in one transaction, again and again until its locks are to be had.
    ///
    /// # Errors
    /// [`SchemaError::StayedLocked`] after the last attempt; any other error at once.
    pub(crate) async fn run(
        &self,
        client: &Client,
        side: Side,
        object: &str,
        statements: &str,
    ) -> Result<(), SchemaError> {
        for attempt in 0..self.attempts.max(1) {
            let lock_timeout = self.lock_timeout_of(attempt);
            let block = format!(
                "BEGIN; SET LOCAL lock_timeout = '{}ms'; {statements}; COMMIT",
                lock_timeout.as_millis()
            );
            let Err(error) = client.batch_execute(&block).await else {
                return Ok(());
            };
            let cause = SqlCause::from(error);
            if matches!(cause, SqlCause::Refused { .. }) {
                let what = format!("leaving the failed change of {object}");
                client
                    .batch_execute("ROLLBACK")
                    .await
                    .map_err(SchemaError::sql(side, what))?;
            }
            if !cause.is_lock_trouble() {
                return Err(SchemaError::Sql {
                    side,
                    what: format!("changing {object}"),
                    cause,
                });
            }
            tracing::debug!(object, attempt, ?lock_timeout, "locked, trying again");
            tokio::time::sleep(lock_timeout.saturating_mul(2).min(PAUSE_MAX)).await;
        }
        Err(SchemaError::StayedLocked {
            side,
            object: object.to_owned(),
            attempts: self.attempts,
            lock_timeout: self.lock_timeout,
        })
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
    }
}
