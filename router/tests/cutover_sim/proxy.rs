//! The proxy: it does what the machine asks for, with connections that may break.

use std::time::Duration;

use router::cutover::standing::{self, Standing};
use router::cutover::{
    Action, Arrival, Ended, Event, LongTransactions, Movement, Plan, Resolution, Step,
};
use router::{CaughtUp, Drained, Epoch, Fenced, Gate, Held, Side, Switch};

use crate::events::{event_of, lost};
use crate::world::{Answer, Dice, Progress, Record, Request, World};

type Moving = Movement<u64, usize>;
type Doing = Action<u64, usize>;
type Happens = Event<u64, usize>;

const SESSIONS: usize = 3;

pub(crate) struct Proxy {
    world: World,
    now: Duration,
    life: Life,
    /// Requests on their way, with or without somebody who waits for them.
    requests: Vec<Sent>,
    pub(crate) switched: usize,
    pub(crate) given_up: usize,
    pub(crate) restarts: usize,
    /// Writes of applications that came through the proxy to a fenced side.
    pub(crate) refused_writes: usize,
}

/// A request on its way.
struct Sent {
    request: Request,
    answer: Option<Answer>,
    connection: Connection,
}

#[derive(PartialEq, Eq)]
enum Connection {
    /// The movement waits for the answer.
    Whole,
    /// Nobody will learn the answer.
    Broken,
}

enum Life {
    /// It has crashed and asks the servers.
    Starting,
    Running(Box<Running>),
}

struct Running {
    switch: std::sync::Arc<Switch>,
    gates: Vec<Gate>,
    /// The movement, since when, and the step of the switch.
    movement: Option<(Moving, Duration, Points)>,
}

enum Points {
    Open,
    Held(Held),
    Drained(Drained),
    Fenced(Fenced),
    CaughtUp(CaughtUp),
}

impl Points {
    fn caught_up(self) -> CaughtUp {
        match self {
            Self::CaughtUp(points) => points,
            Self::Open | Self::Held(_) | Self::Drained(_) | Self::Fenced(_) => {
                panic!("switched before it caught up")
            }
        }
    }
}

impl Running {
    fn new(side: Side, epoch: Epoch) -> Self {
        let (switch, undecided) = Switch::undecided(2);
        undecided.decide_at(side, epoch);
        let gates = (0..SESSIONS)
            .map(|number| Gate::new(&switch, number))
            .collect();
        Self {
            switch,
            gates,
            movement: None,
        }
    }
}

impl Proxy {
    pub(crate) fn new(world: World) -> Self {
        Self {
            world,
            now: Duration::ZERO,
            life: Life::Running(Box::new(Running::new(Side::Source, Epoch::FIRST))),
            requests: Vec::new(),
            switched: 0,
            given_up: 0,
            restarts: 0,
            refused_writes: 0,
        }
    }

    /// Something happens.
    pub(crate) fn step(&mut self, dice: &mut Dice) {
        self.now += Duration::from_millis(dice.roll() % 20);
        match dice.below(8) {
            0 => self.begin_movement(dice),
            1 => self.application(dice),
            2 => self.bypass(dice),
            3 => self.world.replicate(),
            4 | 5 => self.serve_a_request(dice),
            6 => self.answer_a_request(dice),
            _ => self.tick(dice),
        }
        self.restart(dice);
    }

    /// A connection breaks, a server is out of reach or back.
    pub(crate) fn trouble_network(&mut self, dice: &mut Dice) {
        if dice.percent(4) && !self.requests.is_empty() {
            let broken = dice.below(self.requests.len());
            let sent = &mut self.requests[broken];
            if std::mem::replace(&mut sent.connection, Connection::Broken) == Connection::Whole {
                let event = lost(sent.request);
                self.happens(event);
            }
        }
        for side in [Side::Source, Side::Target] {
            let server = self.world.server_mut(side);
            if dice.percent(if server.reachable { 1 } else { 20 }) {
                server.reachable = !server.reachable;
            }
        }
        if dice.percent(1) {
            self.happens(Event::GiveUp);
        }
    }

    /// The proxy is gone, and all its connections.
    pub(crate) fn crash(&mut self) {
        self.life = Life::Starting;
        for sent in &mut self.requests {
            sent.connection = Connection::Broken;
        }
        self.restarts += 1;
    }

    pub(crate) fn check(&self) {
        self.world.check();
        let Life::Running(running) = &self.life else {
            return;
        };
        if running.switch.is_held() {
            return;
        }
        let serving = running.switch.serving().expect("an open switch is decided");
        assert_eq!(
            serving,
            self.world.last_switched(),
            "the proxy and the journal disagree"
        );
        assert!(
            !self.world.is_open(serving.other()),
            "the other side is open too"
        );
    }

    /// All troubles are over; everything must come to its end.
    pub(crate) fn heal(&mut self, dice: &mut Dice) {
        for side in [Side::Source, Side::Target] {
            self.world.server_mut(side).reachable = true;
        }
        for sent in std::mem::take(&mut self.requests) {
            let is_waited_for = sent.connection == Connection::Whole;
            if is_waited_for {
                self.requests.push(sent);
            } else if sent.answer.is_none() && dice.percent(50) {
                self.land(sent.request);
            }
        }
        self.check();
        for _ in 0..20_000 {
            if self.is_quiet() {
                return self.check_end(dice);
            }
            self.now += Duration::from_millis(dice.roll() % 20);
            match dice.below(5) {
                0 => self.world.replicate(),
                1 => self.serve_a_request(dice),
                2 => self.answer_a_request(dice),
                3 => self.leave_all(),
                _ => self.tick(dice),
            }
            self.restart(dice);
            self.check();
        }
        panic!("the movement never ends: {:?}", self.step_of_movement());
    }

    fn step_of_movement(&self) -> Option<Step> {
        match &self.life {
            Life::Starting => None,
            Life::Running(running) => running.movement.as_ref().map(|(moving, ..)| moving.step()),
        }
    }

    /// One side serves, takes writes and has all of them.
    fn check_end(&mut self, dice: &mut Dice) {
        // A fence may have gone up after a start that could not ask the target for its epoch, and
        // an epoch may have begun after its proxy was gone: the next look at the servers ends both.
        if self.restarts > 0 {
            self.crash();
        }
        while !self.is_quiet() {
            self.restart(dice);
        }
        self.check();
        let Life::Running(running) = &mut self.life else {
            panic!("it does not run")
        };
        let side = running.gates[0].try_enter().expect("the hold has ended");
        self.world
            .write(side)
            .expect("the serving side takes writes");
        assert!(
            self.world.journal.values().all(|end| end.1.is_some()),
            "an epoch is pending"
        );
        let mut there: Vec<u64> = self
            .world
            .server(side)
            .log
            .iter()
            .filter_map(write_of)
            .collect();
        there.sort_unstable();
        assert_eq!(
            there, self.world.committed,
            "a write is lost or there twice"
        );
    }

    fn is_quiet(&self) -> bool {
        match &self.life {
            Life::Starting => false,
            Life::Running(running) => running.movement.is_none(),
        }
    }

    /// Asks the servers who serves, and does what follows from it.
    fn restart(&mut self, dice: &mut Dice) {
        let Life::Starting = &self.life else { return };
        let entries = self.world.entries();
        match standing::decide(&self.world.facts(&entries)) {
            Standing::Serves(side, epoch) => {
                self.life = Life::Running(Box::new(Running::new(side, epoch)));
            }
            // An attempt may fail before or after it is done.
            Standing::Resolve(_) | Standing::LowerFence(..) if dice.percent(20) => {}
            Standing::Resolve(epoch) => {
                self.world.resolve(epoch);
            }
            Standing::LowerFence(side, epoch) => {
                if self.world.server(side).reachable {
                    self.world.lower(side, epoch);
                }
            }
            Standing::Hold(_) => {}
        }
    }

    fn begin_movement(&mut self, dice: &mut Dice) {
        let Life::Running(running) = &mut self.life else {
            return;
        };
        if running.movement.is_some() || !self.world.server(Side::Target).reachable {
            return;
        }
        // An epoch may have begun after its proxy was gone.
        let pending = self.world.journal.iter().find(|(_, end)| end.1.is_none());
        if let Some(epoch) = pending.map(|(&epoch, _)| Epoch(epoch)) {
            self.world.resolve(epoch);
        }
        let to = running.switch.serving().expect("decided").other();
        let last = self
            .world
            .journal
            .keys()
            .max()
            .map_or(Epoch::FIRST, |&epoch| Epoch(epoch));
        let plan = Plan {
            to,
            epoch: last.next(),
            // Mostly time enough, so that movements come far.
            max_pause: Duration::from_millis(dice.roll() % 30_000),
            drain_timeout: Duration::from_millis(dice.roll() % 20_000),
            long_transactions: match dice.percent(50) {
                true => LongTransactions::CutOff,
                false => LongTransactions::GiveUp,
            },
            arrival: match self.world.is_fenced(to) {
                true => Arrival::Fenced,
                false => Arrival::Open,
            },
            retry_delay: Duration::from_millis(20),
        };
        let (movement, actions) = Movement::new(plan);
        running.movement = Some((movement, self.now, Points::Open));
        self.act(actions);
    }

    /// A session goes in, writes, or goes out.
    fn application(&mut self, dice: &mut Dice) {
        let Life::Running(running) = &mut self.life else {
            return;
        };
        let gate = &mut running.gates[dice.below(SESSIONS)];
        let was_inside = gate.is_inside();
        if was_inside && dice.percent(60) {
            return gate.leave();
        }
        let Ok(side) = gate.try_enter() else { return };
        if self.world.write(side).is_err() && self.world.server(side).reachable {
            self.refused_writes += 1;
        }
    }

    /// An application that does not know the proxy.
    fn bypass(&mut self, dice: &mut Dice) {
        let side = if dice.percent(50) {
            Side::Source
        } else {
            Side::Target
        };
        if self.world.is_open(side) {
            // The server may be out of reach; then the application knows it.
            self.world.write(side).unwrap_or_default();
        }
    }

    fn leave_all(&mut self) {
        if let Life::Running(running) = &mut self.life {
            running.gates.iter_mut().for_each(Gate::leave);
        }
    }

    fn serve_a_request(&mut self, dice: &mut Dice) {
        if self.requests.is_empty() {
            return;
        }
        let place = dice.below(self.requests.len());
        let sent = &mut self.requests[place];
        // What nobody waits for may lie around for whole movements before it is done.
        let is_slow = sent.connection == Connection::Broken && !dice.percent(5);
        if sent.answer.is_some() || is_slow {
            return;
        }
        match self.world.execute(sent.request) {
            Progress::Stuck => {}
            Progress::Next(request) => sent.request = request,
            Progress::Answered(answer) => sent.answer = Some(answer),
        }
    }

    fn answer_a_request(&mut self, dice: &mut Dice) {
        if self.requests.is_empty() {
            return;
        }
        let place = dice.below(self.requests.len());
        if self.requests[place].answer.is_none() {
            return;
        }
        let sent = self.requests.swap_remove(place);
        if let (Some(answer), Connection::Whole) = (sent.answer, sent.connection) {
            self.happens(event_of(sent.request, answer));
        }
    }

    /// What nobody waits for any more is done to its end.
    fn land(&mut self, mut request: Request) {
        while let Progress::Next(next) = self.world.execute(request) {
            request = next;
        }
    }

    /// Time passes, and the drain is looked at.
    fn tick(&mut self, dice: &mut Dice) {
        let Life::Running(running) = &mut self.life else {
            return;
        };
        let Some((movement, began, points)) = &mut running.movement else {
            return;
        };
        let is_drained = match std::mem::replace(points, Points::Open) {
            Points::Held(held) if movement.step() == Step::Draining => match held.into_drained() {
                Ok(drained) => {
                    *points = Points::Drained(drained);
                    true
                }
                Err(held) => {
                    *points = Points::Held(held);
                    false
                }
            },
            other => {
                *points = other;
                false
            }
        };
        if is_drained {
            return self.happens(Event::Drained);
        }
        if let Some(wake) = movement.wake_at() {
            // A wait for a second attempt is over soon; a deadline seldom comes by itself.
            let is_retry = *began + wake < self.now + Duration::from_millis(100);
            if is_retry || dice.percent(2) {
                self.now = self.now.max(*began + wake);
            }
            self.happens(Event::Tick);
        }
    }

    /// Tells the machine, if there is one, and does what it wants.
    fn happens(&mut self, event: Happens) {
        let Life::Running(running) = &mut self.life else {
            return;
        };
        let Some((movement, began, points)) = running.movement.take() else {
            return;
        };
        let step = movement.step();
        let (movement, actions) = movement.handle(self.now - began, event.clone());
        let points = match (points, &event) {
            (Points::Drained(points), Event::Fenced) if step == Step::Fencing => {
                Points::Fenced(points.fenced())
            }
            (Points::Fenced(points), Event::CaughtUp) if step == Step::CatchingUp => {
                Points::CaughtUp(points.caught_up())
            }
            (points, _) => points,
        };
        running.movement = Some((movement, began, points));
        self.act(actions);
        self.end_movement();
    }

    fn end_movement(&mut self) {
        let Life::Running(running) = &mut self.life else {
            return;
        };
        let Some(ended) = running
            .movement
            .as_ref()
            .and_then(|(movement, ..)| movement.ended())
        else {
            return;
        };
        let (movement, ..) = running.movement.take().expect("it was there");
        for sent in &mut self.requests {
            sent.connection = Connection::Broken;
        }
        let entry = self
            .world
            .journal
            .get(&movement.plan().epoch.0)
            .map(|end| end.1);
        match ended {
            Ended::Switched => {
                assert_eq!(entry, Some(Some(Resolution::Switched)));
                self.switched += 1;
            }
            Ended::GivenUp(_) => {
                assert_ne!(
                    entry,
                    Some(Some(Resolution::Switched)),
                    "given up after the switch"
                );
                self.given_up += 1;
            }
            Ended::Contradiction => panic!("nobody else promotes"),
        }
    }

    fn act(&mut self, actions: Vec<Doing>) {
        for action in actions {
            let Life::Running(running) = &mut self.life else {
                return;
            };
            let Some((movement, _, points)) = &mut running.movement else {
                return;
            };
            let Plan { to, epoch, .. } = *movement.plan();
            let from = to.other();
            let request = match action {
                Action::Begin => Request::Begin(epoch, to),
                Action::Hold => {
                    *points = Points::Held(running.switch.hold(to).expect("nobody else holds"));
                    self.happens(Event::Held);
                    continue;
                }
                Action::Drain => continue,
                Action::EndRunning => {
                    running.gates.iter_mut().for_each(Gate::leave);
                    continue;
                }
                Action::SwitchAndRelease => {
                    let points = std::mem::replace(points, Points::Open);
                    points.caught_up().switch().release();
                    continue;
                }
                Action::Release => {
                    *points = Points::Open;
                    continue;
                }
                Action::RaiseFence => Request::Raise(from, epoch),
                Action::WriteMarker => Request::Marker(from),
                Action::ReadCounters => Request::Counters(from),
                Action::AwaitMarker(marker) => Request::Await(to, marker),
                Action::Promote(counters) => Request::PromoteCounters(epoch, to, counters),
                Action::Resolve => Request::Resolve(epoch),
                Action::LowerFence(side) => Request::Lower(side, epoch),
            };
            self.requests.push(Sent {
                request,
                answer: None,
                connection: Connection::Whole,
            });
        }
    }
}

fn write_of(record: &Record) -> Option<u64> {
    match record {
        Record::Write(write) => Some(*write),
        Record::Marker(_) => None,
    }
}
