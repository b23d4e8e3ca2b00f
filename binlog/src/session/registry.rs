//! The list of sessions: what others may know of a session and ask of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use router::Side;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::outside::OfAllSoon;
use super::state::Unmovable;

/// The number of a session, unique for the life of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// What a session does right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Its server is idle, outside of a transaction.
    Idle,
    /// Its server works.
    Active,
    /// Its client is silent inside a transaction.
    IdleInTransaction,
    /// Its client wants to begin something and waits for the release.
    Waiting,
    /// It changes its server, or is asked for its state by us.
    Ours,
}

impl SessionState {
    /// The word for people and for `status --json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::IdleInTransaction => "idle in transaction",
            Self::Waiting => "waiting",
            Self::Ours => "moving",
        }
    }

    /// Whether its client is inside a transaction, that of a single statement included.
    #[must_use]
    pub fn is_in_transaction(self) -> bool {
        match self {
            Self::Active | Self::IdleInTransaction => true,
            Self::Idle | Self::Waiting | Self::Ours => false,
        }
    }

    fn code(self) -> u64 {
        match self {
            Self::Idle => 0,
            Self::Active => 1,
            Self::IdleInTransaction => 2,
            Self::Waiting => 3,
            Self::Ours => 4,
        }
    }

    fn from_code(code: u64) -> Self {
        [
            Self::Idle,
            Self::Active,
            Self::IdleInTransaction,
            Self::Waiting,
        ]
        .into_iter()
        .find(|state| state.code() == code)
        .unwrap_or(Self::Ours)
    }
}

/// Ids that we give to clients begin here, far from those that servers give.
const CONNECTION_ID_FIRST: u32 = 0x4000_0000;

impl SessionId {
    /// The connection id that the client is told.
    pub(super) fn connection_id(self) -> u32 {
        let low = u32::try_from(self.0 % u64::from(CONNECTION_ID_FIRST)).unwrap_or(0);
        CONNECTION_ID_FIRST | low
    }
}

/// One line of the list of sessions.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Its number.
    pub id: SessionId,
    /// Where the client is.
    pub client: SocketAddr,
    /// The user it logged in as.
    pub user: String,
    /// The database it asked for at its log-in; empty when none.
    pub database: String,
    /// The client's `program_name` among its connection attributes.
    pub application: String,
    /// For how long it has been logged in.
    pub age: Duration,
    /// What it does.
    pub state: SessionState,
    /// For how long.
    pub state_age: Duration,
    /// How long ago it began the transaction that it is in, if it is in one.
    pub transaction_age: Option<Duration>,
    /// The side it is connected to.
    pub side: Side,
    /// The id of its connection there, as the server's process list has it.
    pub backend_id: u32,
    /// Whether its connection to the other side stands ready.
    pub twin_ready: bool,
    /// Why it cannot be moved; empty when it can, as far as is known.
    pub unmovable: Vec<Unmovable>,
}

/// The connections of a session to servers.
#[derive(Debug, Clone)]
pub(super) struct Legs {
    /// The one that serves the client.
    pub(super) current: LegKey,
    /// The one that waits for the switch.
    pub(super) twin: Option<LegKey>,
    /// The one that served before the switch.
    pub(super) retired: Option<LegKey>,
    /// Connections of the session that its client may know from `CONNECTION_ID()`.
    pub(super) former: Vec<LegKey>,
}

impl Legs {
    /// The connections that the client may know from `CONNECTION_ID()`.
    fn known(&self) -> impl Iterator<Item = &LegKey> {
        self.former.iter().chain([&self.current])
    }
}

/// What names a connection to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LegKey {
    pub(super) side: Side,
    /// The server's id of it.
    pub(super) id: u32,
}

/// What the coordinator may ask of a session. All but `End` are done at the next idle moment.
#[derive(Debug)]
pub(super) enum Request {
    /// Read the state and have a twin ready.
    Prepare(oneshot::Sender<()>),
    /// Read the state again if the client ran something since, and bring the twin up to date.
    Refresh(oneshot::Sender<()>, OfAllSoon),
    /// Go over to the serving side and close what belongs to the other.
    Settle(oneshot::Sender<()>),
    /// Close the twin: the migration is over or given up.
    DropTwin(oneshot::Sender<()>),
    /// End when idle, with error 1053.
    EndWhenIdle,
    /// End now, with error 1053.
    End,
}

/// When a request may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// At once.
    Now,
    /// When the server is idle.
    Idle,
    /// When the server is idle and it is this session's turn.
    IdleInTurn,
}

impl Request {
    /// When it may be served.
    pub(super) fn when(&self) -> When {
        match self {
            Self::End => When::Now,
            Self::Prepare(_) => When::IdleInTurn,
            Self::Refresh(..) | Self::Settle(_) | Self::DropTwin(_) | Self::EndWhenIdle => {
                When::Idle
            }
        }
    }

    /// Whether it is worth waiting for that a client may ask what a question of ours would wipe
    /// out. Not inside a hold: everybody waits then.
    pub(super) fn can_wait(&self) -> bool {
        match self {
            Self::Prepare(_) => true,
            Self::Refresh(..)
            | Self::Settle(_)
            | Self::DropTwin(_)
            | Self::EndWhenIdle
            | Self::End => false,
        }
    }

    /// Whether somebody still waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        match self {
            Self::Prepare(done)
            | Self::Refresh(done, _)
            | Self::Settle(done)
            | Self::DropTwin(done) => !done.is_closed(),
            Self::EndWhenIdle | Self::End => true,
        }
    }
}

/// The part of a session that others see.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: SessionId,
    pub(super) client: SocketAddr,
    names: Mutex<(String, String)>,
    pub(super) application: String,
    born: Instant,
    /// Milliseconds since `born` of the last change, times 8, plus the state's code.
    state: AtomicU64,
    /// Milliseconds since `born` of the moment when it began its transaction, if it is in one.
    transaction_since: AtomicU64,
    /// Commands that the client ran. Only the session's own thread counts.
    ran: AtomicU64,
    /// The same when the state was read.
    read: AtomicU64,
    /// Whether it held user-level locks then.
    holds_locks: AtomicBool,
    pub(super) legs: Mutex<Legs>,
    pub(super) unmovable: Mutex<Vec<Unmovable>>,
    pub(super) requests: mpsc::Sender<Request>,
    /// Cancelled once its client's connection is closed.
    pub(super) over: CancellationToken,
}

/// What an entry is made from.
#[derive(Debug)]
pub(super) struct NewEntry {
    pub(super) id: SessionId,
    pub(super) client: SocketAddr,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) application: String,
    pub(super) leg: LegKey,
    pub(super) requests: mpsc::Sender<Request>,
}

impl Entry {
    pub(super) fn new(new: NewEntry) -> Self {
        Self {
            id: new.id,
            client: new.client,
            names: Mutex::new((new.user, new.database)),
            application: new.application,
            born: Instant::now(),
            state: AtomicU64::new(SessionState::Idle.code()),
            transaction_since: AtomicU64::new(0),
            ran: AtomicU64::new(0),
            read: AtomicU64::new(0),
            holds_locks: AtomicBool::new(false),
            legs: Mutex::new(Legs {
                current: new.leg,
                twin: None,
                retired: None,
                former: Vec::new(),
            }),
            unmovable: Mutex::new(Vec::new()),
            requests: new.requests,
            over: CancellationToken::new(),
        }
    }

    /// Another user logged in on the same connection.
    pub(super) fn rename(&self, user: String, database: String) {
        *self.names.lock() = (user, database);
    }

    #[inline]
    pub(super) fn set_state(&self, state: SessionState) {
        let age_ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX >> 3);
        if state.is_in_transaction() && !self.state().is_in_transaction() {
            self.transaction_since.store(age_ms, Ordering::Relaxed);
        }
        self.state
            .store((age_ms << 3) | state.code(), Ordering::Relaxed);
    }

    pub(super) fn state(&self) -> SessionState {
        SessionState::from_code(self.state.load(Ordering::Relaxed) & 7)
    }

    #[inline]
    pub(super) fn mark_dirty(&self) {
        let ran = self.ran.load(Ordering::Relaxed).wrapping_add(1);
        // Behind the change of the state: who sees the new count sees that, too.
        self.ran.store(ran, Ordering::Release);
    }

    /// How many commands the client ran, as a mark of the session's state while it is idle.
    pub(super) fn ran(&self) -> u64 {
        self.ran.load(Ordering::Acquire)
    }

    /// Its state was read, and it holds user-level locks or not.
    pub(super) fn mark_read(&self, holds_locks: bool) {
        self.holds_locks.store(holds_locks, Ordering::Relaxed);
        self.read.store(self.ran(), Ordering::Relaxed);
    }

    /// Whether a twin is to be brought up to date inside the hold: the client ran something since
    /// the state was read, or has locks, which twins take inside the hold only.
    pub(super) fn wants_refresh(&self) -> bool {
        self.is_dirty() || self.holds_locks.load(Ordering::Relaxed)
    }

    /// Whether the client ran something since the state was read.
    pub(super) fn is_dirty(&self) -> bool {
        self.ran() != self.read.load(Ordering::Relaxed)
    }

    /// For how long it has been in its state.
    pub(super) fn state_age(&self) -> Duration {
        let changed = Duration::from_millis(self.state.load(Ordering::Relaxed) >> 3);
        self.born.elapsed().saturating_sub(changed)
    }

    pub(super) fn info(&self) -> SessionInfo {
        let word = self.state.load(Ordering::Relaxed);
        let now = self.born.elapsed();
        let state = SessionState::from_code(word & 7);
        let since = Duration::from_millis(self.transaction_since.load(Ordering::Relaxed));
        let (user, database) = self.names.lock().clone();
        let legs = self.legs.lock();
        SessionInfo {
            id: self.id,
            client: self.client,
            user,
            database,
            application: self.application.clone(),
            age: now,
            state,
            state_age: now.saturating_sub(Duration::from_millis(word >> 3)),
            transaction_age: state.is_in_transaction().then(|| now.saturating_sub(since)),
            side: legs.current.side,
            backend_id: legs.current.id,
            twin_ready: legs.twin.is_some(),
            unmovable: self.unmovable.lock().clone(),
        }
    }
}

/// Whom a client means by the id of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The connection that the server knows by that id, if any.
    AsItIs,
    /// The session to which we gave that id: its connection.
    Connection(u32),
    /// The session that had that id on the other server, and now this connection; unless the server
    /// has somebody else of that id.
    Former(u32),
    /// More than one session may be meant.
    Nobody,
}

/// All sessions that are logged in.
#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: Mutex<HashMap<SessionId, Arc<Entry>>>,
    next: AtomicU64,
}

impl Registry {
    pub(super) fn next_id(&self) -> SessionId {
        SessionId(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn add(&self, entry: &Arc<Entry>) {
        self.entries.lock().insert(entry.id, Arc::clone(entry));
    }

    pub(super) fn remove(&self, id: SessionId) {
        let entry = self.entries.lock().remove(&id);
        drop(entry);
    }

    pub(super) fn get(&self, id: SessionId) -> Option<Arc<Entry>> {
        self.entries.lock().get(&id).map(Arc::clone)
    }

    /// Whether a session went over to this side, or will, so that its client may know ids of the other.
    pub(super) fn any_came_to(&self, side: Side) -> bool {
        let entries = self.entries.lock();
        entries.values().any(|entry| {
            let legs = entry.legs.lock();
            legs.known().any(|leg| leg.side != side)
        })
    }

    /// Those whom a client may mean by an id and who have not come to this side yet.
    pub(super) fn meant_elsewhere(&self, named: u32, side: Side) -> Vec<Arc<Entry>> {
        let mut entries = self.all();
        entries.retain(|entry| {
            let legs = entry.legs.lock();
            let is_meant = legs.known().any(|leg| leg.id == named);
            legs.current.side != side && (is_meant || entry.id.connection_id() == named)
        });
        entries
    }

    /// Whom a client means by an id, on the side that serves it.
    pub(super) fn meaning(&self, named: u32, side: Side) -> Meaning {
        let entries = self.entries.lock();
        let mut present = false;
        let mut former = Vec::new();
        for entry in entries.values() {
            let legs = entry.legs.lock();
            let here = [Some(legs.current), legs.twin];
            let here = here.into_iter().flatten().find(|leg| leg.side == side);
            if entry.id.connection_id() == named {
                return here.map_or(Meaning::AsItIs, |leg| Meaning::Connection(leg.id));
            }
            present |= here.is_some_and(|leg| leg.id == named);
            if legs.known().any(|leg| leg.id == named && leg.side != side) {
                former.push(here);
            }
        }
        match (former.as_slice(), present) {
            ([], _) => Meaning::AsItIs,
            ([Some(leg)], true) if leg.id == named => Meaning::AsItIs,
            ([Some(leg)], false) => Meaning::Former(leg.id),
            ([None], false) => Meaning::AsItIs,
            ([_, ..], _) => Meaning::Nobody,
        }
    }

    /// The session that is served by this connection, if it is one of ours.
    pub(super) fn served_by(&self, leg: LegKey) -> Option<Arc<Entry>> {
        let entries = self.entries.lock();
        let mut entries = entries.values();
        let served = entries.find(|entry| entry.legs.lock().current == leg)?;
        Some(Arc::clone(served))
    }

    /// A snapshot, in the order of log-in.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> = self.entries.lock().values().map(Arc::clone).collect();
        all.sort_by_key(|entry| entry.id);
        all
    }
}
