//! Who serves, as the two servers tell it; asked at every start.
//!
//! # Crash behaviour
//!
//! The facts are read without changing anything; [`decide`] asks `router` what follows from them.
//! What that demands (resolving the journal, lowering a fence) may be done again at any time, and
//! afterwards the facts are read anew.
//!
//! By the row in `pointsman.fence` it is decided who serves, not by the settings: those of older
//! servers are lost at a restart. When the target serves and [`Facts::source_is_open`], the source
//! must be shut again at once by [`fence::reassert`].

use std::error::Error;

use router::cutover::standing::{self, Standing};
use router::{Epoch, Side, words};

use super::fence::{self, Bookkeeping, FenceState, Writes};
use super::journal::{self, JournalError, Movement, MovementState};
use crate::wire::SqlConn;

/// One server's facts, or that it could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told<T> {
    /// What it says.
    Facts(T),
    /// It could not be reached; the reason, for the operator.
    Unreachable(String),
}

impl<T> Told<T> {
    /// Why it could not be asked.
    #[must_use]
    pub fn unreachable(&self) -> Option<&str> {
        match self {
            Self::Facts(_) => None,
            Self::Unreachable(why) => Some(why),
        }
    }

    fn facts(&self) -> Option<&T> {
        match self {
            Self::Facts(facts) => Some(facts),
            Self::Unreachable(_) => None,
        }
    }
}

/// What the two servers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The fence on the source.
    pub source: Told<FenceState>,
    /// The journal on the target; empty before the first movement, or before `start`.
    pub target: Told<Vec<Movement>>,
    /// The fence on the target, which a movement back raises.
    pub target_fence: Told<FenceState>,
}

/// Reads what the servers say. A client that is `Err` could not be connected, for that reason.
///
/// A server whose connection breaks while it is asked is unreachable too.
pub async fn facts(source: Result<&SqlConn, String>, target: Result<&SqlConn, String>) -> Facts {
    let source = async {
        match source {
            Ok(client) => told(fence::state(client).await),
            Err(why) => Told::Unreachable(why),
        }
    };
    let target = async {
        match target {
            Ok(client) => (
                told(journal_if_there(client).await),
                told(fence::state(client).await),
            ),
            Err(why) => (Told::Unreachable(why.clone()), Told::Unreachable(why)),
        }
    };
    let (source, (target, target_fence)) = futures_util::future::join(source, target).await;
    Facts {
        source,
        target,
        target_fence,
    }
}

impl Facts {
    /// Whether the source takes writes although its row says that it is fenced.
    #[must_use]
    pub fn source_is_open(&self) -> bool {
        self.source.facts().is_some_and(FenceState::is_open)
    }

    /// Of a proxy that has no target: no journal and no fence can be there.
    #[must_use]
    pub fn without_target(mut self) -> Self {
        self.target = Told::Facts(Vec::new());
        self.target_fence = Told::Facts(FenceState {
            row: None,
            bookkeeping: Bookkeeping::Absent,
            writes: Writes::Taken,
        });
        self
    }
}

/// Reads the facts and decides.
pub async fn ask(
    source: Result<&SqlConn, String>,
    target: Result<&SqlConn, String>,
) -> (Facts, Standing) {
    let facts = facts(source, target).await;
    let standing = decide(&facts);
    (facts, standing)
}

async fn journal_if_there(client: &SqlConn) -> Result<Vec<Movement>, JournalError> {
    let there = super::has_table(client, "movement", "looking for the journal").await?;
    match there {
        true => journal::movements(client).await,
        false => Ok(Vec::new()),
    }
}

/// An answer that cannot be had or read tells nothing, whatever the cause.
fn told<T, E: Error + 'static>(answer: Result<T, E>) -> Told<T> {
    match answer {
        Ok(facts) => Told::Facts(facts),
        Err(error) => Told::Unreachable(words(&error)),
    }
}

/// What follows from the facts, by the rules of [`router::cutover::standing`].
#[must_use]
pub fn decide(facts: &Facts) -> Standing {
    let fence = |state: &FenceState| standing::Fence {
        position: match state.is_fenced() {
            true => standing::FencePosition::Up,
            false => standing::FencePosition::Down,
        },
        epoch: state.row.as_ref().map_or(Epoch::FIRST, |row| row.epoch),
    };
    let entries: Vec<_> = facts
        .target
        .facts()
        .into_iter()
        .flatten()
        .map(Movement::to_entry)
        .collect();
    let target = match (facts.target.facts(), facts.target_fence.facts()) {
        (Some(_journal), Some(state)) => standing::Told::Fact((fence(state), entries.as_slice())),
        (Some(_), None) | (None, Some(_) | None) => standing::Told::Unreachable,
    };
    let source = match facts.source.facts() {
        // Our tables stood there when it was fenced. A `finish` that was cut off has dropped them,
        // there before here: it has no say any more.
        Some(state) if state.bookkeeping == Bookkeeping::Absent && is_left(facts) => {
            standing::Told::Unreachable
        }
        Some(state) => standing::Told::Fact(fence(state)),
        None => standing::Told::Unreachable,
    };
    standing::decide(&standing::Facts { source, target })
}

/// Whether the journal says that the source was left.
fn is_left(facts: &Facts) -> bool {
    let journal = facts.target.facts().into_iter().flatten();
    journal
        .filter(|movement| movement.state == MovementState::Switched)
        .max_by_key(|movement| movement.epoch)
        .is_some_and(|movement| movement.serving == Side::Target)
}
