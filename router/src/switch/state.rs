//! The one word that says which side serves: epoch, side and hold in 64 bits.

use crate::side::{Epoch, Side};

/// What the switch's word says.
///
/// Bit 0: held. Bits 1 and 2: the side (0 undecided, 1 source, 2 target). The rest: the epoch. They
/// stand in one word so that no reader ever sees the side of one epoch with the hold of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State(u64);

/// The bit that says that new transactions wait.
pub(super) const HELD: u64 = 1;

const SIDE_SHIFT: u32 = 1;
const SIDE_MASK: u64 = 0b11;
const EPOCH_SHIFT: u32 = 3;

impl State {
    /// Held, with no side decided.
    pub(super) const UNDECIDED: Self = Self(HELD);

    pub(super) fn open(side: Side, epoch: Epoch) -> Self {
        let side = match side {
            Side::Source => 1,
            Side::Target => 2,
        };
        Self(epoch.0 << EPOCH_SHIFT | side << SIDE_SHIFT)
    }

    pub(super) fn held(self) -> Self {
        Self(self.0 | HELD)
    }

    pub(super) fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) fn word(self) -> u64 {
        self.0
    }

    pub(super) fn is_held(self) -> bool {
        self.0 & HELD != 0
    }

    pub(super) fn epoch(self) -> Epoch {
        Epoch(self.0 >> EPOCH_SHIFT)
    }

    /// The serving side, `None` while it is undecided.
    pub(super) fn side(self) -> Option<Side> {
        match self.0 >> SIDE_SHIFT & SIDE_MASK {
            1 => Some(Side::Source),
            2 => Some(Side::Target),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_keeps_side_epoch_and_hold_apart() {
        for side in [Side::Source, Side::Target] {
            for epoch in [Epoch::FIRST, Epoch(1), Epoch(u64::MAX >> EPOCH_SHIFT)] {
                let open = State::open(side, epoch);
                assert_eq!((open.side(), open.epoch()), (Some(side), epoch));
                assert!(!open.is_held());
                let held = open.held();
                assert_eq!((held.side(), held.epoch()), (Some(side), epoch));
                assert!(held.is_held());
                assert_eq!(State::from_word(held.word() & !HELD), open);
            }
        }
        assert_eq!(State::UNDECIDED.side(), None);
        assert!(State::UNDECIDED.is_held());
    }
}
