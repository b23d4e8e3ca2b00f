//! The two servers with their applications, and everything on the way to them.

use std::collections::BTreeMap;

use router::cutover::Resolution;
use router::cutover::standing::{Entry, Facts, Fence, FencePosition, Told};
use router::{Epoch, Side};

/// A random number generator that gives the same for the same seed (splitmix64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a small number");
        usize::try_from(self.roll() % limit).expect("a small number")
    }

    pub(crate) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What a server's log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    /// An application's write.
    Write(u64),
    /// A marker of ours.
    Marker(u64),
}

pub(crate) struct Server {
    pub(crate) log: Vec<Record>,
    pub(crate) fence: Fence,
    pub(crate) counter: usize,
    pub(crate) reachable: bool,
}

/// A request to the servers, as one connection carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Begin(Epoch, Side),
    Raise(Side, Epoch),
    Marker(Side),
    Counters(Side),
    Await(Side, u64),
    /// Sets the counters on the side, which may be another server than the journal's.
    PromoteCounters(Epoch, Side, usize),
    PromoteJournal(Epoch, Side),
    Resolve(Epoch),
    Lower(Side, Epoch),
}

/// What a server says when it has done a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Refused,
    Marker(u64),
    Counters(usize),
    Resolved(Resolution),
}

/// What became of a request.
pub(crate) enum Progress {
    /// The server cannot do it now.
    Stuck,
    /// It goes on with this.
    Next(Request),
    Answered(Answer),
}

pub(crate) struct World {
    source: Server,
    target: Server,
    pub(crate) journal: BTreeMap<u64, (Side, Option<Resolution>)>,
    /// Writes that an application saw committed.
    pub(crate) committed: Vec<u64>,
    next: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let server = || Server {
            log: Vec::new(),
            fence: Fence {
                position: FencePosition::Down,
                epoch: Epoch::FIRST,
            },
            counter: 0,
            reachable: true,
        };
        Self {
            source: server(),
            target: server(),
            journal: BTreeMap::new(),
            committed: Vec::new(),
            next: 0,
        }
    }

    pub(crate) fn server(&self, side: Side) -> &Server {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    pub(crate) fn server_mut(&mut self, side: Side) -> &mut Server {
        match side {
            Side::Source => &mut self.source,
            Side::Target => &mut self.target,
        }
    }

    pub(crate) fn is_fenced(&self, side: Side) -> bool {
        self.server(side).fence.position == FencePosition::Up
    }

    /// Whether an application that passes the proxy by can write there. Nobody knows the target
    /// before it has served.
    pub(crate) fn is_open(&self, side: Side) -> bool {
        let is_known = match side {
            Side::Source => true,
            Side::Target => self
                .journal
                .values()
                .any(|&end| end == (side, Some(Resolution::Switched))),
        };
        is_known && !self.is_fenced(side)
    }

    pub(crate) fn last_switched(&self) -> Side {
        let switched = |end: &&(Side, Option<Resolution>)| end.1 == Some(Resolution::Switched);
        self.journal
            .values()
            .rfind(switched)
            .map_or(Side::Source, |end| end.0)
    }

    /// An application's write. Refused behind a fence.
    pub(crate) fn write(&mut self, side: Side) -> Result<(), ()> {
        if self.is_fenced(side) || !self.server(side).reachable {
            return Err(());
        }
        self.next += 1;
        let write = self.next;
        self.server_mut(side).log.push(Record::Write(write));
        self.committed.push(write);
        Ok(())
    }

    /// The stream brings one record to the side that has fewer.
    pub(crate) fn replicate(&mut self) {
        if !self.source.reachable || !self.target.reachable {
            return;
        }
        let (behind, ahead) = match self.source.log.len() < self.target.log.len() {
            true => (&mut self.source, &self.target),
            false => (&mut self.target, &self.source),
        };
        if let Some(record) = ahead.log.get(behind.log.len()) {
            behind.log.push(*record);
        }
    }

    /// A server does what it was asked for.
    pub(crate) fn execute(&mut self, request: Request) -> Progress {
        let at = match request {
            Request::Raise(side, _)
            | Request::Marker(side)
            | Request::Counters(side)
            | Request::Await(side, _)
            | Request::PromoteCounters(_, side, _)
            | Request::Lower(side, _) => side,
            Request::Begin(..) | Request::PromoteJournal(..) | Request::Resolve(_) => Side::Target,
        };
        if !self.server(at).reachable {
            return Progress::Stuck;
        }
        let answer = match request {
            Request::Begin(epoch, to) => self.begin(epoch, to),
            Request::Raise(side, epoch) => self.raise(side, epoch),
            Request::Marker(side) => {
                self.next += 1;
                let marker = self.next;
                self.server_mut(side).log.push(Record::Marker(marker));
                Answer::Marker(marker)
            }
            Request::Counters(side) => Answer::Counters(writes(&self.server(side).log)),
            Request::Await(side, marker) => {
                match self.server(side).log.contains(&Record::Marker(marker)) {
                    true => Answer::Done,
                    false => return Progress::Stuck,
                }
            }
            Request::PromoteCounters(epoch, side, counter) => {
                self.server_mut(side).counter = counter;
                return Progress::Next(Request::PromoteJournal(epoch, side));
            }
            Request::PromoteJournal(epoch, to) => self.promote(epoch, to),
            Request::Resolve(epoch) => Answer::Resolved(self.resolve(epoch)),
            Request::Lower(side, epoch) => {
                self.lower(side, epoch);
                Answer::Done
            }
        };
        Progress::Answered(answer)
    }

    fn begin(&mut self, epoch: Epoch, to: Side) -> Answer {
        let is_next = self.journal.keys().all(|&other| other < epoch.0);
        let none_pending = self.journal.values().all(|end| end.1.is_some());
        if !is_next || !none_pending {
            return Answer::Refused;
        }
        self.journal.insert(epoch.0, (to, None));
        Answer::Done
    }

    fn raise(&mut self, side: Side, epoch: Epoch) -> Answer {
        let fence = &mut self.server_mut(side).fence;
        if fence.epoch >= epoch {
            return Answer::Refused;
        }
        *fence = Fence {
            position: FencePosition::Up,
            epoch,
        };
        Answer::Done
    }

    pub(crate) fn lower(&mut self, side: Side, epoch: Epoch) {
        let fence = &mut self.server_mut(side).fence;
        if fence.epoch <= epoch {
            *fence = Fence {
                position: FencePosition::Down,
                epoch,
            };
        }
    }

    fn promote(&mut self, epoch: Epoch, to: Side) -> Answer {
        let Some((_, end @ None)) = self.journal.get_mut(&epoch.0) else {
            return Answer::Refused;
        };
        *end = Some(Resolution::Switched);
        let (from, to) = (self.server(to.other()), self.server(to));
        assert_eq!(
            from.fence.position,
            FencePosition::Up,
            "promoted without a fence"
        );
        assert_eq!(to.counter, writes(&from.log), "promoted with old counters");
        assert_eq!(
            writes(&to.log),
            writes(&from.log),
            "promoted before it caught up"
        );
        Answer::Done
    }

    pub(crate) fn resolve(&mut self, epoch: Epoch) -> Resolution {
        let side = Side::Source;
        let (_, end) = self.journal.entry(epoch.0).or_insert((side, None));
        *end.get_or_insert(Resolution::Aborted)
    }

    /// What a restart is told.
    pub(crate) fn facts<'a>(&self, journal: &'a [Entry]) -> Facts<'a> {
        let source = match self.source.reachable {
            true => Told::Fact(self.source.fence),
            false => Told::Unreachable,
        };
        let target = match self.target.reachable {
            true => Told::Fact((self.target.fence, journal)),
            false => Told::Unreachable,
        };
        Facts { source, target }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let entry = |(&epoch, &(to, ended))| Entry {
            epoch: Epoch(epoch),
            to,
            ended,
        };
        self.journal.iter().map(entry).collect()
    }

    /// What must hold at every moment.
    pub(crate) fn check(&self) {
        let (short, long) = match self.source.log.len() < self.target.log.len() {
            true => (&self.source.log, &self.target.log),
            false => (&self.target.log, &self.source.log),
        };
        assert!(long.starts_with(short), "the sides have diverged");
        let both = self.is_open(Side::Source) && self.is_open(Side::Target);
        assert!(!both, "both sides are open to applications");
    }
}

pub(crate) fn writes(log: &[Record]) -> usize {
    log.iter()
        .filter(|record| matches!(record, Record::Write(_)))
        .count()
}
