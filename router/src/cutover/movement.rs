//! The ways between the states of a movement.

use std::time::Duration;

use super::state::{Attempt, Ended, MarkerState, Patience, Resolving, State};
use super::{Action, Arrival, Cause, Event, LongTransactions, Plan, Resolution, Step, Timeline};

/// A movement under way.
///
/// `now` is always the time since the movement began, by a clock that never goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement<M, C> {
    plan: Plan,
    timeline: Timeline,
    state: State<M, C>,
}

type Next<M, C> = (Movement<M, C>, Vec<Action<M, C>>);

impl<M: Clone, C> Movement<M, C> {
    /// A movement that begins now.
    ///
    /// [`standing`](super::standing) must just have said that the side it leaves serves: a row that
    /// an earlier proxy left pending, or that landed after it was gone, stops every later movement
    /// until it is resolved.
    #[must_use]
    pub fn new(plan: Plan) -> Next<M, C> {
        let movement = Self {
            plan,
            timeline: Timeline::default(),
            state: State::Beginning,
        };
        (movement, vec![Action::Begin])
    }

    /// What the event leads to.
    #[must_use]
    pub fn handle(self, now: Duration, event: Event<M, C>) -> Next<M, C> {
        let Self {
            plan,
            timeline,
            state,
        } = self;
        let scene = Scene {
            plan,
            timeline,
            now,
        };
        match state {
            State::Beginning => scene.beginning(&event),
            State::Holding => scene.holding(&event),
            State::Draining { patience } => scene.draining(patience, &event),
            State::Fencing => scene.fencing(&event),
            State::CatchingUp { marker, counters } => scene.catching_up(marker, counters, event),
            State::Promoting => scene.promoting(&event),
            State::Resolving(Resolving { attempt }) => scene.resolving(attempt, &event),
            State::Opening(attempt) => scene.opening(attempt, &event),
            State::Lowering { cause, attempt } => scene.lowering(cause, attempt, &event),
            State::Tidying { cause, attempt } => scene.tidying(cause, attempt, &event),
            State::Ended(ended) => scene.stay(State::Ended(ended)),
        }
    }

    /// When the machine wants an [`Event::Tick`] if nothing else happens.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        let limit = self.timeline.held.map(|held| held + self.plan.max_pause);
        match &self.state {
            State::Beginning | State::Holding | State::Ended(_) => None,
            State::Draining {
                patience: Patience::Waiting,
            } => {
                let drain = self
                    .timeline
                    .held
                    .map(|held| held + self.plan.drain_timeout);
                limit.min(drain)
            }
            State::Draining {
                patience: Patience::Ending,
            }
            | State::Fencing
            | State::CatchingUp { .. }
            | State::Promoting => limit,
            State::Resolving(Resolving { attempt })
            | State::Opening(attempt)
            | State::Lowering { attempt, .. }
            | State::Tidying { attempt, .. } => match attempt {
                Attempt::Running => None,
                Attempt::At(at) => Some(*at),
            },
        }
    }

    /// What it is to do.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// When its steps were done.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Where it is, with what is known there.
    #[must_use]
    pub fn state(&self) -> &State<M, C> {
        &self.state
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        match &self.state {
            State::Ended(ended) => Some(*ended),
            State::Beginning
            | State::Holding
            | State::Draining { .. }
            | State::Fencing
            | State::CatchingUp { .. }
            | State::Promoting
            | State::Resolving(_)
            | State::Opening(_)
            | State::Lowering { .. }
            | State::Tidying { .. } => None,
        }
    }

    /// Where it is, in a word.
    #[must_use]
    pub fn step(&self) -> Step {
        self.state.step()
    }
}

/// Everything of a movement but its state, while an event is handled.
struct Scene {
    plan: Plan,
    timeline: Timeline,
    now: Duration,
}

// In these, `_` stands for the events that a state does not wait for: answers that come too late
// (each with an action that was overtaken), and ticks before their time.
impl Scene {
    fn to<M, C>(self, state: State<M, C>, actions: Vec<Action<M, C>>) -> Next<M, C> {
        (
            Movement {
                plan: self.plan,
                timeline: self.timeline,
                state,
            },
            actions,
        )
    }

    fn stay<M, C>(self, state: State<M, C>) -> Next<M, C> {
        self.to(state, Vec::new())
    }

    fn beginning<M, C>(mut self, event: &Event<M, C>) -> Next<M, C> {
        match event {
            Event::Begun => {
                self.timeline.begun = Some(self.now);
                self.to(State::Holding, vec![Action::Hold])
            }
            // Nothing was written and nobody waits.
            Event::BeginRefused => self.stay(State::Ended(Ended::GivenUp(Cause::NotBegun))),
            Event::BeginUnknown => self.tidy(Cause::NotBegun, Vec::new()),
            Event::GiveUp => self.tidy(Cause::Asked, Vec::new()),
            _ => self.stay(State::Beginning),
        }
    }

    fn holding<M, C>(mut self, event: &Event<M, C>) -> Next<M, C> {
        match event {
            Event::Held => {
                self.timeline.held = Some(self.now);
                let patience = Patience::Waiting;
                self.to(State::Draining { patience }, vec![Action::Drain])
            }
            Event::HoldRefused => self.tidy(Cause::HoldRefused, Vec::new()),
            Event::GiveUp => self.release_and_tidy(Cause::Asked),
            _ => self.stay(State::Holding),
        }
    }

    fn draining<M, C>(mut self, patience: Patience, event: &Event<M, C>) -> Next<M, C> {
        if let Some(cause) = self.must_give_up(event) {
            return self.release_and_tidy(cause);
        }
        let deadline = self
            .timeline
            .held
            .map(|held| held + self.plan.drain_timeout);
        match event {
            Event::Drained => {
                self.timeline.drained = Some(self.now);
                self.to(State::Fencing, vec![Action::RaiseFence])
            }
            Event::Tick if patience == Patience::Waiting && Some(self.now) >= deadline => {
                match self.plan.long_transactions {
                    LongTransactions::GiveUp => self.release_and_tidy(Cause::DrainDeadline),
                    LongTransactions::CutOff => {
                        let patience = Patience::Ending;
                        self.to(State::Draining { patience }, vec![Action::EndRunning])
                    }
                }
            }
            _ => self.stay(State::Draining { patience }),
        }
    }

    fn fencing<M, C>(mut self, event: &Event<M, C>) -> Next<M, C> {
        if let Some(cause) = self.must_give_up(event) {
            return self.lower(cause);
        }
        match event {
            Event::Fenced => {
                self.timeline.fenced = Some(self.now);
                let state = State::CatchingUp {
                    marker: MarkerState::Writing,
                    counters: None,
                };
                // The marker first: it has the longer way. The counters are final since nobody
                // writes behind the fence.
                self.to(state, vec![Action::WriteMarker, Action::ReadCounters])
            }
            Event::FenceFailed => self.lower(Cause::Fence),
            _ => self.stay(State::Fencing),
        }
    }

    fn catching_up<M: Clone, C>(
        mut self,
        mut marker: MarkerState<M>,
        mut counters: Option<C>,
        event: Event<M, C>,
    ) -> Next<M, C> {
        if let Some(cause) = self.must_give_up(&event) {
            return self.lower(cause);
        }
        let mut actions = Vec::new();
        match event {
            Event::Marked(written) => {
                self.timeline.marked = Some(self.now);
                actions.push(Action::AwaitMarker(written.clone()));
                marker = MarkerState::Travelling(written);
            }
            Event::CaughtUp => {
                self.timeline.caught_up = Some(self.now);
                marker = MarkerState::Arrived;
            }
            Event::Counters(read) => {
                self.timeline.counted = Some(self.now);
                counters = Some(read);
            }
            Event::MarkerFailed => return self.lower(Cause::Marker),
            Event::CatchUpFailed => return self.lower(Cause::CatchUp),
            Event::CountersFailed => return self.lower(Cause::Counters),
            _ => {}
        }
        match (marker, counters) {
            (MarkerState::Arrived, Some(counters)) => {
                self.to(State::Promoting, vec![Action::Promote(counters)])
            }
            (marker, counters) => self.to(State::CatchingUp { marker, counters }, actions),
        }
    }

    fn promoting<M, C>(self, event: &Event<M, C>) -> Next<M, C> {
        match event {
            Event::Promoted => self.promoted(),
            // Refused, the row is not pending; what it is, the journal says, and only it.
            Event::PromoteRefused | Event::PromoteUnknown => self.resolve(),
            // The promotion can no longer be taken back, only be overtaken in the journal.
            _ if self.must_give_up(event).is_some() => self.resolve(),
            _ => self.stay(State::Promoting),
        }
    }

    fn resolving<M, C>(self, attempt: Attempt, event: &Event<M, C>) -> Next<M, C> {
        match event {
            Event::Resolved(Resolution::Switched) | Event::Promoted => self.promoted(),
            Event::Resolved(Resolution::Aborted) => self.lower(Cause::Promotion),
            Event::ResolveFailed => {
                let attempt = self.later();
                self.stay(State::Resolving(Resolving { attempt }))
            }
            Event::Tick if self.is_due(attempt) => self.resolve(),
            _ => self.stay(State::Resolving(Resolving { attempt })),
        }
    }

    fn opening<M, C>(mut self, attempt: Attempt, event: &Event<M, C>) -> Next<M, C> {
        match event {
            Event::Lowered => {
                self.timeline.opened = Some(self.now);
                self.switch()
            }
            Event::LowerFailed => {
                let attempt = self.later();
                self.stay(State::Opening(attempt))
            }
            Event::Tick if self.is_due(attempt) => self.open(),
            _ => self.stay(State::Opening(attempt)),
        }
    }

    fn lowering<M, C>(self, cause: Cause, attempt: Attempt, event: &Event<M, C>) -> Next<M, C> {
        match event {
            Event::Lowered => self.release_and_tidy(cause),
            Event::LowerFailed => {
                let attempt = self.later();
                self.stay(State::Lowering { cause, attempt })
            }
            Event::Tick if self.is_due(attempt) => self.lower(cause),
            _ => self.stay(State::Lowering { cause, attempt }),
        }
    }

    fn tidying<M, C>(self, cause: Cause, attempt: Attempt, event: &Event<M, C>) -> Next<M, C> {
        match event {
            Event::Resolved(Resolution::Aborted) => self.stay(State::Ended(Ended::GivenUp(cause))),
            Event::Resolved(Resolution::Switched) => self.stay(State::Ended(Ended::Contradiction)),
            Event::ResolveFailed => {
                let attempt = self.later();
                self.stay(State::Tidying { cause, attempt })
            }
            Event::Tick if self.is_due(attempt) => self.tidy(cause, Vec::new()),
            _ => self.stay(State::Tidying { cause, attempt }),
        }
    }

    fn promoted<M, C>(mut self) -> Next<M, C> {
        self.timeline.promoted = Some(self.now);
        match self.plan.arrival {
            Arrival::Open => self.switch(),
            Arrival::Fenced => self.open(),
        }
    }

    fn open<M, C>(self) -> Next<M, C> {
        let action = Action::LowerFence(self.plan.to);
        self.to(State::Opening(Attempt::Running), vec![action])
    }

    fn switch<M, C>(mut self) -> Next<M, C> {
        self.timeline.released = Some(self.now);
        self.to(
            State::Ended(Ended::Switched),
            vec![Action::SwitchAndRelease],
        )
    }

    fn resolve<M, C>(self) -> Next<M, C> {
        let attempt = Attempt::Running;
        self.to(
            State::Resolving(Resolving { attempt }),
            vec![Action::Resolve],
        )
    }

    fn lower<M, C>(mut self, cause: Cause) -> Next<M, C> {
        self.timeline.given_up.get_or_insert(self.now);
        let action = Action::LowerFence(self.plan.from());
        self.to(
            State::Lowering {
                cause,
                attempt: Attempt::Running,
            },
            vec![action],
        )
    }

    fn release_and_tidy<M, C>(mut self, cause: Cause) -> Next<M, C> {
        self.timeline.given_up.get_or_insert(self.now);
        self.timeline.released = Some(self.now);
        self.tidy(cause, vec![Action::Release])
    }

    /// Ends the journal's row. Nobody waits for it, but the next movement needs it.
    fn tidy<M, C>(self, cause: Cause, mut actions: Vec<Action<M, C>>) -> Next<M, C> {
        actions.push(Action::Resolve);
        self.to(
            State::Tidying {
                cause,
                attempt: Attempt::Running,
            },
            actions,
        )
    }

    /// Why the movement must be given up now, whatever the event says otherwise: a step that is
    /// done a moment after the limit comes too late.
    fn must_give_up<M, C>(&self, event: &Event<M, C>) -> Option<Cause> {
        let limit = self.timeline.held.map(|held| held + self.plan.max_pause);
        match event {
            Event::GiveUp => Some(Cause::Asked),
            _ if limit.is_some_and(|limit| self.now >= limit) => Some(Cause::PauseLimit),
            _ => None,
        }
    }

    fn later(&self) -> Attempt {
        Attempt::At(self.now + self.plan.retry_delay)
    }

    fn is_due(&self, attempt: Attempt) -> bool {
        match attempt {
            Attempt::Running => false,
            Attempt::At(at) => self.now >= at,
        }
    }
}
