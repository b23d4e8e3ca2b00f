//! MySQL and MariaDB as an engine: the crate `binlog` behind the trait. Which of the two a server is,
//! and of which version, the crate asks the server.

mod clients;
mod copy;
mod flow;
mod movement;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use binlog::apply::{Applier, ApplyOptions};
use binlog::check::{self, CheckOptions};
use binlog::movement::events;
use binlog::movement::fence;
use binlog::movement::journal::{self, Outcome};
use binlog::movement::sides::{Arriving, Leaving};
use binlog::movement::standing;
use binlog::name::QualifiedName;
use binlog::position::Position;
use binlog::schema::bookkeeping;
use binlog::schema::catalog::Scope;
use binlog::schema::cleanup::{self, CleanupReport, FenceFate};
use binlog::schema::setup::migration_id;
use binlog::session::{
    ClientTls, ListenerTls, LocalInfile, PasswordLearning, Relay, RelayOptions, TlsDemand,
};
use binlog::stream::{Stream, StreamOptions, Suspicions, TableChoice};
use binlog::verify::{self, VerifyOptions};
use binlog::wire::{Endpoint, Secret, SqlConn};
use router::cutover::standing::Standing;
use router::cutover::{Arrival, Resolution};
use router::verify::{Progress, Report};
use router::window::WindowLimits;
use router::{Epoch, Side, Switch, words};
use tokio::time::timeout;
use tracing::warn;

use self::copy::{Copied, Copy, Start};
use self::flow::{BinlogEnd, MyFlow};
use super::interruption::{BEGIN_AGAIN, Interruption};
use super::{Cleanup, Engine, Finding, Level, Limits, NoWayBack, Prepared, WhoServes};
use crate::config::{Config, KeylessTables, LearnPasswords, TlsClients};
use crate::status::Failure;

/// What the applier's sessions on the target are called.
const APPLIER: &str = "pointsman apply";

/// How long enabling the target's events may take before it is tried again.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long closing a source again may wait for statements that run there.
const REASSERT_TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no rollback.
const NO_WAY_BACK: &str = "pointsman streams nothing back from MySQL and MariaDB in this version";

/// The two servers and the relay in front of them.
pub(crate) struct MySql {
    config: Arc<Config>,
    source: Endpoint,
    target: Option<Endpoint>,
    relay: Arc<Relay>,
    /// What went wrong with earlier streams.
    suspicions: Suspicions,
    /// Whether the events of the target, which serves, were enabled by this process.
    events: AtomicBool,
    /// The sessions of a comparison.
    comparing: verify::Sessions,
}

impl MySql {
    /// The target, which there is: everything that needs it is refused without.
    fn target(&self) -> Result<&Endpoint, String> {
        self.target
            .as_ref()
            .ok_or_else(|| "no target is configured".to_owned())
    }

    fn endpoint(&self, side: Side) -> Result<&Endpoint, String> {
        match side {
            Side::Source => Ok(&self.source),
            Side::Target => self.target(),
        }
    }

    /// Which databases are moved.
    fn scope(&self) -> Scope {
        Scope::of_database(self.source.database.as_deref())
    }

    /// Whose rows are wanted from the stream: those that move, and our own.
    fn choice(&self) -> TableChoice {
        let (scope, filter) = (self.scope(), copy::filter(&self.config));
        Arc::new(move |schema, table| {
            let moves =
                || scope.holds(schema) && filter.chooses(&QualifiedName::new(schema, table));
            schema == bookkeeping::SCHEMA || moves()
        })
    }

    /// Enables the events that the movement did not come to, or that a proxy that was killed left
    /// disabled; once a process. An unreachable target is asked again.
    async fn enable_events(&self) {
        if self.events.load(Ordering::Relaxed) {
            return;
        }
        let Ok(target) = self.connect(Side::Target, "pointsman events").await else {
            return;
        };
        match events::enable_saved(&target).await {
            Ok(failed) => {
                self.events.store(true, Ordering::Relaxed);
                for what in failed {
                    warn!(%what, "the target serves, but its events could not all be enabled");
                }
            }
            Err(error) => {
                let error = words(&error);
                warn!(%error, "the target serves, but its events could not be enabled yet");
            }
        }
    }

    fn check_options(&self, migration_id: Option<String>) -> CheckOptions {
        let config = &self.config;
        CheckOptions {
            keyless_tables: match config.copy.keyless_tables {
                KeylessTables::Full => check::KeylessTables::Full,
                KeylessTables::Refuse => check::KeylessTables::Refuse,
            },
            tables: copy::filter(config),
            migration_id,
            ours: self.relay.backend_ids(Side::Source),
            nologin: config.fence.nologin.clone(),
            trusted_roles: config.fence.trusted_roles.clone(),
        }
    }
}

fn endpoint(config: &Config, side: Side) -> anyhow::Result<Option<Endpoint>> {
    let Some(url) = config.url(side) else {
        return Ok(None);
    };
    let endpoint: Endpoint = url.parse()?;
    Ok(Some(match config.password(side)? {
        Some(password) => endpoint.with_password(Secret::new(password)),
        None => endpoint,
    }))
}

/// TLS for clients as the files are now; `None` without files.
fn listener_tls(config: &Config) -> anyhow::Result<Option<ListenerTls>> {
    let demand = match config.tls.clients {
        TlsClients::Allow => TlsDemand::Allow,
        TlsClients::Require => TlsDemand::Require,
    };
    let Some(files) = config.tls.read()? else {
        return Ok(None);
    };
    let authorities = files.client_ca.as_deref();
    ListenerTls::from_pem(&files.certificate, &files.key, authorities, demand)
        .map(Some)
        .context("[tls] cannot be used")
}

/// TLS is always offered: several clients refuse `caching_sha2_password` in clear.
fn client_tls(config: &Config) -> anyhow::Result<ClientTls> {
    let given = listener_tls(config)?.map(|tls| ClientTls::Given(Arc::new(tls)));
    Ok(given.unwrap_or_default())
}

/// Our number among the source's replicas: another one than theirs, and the same after a restart.
fn server_id(migration: &str) -> u32 {
    u32::from_str_radix(migration, 16)
        .unwrap_or_default()
        .max(1)
}

impl Engine for MySql {
    type Clients = Relay;
    type Conn = SqlConn;
    type Position = Position;
    type LogEnd = BinlogEnd;
    type Copy = Copy;
    type Stream = Stream;
    type Applier = Applier;
    type Flow = MyFlow;
    type Leaving = Leaving;
    type Arriving = Arriving;

    const ACCEPTABLE: &'static [&'static str] = &[];

    fn new(config: &Arc<Config>, switch: Arc<Switch>, threads: usize) -> anyhow::Result<Self> {
        let source = endpoint(config, Side::Source)?.context("`source` is missing")?;
        let target = endpoint(config, Side::Target)?;
        let relay = Relay::new(RelayOptions {
            target: target.clone(),
            threads,
            login_timeout: config.sessions.login_timeout.0,
            tls: client_tls(config)?,
            local_infile: match config.sessions.local_infile {
                true => LocalInfile::Relayed,
                false => LocalInfile::Refused,
            },
            password_learning: match config.auth.learn_passwords {
                LearnPasswords::WhenNeeded => PasswordLearning::WhenNeeded,
                LearnPasswords::Never => PasswordLearning::Never,
            },
            clients_max: config.sessions.max,
            ..RelayOptions::new(source.clone(), switch)
        })
        .context("cannot start the relay")?;
        Ok(Self {
            config: Arc::clone(config),
            source,
            target,
            relay,
            suspicions: Suspicions::default(),
            events: AtomicBool::new(false),
            comparing: verify::Sessions::default(),
        })
    }

    fn reload(&self) -> anyhow::Result<()> {
        if let Some(tls) = listener_tls(&self.config)? {
            self.relay.set_tls(tls);
        }
        Ok(())
    }

    fn clients(&self) -> &Arc<Relay> {
        &self.relay
    }

    fn server(&self, side: Side) -> Option<String> {
        let endpoint = self.endpoint(side).ok()?;
        let address = endpoint.address();
        Some(match &endpoint.database {
            Some(database) => format!("{address}/{database}"),
            None => address,
        })
    }

    /// A spool has the name of its migration.
    fn is_spool(name: &str) -> bool {
        name.strip_prefix("pointsman_")
            .is_some_and(|id| id.len() == 8 && id.bytes().all(|digit| digit.is_ascii_hexdigit()))
    }

    async fn connect(&self, side: Side, purpose: &str) -> Result<SqlConn, String> {
        let connected = self.endpoint(side)?.connect_sql(purpose).await;
        connected.map_err(|error| words(&error))
    }

    async fn migration_id(&self, side: Side) -> Result<Option<String>, String> {
        let client = self
            .connect(side, "pointsman control")
            .await
            .map_err(|why| format!("the {side} cannot be reached: {why}"))?;
        migration_id(&client, side)
            .await
            .map_err(|error| words(&error))
    }

    async fn check(&self, _accept: &[String]) -> Vec<Finding> {
        let Ok(target) = self.target() else {
            return Vec::new();
        };
        // Its own objects are no leftovers.
        let begun = self.migration_id(Side::Source).await.ok().flatten();
        let options = self.check_options(begun);
        let findings = check::run(&self.source, target, &options).await;
        findings.iter().map(finding).collect()
    }

    fn copy(&self, id: &str) -> Copy {
        // Without a target nothing is begun, so that this stands for nothing.
        let target = self.target.clone().unwrap_or_else(|| self.source.clone());
        Copy::new(&self.config, self.source.clone(), target, id)
    }

    async fn applier(&self, copied: Copied) -> Result<Applier, Interruption> {
        let config = &self.config.apply;
        let options = ApplyOptions {
            lanes: u16::try_from(config.lanes).unwrap_or(u16::MAX),
            window: WindowLimits {
                rows_max: config.window.rows,
                bytes_max: config.window.bytes.0,
                ..WindowLimits::default()
            },
            ..ApplyOptions::new(APPLIER, copied.done.start.position, self.scope())
        };
        let target = self.target().map_err(Interruption::MayPass)?;
        let opened = Applier::open(target, options, copied.done.watermarks).await;
        opened.map_err(|error| flow::of_apply(&error))
    }

    async fn open_stream(
        &self,
        start: &Start,
        behind: Option<&Applier>,
    ) -> Result<Stream, Interruption> {
        let spool = &self.config.spool;
        let position = behind.map_or_else(|| start.stream.position.clone(), Applier::position);
        let folder = spool.dir.join(format!("pointsman_{}", start.id));
        let options = StreamOptions {
            source: Some(start.stream.source.clone()),
            spool_limit_bytes: spool.limit.0,
            tables: Some(self.choice()),
            suspicions: self.suspicions.clone(),
            ..StreamOptions::new(position, server_id(&start.id), folder)
        };
        let opened = Stream::open(&self.source, options).await;
        opened.map_err(|error| {
            let what = "the stream cannot be opened";
            Interruption::of(error.is_transient(), what, &error, BEGIN_AGAIN)
        })
    }

    fn has_failed(stream: &Stream) -> bool {
        stream.has_failed()
    }

    fn waits_for_space(stream: &Stream) -> Option<String> {
        stream.handle().waits_for_space()
    }

    fn flow(&self, stream: &Stream, applier: &Applier) -> MyFlow {
        MyFlow::new(stream.handle(), applier.handle())
    }

    async fn run(mut applier: Applier, stream: Stream) -> Result<(), Interruption> {
        let acknowledge = stream.handle();
        let run = applier.run(stream, move |position| {
            acknowledge.acknowledge(position.clone());
        });
        run.await.map_err(|error| flow::of_apply(&error))
    }

    async fn log_end(&self, source: &SqlConn) -> Result<BinlogEnd, String> {
        flow::log_end(source).await
    }

    /// Definitions are in the stream, so that what differs is on its way.
    async fn drift(&self, _serving: Side) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }

    async fn compare(
        &self,
        flow: MyFlow,
        name: &str,
        progress: &Arc<Progress>,
    ) -> Result<Report, String> {
        let options = VerifyOptions {
            scope: self.scope(),
            filter: copy::filter(&self.config),
            workers: self.config.verify.workers,
            bytes_per_second: self.config.verify.bandwidth_limit.map(|limit| limit.0),
            lock_timeout: self.config.copy.lock_timeout.0,
            program_name: name.to_owned(),
        };
        let (source, target, sessions) = (&self.source, self.target()?, &self.comparing);
        let compared = verify::run(source, target, flow.apply(), &options, sessions, progress);
        Box::pin(compared).await.map_err(|error| words(&error))
    }

    async fn end_comparison(&self, _name: &str) -> Result<(), String> {
        let (source, target) = (&self.source, self.target()?);
        let ended = tokio::try_join!(
            self.comparing.end(source, Side::Source),
            self.comparing.end(target, Side::Target),
        );
        ended.map(|_both| ()).map_err(|error| words(&error))
    }

    async fn way_back(&self) -> Result<(Applier, Stream), Interruption> {
        Err(Interruption::Definite(Failure {
            what: "there is no way back".to_owned(),
            detail: NO_WAY_BACK.to_owned(),
            hint: "pointsman finish, when you are sure of the new server".to_owned(),
        }))
    }

    async fn prepare_way_back(&self, _to: Side) -> Result<(), NoWayBack> {
        Err(NoWayBack::Never(NO_WAY_BACK.to_owned()))
    }

    async fn look_for_way_back(&self, _to: Side) -> Result<(), String> {
        Err(NO_WAY_BACK.to_owned())
    }

    async fn forget_way_back(&self, _side: Side) -> Result<(), String> {
        Ok(())
    }

    async fn arrival(&self, _to: Side) -> Result<Arrival, String> {
        Ok(Arrival::Open)
    }

    const FENCED_LETS_IN: bool = true;

    async fn prepare(
        &self,
        to: Side,
        flow: impl Fn() -> Option<MyFlow> + Send + Sync + 'static,
        limits: Limits,
    ) -> Result<Prepared<Self>, String> {
        match to {
            Side::Target => movement::prepare(self, flow, limits).await,
            Side::Source => Err(NO_WAY_BACK.to_owned()),
        }
    }

    fn foreign_ended(leaving: &Leaving) -> usize {
        leaving
            .fence_report()
            .map_or(0, |report| report.ended.len())
    }

    async fn for_replicas(leaving: &Leaving, arriving: &Arriving) -> Vec<String> {
        let ends = match leaving.ends_at().await {
            Ok(place) => format!("the old server's log ends at {place}"),
            Err(why) => format!("where the old server's log ends is not known: {why}"),
        };
        let goes_on = match arriving.promoted_at() {
            Ok(place) => format!("the new server's log goes on at {place}"),
            Err(why) => format!(
                "where the new server's log goes on is not known: {why}; it is behind the \
                 transaction that set pointsman.movement to switched there"
            ),
        };
        vec![ends, goes_on]
    }

    async fn who_serves(
        &self,
        source: Result<&SqlConn, String>,
        target: Result<&SqlConn, String>,
    ) -> WhoServes {
        let reachable = source.as_ref().ok().copied();
        let mut facts = standing::facts(source, target).await;
        if !self.has_target() {
            facts = facts.without_target();
        }
        let standing = standing::decide(&facts);
        if let (Standing::Serves(Side::Target, _), true, Some(source)) =
            (&standing, facts.source_is_open(), reachable)
            && let Err(error) = fence::reassert(source, REASSERT_TIMEOUT).await
        {
            let error = words(&error);
            warn!(%error, "the source takes writes although it was left, and cannot be closed");
        }
        WhoServes {
            standing,
            source_silent: facts.source.unreachable().map(str::to_owned),
            target_silent: facts.target.unreachable().map(str::to_owned),
        }
    }

    async fn resolve(target: &SqlConn, epoch: Epoch) -> Result<Resolution, String> {
        let outcome = journal::resolve(target, epoch)
            .await
            .map_err(|error| words(&error))?;
        Ok(match outcome {
            Outcome::Switched => Resolution::Switched,
            Outcome::Aborted => Resolution::Aborted,
        })
    }

    async fn lower_fence(conn: &SqlConn, epoch: Epoch, timeout: Duration) -> Result<(), String> {
        let report = fence::lower_epoch(conn, epoch, timeout)
            .await
            .map_err(|error| words(&error))?;
        for what in report.not_exact {
            warn!(%what, "the fence is down, and something is not as it was before");
        }
        Ok(())
    }

    async fn keep_closed(&self) -> Result<(), String> {
        let source = self.connect(Side::Source, "pointsman guard").await?;
        let state = fence::state(&source).await.map_err(|error| words(&error))?;
        if state.is_open() {
            warn!("the source takes writes again although it was left; closing it");
            let closed = fence::reassert(&source, REASSERT_TIMEOUT).await;
            closed.map_err(|error| words(&error))?;
        }
        // The next look must not wait for definitions on the target.
        let enabled = timeout(EVENTS_TIMEOUT, self.enable_events()).await;
        enabled.map_err(|_elapsed| "the target's events are still being enabled".to_owned())
    }

    async fn finish(&self, lift_fence: bool) -> Result<Cleanup, String> {
        let fate = match lift_fence {
            true => FenceFate::Lift,
            false => FenceFate::Keep,
        };
        let cleaned = cleanup::finish(&self.source, self.target()?, fate).await;
        cleaned.map(cleaned_up).map_err(|error| words(&error))
    }

    async fn abort(&self) -> Result<Cleanup, String> {
        let cleaned = cleanup::abort(&self.source, self.target()?).await;
        cleaned.map(cleaned_up).map_err(|error| words(&error))
    }
}

fn cleaned_up(report: CleanupReport) -> Cleanup {
    Cleanup {
        done: report.done,
        left: report.left,
    }
}

fn finding(finding: &check::Finding) -> Finding {
    Finding {
        level: match finding.level {
            check::Level::Ok => Level::Ok,
            check::Level::Warn => Level::Warn,
            check::Level::Fail => Level::Fail,
        },
        text: finding.to_string(),
        json: serde_json::to_value(finding).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_has_one_number_among_the_replicas() {
        assert_eq!(server_id("0a1b2c3d"), 0x0a1b_2c3d);
        assert_eq!(server_id("00000000"), 1, "0 is no replica");
    }
}
