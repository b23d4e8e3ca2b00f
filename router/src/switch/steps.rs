//! The steps of a movement as types: each is obtainable only from the one before.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::Switch;
use crate::side::{Epoch, Side};

/// New transactions wait; running ones go on.
#[derive(Debug)]
#[must_use = "dropping it releases the hold"]
pub struct Held {
    hold: Hold,
    permits: Permits,
}

/// What is known of the permits that were out when the hold began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permits {
    MayBeOut,
    /// All were seen to be back. This stays so, though the counters may twitch again: a session
    /// that came too late adds to its counter before it sees the hold and turns back.
    Back,
}

/// No transaction runs through the switch, and none can start.
#[derive(Debug)]
#[must_use = "dropping it releases the hold"]
pub struct Drained(Hold);

/// The side that served refuses writes by itself.
#[derive(Debug)]
#[must_use = "dropping it releases the hold"]
pub struct Fenced(Hold);

/// The side that will serve has all that the other had.
#[derive(Debug)]
#[must_use = "dropping it releases the hold"]
pub struct CaughtUp(Hold);

/// The points are moved; transactions still wait.
#[derive(Debug)]
#[must_use = "dropping it releases the hold"]
pub struct Switched(Hold);

impl Held {
    pub(super) fn new(switch: &Arc<Switch>, to: Side) -> Self {
        let hold = Hold {
            switch: Arc::clone(switch),
            to,
        };
        Self {
            hold,
            permits: Permits::MayBeOut,
        }
    }

    /// Waits until the last running transaction has ended.
    ///
    /// # Cancel safety
    /// It may be dropped and called again at any time: a deadline around it is what it is made for.
    pub async fn drain(&mut self) {
        poll_fn(|context| {
            if self.look() == Permits::Back {
                return Poll::Ready(());
            }
            // First the waker, then the look: the last one to leave in between wakes us.
            *self.hold.switch.drainer.lock() = Some(context.waker().clone());
            match self.look() {
                Permits::Back => Poll::Ready(()),
                Permits::MayBeOut => Poll::Pending,
            }
        })
        .await;
    }

    /// The next step, or the same one while transactions run.
    ///
    /// # Errors
    /// The hold itself, while transactions run.
    pub fn into_drained(mut self) -> Result<Drained, Self> {
        match self.look() {
            Permits::Back => Ok(Drained(self.hold)),
            Permits::MayBeOut => Err(self),
        }
    }

    /// Transactions that still run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.hold.switch.running()
    }

    fn look(&mut self) -> Permits {
        if self.permits == Permits::MayBeOut && self.hold.switch.is_drained() {
            self.permits = Permits::Back;
        }
        self.permits
    }
}

impl Drained {
    /// The caller vouches that the serving side now refuses writes by itself.
    pub fn fenced(self) -> Fenced {
        Fenced(self.0)
    }
}

impl Fenced {
    /// The caller vouches that the other side has everything up to the marker.
    pub fn caught_up(self) -> CaughtUp {
        CaughtUp(self.0)
    }
}

impl CaughtUp {
    /// Moves the points. The caller vouches that the journal says so durably.
    pub fn switch(self) -> Switched {
        self.0.switch.move_points(self.0.to);
        Switched(self.0)
    }
}

impl Switched {
    /// Lets the waiting transactions go on, on the new side.
    pub fn release(self) {
        drop(self.0);
    }

    /// The epoch that began with this movement.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.switch.epoch()
    }
}

/// The hold itself. There is at most one of a switch; while it lives, only it changes the state.
#[derive(Debug)]
struct Hold {
    switch: Arc<Switch>,
    to: Side,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.switch.release();
    }
}

/// A switch that starts held since nobody knows yet which side serves: after a crash the two
/// servers must be asked first.
///
/// Dropped without a decision, the switch stays held: it never guesses.
#[derive(Debug)]
#[must_use = "without a decision the switch stays held"]
pub struct Undecided(Arc<Switch>);

impl Undecided {
    pub(super) fn new(switch: &Arc<Switch>) -> Self {
        Self(Arc::clone(switch))
    }

    /// Opens the switch to `side`, in the first epoch.
    pub fn decide(self, side: Side) {
        self.decide_at(side, Epoch::FIRST);
    }

    /// Opens the switch to `side`, in the epoch that the journal tells.
    pub fn decide_at(self, side: Side, epoch: Epoch) {
        self.0.open_first(side, epoch);
    }
}
