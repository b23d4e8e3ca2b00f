//! What PostgreSQL needs before a movement may begin.

use std::sync::Arc;

use pgwal::movement::fence::FenceOptions;
use pgwal::movement::journal;
use pgwal::movement::ready::{self, Asked, Lag, Obstacle};
use pgwal::movement::sides::{APPLICATION_NAME, Arriving, Leaving, Ours};
use pgwal::wire::SqlConn;
use router::{Side, words};

use super::Postgres;
use super::flow::{self, PgFlow};
use crate::config::Config;
use crate::engine::{Engine as _, Flow as _, Limits, Prepared};

/// See [`crate::engine::Engine::prepare`].
pub(super) async fn prepare(
    engine: &Postgres,
    current: impl Fn() -> Option<PgFlow> + Send + Sync + 'static,
    limits: Limits,
) -> Result<Prepared<Postgres>, String> {
    let flow = current().ok_or("the stream has stopped: see `pointsman status`")?;
    let source = engine.connect(Side::Source, APPLICATION_NAME).await?;
    let target = engine.connect(Side::Target, APPLICATION_NAME).await?;
    let every_sequence = |_: &str, _: &str| true;
    let options = fence_options(&engine.config);
    let statements = ready::prepare(&source, &target, options, every_sequence).await;
    // After that: it has noted the schema, so what changes from here on is found behind the fence.
    let drift = engine.drift_between(&source, &target).await?;
    let statements = statements.map_err(|error| match drift.is_empty() {
        true => words(&error),
        false => format!("{} ({})", words(&error), drift.join("; ")),
    })?;
    let ours = ours(engine, current, &source);
    let pids = ours();
    let log_end = flow::log_end(&source).await?;
    let asked = Asked {
        fence: &statements.fence,
        ours: &pids,
        lag: Lag {
            bytes: flow.bytes_behind(&log_end),
            bytes_max: limits.lag_bytes_max,
        },
        drift: &drift,
        long_after: limits.long_after,
    };
    let findings = ready::check(&source, &target, asked)
        .await
        .map_err(|error| words(&error))?;
    let epoch = journal::next_epoch(&target)
        .await
        .map_err(|error| words(&error))?;
    let to = engine.target()?.clone();
    let leave = Leaving::new(engine.source.clone(), source, statements.clone(), ours);
    let arrive = Arriving::new(to, target, statements, flow.apply().clone());
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
    source: &SqlConn,
) -> Ours {
    let relay = Arc::clone(&engine.relay);
    let control = source.backend_pid();
    Arc::new(move || {
        let mut pids = relay.source_pids();
        pids.push(control);
        pids.extend(current().iter().flat_map(PgFlow::backend_pids));
        pids
    })
}

fn in_words(obstacle: &Obstacle) -> String {
    match obstacle {
        Obstacle::Fence(error) => words(error),
        Obstacle::Target(_) | Obstacle::TargetReadOnly | Obstacle::Lag(_) | Obstacle::Drift(_) => {
            obstacle.to_string()
        }
    }
}
