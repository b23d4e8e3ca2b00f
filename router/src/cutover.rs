//! A movement of the points from one side to the other: a machine without IO.
//!
//! Events and the time go in, actions come out; whoever drives it does the actions on the servers
//! and on the [switch](crate::switch) and tells what came of them. The machine does not know which
//! side is the source: a rollback is the same movement the other way.
//!
//! ```text
//! Beginning > Draining > Fencing > CatchingUp > Promoting > (Opening) > Ended: switched
//!                 |         \__________/            |  \___ Resolving (the outcome is not known)
//!                 |              |                  |            | given up
//!                 |           Lowering <------------+------------+
//!                 \______________|
//!                             Tidying > Ended: given up, the side before serves on
//! ```
//!
//! # What it guarantees
//!
//! * Nothing is given up once the journal says *switched*, and nothing is switched in the proxy
//!   before it says so.
//! * `max_pause` is a hard limit until the promotion is sent: when it has passed, the fence is
//!   lowered and the side before serves on. A promotion that was sent cannot be taken back by
//!   lowering a fence, since it may still be done: then the journal is asked by compare-and-set
//!   (`pending` becomes `aborted`, unless it is `switched` already), and until it has answered the
//!   fence stays up and transactions wait. Never guess.
//! * The hold ends: with the switch, or with the fence lowered (a fenced side cannot serve, so
//!   until then transactions wait, and [`Step::Lowering`] is what status shows).
//!
//! # Crash behaviour
//!
//! The machine's state is in memory only. Whatever it was doing, a restart asks the two servers and
//! follows [`standing`]. This works since every action is one transaction on one server and may be
//! done again, and since two doors are closed behind a movement that was given up: `Resolve` makes
//! a promotion that is still on its way fail, and `LowerFence` of an epoch makes a fence of that
//! epoch that is still on its way fail (see [`crate::engine`]). `router/tests/cutover_sim.rs` tries
//! this with lost answers, commits that land late, and crashes between any two actions.

mod movement;
pub mod standing;
mod state;
mod timeline;

use std::time::Duration;

use thiserror::Error;

pub use self::movement::Movement;
pub use self::state::{Attempt, Ended, MarkerState, Patience, Resolving, State};
pub use self::timeline::{StepTime, Timeline};
use crate::side::{Epoch, Side};

/// What a movement is to do, fixed before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The side that serves if all goes well.
    pub to: Side,
    /// The epoch that begins with it.
    pub epoch: Epoch,
    /// How long transactions may wait, at most, before the movement is given up.
    pub max_pause: Duration,
    /// How long running transactions are waited for.
    pub drain_timeout: Duration,
    /// What happens to transactions that run longer.
    pub long_transactions: LongTransactions,
    /// Whether the side that is to serve has a fence from an earlier movement.
    pub arrival: Arrival,
    /// Pause between two attempts of what must succeed in the end.
    pub retry_delay: Duration,
}

impl Plan {
    /// The side that serves before the movement.
    #[must_use]
    pub fn from(&self) -> Side {
        self.to.other()
    }
}

/// What happens to transactions that run beyond the drain's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongTransactions {
    /// The movement is given up.
    #[default]
    GiveUp,
    /// Their sessions are ended.
    CutOff,
}

/// Whether the side that is to serve refuses writes until it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It has never served, and takes writes.
    Open,
    /// It served before and is fenced; its fence is lowered once the journal says *switched*.
    Fenced,
}

/// What came of an action, or happened by itself.
///
/// `M` is the engine's marker, `C` its counters (sequences, auto-increment values). Events that
/// come too late, from an action the machine no longer waits for, are ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<M, C> {
    /// The journal has the epoch as pending.
    Begun,
    /// The journal refused the epoch; nothing was written.
    BeginRefused,
    /// The epoch may be in the journal or not.
    BeginUnknown,
    /// New transactions wait.
    Held,
    /// The switch is held by another.
    HoldRefused,
    /// No transaction runs any more.
    Drained,
    /// The side that served refuses writes, which was proven.
    Fenced,
    /// The fence is not proven; it may be up, down, or half up.
    FenceFailed,
    /// The marker is durable on the fenced side.
    Marked(M),
    /// No marker could be written.
    MarkerFailed,
    /// The marker came through the stream and is committed on the side that is to serve.
    CaughtUp,
    /// The stream or its applier stopped.
    CatchUpFailed,
    /// The counters of the fenced side.
    Counters(C),
    /// The counters could not be read.
    CountersFailed,
    /// The journal says *switched*, durably.
    Promoted,
    /// The promotion was refused: the epoch is not pending.
    PromoteRefused,
    /// The promotion may have happened or not, or may happen yet.
    PromoteUnknown,
    /// The journal's answer; it will never change.
    Resolved(Resolution),
    /// The journal did not answer.
    ResolveFailed,
    /// The fence is down, and no fence of this epoch can go up any more.
    Lowered,
    /// The fence may be up or down.
    LowerFailed,
    /// The operator, or a shutdown, wants the movement given up.
    GiveUp,
    /// Time has passed: see [`Movement::wake_at`].
    Tick,
}

/// How a movement ended in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// It was promoted.
    Switched,
    /// It was not, and no promotion can come any more.
    Aborted,
}

/// What is to be done. Each is answered by one of the events named with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<M, C> {
    /// Write the epoch into the journal as pending: `Begun`, `BeginRefused`, `BeginUnknown`.
    Begin,
    /// Make new transactions wait: `Held`, `HoldRefused`.
    Hold,
    /// Wait for running transactions: `Drained`. Without a deadline; the machine has one.
    Drain,
    /// End the sessions whose transactions still run. No answer; the drain goes on.
    EndRunning,
    /// Raise the fence on the side that served: `Fenced`, `FenceFailed`.
    RaiseFence,
    /// Write a durable marker on the fenced side: `Marked`, `MarkerFailed`.
    WriteMarker,
    /// Read the counters of the fenced side: `Counters`, `CountersFailed`.
    ReadCounters,
    /// Wait until this marker is committed on the other side: `CaughtUp`, `CatchUpFailed`.
    AwaitMarker(M),
    /// Set these counters and switch the journal: `Promoted`, `PromoteRefused`, `PromoteUnknown`.
    Promote(C),
    /// Ask the journal, by compare-and-set, to end the epoch: `Resolved`, `ResolveFailed`.
    Resolve,
    /// Lower this side's fence: `Lowered`, `LowerFailed`.
    LowerFence(Side),
    /// Move the points in the proxy and let transactions go on. No answer.
    SwitchAndRelease,
    /// Let transactions go on where they were. No answer.
    Release,
}

/// Why a movement was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Cause {
    /// The journal would not take the epoch.
    #[error("the journal did not take the movement")]
    NotBegun,
    /// Another movement holds the switch.
    #[error("another movement is under way")]
    HoldRefused,
    /// Transactions ran beyond the drain's deadline.
    #[error("transactions were still running when the drain deadline passed")]
    DrainDeadline,
    /// The pause came to its limit.
    #[error("the pause came to its limit")]
    PauseLimit,
    /// The fence could not be raised and proven.
    #[error("the fence could not be raised")]
    Fence,
    /// The marker could not be written.
    #[error("the marker could not be written")]
    Marker,
    /// The side that was to serve did not catch up.
    #[error("the stream stopped before it caught up")]
    CatchUp,
    /// The counters, or what is looked at with them, could not be read or cannot be carried over.
    #[error("what the stream does not carry could not be read, or has changed")]
    Counters,
    /// The promotion was refused, or was lost and found not to have happened.
    #[error("the promotion did not happen")]
    Promotion,
    /// The operator wanted it.
    #[error("it was asked for")]
    Asked,
}

/// Where a movement is, for status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// The journal gets its row; nobody waits yet.
    Beginning,
    /// New transactions wait, running ones end.
    Draining,
    /// The fence goes up.
    Fencing,
    /// The other side gets what it lacks.
    CatchingUp,
    /// The journal is being switched.
    Promoting,
    /// It is not known whether the journal was switched; transactions wait until it answers.
    Resolving,
    /// The new side's own fence is being lowered; transactions wait for it.
    Opening,
    /// The movement is given up; transactions wait until the fence is lowered.
    Lowering,
    /// The movement is given up and the side before serves; the journal is told so.
    Tidying,
    /// It is over.
    Ended,
}

impl Step {
    /// The word shown to people and written in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Beginning => "beginning",
            Self::Draining => "draining",
            Self::Fencing => "fencing",
            Self::CatchingUp => "catching up",
            Self::Promoting => "promoting",
            Self::Resolving => "resolving",
            Self::Opening => "opening",
            Self::Lowering => "lowering the fence",
            Self::Tidying => "tidying",
            Self::Ended => "ended",
        }
    }
}

#[cfg(test)]
mod tests;
