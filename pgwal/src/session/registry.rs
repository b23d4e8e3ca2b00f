//! The list of sessions: what others may know of a session and ask of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use router::Side;
use tokio::sync::{mpsc, oneshot};

use super::advisory::Lock;
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

/// One line of the list of sessions.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Its number.
    pub id: SessionId,
    /// Where the client is.
    pub client: SocketAddr,
    /// The role it logged in as.
    pub user: String,
    /// The database it asked for.
    pub database: String,
    /// The client's `application_name` at log-in.
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
    /// The process id of its backend there.
    pub backend_pid: i32,
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
}

/// What names a backend.
#[derive(Debug, Clone)]
pub(super) struct LegKey {
    pub(super) side: Side,
    pub(super) pid: i32,
    pub(super) cancel_key: Bytes,
}

/// What the coordinator may ask of a session. All but `End` are done at the next idle moment.
#[derive(Debug)]
pub(super) enum Request {
    /// Read the state and have a twin ready.
    Prepare(oneshot::Sender<()>),
    /// The same at the next idle moment, whoever else is asked.
    Read(oneshot::Sender<()>),
    /// The same, and count the advisory locks; no transaction runs any more.
    Refresh(oneshot::Sender<()>),
    /// Give the twin what it may have only inside the hold: locks and channels.
    Complete(oneshot::Sender<()>),
    /// Take that back: the hold is over, and the session stayed where it was.
    Relax(oneshot::Sender<()>),
    /// Go over to the serving side and close what belongs to the other.
    Settle(oneshot::Sender<()>),
    /// Close the twin: the migration is over or given up.
    DropTwin(oneshot::Sender<()>),
    /// End when idle, with FATAL 57P01.
    EndWhenIdle,
    /// End now, with FATAL 57P01.
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
            Self::Read(_)
            | Self::Refresh(_)
            | Self::Complete(_)
            | Self::Relax(_)
            | Self::Settle(_)
            | Self::DropTwin(_)
            | Self::EndWhenIdle => When::Idle,
        }
    }

    /// Whether somebody still waits for it.
    pub(super) fn is_awaited(&self) -> bool {
        match self {
            Self::Prepare(done)
            | Self::Read(done)
            | Self::Refresh(done)
            | Self::Complete(done)
            | Self::Relax(done)
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
    pub(super) user: String,
    pub(super) database: String,
    pub(super) application: String,
    born: Instant,
    /// Milliseconds since `born` of the last change, times 8, plus the state's code.
    state: AtomicU64,
    /// Milliseconds since `born` of the moment when it began its transaction, if it is in one.
    transaction_since: AtomicU64,
    /// Whether the client ran something since the state was read.
    dirty: AtomicBool,
    /// Whether the server may have our question.
    asked: AtomicBool,
    /// Whether the twin may have what it gets only inside a hold.
    complete: AtomicBool,
    /// Whether it listens for notifications, as far as is known.
    listens: AtomicBool,
    /// The advisory locks that its server process had inside the last hold.
    pub(super) locks: Mutex<Vec<Lock>>,
    pub(super) legs: Mutex<Legs>,
    pub(super) unmovable: Mutex<Vec<Unmovable>>,
    pub(super) requests: mpsc::Sender<Request>,
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
            user: new.user,
            database: new.database,
            application: new.application,
            born: Instant::now(),
            state: AtomicU64::new(SessionState::Idle.code()),
            transaction_since: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            listens: AtomicBool::new(false),
            locks: Mutex::new(Vec::new()),
            legs: Mutex::new(Legs {
                current: new.leg,
                twin: None,
                retired: None,
            }),
            unmovable: Mutex::new(Vec::new()),
            requests: new.requests,
        }
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
        self.dirty.store(true, Ordering::Relaxed);
    }

    pub(super) fn mark_read(&self) {
        self.dirty.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }

    pub(super) fn set_asked(&self, asked: bool) {
        self.asked.store(asked, Ordering::Relaxed);
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    pub(super) fn set_complete(&self, complete: bool) {
        self.complete.store(complete, Ordering::Relaxed);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    pub(super) fn set_listens(&self, listens: bool) {
        self.listens.store(listens, Ordering::Relaxed);
    }

    pub(super) fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    pub(super) fn info(&self) -> SessionInfo {
        let word = self.state.load(Ordering::Relaxed);
        let now = self.born.elapsed();
        let state = SessionState::from_code(word & 7);
        let since = Duration::from_millis(self.transaction_since.load(Ordering::Relaxed));
        let legs = self.legs.lock();
        SessionInfo {
            id: self.id,
            client: self.client,
            user: self.user.clone(),
            database: self.database.clone(),
            application: self.application.clone(),
            age: now,
            state,
            state_age: now.saturating_sub(Duration::from_millis(word >> 3)),
            transaction_age: state.is_in_transaction().then(|| now.saturating_sub(since)),
            side: legs.current.side,
            backend_pid: legs.current.pid,
            twin_ready: legs.twin.is_some(),
            unmovable: self.unmovable.lock().clone(),
        }
    }
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

    /// A snapshot, in the order of log-in.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<_> = self.entries.lock().values().map(Arc::clone).collect();
        all.sort_by_key(|entry| entry.id);
        all
    }
}
