//! When the steps of a movement were reached, for the report.

use std::time::Duration;

/// When each step of a movement was done, as time since the movement began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeline {
    /// The journal had the epoch as pending.
    pub begun: Option<Duration>,
    /// New transactions began to wait.
    pub held: Option<Duration>,
    /// No transaction ran any more.
    pub drained: Option<Duration>,
    /// The fence was up and proven.
    pub fenced: Option<Duration>,
    /// The marker was durable.
    pub marked: Option<Duration>,
    /// The counters were read (beside the marker and the catching up).
    pub counted: Option<Duration>,
    /// The marker was committed on the side that is to serve.
    pub caught_up: Option<Duration>,
    /// The journal said *switched*.
    pub promoted: Option<Duration>,
    /// The fence of an earlier movement was lowered on the side that is to serve.
    pub opened: Option<Duration>,
    /// The movement was given up.
    pub given_up: Option<Duration>,
    /// Transactions went on.
    pub released: Option<Duration>,
}

/// A step of a movement and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepTime {
    /// The step, by the names of the design's section on the switch.
    pub name: &'static str,
    /// How long it took.
    pub took: Duration,
}

impl Timeline {
    /// How long transactions waited; `None` before they went on, or if they never waited.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        Some(self.released?.saturating_sub(self.held?))
    }

    /// The steps that were done, in their order; from `drain` on they add up to the pause.
    #[must_use]
    pub fn steps(&self) -> Vec<StepTime> {
        let finished = self.counted.max(self.caught_up);
        let reached = [
            ("begin", self.begun),
            ("hold", self.held),
            ("drain", self.drained),
            ("fence", self.fenced),
            ("marker", self.marked),
            ("catch_up", self.caught_up),
            ("sequences", self.caught_up.and(finished)),
            ("promote", self.promoted),
            ("open", self.opened),
            ("give_up", self.given_up),
            ("release", self.released),
        ];
        let mut before = Duration::ZERO;
        let mut steps = Vec::new();
        for (name, at) in reached {
            if let Some(at) = at {
                steps.push(StepTime {
                    name,
                    took: at.saturating_sub(before),
                });
                before = at;
            }
        }
        steps
    }
}
