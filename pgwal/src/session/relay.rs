//! The house of all sessions: where they run, whom they may ask, and what the coordinator does with
//! all of them at once.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use router::{Side, Switch};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::cancel::CancelKeys;
use super::limits::{CLOSE_PACE, CLOSE_WITHIN, CUSTOM_SETTINGS_MAX, SEQUENCE_TURNS};
use super::observer::{Observer, Unknown};
use super::question::SettingNames;
use super::registry::{Entry, Registry, Request, SessionId, SessionInfo};
use super::startup::Startup;
use super::state::{Unmovable, is_custom_setting, is_setting};
use super::threads::Threads;
use super::tls::ListenerTls;
use super::type_names::TypeNames;
use super::types::catalog::TypeCatalogs;
use super::users::Users;
use super::verifiers::{DEFAULT_QUERY, Verifiers};
use crate::wire::Endpoint;

/// What a relay is made from.
#[derive(Debug, Clone)]
pub struct RelayOptions {
    /// The source, with the account that may read verifiers.
    pub source: Endpoint,
    /// The target, once there is one.
    pub target: Option<Endpoint>,
    /// Which side serves.
    pub switch: Arc<Switch>,
    /// Threads that sessions run on.
    pub threads: usize,
    /// How long a client may take to log in; waiting for a release does not count.
    pub login_timeout: Duration,
    /// A query for the verifier of the role `$1`, in place of reading `pg_authid`. Its first
    /// column is the verifier, or the second when it gives two.
    pub auth_query: Option<String>,
    /// Users with their secrets; with them the server is asked only if there is a query too. May be
    /// replaced later.
    pub users: Option<Arc<Users>>,
    /// TLS for clients; without it their requests for it are declined. May be replaced later.
    pub tls: Option<Arc<ListenerTls>>,
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
            auth_query: None,
            users: None,
            tls: None,
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
    custom_settings: Mutex<BTreeSet<String>>,
    /// What every session is asked for; replaced as a whole.
    setting_names: Mutex<Arc<SettingNames>>,
    tls: Mutex<Option<Arc<ListenerTls>>>,
    users: Mutex<Option<Arc<Users>>>,
    pub(super) registry: Registry,
    pub(super) cancel_keys: CancelKeys,
    pub(super) verifiers: Verifiers,
    observer: Observer,
    pub(super) type_names: TypeNames,
    pub(super) type_catalogs: TypeCatalogs,
    /// Whether values of sequences can be carried to the side that does not serve.
    carrying: Mutex<Carrying>,
    /// What opens the function that carries them.
    carry_token: String,
    /// When twins are opened.
    twins: Mutex<Twins>,
    /// How many sessions may still be asked for their sequences inside this hold.
    sequence_turns: AtomicUsize,
    /// Processes on the side that is gone to which are ours and no client's.
    appliers: Mutex<Vec<i32>>,
    pub(super) mock_seed: [u8; 32],
    /// Who may read a session's state and prepare its twin now.
    pub(super) turns: Arc<Semaphore>,
}

/// When twins are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Twins {
    /// While the other side still serves; they can be given values of sequences.
    #[default]
    Beforehand,
    /// Not yet: the side that is gone to is fenced.
    Late,
    /// That side is promoted and lets them in: its sequences are nobody's to try with any more.
    Promoted,
}

/// Whether values of sequences can be carried to the side that does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Carrying {
    /// Our functions are not there.
    #[default]
    Absent,
    /// They are.
    Open,
    /// They were, and a twin was refused: a server that crashes may forget that they were opened.
    Doubted,
    /// They are, and change nothing any more: the side may be promoted.
    Closed,
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
    /// The system gives no threads or no random bytes.
    pub fn new(options: RelayOptions) -> io::Result<Arc<Self>> {
        let mut mock_seed = [0; 32];
        getrandom::fill(&mut mock_seed).map_err(|_none| io::ErrorKind::Unsupported)?;
        let mut token = [0; 16];
        getrandom::fill(&mut token).map_err(|_none| io::ErrorKind::Unsupported)?;
        let carry_token = format!("{:032x}", u128::from_be_bytes(token));
        let threads = Threads::start(options.threads.max(1))?;
        let relay = Arc::new(Self {
            clients: AtomicUsize::new(0),
            threads,
            custom_settings: Mutex::default(),
            setting_names: Mutex::default(),
            tls: Mutex::new(options.tls.clone()),
            users: Mutex::new(options.users.clone()),
            registry: Registry::default(),
            cancel_keys: CancelKeys::default(),
            verifiers: Verifiers::default(),
            observer: Observer::default(),
            type_names: TypeNames::default(),
            type_catalogs: TypeCatalogs::default(),
            carrying: Mutex::default(),
            carry_token,
            twins: Mutex::default(),
            sequence_turns: AtomicUsize::new(SEQUENCE_TURNS),
            appliers: Mutex::default(),
            mock_seed,
            turns: Arc::new(Semaphore::new(options.twins_at_once.max(1))),
            options,
        });
        Ok(relay)
    }

    /// Takes a client that has just connected. Beyond the limits it is turned away.
    pub fn accept(self: &Arc<Self>, client: TcpStream, address: SocketAddr) {
        self.threads.hand_over(self, client, address);
    }

    /// Gives clients that come from now on another certificate.
    pub fn set_tls(&self, tls: ListenerTls) {
        *self.tls.lock() = Some(Arc::new(tls));
    }

    /// Checks clients that come from now on by other users' secrets.
    pub fn set_users(&self, users: Users) {
        *self.users.lock() = Some(Arc::new(users));
    }

    /// The users' secrets for a client that comes now.
    pub(super) fn users(&self) -> Option<Arc<Users>> {
        self.users.lock().clone()
    }

    /// The TLS for a client that comes now.
    pub(super) fn tls(&self) -> Option<Arc<ListenerTls>> {
        self.tls.lock().clone()
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

    /// What the server is asked for a role's verifier; nothing where a file has them and there is no
    /// query for the rest.
    pub(super) fn auth_query(&self) -> Option<&str> {
        let default = self.options.users.is_none().then_some(DEFAULT_QUERY);
        self.options.auth_query.as_deref().or(default)
    }

    /// The server of a side, if it is known.
    #[must_use]
    pub fn endpoint(&self, side: Side) -> Option<Endpoint> {
        match side {
            Side::Source => Some(self.options.source.clone()),
            Side::Target => self.options.target.clone(),
        }
    }

    /// The startup parameters for a side: as the client sent them, but with that side's name of
    /// the database that moves, also where the client left it to the server (the role's name).
    pub(super) fn parameters_for(&self, side: Side, startup: &Startup) -> Vec<(String, String)> {
        let mut parameters = startup.parameters.clone();
        if let (Side::Target, Some(target)) = (side, self.endpoint(side))
            && self.moves_database(startup.database())
        {
            parameters.retain(|(name, _)| name != "database");
            parameters.push(("database".to_owned(), target.database));
        }
        parameters
    }

    /// Whether a client's database is the one that moves.
    pub(super) fn moves_database(&self, database: &str) -> bool {
        database == self.options.source.database
    }

    /// Adds names of settings that are in no catalog (`app.tenant`): every session is asked for
    /// them before it moves. Names that cannot be such settings are left out.
    pub fn set_custom_settings(&self, names: impl IntoIterator<Item = String>) {
        let mut known = self.custom_settings.lock();
        let before = known.len();
        for name in names {
            if known.len() >= CUSTOM_SETTINGS_MAX {
                tracing::warn!(
                    limit = CUSTOM_SETTINGS_MAX,
                    "too many custom settings; the rest is not carried"
                );
                break;
            }
            if is_custom_setting(&name) {
                known.insert(name);
            }
        }
        if known.len() > before {
            let mut names = self.setting_names.lock();
            *names = Arc::new(SettingNames {
                custom: known.iter().cloned().collect(),
                known: names.known.clone(),
            });
        }
    }

    /// The settings that sessions are asked for.
    pub(super) fn setting_names(&self) -> Arc<SettingNames> {
        Arc::clone(&self.setting_names.lock())
    }

    /// Asks the server that serves which settings there are, unless that is known.
    async fn learn_settings(&self, serving: Side) {
        if !self.setting_names().known.is_empty() {
            return;
        }
        match self.observer.known_settings(self, serving).await {
            Ok(mut known) => {
                known.retain(|name| is_setting(name));
                let mut names = self.setting_names.lock();
                let custom = names.custom.clone();
                *names = Arc::new(SettingNames { custom, known });
            }
            Err(error) => tracing::warn!(%error, "the server does not list its settings"),
        }
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

    /// The process ids of all our backends on a side: sessions, twins, and the one that reads
    /// verifiers. These must survive a fence.
    #[must_use]
    pub fn backend_pids(&self, side: Side) -> Vec<i32> {
        let own = [self.verifiers.pid(side), self.observer.pid(side)];
        let mut pids: Vec<i32> = own.into_iter().flatten().collect();
        for entry in self.registry.all() {
            let legs = entry.legs.lock();
            let all = [
                Some(&legs.current),
                legs.twin.as_ref(),
                legs.retired.as_ref(),
            ];
            pids.extend(
                all.into_iter()
                    .flatten()
                    .filter(|leg| leg.side == side)
                    .map(|leg| leg.pid),
            );
        }
        pids
    }

    /// [`Relay::backend_pids`] of the source.
    #[must_use]
    pub fn source_pids(&self) -> Vec<i32> {
        self.backend_pids(Side::Source)
    }

    /// Reads the state of every session and has a twin ready for each that can be moved. Busy
    /// sessions are waited for until the deadline.
    ///
    /// # Cancel safety
    /// Sessions go on preparing when this is dropped.
    pub async fn prepare_twins(&self, patience: Duration) -> TwinReport {
        if !self.switch().is_held() {
            for side in [Side::Source, Side::Target] {
                self.observer.stand_ready(self, side).await;
            }
            self.learn_types().await;
            if let Some(serving) = self.switch().serving()
                && *self.carrying.lock() != Carrying::Open
            {
                self.learn_settings(serving).await;
                if self.twins() == Twins::Beforehand
                    && self.observer.install(serving, &self.carry_token).await
                {
                    *self.carrying.lock() = Carrying::Open;
                }
            }
        }
        self.ask_all(patience, Request::Prepare, |_entry| true)
            .await;
        self.twin_report()
    }

    /// Reads the types of both servers, so that nobody has to ask for them inside the hold.
    async fn learn_types(&self) {
        if self.options.target.is_some()
            && let Err(error) = self.type_catalogs.read_anew(self).await
        {
            tracing::warn!(%error, "the types of both servers cannot be compared yet");
        }
    }

    /// Whether twins are opened only once the side that is gone to lets somebody in: it is fenced
    /// since it was left itself. Sessions are read all the same, so that it is known which of them
    /// cannot be moved.
    pub fn set_late(&self, late: bool) {
        *self.twins.lock() = if late { Twins::Late } else { Twins::Beforehand };
    }

    /// When twins are opened.
    pub(super) fn twins(&self) -> Twins {
        *self.twins.lock()
    }

    /// The side that is gone to lets sessions in now, still inside the hold: those that have
    /// advisory locks or listen get their twins with these. The others open theirs when they go on.
    ///
    /// # Cancel safety
    /// As [`Relay::prepare_twins`].
    pub async fn prepare_late(&self, patience: Duration) {
        *self.twins.lock() = Twins::Promoted;
        let concerned = |entry: &Entry| {
            (!entry.locks.lock().is_empty() || entry.listens()) && entry.unmovable.lock().is_empty()
        };
        let deadline = Instant::now() + patience;
        self.ask_all(patience, Request::Prepare, concerned).await;
        if self.registry.all().iter().any(|entry| entry.listens()) {
            self.find_appliers().await;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        self.ask_all(left, Request::Complete, concerned).await;
    }

    /// Reads those sessions again that ran something since they were read, and brings their twins
    /// up to date. Inside the hold, when no transaction runs any more, twins also get what they may
    /// have only then: advisory locks and channels.
    ///
    /// # Cancel safety
    /// As [`Relay::prepare_twins`].
    pub async fn refresh_changed(&self, patience: Duration) -> TwinReport {
        let held = self.switch().is_held();
        if !held {
            self.sequence_turns.store(SEQUENCE_TURNS, Ordering::Relaxed);
        }
        if held && let Err(error) = self.find_locks().await {
            tracing::error!(%error, "it is not known which sessions have advisory locks");
            self.nobody_can_move("advisory locks");
            return self.twin_report();
        }
        // First everybody gives back what it had from an earlier hold, then takes what it has now.
        let has_locks = |entry: &Entry| held && !entry.locks.lock().is_empty();
        let concerned =
            |entry: &Entry| entry.is_dirty() || (held && entry.is_complete()) || has_locks(entry);
        self.ask_all(patience, Request::Refresh, concerned).await;
        if held {
            let lacks = |entry: &Entry| {
                (has_locks(entry) || entry.listens()) && entry.unmovable.lock().is_empty()
            };
            if self.registry.all().iter().any(|entry| entry.listens()) {
                self.find_appliers().await;
            }
            self.ask_all(patience, Request::Complete, lacks).await;
            self.close_carrying().await;
        }
        self.twin_report()
    }

    /// While the last transactions end: reads those sessions again that ran something since they
    /// were read, each as soon as it is idle, so that little is left when all are.
    ///
    /// # Cancel safety
    /// As [`Relay::prepare_twins`].
    pub async fn refresh_idle(&self, patience: Duration) {
        self.sequence_turns.store(SEQUENCE_TURNS, Ordering::Relaxed);
        let changes = |entry: &Entry| entry.is_dirty() || entry.state().is_in_transaction();
        self.ask_all(patience, Request::Read, changes).await;
    }

    /// Whether a session may be asked for its sequences now: always before the hold, and inside of
    /// it as long as that holds nobody up.
    pub(super) fn takes_sequence_turn(&self) -> bool {
        let take = |left: usize| left.checked_sub(1);
        let turns = &self.sequence_turns;
        !self.switch().is_held()
            || turns
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_ok()
    }

    /// Nothing that is still under way may touch the sequences of the side that is promoted next.
    async fn close_carrying(&self) {
        if !matches!(*self.carrying.lock(), Carrying::Open | Carrying::Doubted) {
            return;
        }
        let Some(side) = self.switch().serving().map(Side::other) else {
            return;
        };
        match self.observer.close_carrying(self, side).await {
            Ok(()) => *self.carrying.lock() = Carrying::Closed,
            Err(error) => {
                tracing::error!(%error, %side, "the function that carries sequences stays open");
                self.nobody_can_move("sequences");
            }
        }
    }

    /// Something is not known that concerns all sessions.
    fn nobody_can_move(&self, what: &str) {
        for entry in self.registry.all() {
            let unknown = Unmovable::Unreadable(what.to_owned());
            entry.unmovable.lock().push(unknown);
        }
    }

    /// Who asks about all sessions at once.
    pub(super) fn observer(&self) -> &Observer {
        &self.observer
    }

    /// A twin could not be given a value of a sequence: next time it is made sure first that it can.
    pub(super) fn doubt_carrying(&self) {
        let mut carrying = self.carrying.lock();
        if *carrying == Carrying::Open {
            *carrying = Carrying::Doubted;
        }
    }

    /// What opens the function that carries values of sequences.
    pub(super) fn carry_token(&self) -> &str {
        &self.carry_token
    }

    /// Takes away what twins needed on the side that they were on.
    async fn uninstall(&self) {
        self.type_names.forget();
        self.type_catalogs.forget();
        let before = std::mem::take(&mut *self.carrying.lock());
        if before != Carrying::Absent {
            for side in [Side::Target, Side::Source] {
                self.observer.remove(side).await;
            }
        }
    }

    /// Notes which session has which locks. No client's transaction runs.
    async fn find_locks(&self) -> Result<(), Unknown> {
        let entries = self.registry.all();
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let side = first.legs.lock().current.side;
        let mut locks = self.observer.locks(self, side).await?;
        for entry in entries {
            let pid = entry.legs.lock().current.pid;
            *entry.locks.lock() = locks.remove(&pid).unwrap_or_default();
        }
        Ok(())
    }

    async fn find_appliers(&self) {
        let Some(side) = self.switch().serving().map(Side::other) else {
            return;
        };
        match self.observer.appliers(self, side).await {
            Ok(pids) => *self.appliers.lock() = pids,
            Err(error) => tracing::warn!(%error, "it is not known which processes bring changes"),
        }
    }

    /// The processes whose notifications clients heard of from the side that served before.
    pub(super) fn appliers(&self) -> Vec<i32> {
        self.appliers.lock().clone()
    }

    /// The hold is over and the sessions stay where they are: their twins give back what they got
    /// inside of it.
    ///
    /// # Cancel safety
    /// As [`Relay::prepare_twins`].
    pub async fn relax_twins(&self, patience: Duration) {
        self.ask_all(patience, Request::Relax, Entry::is_complete)
            .await;
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
        self.verifiers.forget();
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
        self.uninstall().await;
        self.observer.forget();
        self.registry
            .all()
            .iter()
            .filter(|entry| elsewhere(entry))
            .count()
    }

    /// Closes all twins: the migration was given up, or is over.
    ///
    /// # Cancel safety
    /// As [`Relay::prepare_twins`].
    pub async fn drop_twins(&self, patience: Duration) {
        self.uninstall().await;
        self.observer.forget();
        self.ask_all(patience, Request::DropTwin, |entry| {
            entry.is_asked() || entry.legs.lock().twin.is_some()
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

    /// Ends a session now: FATAL 57P01 for the client, and its query is cancelled. `false` when
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
