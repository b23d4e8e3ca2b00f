//! PostgreSQL as an engine: the crate `pgwal` behind the trait.

mod clients;
mod copy;
mod flow;
mod movement;
mod way_back;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pgwal::apply::{Applier, ApplyOptions};
use pgwal::check::{self, CheckOptions, LargeObjects, Verifiers};
use pgwal::movement::fence;
use pgwal::movement::journal::{self, Outcome};
use pgwal::movement::sides::{Arriving, Leaving};
use pgwal::movement::standing;
use pgwal::schema::catalog::Catalog;
use pgwal::schema::cleanup::{self, CleanupReport, FenceFate};
use pgwal::schema::initial::{InitialDone, StreamStart};
use pgwal::schema::setup::migration_id;
use pgwal::session::{ListenerTls, Relay, RelayOptions, TlsDemand, Users};
use pgwal::stream::{Stream, StreamOptions};
use pgwal::verify::{self, VerifyOptions};
use pgwal::wire::{Endpoint, Secret, SqlConn};
use router::cutover::{Arrival, Resolution};
use router::verify::{Progress, Report};
use router::window::WindowLimits;
use router::{Epoch, Lsn, Side, Switch, words};

use self::copy::Copy;
use self::flow::PgFlow;
use super::interruption::{BEGIN_AGAIN, Interruption};
use super::{Cleanup, Engine, Finding, Level, Limits, NoWayBack, Prepared, WhoServes};
use crate::config::{Config, KeylessTables, TlsClients};

/// The word of `--accept` for large objects.
const LARGE_OBJECTS: &str = "large-objects";

/// TLS for clients as the files are now.
fn listener_tls(config: &Config) -> anyhow::Result<Option<ListenerTls>> {
    let Some(files) = config.tls.read()? else {
        return Ok(None);
    };
    let demand = match config.tls.clients {
        TlsClients::Allow => TlsDemand::Allow,
        TlsClients::Require => TlsDemand::Require,
    };
    let authorities = files.client_ca.as_deref();
    ListenerTls::from_pem(&files.certificate, &files.key, authorities, demand)
        .map(Some)
        .context("[tls] cannot be used")
}

/// The two servers and the relay in front of them.
pub(crate) struct Postgres {
    config: Arc<Config>,
    source: Endpoint,
    target: Option<Endpoint>,
    relay: Arc<Relay>,
}

impl Postgres {
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

    /// [`Postgres::target`] for what a migration has begun with.
    fn target_of_migration(&self) -> Result<&Endpoint, Interruption> {
        self.target().map_err(Interruption::MayPass)
    }

    fn apply_options(&self, origin: &str, start: Lsn) -> ApplyOptions {
        let config = &self.config.apply;
        ApplyOptions {
            lanes: u16::try_from(config.lanes).unwrap_or(u16::MAX),
            window: WindowLimits {
                rows_max: config.window.rows,
                bytes_max: config.window.bytes.0,
                ..WindowLimits::default()
            },
            ..ApplyOptions::new(origin, start)
        }
    }

    /// What is on the serving side and not on the other, or the other way round.
    async fn drift_between(
        &self,
        serving: Side,
        here: &SqlConn,
        there: &SqlConn,
    ) -> Result<Vec<String>, String> {
        let filter = copy::filter(&self.config);
        let (now, moved) = tokio::try_join!(
            Catalog::read(here, serving, &filter),
            Catalog::read(there, serving.other(), &filter),
        )
        .map_err(|error| words(&error))?;
        Ok(moved.drift(&now).iter().map(ToString::to_string).collect())
    }

    fn check_options(&self, accept: &[String], migration_id: Option<String>) -> CheckOptions {
        let config = &self.config;
        CheckOptions {
            keyless_tables: match config.copy.keyless_tables {
                KeylessTables::Full => check::KeylessTables::Full,
                KeylessTables::Refuse => check::KeylessTables::Refuse,
            },
            large_objects: match accept.iter().any(|word| word == LARGE_OBJECTS) {
                true => LargeObjects::Accept,
                false => LargeObjects::Refuse,
            },
            tables: copy::filter(config),
            pg_dump_dir: config.copy.pg_dump_dir.clone(),
            verifiers: match (&config.auth.query, &config.auth.users_file) {
                (_, Some(_)) => Verifiers::File,
                (Some(_), None) => Verifiers::Query,
                (None, None) => Verifiers::Catalog,
            },
            migration_id,
            ours: self.relay.source_pids(),
            nologin: config.fence.nologin.clone(),
            trusted_roles: config.fence.trusted_roles.clone(),
            trusted_workers: config.fence.trusted_workers.clone(),
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

fn users(config: &Config) -> anyhow::Result<Option<Users>> {
    let file = config.auth.users_file.as_deref();
    Ok(file.map(Users::read).transpose()?)
}

impl Engine for Postgres {
    type Clients = Relay;
    type Conn = SqlConn;
    type Position = Lsn;
    type LogEnd = Lsn;
    type Copy = Copy;
    type Stream = Stream;
    type Applier = Applier;
    type Flow = PgFlow;
    type Leaving = Leaving;
    type Arriving = Arriving;

    const ACCEPTABLE: &'static [&'static str] = &[LARGE_OBJECTS];

    fn new(config: &Arc<Config>, switch: Arc<Switch>, threads: usize) -> anyhow::Result<Self> {
        let source = endpoint(config, Side::Source)?.context("`source` is missing")?;
        let target = endpoint(config, Side::Target)?;
        let relay = Relay::new(RelayOptions {
            target: target.clone(),
            threads,
            login_timeout: config.sessions.login_timeout.0,
            auth_query: config.auth.query.clone(),
            users: users(config)?.map(Arc::new),
            tls: listener_tls(config)?.map(Arc::new),
            clients_max: config.sessions.max,
            ..RelayOptions::new(source.clone(), switch)
        })
        .context("cannot start the relay")?;
        relay.set_custom_settings(config.sessions.custom_settings.iter().cloned());
        Ok(Self {
            config: Arc::clone(config),
            source,
            target,
            relay,
        })
    }

    fn reload(&self) -> anyhow::Result<()> {
        let (tls, users) = (listener_tls(&self.config)?, users(&self.config)?);
        if let Some(tls) = tls {
            self.relay.set_tls(tls);
        }
        if let Some(users) = users {
            self.relay.set_users(users);
        }
        Ok(())
    }

    fn clients(&self) -> &Arc<Relay> {
        &self.relay
    }

    fn server(&self, side: Side) -> Option<String> {
        let endpoint = self.endpoint(side).ok()?;
        Some(format!("{}/{}", endpoint.address(), endpoint.database))
    }

    /// A spool has the name of its slot.
    fn is_spool(name: &str) -> bool {
        name.strip_suffix("_back")
            .unwrap_or(name)
            .strip_prefix("pointsman_")
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

    async fn check(&self, accept: &[String]) -> Vec<Finding> {
        let Ok(target) = self.target() else {
            return Vec::new();
        };
        // Its own objects are no leftovers.
        let begun = self.migration_id(Side::Source).await.ok().flatten();
        let options = self.check_options(accept, begun);
        let findings = check::run(&self.source, target, &options).await;
        findings.iter().map(finding).collect()
    }

    fn copy(&self, id: &str) -> Copy {
        // Without a target nothing is begun, so that this stands for nothing.
        let target = self.target.clone().unwrap_or_else(|| self.source.clone());
        Copy::new(&self.config, &self.relay, self.source.clone(), target, id)
    }

    async fn applier(&self, copied: InitialDone) -> Result<Applier, Interruption> {
        let target = self.target_of_migration()?;
        let mut options = self.apply_options(&copied.start.slot, copied.start.consistent_point);
        // After a rollback the stream begins where the source's log stood then.
        if let Some((epoch, position)) = way_back::begun_anew(self, Side::Source).await? {
            options.epoch = epoch;
            options.start = position;
        }
        options.ignored_origin = Some(format!("{}_back", copied.start.slot));
        let opened = Applier::open(target, options, copied.watermarks).await;
        opened.map_err(|error| flow::of_apply(&error))
    }

    async fn open_stream(
        &self,
        start: &StreamStart,
        behind: Option<&Applier>,
    ) -> Result<Stream, Interruption> {
        let spool = &self.config.spool;
        let position = behind.map_or(start.consistent_point, Applier::position);
        let (slot, publication) = (start.slot.as_str(), start.publication.as_str());
        let options = StreamOptions {
            source: Some(start.source.clone()),
            spool_limit_bytes: spool.limit.0,
            ..StreamOptions::new(slot, publication, position, spool.dir.join(slot))
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

    fn flow(&self, stream: &Stream, applier: &Applier) -> PgFlow {
        PgFlow::new(stream.handle(), applier.handle())
    }

    async fn run(mut applier: Applier, stream: Stream) -> Result<(), Interruption> {
        let acknowledge = stream.handle();
        let run = applier.run(stream, move |position| acknowledge.acknowledge(position));
        run.await.map_err(|error| flow::of_apply(&error))
    }

    async fn log_end(&self, source: &SqlConn) -> Result<Lsn, String> {
        flow::log_end(source).await
    }

    async fn drift(&self, serving: Side) -> Result<Vec<String>, String> {
        let here = self.connect(serving, "pointsman watch").await?;
        let there = self.connect(serving.other(), "pointsman watch").await?;
        self.drift_between(serving, &here, &there).await
    }

    async fn compare(
        &self,
        flow: PgFlow,
        name: &str,
        progress: &Arc<Progress>,
    ) -> Result<Report, String> {
        let options = VerifyOptions {
            filter: copy::filter(&self.config),
            workers: self.config.verify.workers,
            bytes_per_second: self.config.verify.bandwidth_limit.map(|limit| limit.0),
            application_name: name.to_owned(),
        };
        let (source, target) = (&self.source, self.target()?);
        let compared = verify::run(source, target, flow.apply(), &options, progress).await;
        compared.map_err(|error| words(&error))
    }

    async fn end_comparison(&self, name: &str) -> Result<(), String> {
        let (source, target) = (&self.source, self.target()?);
        let ended = tokio::try_join!(
            verify::end_sessions(source, Side::Source, name),
            verify::end_sessions(target, Side::Target, name),
        );
        ended.map(|_both| ()).map_err(|error| words(&error))
    }

    async fn way_back(&self) -> Result<(Applier, Stream), Interruption> {
        way_back::open(self).await
    }

    async fn prepare_way_back(&self, to: Side) -> Result<(), NoWayBack> {
        way_back::prepare(self, to).await
    }

    async fn look_for_way_back(&self, to: Side) -> Result<(), String> {
        way_back::look(self, to).await
    }

    async fn forget_way_back(&self, side: Side) -> Result<(), String> {
        way_back::forget(self, side).await
    }

    async fn arrival(&self, to: Side) -> Result<Arrival, String> {
        let client = self.connect(to, "pointsman control").await?;
        let state = fence::state(&client).await.map_err(|error| words(&error))?;
        Ok(match state.is_fenced() {
            true => Arrival::Fenced,
            false => Arrival::Open,
        })
    }

    const FENCED_LETS_IN: bool = false;

    async fn prepare(
        &self,
        to: Side,
        flow: impl Fn() -> Option<PgFlow> + Send + Sync + 'static,
        limits: Limits,
    ) -> Result<Prepared<Self>, String> {
        movement::prepare(self, to, flow, limits).await
    }

    fn foreign_ended(leaving: &Leaving) -> usize {
        leaving
            .fence_report()
            .map_or(0, |report| report.ended.len())
    }

    async fn for_replicas(_leaving: &Leaving, _arriving: &Arriving) -> Vec<String> {
        // A physical replica has nothing in common with the new server.
        Vec::new()
    }

    async fn who_serves(
        &self,
        source: Result<&SqlConn, String>,
        target: Result<&SqlConn, String>,
    ) -> WhoServes {
        let (source, target) = (source.map(|conn| &**conn), target.map(|conn| &**conn));
        let mut facts = standing::facts(source, target).await;
        if !self.has_target() {
            facts = facts.without_target();
        }
        WhoServes {
            standing: standing::decide(&facts),
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
        let lowered = fence::lower_epoch(conn, epoch, timeout).await;
        lowered.map(drop).map_err(|error| words(&error))
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
    fn a_spool_is_known_by_its_slots_name() {
        assert!(Postgres::is_spool("pointsman_0a1b2c3d"));
        assert!(Postgres::is_spool("pointsman_0a1b2c3d_back"));
        for other in [
            "pointsman_",
            "pointsman_0a1b2c3",
            "pointsman_0a1b2c3g",
            "precious",
        ] {
            assert!(!Postgres::is_spool(other), "{other}");
        }
    }
}
