//! The states of a movement.

use std::time::Duration;

use super::{Cause, Step};

/// Where a movement is, with what is known there. All of it is in memory only; what a crash in each
/// state means is what [`standing`](super::standing) makes of the servers' facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State<M, C> {
    /// Waits for the journal. A crash leaves a pending row or none, and no fence.
    Beginning,
    /// Waits for the switch to be held, which is at once. Left to `Draining`.
    Holding,
    /// Waits for running transactions, from `Holding`. A crash leaves a pending row, no fence.
    Draining {
        /// Whether the drain's deadline has passed and sessions were ended.
        patience: Patience,
    },
    /// Waits for the fence. A crash may leave a fence, which the restart lowers.
    Fencing,
    /// Waits for the marker, its way through the stream, and the counters. A crash leaves a fence,
    /// which the restart lowers.
    CatchingUp {
        /// How far the marker is.
        marker: MarkerState<M>,
        /// The counters, once they are read.
        counters: Option<C>,
    },
    /// The promotion is sent. A crash leaves a fence and a journal that is resolved by the restart.
    Promoting,
    /// It is not known whether the promotion happened. Left only by the journal's answer.
    Resolving(Resolving),
    /// The journal says *switched*; the fence of the side that is to serve is being lowered. A
    /// restart goes on with it.
    Opening(Attempt),
    /// Given up with a fence that may be up. A restart goes on with it.
    Lowering {
        /// Why it was given up.
        cause: Cause,
        /// The attempt to lower the fence.
        attempt: Attempt,
    },
    /// Given up, transactions go on where they were; the journal's row is still pending. A restart
    /// ends the row.
    Tidying {
        /// Why it was given up.
        cause: Cause,
        /// The attempt to tell the journal.
        attempt: Attempt,
    },
    /// Over.
    Ended(Ended),
}

/// How a movement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The new side serves.
    Switched,
    /// The side before serves.
    GivenUp(Cause),
    /// The journal contradicts what this proxy did: somebody else promoted the epoch. The switch
    /// must be held and the servers asked again.
    Contradiction,
}

/// Whether running transactions are still waited for with patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Their deadline has not come.
    Waiting,
    /// Their sessions are being ended.
    Ending,
}

/// How far the marker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkerState<M> {
    /// It is being written.
    Writing,
    /// It is on its way through the stream.
    Travelling(M),
    /// It is committed on the side that is to serve.
    Arrived,
}

/// Something that is tried until it succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// An attempt is under way.
    Running,
    /// The next attempt is at this time.
    At(Duration),
}

/// The question to the journal whether the promotion happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolving {
    /// The attempt to ask.
    pub attempt: Attempt,
}

impl<M, C> State<M, C> {
    /// Where it is, in a word.
    pub(super) fn step(&self) -> Step {
        match self {
            Self::Beginning => Step::Beginning,
            Self::Holding | Self::Draining { .. } => Step::Draining,
            Self::Fencing => Step::Fencing,
            Self::CatchingUp { .. } => Step::CatchingUp,
            Self::Promoting => Step::Promoting,
            Self::Resolving(_) => Step::Resolving,
            Self::Opening(_) => Step::Opening,
            Self::Lowering { .. } => Step::Lowering,
            Self::Tidying { .. } => Step::Tidying,
            Self::Ended(_) => Step::Ended,
        }
    }
}
