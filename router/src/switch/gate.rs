//! A session's way through the switch.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use thiserror::Error;

use super::Switch;
use super::waiters::Waiting;
use crate::side::Side;

/// A session's way through the switch: it holds at most one permit.
///
/// A session enters before it sends the first message of a transaction and leaves when the server
/// reports idle. Dropping the gate leaves.
#[derive(Debug)]
pub struct Gate {
    switch: Arc<Switch>,
    shard: usize,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Inside(Side),
}

/// The switch is held: new transactions wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("new transactions wait for the switch")]
pub struct MustWait;

impl Gate {
    /// A gate, outside. `shard` spreads the counting over the processor's caches: any number will
    /// do, sessions that run on one thread should have the same.
    #[must_use]
    pub fn new(switch: &Arc<Switch>, shard: usize) -> Self {
        let shard = shard % switch.shards();
        Self {
            switch: Arc::clone(switch),
            shard,
            place: Place::Outside,
        }
    }

    /// Takes a permit for the serving side, if the switch is not held. Never blocks. Inside, it
    /// says again on which side.
    ///
    /// # Errors
    /// [`MustWait`] while the switch is held; the gate is outside then.
    #[inline]
    pub fn try_enter(&mut self) -> Result<Side, MustWait> {
        if let Place::Inside(side) = self.place {
            return Ok(side);
        }
        let side = self.switch.take_permit(self.shard).ok_or(MustWait)?;
        self.place = Place::Inside(side);
        Ok(side)
    }

    /// Takes a permit for the serving side, after the release if the switch is held.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it has taken no permit and is in no list.
    pub async fn enter(&mut self) -> Side {
        if let Ok(side) = self.try_enter() {
            return side;
        }
        let switch = Arc::clone(&self.switch);
        let mut waiting = Waiting::new(&switch.waiters);
        poll_fn(|context| {
            // First into the list, then the look: a release in between wakes us.
            waiting.register(context.waker());
            match self.try_enter() {
                Ok(side) => Poll::Ready(side),
                Err(MustWait) => Poll::Pending,
            }
        })
        .await
    }

    /// Gives the permit back, if there is one.
    #[inline]
    pub fn leave(&mut self) {
        if let Place::Inside(_) = self.place {
            self.place = Place::Outside;
            self.switch.give_back_permit(self.shard);
        }
    }

    /// Whether the gate holds a permit.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        matches!(self.place, Place::Inside(_))
    }

    /// The switch that the gate belongs to.
    #[must_use]
    pub fn switch(&self) -> &Arc<Switch> {
        &self.switch
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.leave();
    }
}
