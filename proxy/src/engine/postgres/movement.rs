//! What PostgreSQL needs before a movement may begin, in either direction.

use std::sync::Arc;

use pgwal::movement::fence::FenceOptions;
use pgwal::movement::journal;
use pgwal::movement::ready::{self, Asked, Lag, Lines, Obstacle};
use pgwal::movement::sides::{APPLICATION_NAME, Arrival, Arriving, Leaving, Ours};
use pgwal::wire::SqlConn;
use router::{Side, words};

use super::Postgres;
use super::flow::{self, PgFlow};
use crate::config::Config;
use crate::engine::{Engine as _, Flow as _, Limits, Prepared};

/// The connections of a movement.
struct Connections {
    leave: SqlConn,
    arrive: SqlConn,
    /// To the journal on the target, if that is the side that is left.
    journal: Option<SqlConn>,
}

impl Connections {
    async fn open(engine: &Postgres, to: Side) -> Result<Self, String> {
        let journal = match to {
            Side::Source => Some(engine.connect(Side::Target, APPLICATION_NAME).await?),
            Side::Target => None,
        };
        Ok(Self {
            leave: engine.connect(to.other(), APPLICATION_NAME).await?,
            arrive: engine.connect(to, APPLICATION_NAME).await?,
            journal,
        })
    }

    fn journal(&self) -> &SqlConn {
        self.journal.as_ref().unwrap_or(&self.arrive)
    }

    fn lines(&self) -> Lines<'_> {
        Lines {
            leave: &self.leave,
            arrive: &self.arrive,
            journal: self.journal(),
        }
    }

    /// Process ids on the side that is left.
    fn pids(&self) -> Vec<i32> {
        let journal = self.journal.iter().map(SqlConn::backend_pid);
        journal.chain([self.leave.backend_pid()]).collect()
    }
}

/// See [`crate::engine::Engine::prepare`].
pub(super) async fn prepare(
    engine: &Postgres,
    to: Side,
    current: impl Fn() -> Option<PgFlow> + Send + Sync + 'static,
    limits: Limits,
) -> Result<Prepared<Postgres>, String> {
    let flow = current().ok_or("the stream has stopped: see `pointsman status`")?;
    let connections = Connections::open(engine, to).await?;
    let (leave, arrive) = (&connections.leave, &connections.arrive);
    let every_sequence = |_: &str, _: &str| true;
    let options = fence_options(&engine.config);
    let statements = ready::prepare(connections.lines(), to, options, every_sequence).await;
    // After that: it has noted the schema, so what changes from here on is found behind the fence.
    let drift = engine.drift_between(to.other(), leave, arrive).await?;
    let statements = statements.map_err(|error| match drift.is_empty() {
        true => words(&error),
        false => format!("{} ({})", words(&error), drift.join("; ")),
    })?;
    let ours = ours(engine, current, to.other(), connections.pids());
    let pids = ours();
    let log_end = flow::log_end(leave).await?;
    let asked = Asked {
        to,
        fence: &statements.fence,
        ours: &pids,
        lag: Lag {
            bytes: flow.bytes_behind(&log_end),
            bytes_max: limits.lag_bytes_max,
        },
        drift: &drift,
        long_after: limits.long_after,
    };
    let findings = ready::check(leave, arrive, asked)
        .await
        .map_err(|error| words(&error))?;
    let epoch = journal::next_epoch(connections.journal())
        .await
        .map_err(|error| words(&error))?;
    let Connections {
        leave,
        arrive,
        journal,
    } = connections;
    let apply = flow.apply().clone();
    let arrival = |side: Side, client: SqlConn| -> Result<Arrival, String> {
        let endpoint = engine.endpoint(side)?.clone();
        Ok(Arrival { endpoint, client })
    };
    let from = engine.endpoint(to.other())?.clone();
    let leave = Leaving::new(from, leave, statements.clone(), ours);
    let arrive = arrival(to, arrive)?;
    let arrive = match journal {
        Some(journal) => {
            let journal = arrival(Side::Target, journal)?;
            Arriving::at_source(arrive, journal, statements, apply)
        }
        None => Arriving::at_target(arrive, statements, apply),
    };
    Ok(Prepared {
        leave,
        arrive,
        epoch,
        obstacles: findings.obstacles.iter().map(in_words).collect(),
        long_transactions: findings
            .long_transactions
            .iter()
            .map(ToString::to_string)
            .collect(),
    })
}

fn fence_options(config: &Config) -> FenceOptions {
    FenceOptions {
        nologin: config.fence.nologin.clone(),
        trusted_roles: config.fence.trusted_roles.clone(),
        trusted_workers: config.fence.trusted_workers.clone(),
        // The pause's own limit counts; a busy server may need a good part of it.
        end_timeout: config
            .cutover
            .max_pause
            .0
            .max(FenceOptions::default().end_timeout),
        ..FenceOptions::default()
    }
}

/// The server processes that the fence must spare, asked at the moment it goes up.
fn ours(
    engine: &Postgres,
    current: impl Fn() -> Option<PgFlow> + Send + Sync + 'static,
    from: Side,
    control: Vec<i32>,
) -> Ours {
    let relay = Arc::clone(&engine.relay);
    Arc::new(move || {
        let mut pids = relay.backend_pids(from);
        pids.extend(&control);
        pids.extend(current().iter().flat_map(PgFlow::backend_pids));
        pids
    })
}

fn in_words(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Fence(error) => words(error),
        Obstacle::Silent(..) | Obstacle::ReadOnly(_) | Obstacle::Lag(_) | Obstacle::Drift(_) => {
            obstacle.to_string()
        }
    }
}
