//! Who serves, as the two servers tell it; asked at every start and after every lost connection.
//!
//! # Crash behaviour
//!
//! The facts are read without changing anything. What follows from them is [`decide`]: a pure
//! function, so that every combination is tested. What it asks for (resolving the journal, lowering
//! a fence) may be done again at any time, and afterwards the facts are read anew.

use router::{Epoch, Side};
use tokio_postgres::Client;

use super::fence::{self, FenceState};
use super::journal::{self, JournalError, Movement, MovementState};

/// One server's facts, or that it could not be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told<T> {
    /// What it says.
    Facts(T),
    /// It could not be reached; the reason, for the operator.
    Unreachable(String),
}

impl<T> Told<T> {
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
}

/// What follows from the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// This side serves; nothing is left over.
    Serves(Side),
    /// A movement is pending: ask [`journal::resolve`] for this epoch, then read the facts again.
    Resolve(Epoch),
    /// The source serves once its fence is lowered: ask [`fence::lower`], then read the facts again.
    LowerSourceFence,
    /// It cannot be told: hold all clients and ask again. Never guess.
    Hold {
        /// What is missing, for the operator.
        why: String,
    },
}

/// Reads what the servers say. A client that is `Err` could not be connected, for that reason.
///
/// A server whose connection breaks while it is asked is unreachable too.
pub async fn facts(source: Result<&Client, String>, target: Result<&Client, String>) -> Facts {
    let source = async {
        match source {
            Ok(client) => told(fence::state(client).await),
            Err(why) => Told::Unreachable(why),
        }
    };
    let target = async {
        match target {
            Ok(client) => told(journal_if_there(client).await),
            Err(why) => Told::Unreachable(why),
        }
    };
    let (source, target) = futures_util::future::join(source, target).await;
    Facts { source, target }
}

/// Reads the facts and decides.
pub async fn standing(
    source: Result<&Client, String>,
    target: Result<&Client, String>,
) -> (Facts, Standing) {
    let facts = facts(source, target).await;
    let standing = decide(&facts);
    (facts, standing)
}

async fn journal_if_there(client: &Client) -> Result<Vec<Movement>, JournalError> {
    let there = super::has_table(client, "movement")
        .await
        .map_err(|source| JournalError::Sql {
            step: "looking for the journal",
            source,
        })?;
    match there {
        true => journal::movements(client).await,
        false => Ok(Vec::new()),
    }
}

/// An answer that cannot be had or read tells nothing, whatever the cause.
fn told<T, E: std::error::Error>(answer: Result<T, E>) -> Told<T> {
    match answer {
        Ok(facts) => Told::Facts(facts),
        Err(error) => {
            let mut why = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                why.push_str(&format!(": {error}"));
                cause = error.source();
            }
            Told::Unreachable(why)
        }
    }
}

/// Who serves, by the rules of the design's "Who serves after a crash".
#[must_use]
pub fn decide(facts: &Facts) -> Standing {
    let pending = |movement: &&Movement| movement.state == MovementState::Pending;
    let journal = facts.target.facts();
    if let Some(movement) = journal.and_then(|movements| movements.iter().find(pending)) {
        return Standing::Resolve(movement.epoch);
    }
    match (&facts.source, journal) {
        // Whatever the target says or cannot say: it never serves before the source is fenced.
        (Told::Facts(fence), None) if !fence.is_fenced() => Standing::Serves(Side::Source),
        (Told::Facts(fence), Some(movements)) if !fence.is_fenced() => {
            match last_switched(movements) {
                Some(Side::Target) => Standing::Hold {
                    why:
                        "the journal on the target says that the target serves, but the source is \
                      not fenced: somebody lowered its fence by hand; stop writers on one side \
                      and compare both"
                            .to_owned(),
                },
                Some(Side::Source) | None => Standing::Serves(Side::Source),
            }
        }
        (Told::Facts(_fenced), None) => Standing::Hold {
            why: format!(
                "the source is fenced and the target cannot be asked whether it serves ({})",
                unreachable(&facts.target)
            ),
        },
        (Told::Facts(_fenced), Some(movements)) => match last_switched(movements) {
            Some(Side::Target) => Standing::Serves(Side::Target),
            Some(Side::Source) | None => Standing::LowerSourceFence,
        },
        (Told::Unreachable(_), Some(movements)) => match last_switched(movements) {
            // The row was switched behind a proven fence, which only a movement back lowers.
            Some(Side::Target) => Standing::Serves(Side::Target),
            Some(Side::Source) | None => Standing::Serves(Side::Source),
        },
        (Told::Unreachable(why), None) => Standing::Hold {
            why: format!(
                "neither server can be asked (source: {why}; target: {})",
                unreachable(&facts.target)
            ),
        },
    }
}

fn unreachable<T>(told: &Told<T>) -> &str {
    match told {
        Told::Facts(_) => "reachable",
        Told::Unreachable(why) => why,
    }
}

fn last_switched(movements: &[Movement]) -> Option<Side> {
    let switched = |movement: &&Movement| movement.state == MovementState::Switched;
    movements
        .iter()
        .filter(switched)
        .max_by_key(|one| one.epoch)
        .map(|one| one.serving)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::movement::fence::{FencePosition, FenceRow};

    fn fence(position: FencePosition) -> Told<FenceState> {
        let row = FenceRow {
            epoch: Epoch(1),
            position,
            datacl: None,
            nologin: Vec::new(),
        };
        Told::Facts(FenceState {
            row: Some(row),
            open_to: Vec::new(),
        })
    }

    fn no_fence() -> Told<FenceState> {
        Told::Facts(FenceState {
            row: None,
            open_to: vec!["app".to_owned()],
        })
    }

    fn down<T>() -> Told<T> {
        Told::Unreachable("connection refused".to_owned())
    }

    fn journal(states: &[(Side, MovementState)]) -> Told<Vec<Movement>> {
        let rows = (1..).zip(states);
        let row = |(epoch, &(serving, state))| Movement {
            epoch: Epoch(epoch),
            serving,
            state,
        };
        Told::Facts(rows.map(row).collect())
    }

    fn standing_of(source: Told<FenceState>, target: Told<Vec<Movement>>) -> Standing {
        decide(&Facts { source, target })
    }

    const FENCED: [FencePosition; 3] = [
        FencePosition::Raising,
        FencePosition::Up,
        FencePosition::Lowering,
    ];
    const TO_TARGET: (Side, MovementState) = (Side::Target, MovementState::Switched);
    const BACK: (Side, MovementState) = (Side::Source, MovementState::Switched);
    const PENDING: (Side, MovementState) = (Side::Target, MovementState::Pending);
    const ABORTED: (Side, MovementState) = (Side::Target, MovementState::Aborted);

    #[test]
    fn an_unfenced_source_serves_whatever_the_target_is_doing() {
        for target in [
            down(),
            journal(&[]),
            journal(&[ABORTED]),
            journal(&[TO_TARGET, BACK]),
        ] {
            for source in [no_fence(), fence(FencePosition::Down)] {
                assert_eq!(
                    standing_of(source, target.clone()),
                    Standing::Serves(Side::Source)
                );
            }
        }
    }

    #[test]
    fn a_fenced_source_and_a_switched_journal_make_the_target_serve() {
        for position in FENCED {
            let target = journal(&[ABORTED, TO_TARGET]);
            assert_eq!(
                standing_of(fence(position), target),
                Standing::Serves(Side::Target)
            );
        }
    }

    #[test]
    fn a_fence_without_a_switch_is_lowered() {
        for position in FENCED {
            for target in [
                journal(&[]),
                journal(&[ABORTED]),
                journal(&[TO_TARGET, BACK]),
            ] {
                assert_eq!(
                    standing_of(fence(position), target),
                    Standing::LowerSourceFence
                );
            }
        }
    }

    #[test]
    fn a_pending_movement_is_resolved_before_anything_else() {
        for source in [no_fence(), fence(FencePosition::Up), down()] {
            let standing = standing_of(source, journal(&[ABORTED, PENDING]));
            assert_eq!(standing, Standing::Resolve(Epoch(2)));
        }
    }

    #[test]
    fn a_fenced_source_with_the_target_out_of_reach_is_never_guessed_about() {
        for position in FENCED {
            assert!(matches!(
                standing_of(fence(position), down()),
                Standing::Hold { .. }
            ));
        }
        assert!(matches!(standing_of(down(), down()), Standing::Hold { .. }));
    }

    #[test]
    fn with_the_source_out_of_reach_the_journal_tells() {
        assert_eq!(
            standing_of(down(), journal(&[TO_TARGET])),
            Standing::Serves(Side::Target)
        );
        assert_eq!(
            standing_of(down(), journal(&[ABORTED])),
            Standing::Serves(Side::Source)
        );
    }

    #[test]
    fn a_fence_lowered_by_hand_after_the_switch_holds_everybody() {
        let standing = standing_of(fence(FencePosition::Down), journal(&[TO_TARGET]));
        assert!(matches!(standing, Standing::Hold { .. }));
    }
}
