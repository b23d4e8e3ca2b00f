//! The house of all sessions: where they run, whom they may ask, and what the coordinator does with
//! all of them at once.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use router::{Side, Switch};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::fatal::Fatal;
use super::limits::{CLOSE_PACE, CLOSE_WITHIN, TWIN_TIMEOUT};
use super::login::Remembered;
use super::outside::OfAll;
use super::registry::{Entry, Registry, Request, SessionId, SessionInfo};
use super::servers::Servers;
use super::state::Unmovable;
use super::threads::Threads;
use super::tls::{ClientTls, ListenerTls};
use crate::wire::Endpoint;
use crate::wire::auth::rsa::KeyPair;

/// Whether `LOAD DATA LOCAL` works through the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalInfile {
    /// Clients and servers are told that it does not.
    #[default]
    Refused,
    /// It works for clients that want it, for files that their own statements name.
    Relayed,
}

/// Whether users of `mysql_native_password` are asked for the password itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PasswordLearning {
    /// When the other server does not know that method (MySQL 9.0 and later).
    #[default]
    WhenNeeded,
    /// Never: such users cannot be moved there.
    Never,
}

/// What a relay is made from.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// The source, with the account that may read `mysql.user`.
    pub source: Endpoint,
    /// The target, once there is one.
    pub target: Option<Endpoint>,
    /// Which side serves.
    pub switch: Arc<Switch>,
    /// Threads that sessions run on.
    pub threads: usize,
    /// How long a client may take to log in; waiting for a release does not count.
    pub login_timeout: Duration,
    /// What clients are offered for TLS.
    pub tls: ClientTls,
    /// Whether `LOAD DATA LOCAL` is relayed.
    pub local_infile: LocalInfile,
    /// Whether passwords are learnt that another method does not give away.
    pub password_learning: PasswordLearning,
    /// Most clients at once, those that log in included.
    pub clients_max: usize,
    /// Most twins that are prepared at once.
    pub twins_at_once: usize,
}

impl RelayOptions {
    /// The defaults.
    #[must_use]
    pub fn new(source: Endpoint, switch: Arc<Switch>) -> Self {
        Self {
            source,
            target: None,
            switch,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            login_timeout: Duration::from_secs(60),
            tls: ClientTls::default(),
            local_infile: LocalInfile::default(),
            password_learning: PasswordLearning::default(),
            clients_max: 10_000,
            twins_at_once: 8,
        }
    }
}

/// All sessions of one listener and what they share.
#[derive(Debug)]
pub struct Relay {
    options: RelayOptions,
    clients: AtomicUsize,
    threads: Threads,
    /// Read by clients that log in; replaced when the certificate is.
    tls: Mutex<Option<Arc<ListenerTls>>>,
    /// Made when the first client without TLS needs it.
    key_pair: OnceLock<Option<KeyPair>>,
    pub(super) registry: Arc<Registry>,
    pub(super) servers: Servers,
    pub(super) remembered: Remembered,
    /// Who may read a session's state and prepare its twin now.
    pub(super) turns: Arc<Semaphore>,
}

/// What came of preparing the sessions for a switch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TwinReport {
    /// Sessions that stand ready.
    pub ready: usize,
    /// Sessions that were not idle before the deadline, or are new.
    pub pending: Vec<SessionId>,
    /// Sessions that cannot be moved, and why.
    pub unmovable: Vec<(SessionId, Vec<Unmovable>)>,
}

impl Relay {
    /// Starts the threads. They end when the relay is dropped and its last session is over.
    ///
    /// # Errors
    /// The system gives no threads, or the certificate cannot be used.
    pub fn new(options: RelayOptions) -> io::Result<Arc<Self>> {
        let tls = Mutex::new(options.tls.listener()?);
        let threads = Threads::start(options.threads.max(1))?;
        Ok(Arc::new(Self {
            clients: AtomicUsize::new(0),
            threads,
            tls,
            key_pair: OnceLock::new(),
            registry: Arc::default(),
            servers: Servers::default(),
            remembered: Remembered::default(),
            turns: Arc::new(Semaphore::new(options.twins_at_once.max(1))),
            options,
        }))
    }

    /// Takes a client that has just connected. Beyond the limits it is turned away.
    pub fn accept(self: &Arc<Self>, client: TcpStream, address: SocketAddr) {
        self.threads.hand_over(self, client, address);
    }

    /// Counts a client in, unless there are too many.
    pub(super) fn count_in(&self) -> bool {
        let before = self.clients.fetch_add(1, Ordering::Relaxed);
        if before < self.options.clients_max {
            return true;
        }
        self.count_out();
        false
    }

    pub(super) fn count_out(&self) {
        self.clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// Clients that are connected, those that log in included.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// The switch that all sessions obey.
    #[must_use]
    pub fn switch(&self) -> &Arc<Switch> {
        &self.options.switch
    }

    pub(super) fn login_timeout(&self) -> Duration {
        self.options.login_timeout
    }

    pub(super) fn password_learning(&self) -> PasswordLearning {
        self.options.password_learning
    }

    pub(super) fn relays_local_files(&self) -> bool {
        self.options.local_infile == LocalInfile::Relayed
    }

    /// Gives clients that come from now on another certificate. Those that are there keep theirs.
    pub fn set_tls(&self, tls: ListenerTls) {
        *self.tls.lock() = Some(Arc::new(tls));
    }

    pub(super) fn tls(&self) -> Option<Arc<ListenerTls>> {
        self.tls.lock().clone()
    }

    /// Our keys for passwords that come in clear streams.
    pub(super) fn key_pair(&self) -> Result<&KeyPair, Fatal> {
        let made = self.key_pair.get_or_init(|| KeyPair::generate().ok());
        made.as_ref()
            .ok_or_else(|| Fatal::other("the system gives no random bytes"))
    }

    /// The server of a side, if it is known.
    #[must_use]
    pub fn endpoint(&self, side: Side) -> Option<Endpoint> {
        match side {
            Side::Source => Some(self.options.source.clone()),
            Side::Target => self.options.target.clone(),
        }
    }

    /// A session's database by its name on a side: the one that moves may have another name there.
    pub(super) fn database_for(&self, side: Side, name: Option<Bytes>) -> Option<Bytes> {
        let target = self.options.target.as_ref();
        let target = target.and_then(|target| target.database.as_ref());
        let (Some(source), Some(target)) = (self.options.source.database.as_ref(), target) else {
            return name;
        };
        let (from, to) = match side {
            Side::Source => (target, source),
            Side::Target => (source, target),
        };
        match name {
            Some(name) if name == from.as_bytes() => Some(Bytes::copy_from_slice(to.as_bytes())),
            other => other,
        }
    }

    /// Whether a session in this database can go over: it is the one that moves, or all do, or it
    /// is in none, or in one that every server has.
    pub(super) fn moves_database(&self, database: &[u8]) -> bool {
        let Some(moves) = &self.options.source.database else {
            return true;
        };
        let renamed = self
            .options
            .target
            .as_ref()
            .and_then(|target| target.database.as_ref());
        let system = [
            "",
            "information_schema",
            "performance_schema",
            "mysql",
            "sys",
        ];
        database == moves.as_bytes()
            || renamed.is_some_and(|name| database == name.as_bytes())
            || system
                .iter()
                .any(|name| database.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// All sessions that are logged in, oldest first.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.registry
            .all()
            .iter()
            .map(|entry| entry.info())
            .collect()
    }

    /// The ids of all our connections to a side's server: sessions, twins, and the one that reads
    /// accounts. These must survive a fence.
    #[must_use]
    pub fn backend_ids(&self, side: Side) -> Vec<u32> {
        let mut ids: Vec<u32> = self.servers.id(side).into_iter().collect();
        for entry in self.registry.all() {
            let legs = entry.legs.lock();
            let all = [
                Some(&legs.current),
                legs.twin.as_ref(),
                legs.retired.as_ref(),
            ];
            ids.extend(
                all.into_iter()
                    .flatten()
                    .filter(|leg| leg.side == side)
                    .map(|leg| leg.id),
            );
        }
        ids
    }

    /// [`Relay::backend_ids`] of the source.
    #[must_use]
    pub fn source_pids(&self) -> Vec<u32> {
        self.backend_ids(Side::Source)
    }

    /// Reads the state of every session and has a twin ready for each that can be moved. Busy
    /// sessions are waited for until the deadline.
    ///
    /// # Cancel safety
    /// Sessions go on preparing when this is dropped.
    pub async fn prepare_twins(&self, patience: Duration) -> TwinReport {
        if let Some(serving) = self.switch().serving()
            && !self.switch().is_held()
        {
            self.servers.learn_look(self, serving).await;
        }
        self.ask_all(patience, Request::Prepare, |_entry| true)
            .await;
        self.twin_report()
    }

    /// Inside the hold: reads those sessions again that ran something since they were read, and
    /// brings their twins up to date.
    ///
    /// # Cancel safety
    /// As [`Relay::prepare_twins`].
    pub async fn refresh_changed(&self, patience: Duration) -> TwinReport {
        let mut changed = self.registry.all();
        changed.retain(|entry| entry.is_dirty());
        // One question about all of them; then each is asked about itself.
        let (told, of_all) = watch::channel(None);
        let telling = async move {
            let asked = timeout(patience, OfAll::ask(self, &changed)).await;
            if let Ok(Some(of_all)) = asked {
                told.send_replace(Some(Arc::new(of_all)));
            }
        };
        let request = |done| Request::Refresh(done, of_all.clone());
        let asking = self.ask_all(patience, request, Entry::wants_refresh);
        tokio::join!(telling, asking);
        self.twin_report()
    }

    /// Sessions that ran something since they were read.
    #[must_use]
    pub fn changed(&self) -> usize {
        let all = self.registry.all();
        all.iter().filter(|entry| entry.is_dirty()).count()
    }

    /// After the release: every session goes over to the serving side, if it did not yet, and
    /// closes its connection to the other, one after the other. Gives the number of sessions that
    /// are not there yet.
    ///
    /// # Cancel safety
    /// Dropped, it leaves those open that it had not come to.
    pub async fn close_source_connections(&self, patience: Duration) -> usize {
        self.servers.forget();
        let Some(serving) = self.switch().serving() else {
            return 0;
        };
        let elsewhere = |entry: &Entry| {
            let legs = entry.legs.lock();
            legs.current.side != serving || legs.retired.is_some()
        };
        let mut there = self.registry.all();
        there.retain(|entry| elsewhere(entry));
        let count = u32::try_from(there.len()).unwrap_or(u32::MAX).max(1);
        let pace = CLOSE_PACE.min(CLOSE_WITHIN / count);
        ask_each(there, patience, Request::Settle, pace).await;
        self.registry
            .all()
            .iter()
            .filter(|entry| elsewhere(entry))
            .count()
    }

    /// Has these go over to the serving side, each as soon as it is idle.
    pub(super) async fn bring_over(&self, sessions: Vec<Arc<Entry>>) {
        if !sessions.is_empty() {
            ask_each(sessions, TWIN_TIMEOUT, Request::Settle, Duration::ZERO).await;
        }
    }

    /// Closes all twins: the migration was given up, or is over.
    ///
    /// # Cancel safety
    /// As [`Relay::prepare_twins`].
    pub async fn drop_twins(&self, patience: Duration) {
        self.ask_all(patience, Request::DropTwin, |entry| {
            entry.legs.lock().twin.is_some()
        })
        .await;
    }

    async fn ask_all(
        &self,
        patience: Duration,
        request: impl Fn(oneshot::Sender<()>) -> Request,
        concerned: impl Fn(&Entry) -> bool,
    ) {
        let mut entries = self.registry.all();
        entries.retain(|entry| concerned(entry));
        ask_each(entries, patience, request, Duration::ZERO).await;
    }

    fn twin_report(&self) -> TwinReport {
        let mut report = TwinReport::default();
        for entry in self.registry.all() {
            let unmovable = entry.unmovable.lock().clone();
            if !unmovable.is_empty() {
                report.unmovable.push((entry.id, unmovable));
            } else if entry.legs.lock().twin.is_some() && !entry.is_dirty() {
                report.ready += 1;
            } else {
                report.pending.push(entry.id);
            }
        }
        report
    }

    /// Ends a session now: error 1053 for the client, and its query is cancelled. `false` when
    /// there is no such session.
    pub async fn end_session(&self, id: SessionId) -> bool {
        match self.registry.get(id) {
            Some(entry) => entry.requests.send(Request::End).await.is_ok(),
            None => false,
        }
    }

    /// Ends all sessions, each at its next idle moment, and after the deadline those that are
    /// left. For the program's own end.
    pub async fn drain(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let asked = self.registry.all().into_iter().map(|entry| async move {
            let gone = timeout_at(deadline, async {
                entry.requests.send(Request::EndWhenIdle).await.ok()?;
                entry.requests.closed().await;
                Some(())
            });
            if gone.await.is_err() {
                let ended = entry.requests.try_send(Request::End);
                tracing::debug!(
                    session = entry.id.0,
                    ?ended,
                    "a session did not become idle"
                );
            }
        });
        join_all(asked).await;
    }
}

/// Asks these sessions, one each `pace`, and waits for them for as long as that takes and `patience`
/// more.
async fn ask_each(
    entries: Vec<Arc<Entry>>,
    patience: Duration,
    request: impl Fn(oneshot::Sender<()>) -> Request,
    pace: Duration,
) {
    let begun = Instant::now();
    let asked = entries.into_iter().zip(0_u32..).map(|(entry, number)| {
        let (done, finished) = oneshot::channel();
        let request = request(done);
        let at = begun + pace * number;
        async move {
            if !pace.is_zero() {
                sleep_until(at).await;
            }
            // Late and gone sessions are seen in the registry afterwards.
            let asked = timeout_at(at + patience, async {
                entry.requests.send(request).await.ok()?;
                finished.await.ok()
            });
            asked.await.is_ok()
        }
    });
    let _in_time: Vec<bool> = join_all(asked).await;
}
