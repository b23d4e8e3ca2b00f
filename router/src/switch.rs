//! The switch: which side serves, and whether new transactions may start.
//!
//! # How it works
//!
//! Every session has a [`Gate`]. It enters before the first message of a transaction and leaves
//! when the server reports idle; in between it holds a *permit* for the side that served when it
//! entered. A movement *holds* the switch (new transactions wait at their gates), waits until all
//! permits are back, and then moves the points with one atomic store:
//!
//! ```text
//! Switch::hold -> Held -> Drained -> Fenced -> CaughtUp -> Switched -> released, new side serves
//!                   \________\_________\__________\___ dropped: released, old side serves on
//! ```
//!
//! Each step is a type that only the step before gives out, so a program that switches without a
//! drain does not compile. Dropping a step releases the hold: no error path can forget it. (After
//! the fence the caller must lower the fence *before* it drops the step; the
//! [cutover machine](crate::cutover) sees to that.)
//!
//! # What it guarantees, and where it is proven
//!
//! `router/tests/switch_loom.rs` lets loom try all interleavings of these:
//!
//! * Once [`Drained`] exists, no permit for the old side exists, nor comes to exist.
//! * Everyone who waits at a gate is woken by the release, be it a switch or an abort, and the drain
//!   by the last permit that comes back.
//! * The epoch never goes back, and a permit's side is that of one epoch.
//!
//! # What it costs
//!
//! An open switch costs a session one `fetch_add` on a counter that few others share and two loads
//! of a word that nobody writes. The counters are sharded since one counter for all cores would
//! cost a cache miss per transaction.
//!
//! # Why it is right
//!
//! Two words race: a session adds to its counter and then reads the state; the holder sets the
//! state's held bit and then reads the counter. One of the two must see the other. The holder
//! *reads the counter by a read-modify-write*, so it and the session's addition are ordered by that
//! counter: either the holder's comes later and sees the permit, or the session's comes later, is
//! thereby ordered after the held bit, and sees that. This needs no more than acquire and release;
//! all orderings are `SeqCst` nevertheless, by rule of the house.

mod gate;
mod state;
mod steps;
mod waiters;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crossbeam::utils::CachePadded;
use thiserror::Error;

pub use self::gate::{Gate, MustWait};
use self::state::{HELD, State};
pub use self::steps::{CaughtUp, Drained, Fenced, Held, Switched, Undecided};
use self::waiters::{Waiters, Waiting};
use crate::side::{Epoch, Side};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};

/// Which side serves, and whether new transactions may start. See the [module](self).
#[derive(Debug)]
pub struct Switch {
    state: CachePadded<AtomicU64>,
    /// Permits that are out, spread over counters; each permit goes back to where it came from.
    permits: Box<[CachePadded<AtomicUsize>]>,
    /// Who waits for a release.
    waiters: Waiters,
    /// Who waits for the last permit; there is one holder at most.
    drainer: Mutex<Option<Waker>>,
}

/// Why the switch cannot be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HoldError {
    /// Another movement holds it, or no side is decided yet.
    #[error("another movement holds the switch")]
    AlreadyHeld,
    /// The movement would lead to where we are.
    #[error("the {0} serves already")]
    AlreadyServing(Side),
}

impl Switch {
    /// An open switch in the first epoch. `shards` is the number of permit counters, best the
    /// number of threads that sessions run on.
    #[must_use]
    pub fn new(shards: usize, serving: Side) -> Arc<Self> {
        Arc::new(Self::with_state(shards, State::open(serving, Epoch::FIRST)))
    }

    /// A held switch that does not know which side serves until it is told.
    pub fn undecided(shards: usize) -> (Arc<Self>, Undecided) {
        let switch = Arc::new(Self::with_state(shards, State::UNDECIDED));
        let undecided = Undecided::new(&switch);
        (switch, undecided)
    }

    fn with_state(shards: usize, state: State) -> Self {
        let permits = (0..shards.max(1)).map(|_| CachePadded::new(AtomicUsize::new(0)));
        Self {
            state: CachePadded::new(AtomicU64::new(state.word())),
            permits: permits.collect(),
            waiters: Waiters::default(),
            drainer: Mutex::default(),
        }
    }

    /// Makes new transactions wait: the first step of a movement to the side `to`.
    ///
    /// # Errors
    /// When the switch is held, or `to` serves already.
    pub fn hold(self: &Arc<Self>, to: Side) -> Result<Held, HoldError> {
        let state = self.state();
        if state.is_held() {
            return Err(HoldError::AlreadyHeld);
        }
        if state.side() == Some(to) {
            return Err(HoldError::AlreadyServing(to));
        }
        let (open, held) = (state.word(), state.held().word());
        self.state
            .compare_exchange(open, held, Ordering::SeqCst, Ordering::SeqCst)
            .map_err(|_changed| HoldError::AlreadyHeld)?;
        Ok(Held::new(self, to))
    }

    /// The serving side; `None` while it is undecided.
    #[must_use]
    pub fn serving(&self) -> Option<Side> {
        self.state().side()
    }

    /// How often the points were moved.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.state().epoch()
    }

    /// Whether new transactions wait.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state().is_held()
    }

    /// Transactions that run: permits that are out. A snapshot, for people to look at.
    #[must_use]
    pub fn running(&self) -> usize {
        self.permits
            .iter()
            .map(|permits| permits.load(Ordering::SeqCst))
            .sum()
    }

    /// Waits until the switch is open in an epoch after `seen`, and says which. Idle sessions
    /// learn by it that their connection belongs to the side that served before.
    ///
    /// # Cancel safety
    /// It may be dropped at any time.
    pub async fn epoch_after(&self, seen: Epoch) -> Epoch {
        let mut waiting = Waiting::new(&self.waiters);
        poll_fn(|context| {
            waiting.register(context.waker());
            let state = self.state();
            if state.epoch() > seen && !state.is_held() {
                Poll::Ready(state.epoch())
            } else {
                Poll::Pending
            }
        })
        .await
    }

    fn state(&self) -> State {
        State::from_word(self.state.load(Ordering::SeqCst))
    }

    fn shards(&self) -> usize {
        self.permits.len()
    }

    /// A permit for the serving side, unless the switch is held.
    #[inline]
    fn take_permit(&self, shard: usize) -> Option<Side> {
        // Only so that those who wait leave the counters alone while others drain them.
        if self.state().is_held() {
            return None;
        }
        self.permits[shard].fetch_add(1, Ordering::SeqCst);
        // This look decides, and it must come after the addition.
        let state = self.state();
        match state.side() {
            Some(side) if !state.is_held() => Some(side),
            Some(_) | None => {
                self.give_back_permit(shard);
                None
            }
        }
    }

    #[inline]
    fn give_back_permit(&self, shard: usize) {
        self.permits[shard].fetch_sub(1, Ordering::SeqCst);
        if self.state().is_held() {
            self.wake_drainer();
        }
    }

    #[cold]
    fn wake_drainer(&self) {
        let drainer = self.drainer.lock().take();
        if let Some(drainer) = drainer {
            drainer.wake();
        }
    }

    /// Whether no permit is out. Under a hold that stays so: permits only come back, and an
    /// addition that a session takes back at once was never a permit.
    fn is_drained(&self) -> bool {
        // A read-modify-write and not a load: see "Why it is right".
        self.permits
            .iter()
            .all(|permits| permits.fetch_add(0, Ordering::SeqCst) == 0)
    }

    /// Moves the points; only the holder calls it.
    fn move_points(&self, to: Side) {
        let moved = State::open(to, self.epoch().next()).held();
        self.state.store(moved.word(), Ordering::SeqCst);
    }

    /// Ends the hold; only the holder calls it.
    fn release(&self) {
        self.state.fetch_and(!HELD, Ordering::SeqCst);
        self.waiters.wake_all();
    }

    /// Opens the switch for the first time.
    fn open_first(&self, side: Side, epoch: Epoch) {
        self.state
            .store(State::open(side, epoch).word(), Ordering::SeqCst);
        self.waiters.wake_all();
    }
}

#[cfg(test)]
mod tests;
