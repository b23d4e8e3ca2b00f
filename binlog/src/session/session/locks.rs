//! User-level locks (`GET_LOCK`) of a session that goes over.
//!
//! Its twin takes each of them inside the hold, when nobody can ask for one. How often the session
//! took one, no server tells; so the session's own server is asked to give them back one by one, when
//! it is left for good.

use super::super::fatal::Fatal;
use super::super::limits::LOCK_NESTING_MAX;
use super::super::question;
use super::super::state::{Unmovable, text};
use super::super::twin::Twin;
use super::{Session, cannot_move};

/// Questions at once: one more than most sessions take a lock.
const AT_ONCE: usize = 2;

impl Session {
    /// Has the twin hold each lock as often as the session does, which gives them back.
    pub(super) async fn nest_locks(&mut self, twin: &mut Twin) -> Result<(), Fatal> {
        let mut times = Vec::new();
        for name in self.reading.replay.locks.clone() {
            let held = self.give_back(&name).await.map_err(|_gone| {
                // The server that knows how often is gone.
                cannot_move(&Unmovable::UserLock)
            })?;
            times.push((name, held));
        }
        let nested = twin.nest_locks(&times).await;
        nested.map_err(|reason| cannot_move(&reason))
    }

    /// Gives a lock back; how often it was held.
    async fn give_back(&mut self, name: &str) -> Result<usize, Fatal> {
        let sql = question::give_lock(name);
        let mut held = 0;
        while held < LOCK_NESTING_MAX {
            let answers = self.pump.ask(&[sql.as_str(); AT_ONCE]).await?;
            for answer in answers {
                let rows = answer.map_err(Fatal::Error)?;
                let row = rows.rows.first().map(Vec::as_slice).unwrap_or_default();
                if text(row, 0) != Some("1") {
                    return Ok(held);
                }
                held += 1;
            }
        }
        Err(Fatal::other("a user-level lock was taken too often"))
    }
}
