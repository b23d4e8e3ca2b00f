//! What a session gets on its twin inside the hold only: advisory locks and channels.
//!
//! A lock that is taken earlier could be in the way of whoever uses the other server, and two
//! sessions may have exchanged a lock since they were looked at. Notifications that the other
//! server sends earlier are of changes that the client heard of already.

use tokio::time::timeout;

use super::super::advisory::LOCKS_MAX;
use super::super::fatal::Fatal;
use super::super::limits::TWIN_TIMEOUT;
use super::super::pump::Want;
use super::super::relay::Twins;
use super::super::state::Unmovable;
use super::super::twin::{Completion, Twin};
use super::{Session, cannot_move};
use crate::wire::backend;

impl Session {
    /// Counts the locks that the session has, as the coordinator found out.
    pub(super) async fn count_locks(&mut self) -> Result<(), Fatal> {
        let locks = self.entry.locks.lock().clone();
        self.locks = match locks.as_slice() {
            [] => Vec::new(),
            locks if locks.len() > LOCKS_MAX => {
                self.entry.unmovable.lock().push(Unmovable::AdvisoryLock);
                Vec::new()
            }
            locks => self.pump.count_locks(&self.relay, locks).await?,
        };
        Ok(())
    }

    /// What to ask the session for: its sequences too, unless too many sessions were asked for
    /// theirs inside this hold already.
    pub(super) fn wanted(&self) -> Want {
        if self.relay.twins() != Twins::Beforehand {
            return Want::State;
        }
        if self.relay.takes_sequence_turn() {
            return Want::Sequences;
        }
        tracing::info!(
            session = self.entry.id.0,
            "currval() and lastval() are not carried: too many sessions changed"
        );
        Want::State
    }

    /// What the twin is to have when the session goes over to it.
    fn completion(&self) -> Completion {
        Completion {
            channels: self.reading.channels.clone(),
            locks: self.locks.clone(),
        }
    }

    /// Gives the twin what it may have now. Whoever has no twin is in the list of sessions already.
    pub(super) async fn complete(&mut self) {
        self.settle_preparation().await;
        let completion = self.completion();
        let Some(twin) = &mut self.twin else { return };
        self.entry.set_complete(true);
        let completed = timeout(TWIN_TIMEOUT, twin.complete(&completion)).await;
        let completed = completed.unwrap_or_else(|_elapsed| {
            Err(Unmovable::NotLetIn("the server does not answer".to_owned()))
        });
        if let Err(reason) = completed {
            self.drop_twin().await;
            self.entry.unmovable.lock().push(reason);
        }
    }

    /// Takes it back.
    pub(super) async fn relax(&mut self) {
        self.settle_preparation().await;
        let relaxed = match &mut self.twin {
            Some(twin) => matches!(timeout(TWIN_TIMEOUT, twin.relax()).await, Ok(Ok(()))),
            None => true,
        };
        if !relaxed {
            self.drop_twin().await;
        }
        self.entry.set_complete(false);
    }

    /// Whether the twin has what it had to get inside the hold. Afterwards it is too late: somebody
    /// else may have had the lock meanwhile, and a notification may have been missed.
    pub(super) fn is_complete(&self, twin: &Twin) -> Result<(), Unmovable> {
        let expected = self.completion();
        if expected.is_empty() && self.entry.locks.lock().is_empty() {
            return Ok(());
        }
        match twin.completion() {
            Some(completion) if *completion == expected => Ok(()),
            Some(_) | None if expected.locks.is_empty() => Err(Unmovable::Listen),
            Some(_) | None => Err(Unmovable::AdvisoryLock),
        }
    }

    /// Tells the client what its old server still has to say, and then what the new one said since
    /// it listens there. The old one is fenced: it says nothing new any more.
    pub(super) async fn hand_over_notifications(&mut self, twin: &mut Twin) -> Result<(), Fatal> {
        self.is_complete(twin)
            .map_err(|reason| cannot_move(&reason))?;
        if self.reading.channels.is_empty() {
            return Ok(());
        }
        let lost = || cannot_move(&Unmovable::Listen);
        let relay = &self.relay;
        self.pump.hear_out(relay).await.map_err(|_gone| lost())?;
        let heard = timeout(TWIN_TIMEOUT, twin.notifications(&relay.appliers())).await;
        let heard = heard.map_err(|_elapsed| lost())?;
        for body in heard.map_err(|_broken| lost())? {
            backend::raw(b'A', &body, self.pump.tell_client());
        }
        Ok(())
    }
}
