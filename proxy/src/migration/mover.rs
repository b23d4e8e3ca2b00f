//! Drives the cutover machine: does its actions on the servers and the switch, and tells it what
//! came of them. It is the same for every engine and for both directions.
//!
//! # Cancel safety
//!
//! A movement must be driven to its end: it runs in a task of its own that nobody aborts. A crash is
//! what it survives by asking the servers (see `standing`), not by anything here.

mod points;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use router::cutover::{Action, Ended, Event, Movement, Plan, Step, Timeline};
use router::engine::{Arrive, Failure, Journal, Leave};
use router::failpoint::{self, Point};
use router::{CaughtUp, Drained, Fenced, Held, Switch, words};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::status::RunningSession;

/// How long one attempt of what is tried again may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the proxy itself does for a movement.
pub(super) trait Sessions: Send + Sync {
    /// Brings the other connections of those sessions up to date that are idle, and of others when
    /// they are: while the last transactions end, so that little is left to do then.
    fn begin_to_settle(&self) -> impl Future<Output = ()> + Send;

    /// Brings every session's other connection up to date once no transaction runs. `Err` gives the
    /// movement up, with the reason.
    fn settle(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// The side that is gone to, which was fenced, lets sessions in now; transactions still wait.
    fn arrive(&self) -> impl Future<Output = ()> + Send;

    /// The sessions whose transactions run now.
    fn running(&self) -> Vec<RunningSession>;

    /// Ends the sessions whose transactions still run.
    fn end_running(&self) -> impl Future<Output = ()> + Send;
}

/// Everything a movement works on.
pub(super) struct Parts<'a, L, A, J, S> {
    /// The points.
    pub switch: &'a Arc<Switch>,
    /// The side that is left.
    pub leave: &'a L,
    /// The side that is arrived at.
    pub arrive: &'a A,
    /// The journal.
    pub journal: &'a J,
    /// The clients' sessions.
    pub sessions: &'a S,
    /// Told each step as it begins.
    pub on_step: &'a (dyn Fn(Step) + Send + Sync),
}

/// How a movement went.
#[derive(Debug)]
pub(super) struct Moved {
    /// How it ended.
    pub ended: Ended,
    /// When its steps were done.
    pub timeline: Timeline,
    /// What went wrong, the newest last.
    pub errors: Vec<String>,
    /// Whose transactions ran when the movement was given up.
    pub still_running: Vec<RunningSession>,
}

/// The switch's typed steps, as far as this movement has come.
enum Points {
    /// Not held by us, or the drain has the hold.
    Open,
    Held(Held),
    Drained(Drained),
    Fenced(Fenced),
    CaughtUp(CaughtUp),
}

/// What an action came to: the event, and why if it failed.
struct Done<M, C> {
    event: Event<M, C>,
    points: Option<Points>,
    error: Option<String>,
}

type Doing<'a, M, C> = Pin<Box<dyn Future<Output = Done<M, C>> + Send + 'a>>;

/// Moves the points as planned and comes back when it is over.
pub(super) async fn drive<L, A, J, S>(plan: Plan, parts: Parts<'_, L, A, J, S>) -> Moved
where
    L: Leave,
    A: Arrive<L>,
    J: Journal,
    S: Sessions,
{
    let started = Instant::now();
    let (mut movement, mut actions) = Movement::<L::Marker, L::Counters>::new(plan);
    let mut points = Points::Open;
    let mut doing: FuturesUnordered<Doing<'_, L::Marker, L::Counters>> = FuturesUnordered::new();
    let mut errors = Vec::new();
    let mut still_running = Vec::new();
    loop {
        (parts.on_step)(movement.step());
        if actions
            .iter()
            .any(|action| matches!(action, Action::Release))
        {
            // Before the release: it lets others begin.
            still_running = parts.sessions.running();
        }
        for action in actions {
            points = act(&parts, &plan, points, action, &mut doing);
        }
        if let Some(ended) = movement.ended() {
            if ended == Ended::Switched {
                failpoint::reach(points::switched(plan.to)).await;
            }
            let timeline = *movement.timeline();
            return Moved {
                ended,
                timeline,
                errors,
                still_running,
            };
        }
        let event = next_event(&mut doing, &movement, started, &mut points, &mut errors).await;
        (movement, actions) = movement.handle(started.elapsed(), event);
    }
}

/// Waits for an action's end or for the time the machine wants to be woken at.
async fn next_event<M: Clone, C>(
    doing: &mut FuturesUnordered<Doing<'_, M, C>>,
    movement: &Movement<M, C>,
    started: Instant,
    points: &mut Points,
    errors: &mut Vec<String>,
) -> Event<M, C> {
    let wake = async {
        match movement.wake_at() {
            Some(at) => tokio::time::sleep_until(started + at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // An action that is done counts, even if the time has come too.
        biased;
        Some(done) = doing.next() => {
            if let Some(reached) = done.points {
                *points = reached;
            }
            if let Some(error) = done.error {
                warn!(step = movement.step().as_str(), %error, "a step of the movement failed");
                errors.push(error);
            }
            done.event
        }
        () = wake => Event::Tick,
    }
}

/// Begins an action; what it comes to is found in `doing`.
fn act<'a, L, A, J, S>(
    parts: &Parts<'a, L, A, J, S>,
    plan: &Plan,
    points: Points,
    action: Action<L::Marker, L::Counters>,
    doing: &mut FuturesUnordered<Doing<'a, L::Marker, L::Counters>>,
) -> Points
where
    L: Leave,
    A: Arrive<L>,
    J: Journal,
    S: Sessions,
{
    let to = plan.to;
    let around = points::around(&action, to);
    match action {
        Action::Hold => {
            let (points, event, error) = match parts.switch.hold(to) {
                Ok(held) => (Points::Held(held), Event::Held, None),
                Err(error) => (points, Event::HoldRefused, Some(error.to_string())),
            };
            doing.push(Box::pin(std::future::ready(Done {
                event,
                points: None,
                error,
            })));
            points
        }
        Action::Drain => match points {
            Points::Held(held) => {
                doing.push(between(around, drain(held, parts.sessions)));
                Points::Open
            }
            other => other.unexpected("drain"),
        },
        Action::WriteMarker => {
            doing.push(between(around, on_servers(parts, plan, action)));
            match points {
                Points::Drained(drained) => Points::Fenced(drained.fenced()),
                other => other.unexpected("marker"),
            }
        }
        Action::Promote(_) => {
            doing.push(between(around, on_servers(parts, plan, action)));
            match points {
                Points::Fenced(fenced) => Points::CaughtUp(fenced.caught_up()),
                other => other.unexpected("promote"),
            }
        }
        Action::SwitchAndRelease => match points {
            Points::CaughtUp(caught_up) => {
                caught_up.switch().release();
                info!(serving = to.as_str(), "the points are moved");
                Points::Open
            }
            other => other.unexpected("switch"),
        },
        Action::Release => {
            // A drain that is under way owns the hold, and ends with it.
            doing.clear();
            drop(points);
            Points::Open
        }
        Action::Begin
        | Action::EndRunning
        | Action::RaiseFence
        | Action::ReadCounters
        | Action::AwaitMarker(_)
        | Action::Resolve
        | Action::LowerFence(_) => {
            doing.push(between(around, on_servers(parts, plan, action)));
            points
        }
    }
}

/// Does it between the two places where tests stop it.
fn between<'a, M: Send + 'a, C: Send + 'a>(
    [before, after]: [Option<Point>; 2],
    doing: impl Future<Output = Done<M, C>> + Send + 'a,
) -> Doing<'a, M, C> {
    Box::pin(async move {
        if let Some(before) = before {
            failpoint::reach(before).await;
        }
        let done = doing.await;
        if let Some(after) = after {
            failpoint::reach(after).await;
        }
        done
    })
}

impl Points {
    /// The machine asked for a step that its own order rules out. Keeping the hold is the safe
    /// answer: the pause's limit then gives the movement up.
    fn unexpected(self, step: &'static str) -> Self {
        error!(
            step,
            "a step of the movement came out of order; this is a bug"
        );
        debug_assert!(false, "invariant: {step} comes out of order");
        self
    }
}

/// The actions that are answered by a server or by the sessions.
fn on_servers<'a, L, A, J, S>(
    parts: &Parts<'a, L, A, J, S>,
    plan: &Plan,
    action: Action<L::Marker, L::Counters>,
) -> Doing<'a, L::Marker, L::Counters>
where
    L: Leave,
    A: Arrive<L>,
    J: Journal,
    S: Sessions,
{
    let (leave, arrive, journal, sessions) =
        (parts.leave, parts.arrive, parts.journal, parts.sessions);
    let (epoch, to) = (plan.epoch, plan.to);
    match action {
        Action::Begin => Box::pin(begin(journal, *plan)),
        Action::EndRunning => Box::pin(async move {
            sessions.end_running().await;
            Done {
                event: Event::Tick,
                points: None,
                error: None,
            }
        }),
        Action::RaiseFence => Box::pin(async move {
            outcome(
                leave.raise_fence(epoch).await,
                |()| Event::Fenced,
                Event::FenceFailed,
            )
        }),
        Action::WriteMarker => Box::pin(async move {
            outcome(
                leave.write_marker().await,
                Event::Marked,
                Event::MarkerFailed,
            )
        }),
        Action::ReadCounters => Box::pin(async move {
            outcome(
                leave.read_counters().await,
                Event::Counters,
                Event::CountersFailed,
            )
        }),
        Action::AwaitMarker(marker) => Box::pin(async move {
            let caught_up = arrive.caught_up(&marker).await;
            outcome(caught_up, |()| Event::CaughtUp, Event::CatchUpFailed)
        }),
        Action::Promote(counters) => Box::pin(async move {
            let answers = [
                Event::Promoted,
                Event::PromoteRefused,
                Event::PromoteUnknown,
            ];
            entry(arrive.promote(epoch, counters).await, answers)
        }),
        Action::Resolve => Box::pin(attempt(
            journal.resolve(epoch),
            Event::Resolved,
            Event::ResolveFailed,
        )),
        Action::LowerFence(side) if side == to => Box::pin(async move {
            let lowered = arrive.lower_fence(epoch);
            let done = attempt(lowered, |()| Event::Lowered, Event::LowerFailed).await;
            if done.error.is_none() {
                sessions.arrive().await;
            }
            done
        }),
        Action::LowerFence(_) => Box::pin(attempt(
            leave.lower_fence(epoch),
            |()| Event::Lowered,
            Event::LowerFailed,
        )),
        Action::Hold | Action::Drain | Action::SwitchAndRelease | Action::Release => {
            Box::pin(std::future::pending())
        }
    }
}

/// Enters the movement into the journal; an answer that does not come leaves it unknown.
async fn begin<J: Journal, M, C>(journal: &J, plan: Plan) -> Done<M, C> {
    let begun = journal.begin(plan.epoch, plan.to);
    let answers = [Event::Begun, Event::BeginRefused, Event::BeginUnknown];
    match tokio::time::timeout(ATTEMPT_TIMEOUT, begun).await {
        Ok(begun) => entry(begun, answers),
        Err(_elapsed) => no_answer(Event::BeginUnknown),
    }
}

/// Waits until no transaction runs, then brings the sessions' other connections up to date.
async fn drain<M, C, S: Sessions>(mut held: Held, sessions: &S) -> Done<M, C> {
    tokio::join!(held.drain(), sessions.begin_to_settle());
    loop {
        held.drain().await;
        held = match held.into_drained() {
            Ok(drained) => {
                return match sessions.settle().await {
                    Ok(()) => Done {
                        event: Event::Drained,
                        points: Some(Points::Drained(drained)),
                        error: None,
                    },
                    Err(reason) => Done {
                        event: Event::GiveUp,
                        points: Some(Points::Drained(drained)),
                        error: Some(reason),
                    },
                };
            }
            Err(held) => held,
        };
    }
}

fn outcome<T, E, M, C>(
    result: Result<T, E>,
    done: impl FnOnce(T) -> Event<M, C>,
    failed: Event<M, C>,
) -> Done<M, C>
where
    E: std::error::Error,
{
    match result {
        Ok(value) => Done {
            event: done(value),
            points: None,
            error: None,
        },
        Err(error) => Done {
            event: failed,
            points: None,
            error: Some(words(&error)),
        },
    }
}

/// An entry in the journal: done, refused, or not known.
fn entry<E: std::error::Error, M, C>(
    result: Result<(), Failure<E>>,
    [done, refused, unknown]: [Event<M, C>; 3],
) -> Done<M, C> {
    match result {
        Ok(()) => Done {
            event: done,
            points: None,
            error: None,
        },
        Err(Failure::Refused(error)) => Done {
            event: refused,
            points: None,
            error: Some(words(&error)),
        },
        Err(Failure::Unknown(error)) => Done {
            event: unknown,
            points: None,
            error: Some(words(&error)),
        },
    }
}

/// One attempt of what is tried until it succeeds.
async fn attempt<T, E: std::error::Error, M, C>(
    future: impl Future<Output = Result<T, E>>,
    done: impl FnOnce(T) -> Event<M, C>,
    failed: Event<M, C>,
) -> Done<M, C> {
    match tokio::time::timeout(ATTEMPT_TIMEOUT, future).await {
        Ok(result) => outcome(result, done, failed),
        Err(_elapsed) => no_answer(failed),
    }
}

fn no_answer<M, C>(event: Event<M, C>) -> Done<M, C> {
    let seconds = ATTEMPT_TIMEOUT.as_secs();
    Done {
        event,
        points: None,
        error: Some(format!("no answer within {seconds} s")),
    }
}
