//! Who serves, as the two servers tell it: asked at every start, before anyone is let in.
//!
//! The rules are the design's "Who serves after a crash", for both directions. The facts are read,
//! [`decide`] says what follows, that is done, and the facts are read anew, until a side serves.
//! Everything it asks for may be done again at any time.

use super::Resolution;
use crate::side::{Epoch, Side};

/// What one server says, or that it could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<T> {
    /// It says this.
    Fact(T),
    /// It does not answer.
    Unreachable,
}

/// A server's fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// Whether the server refuses the application.
    pub position: FencePosition,
    /// The last epoch that raised or lowered it: no fence of this or an earlier one can go up any
    /// more. [`Epoch::FIRST`] if there never was one.
    pub epoch: Epoch,
}

/// Whether a server refuses the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FencePosition {
    /// It does not.
    Down,
    /// It does, or is in between.
    Up,
}

/// A row of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The movement's epoch.
    pub epoch: Epoch,
    /// The side that serves if it is switched.
    pub to: Side,
    /// How it ended; `None` while it is pending.
    pub ended: Option<Resolution>,
}

/// What the two servers say. The journal is on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The source's fence.
    pub source: Told<Fence>,
    /// The target's fence and the whole journal.
    pub target: Told<(Fence, &'a [Entry])>,
}

/// What follows from the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// This side serves, in this epoch; nothing is left over.
    Serves(Side, Epoch),
    /// End this epoch in the journal by compare-and-set, then read the facts anew.
    Resolve(Epoch),
    /// Lower this side's fence for this epoch, then read the facts anew.
    LowerFence(Side, Epoch),
    /// It cannot be told: everyone waits, and the servers are asked again. Never guess.
    Hold(Doubt),
}

/// Why it cannot be told who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The source is fenced or silent, and the target, which has the journal, is silent.
    TargetUnreachable,
    /// The source is to serve, but does not answer whether it is fenced.
    SourceUnreachable,
    /// The target serves by the journal, but the source's fence is down: somebody lowered it by
    /// hand. People must compare both sides.
    SourceNotFenced,
}

/// Who serves.
#[must_use]
pub fn decide(facts: &Facts<'_>) -> Standing {
    let Told::Fact((target, journal)) = facts.target else {
        return match facts.source {
            // Without its fence the source serves, whatever the target would say: the fence goes
            // up before a switch and is lowered only where the source serves again.
            Told::Fact(Fence {
                position: FencePosition::Down,
                epoch,
            }) => Standing::Serves(Side::Source, epoch),
            Told::Fact(Fence {
                position: FencePosition::Up,
                ..
            })
            | Told::Unreachable => Standing::Hold(Doubt::TargetUnreachable),
        };
    };
    if let Some(pending) = journal.iter().find(|entry| entry.ended.is_none()) {
        return Standing::Resolve(pending.epoch);
    }
    let last = journal
        .iter()
        .map(|entry| entry.epoch)
        .max()
        .unwrap_or(Epoch::FIRST);
    let switched = journal
        .iter()
        .filter(|entry| entry.ended == Some(Resolution::Switched));
    let serving = switched.max_by_key(|entry| entry.epoch);
    match serving.map_or((Side::Source, Epoch::FIRST), |entry| {
        (entry.to, entry.epoch)
    }) {
        (Side::Source, epoch) => match facts.source {
            Told::Fact(fence) => open(Side::Source, fence, epoch, last),
            Told::Unreachable => Standing::Hold(Doubt::SourceUnreachable),
        },
        (Side::Target, epoch) => match facts.source {
            Told::Fact(Fence {
                position: FencePosition::Down,
                ..
            }) => Standing::Hold(Doubt::SourceNotFenced),
            // Silent, it is fenced: the journal was switched behind a proven fence, which only a
            // movement back lowers.
            Told::Fact(Fence {
                position: FencePosition::Up,
                ..
            })
            | Told::Unreachable => open(Side::Target, target, epoch, last),
        },
    }
}

/// The side serves if its fence is down and none of a movement that was given up can still go up.
fn open(side: Side, fence: Fence, epoch: Epoch, last: Epoch) -> Standing {
    // A movement away from this side that came after its last switch, if there was one.
    let may_come = last > epoch && fence.epoch < last;
    match fence.position {
        // The journal does not know this fence (its server was lost, or was read too early): it is
        // written down as given up before the fence is lowered.
        FencePosition::Up if fence.epoch > last => Standing::Resolve(fence.epoch),
        FencePosition::Down if !may_come => Standing::Serves(side, epoch),
        FencePosition::Down | FencePosition::Up => Standing::LowerFence(side, last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOWN: Fence = Fence {
        position: FencePosition::Down,
        epoch: Epoch::FIRST,
    };
    const UP: Fence = Fence {
        position: FencePosition::Up,
        epoch: Epoch(1),
    };

    fn entry(epoch: u64, to: Side, ended: Option<Resolution>) -> Entry {
        Entry {
            epoch: Epoch(epoch),
            to,
            ended,
        }
    }

    fn told(source: Told<Fence>, target: Fence, journal: &[Entry]) -> Standing {
        decide(&Facts {
            source,
            target: Told::Fact((target, journal)),
        })
    }

    #[test]
    fn without_a_movement_the_source_serves() {
        let serves = Standing::Serves(Side::Source, Epoch::FIRST);
        assert_eq!(told(Told::Fact(DOWN), DOWN, &[]), serves);
        let silent = Facts {
            source: Told::Fact(DOWN),
            target: Told::Unreachable,
        };
        assert_eq!(decide(&silent), serves);
    }

    #[test]
    fn a_fenced_source_and_a_switched_journal_mean_the_target() {
        let journal = [entry(1, Side::Target, Some(Resolution::Switched))];
        for source in [Told::Fact(UP), Told::Unreachable] {
            assert_eq!(
                told(source, DOWN, &journal),
                Standing::Serves(Side::Target, Epoch(1))
            );
        }
    }

    #[test]
    fn a_pending_movement_is_ended_first_and_then_the_fence_is_lowered() {
        let pending = [entry(1, Side::Target, None)];
        for source in [Told::Fact(UP), Told::Fact(DOWN), Told::Unreachable] {
            assert_eq!(told(source, DOWN, &pending), Standing::Resolve(Epoch(1)));
        }
        let aborted = [entry(1, Side::Target, Some(Resolution::Aborted))];
        let lower = Standing::LowerFence(Side::Source, Epoch(1));
        assert_eq!(told(Told::Fact(UP), DOWN, &aborted), lower);
        assert_eq!(
            told(Told::Fact(DOWN), DOWN, &aborted),
            lower,
            "its fence may still come"
        );
        let lowered = Fence {
            position: FencePosition::Down,
            epoch: Epoch(1),
        };
        let serves = Standing::Serves(Side::Source, Epoch::FIRST);
        assert_eq!(told(Told::Fact(lowered), DOWN, &aborted), serves);
    }

    #[test]
    fn a_fence_that_the_journal_does_not_know_is_written_down_before_it_is_lowered() {
        let resolve = Standing::Resolve(Epoch(1));
        assert_eq!(told(Told::Fact(UP), DOWN, &[]), resolve);
        let aborted = [entry(1, Side::Target, Some(Resolution::Aborted))];
        let lower = Standing::LowerFence(Side::Source, Epoch(1));
        assert_eq!(told(Told::Fact(UP), DOWN, &aborted), lower);
    }

    #[test]
    fn a_rollback_lowers_the_fence_of_the_source_and_keeps_that_of_the_target() {
        let journal = [
            entry(1, Side::Target, Some(Resolution::Switched)),
            entry(2, Side::Source, Some(Resolution::Switched)),
        ];
        let fenced = Fence {
            position: FencePosition::Up,
            epoch: Epoch(2),
        };
        let lower = Standing::LowerFence(Side::Source, Epoch(2));
        assert_eq!(told(Told::Fact(UP), fenced, &journal), lower);
        let lowered = Fence {
            position: FencePosition::Down,
            epoch: Epoch(2),
        };
        let serves = Standing::Serves(Side::Source, Epoch(2));
        assert_eq!(told(Told::Fact(lowered), fenced, &journal), serves);
    }

    #[test]
    fn a_rollback_that_was_given_up_lowers_the_fence_of_the_target() {
        let journal = [
            entry(1, Side::Target, Some(Resolution::Switched)),
            entry(2, Side::Source, Some(Resolution::Aborted)),
        ];
        let fenced = Fence {
            position: FencePosition::Up,
            epoch: Epoch(2),
        };
        let lower = Standing::LowerFence(Side::Target, Epoch(2));
        assert_eq!(told(Told::Fact(UP), fenced, &journal), lower);
    }

    #[test]
    fn what_cannot_be_told_is_never_guessed() {
        let silent = Facts {
            source: Told::Fact(UP),
            target: Told::Unreachable,
        };
        assert_eq!(decide(&silent), Standing::Hold(Doubt::TargetUnreachable));
        let both = Facts {
            source: Told::Unreachable,
            target: Told::Unreachable,
        };
        assert_eq!(decide(&both), Standing::Hold(Doubt::TargetUnreachable));
        let source = told(Told::Unreachable, DOWN, &[]);
        assert_eq!(source, Standing::Hold(Doubt::SourceUnreachable));
        let journal = [entry(1, Side::Target, Some(Resolution::Switched))];
        let by_hand = told(Told::Fact(DOWN), DOWN, &journal);
        assert_eq!(by_hand, Standing::Hold(Doubt::SourceNotFenced));
    }
}
