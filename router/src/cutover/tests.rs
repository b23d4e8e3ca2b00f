//! Tests of the machine: each step, each failure, each deadline.

use super::*;

mod any_order;

type Moving = Movement<&'static str, u32>;
type Doing = Action<&'static str, u32>;
type Happens = Event<&'static str, u32>;

const PLAN: Plan = Plan {
    to: Side::Target,
    epoch: Epoch(1),
    max_pause: ms(2000),
    drain_timeout: ms(500),
    long_transactions: LongTransactions::GiveUp,
    arrival: Arrival::Open,
    retry_delay: ms(100),
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A movement with the time and what it asked for.
struct Run {
    movement: Moving,
    now: Duration,
    asked: Vec<Doing>,
}

impl Run {
    fn new(plan: Plan) -> Self {
        let (movement, asked) = Movement::new(plan);
        Self {
            movement,
            now: Duration::ZERO,
            asked,
        }
    }

    fn on(self, event: Happens) -> Self {
        let now = self.now + ms(1);
        let (movement, asked) = self.movement.handle(now, event);
        Self {
            movement,
            now,
            asked,
        }
    }

    fn on_all(self, events: impl IntoIterator<Item = Happens>) -> Self {
        events.into_iter().fold(self, Self::on)
    }

    /// Lets the time pass until the machine wants to be asked.
    fn sleep(mut self) -> Self {
        self.now = self.movement.wake_at().expect("a time to wake");
        let (movement, asked) = self.movement.handle(self.now, Event::Tick);
        Self {
            movement,
            now: self.now,
            asked,
        }
    }

    #[track_caller]
    fn asks(self, actions: &[Doing]) -> Self {
        assert_eq!(self.asked, actions);
        self
    }

    #[track_caller]
    fn at(self, step: Step) -> Self {
        assert_eq!(self.movement.step(), step);
        self
    }

    #[track_caller]
    fn ended(&self, ended: Ended) {
        assert_eq!(self.movement.ended(), Some(ended));
    }
}

fn draining(plan: Plan) -> Run {
    Run::new(plan).on(Event::Begun).on(Event::Held)
}

fn fencing() -> Run {
    draining(PLAN).on(Event::Drained)
}

fn catching_up() -> Run {
    fencing().on(Event::Fenced)
}

fn promoting(plan: Plan) -> Run {
    draining(plan).on_all([
        Event::Drained,
        Event::Fenced,
        Event::Marked("marker"),
        Event::CaughtUp,
        Event::Counters(7),
    ])
}

const LOWER: Doing = Action::LowerFence(Side::Source);

#[test]
fn a_movement_takes_its_steps_in_order_and_tells_their_times() {
    let run = Run::new(PLAN)
        .asks(&[Action::Begin])
        .on(Event::Begun)
        .asks(&[Action::Hold])
        .on(Event::Held)
        .asks(&[Action::Drain])
        .on(Event::Drained)
        .asks(&[Action::RaiseFence])
        .on(Event::Fenced)
        .asks(&[Action::WriteMarker, Action::ReadCounters])
        .on(Event::Marked("marker"))
        .asks(&[Action::AwaitMarker("marker")])
        .on(Event::Counters(7))
        .asks(&[])
        .on(Event::CaughtUp)
        .asks(&[Action::Promote(7)])
        .on(Event::Promoted)
        .asks(&[Action::SwitchAndRelease]);
    run.ended(Ended::Switched);
    let timeline = run.movement.timeline();
    assert_eq!(timeline.pause(), Some(ms(7 - 1)));
    let names: Vec<_> = timeline.steps().iter().map(|step| step.name).collect();
    assert_eq!(
        names,
        [
            "begin",
            "hold",
            "drain",
            "fence",
            "marker",
            "catch_up",
            "sequences",
            "promote",
            "release"
        ]
    );
    let sum: Duration = timeline.steps().iter().skip(2).map(|step| step.took).sum();
    assert_eq!(Some(sum), timeline.pause(), "the steps add up to the pause");
}

#[test]
fn the_counters_may_come_after_the_stream() {
    catching_up()
        .on_all([Event::Marked("marker"), Event::CaughtUp])
        .asks(&[])
        .on(Event::Counters(7))
        .asks(&[Action::Promote(7)]);
}

#[test]
fn a_long_transaction_gives_the_movement_up_before_any_fence() {
    let run = draining(PLAN)
        .sleep()
        .asks(&[Action::Release, Action::Resolve])
        .at(Step::Tidying);
    assert_eq!(run.now, ms(502), "held at 2 ms");
    run.on(Event::Resolved(Resolution::Aborted))
        .ended(Ended::GivenUp(Cause::DrainDeadline));
}

#[test]
fn a_long_transaction_is_cut_off_where_that_is_wanted() {
    let plan = Plan {
        long_transactions: LongTransactions::CutOff,
        ..PLAN
    };
    let run = draining(plan)
        .sleep()
        .asks(&[Action::EndRunning])
        .at(Step::Draining);
    let late = run.movement.clone().handle(ms(2002), Event::Tick).1;
    assert_eq!(
        late,
        [Action::Release, Action::Resolve],
        "and still the pause has its limit"
    );
    run.on(Event::Drained).asks(&[Action::RaiseFence]);
}

#[test]
fn the_pause_limit_lowers_the_fence_before_the_release() {
    for run in [
        fencing(),
        catching_up(),
        catching_up().on(Event::Marked("marker")),
    ] {
        run.sleep()
            .asks(&[LOWER])
            .on(Event::Fenced)
            .asks(&[])
            .on(Event::Lowered)
            .asks(&[Action::Release, Action::Resolve])
            .on(Event::Resolved(Resolution::Aborted))
            .ended(Ended::GivenUp(Cause::PauseLimit));
    }
}

#[test]
fn a_step_that_is_done_after_the_limit_comes_too_late() {
    let mut run = catching_up().on_all([Event::Marked("marker"), Event::Counters(7)]);
    run.now = ms(2002);
    run.on(Event::CaughtUp).asks(&[LOWER]);
}

#[test]
fn every_failure_before_the_promotion_lowers_the_fence() {
    fencing().on(Event::FenceFailed).asks(&[LOWER]);
    for failure in [
        Event::MarkerFailed,
        Event::CatchUpFailed,
        Event::CountersFailed,
        Event::GiveUp,
    ] {
        catching_up().on(failure).asks(&[LOWER]).at(Step::Lowering);
    }
}

#[test]
fn lowering_the_fence_is_tried_until_it_is_done() {
    catching_up()
        .on_all([Event::MarkerFailed, Event::LowerFailed])
        .asks(&[])
        .sleep()
        .asks(&[LOWER])
        .on(Event::LowerFailed)
        .sleep()
        .asks(&[LOWER])
        .on(Event::Lowered)
        .asks(&[Action::Release, Action::Resolve]);
}

#[test]
fn a_lost_promotion_is_resolved_and_never_guessed() {
    let lost = || {
        promoting(PLAN)
            .on(Event::PromoteUnknown)
            .asks(&[Action::Resolve])
    };
    let asked_again = lost()
        .on(Event::ResolveFailed)
        .asks(&[])
        .at(Step::Resolving);
    let asked_again = asked_again
        .sleep()
        .asks(&[Action::Resolve])
        .on(Event::GiveUp)
        .asks(&[]);
    asked_again
        .on(Event::Resolved(Resolution::Switched))
        .ended(Ended::Switched);
    let aborted = lost()
        .on(Event::Resolved(Resolution::Aborted))
        .asks(&[LOWER]);
    aborted
        .on_all([Event::Lowered, Event::Resolved(Resolution::Aborted)])
        .ended(Ended::GivenUp(Cause::Promotion));
}

#[test]
fn a_promotion_that_is_sent_is_not_taken_back_by_the_limit_but_asked_about() {
    let late = promoting(PLAN)
        .asks(&[Action::Promote(7)])
        .sleep()
        .asks(&[Action::Resolve]);
    late.on(Event::Promoted)
        .asks(&[Action::SwitchAndRelease])
        .ended(Ended::Switched);
}

#[test]
fn a_refused_promotion_is_asked_about_and_then_given_up() {
    let refused = promoting(PLAN)
        .on(Event::PromoteRefused)
        .asks(&[Action::Resolve]);
    refused
        .on(Event::Resolved(Resolution::Aborted))
        .asks(&[LOWER]);
}

#[test]
fn a_rollback_opens_its_side_after_the_journal_and_before_the_release() {
    let plan = Plan {
        to: Side::Source,
        arrival: Arrival::Fenced,
        ..PLAN
    };
    promoting(plan)
        .on(Event::Promoted)
        .asks(&[Action::LowerFence(Side::Source)])
        .on(Event::LowerFailed)
        .on(Event::GiveUp)
        .asks(&[])
        .sleep()
        .asks(&[Action::LowerFence(Side::Source)])
        .on(Event::Lowered)
        .asks(&[Action::SwitchAndRelease])
        .ended(Ended::Switched);
}

#[test]
fn what_fails_before_the_hold_makes_nobody_wait() {
    Run::new(PLAN)
        .on(Event::BeginRefused)
        .asks(&[])
        .ended(Ended::GivenUp(Cause::NotBegun));
    Run::new(PLAN)
        .on(Event::BeginUnknown)
        .asks(&[Action::Resolve])
        .at(Step::Tidying);
    Run::new(PLAN)
        .on_all([Event::Begun, Event::HoldRefused])
        .asks(&[Action::Resolve]);
    Run::new(PLAN)
        .on_all([Event::Begun, Event::GiveUp])
        .asks(&[Action::Release, Action::Resolve]);
}

#[test]
fn a_row_that_somebody_else_switched_is_a_contradiction() {
    let run = draining(PLAN)
        .on_all([Event::GiveUp, Event::ResolveFailed])
        .sleep();
    run.on(Event::Resolved(Resolution::Switched))
        .ended(Ended::Contradiction);
}
