//! What MySQL needs before a movement may begin.

use std::sync::Arc;
use std::time::Duration;

use binlog::movement::fence::FenceOptions;
use binlog::movement::journal;
use binlog::movement::ready::{self, Asked, Lag, Obstacle};
use binlog::movement::sides::{APPLICATION_NAME, Arriving, Leaving, Ours};
use binlog::name::QualifiedName;
use binlog::schema::catalog::Catalog;
use binlog::wire::SqlConn;
use router::{Side, words};

use super::MySql;
use super::copy;
use super::flow::{self, MyFlow};
use crate::config::Config;
use crate::engine::{Engine as _, Flow as _, Limits, Prepared};

/// How often the two catalogs are compared before a difference counts: a definition statement may
/// be on its way.
const LOOKS_MAX: u32 = 5;

/// The pause between two looks.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// See [`crate::engine::Engine::prepare`].
pub(super) async fn prepare(
    engine: &MySql,
    current: impl Fn() -> Option<MyFlow> + Send + Sync + 'static,
    limits: Limits,
) -> Result<Prepared<MySql>, String> {
    let flow = current().ok_or("the stream has stopped: see `pointsman status`")?;
    let source = engine.connect(Side::Source, APPLICATION_NAME).await?;
    let target = engine.connect(Side::Target, APPLICATION_NAME).await?;
    let (scope, filter) = (engine.scope(), copy::filter(&engine.config));
    let wanted = |schema: &str, table: &str| {
        scope.holds(schema) && filter.chooses(&QualifiedName::new(schema, table))
    };
    let options = fence_options(&engine.config);
    let statements = ready::prepare(&source, &target, options, wanted)
        .await
        .map_err(|error| words(&error))?;
    let drift = drift(engine, &source, &target).await?;
    let ours = ours(engine, current, &source);
    let ids = ours();
    let log_end = flow::log_end(&source).await?;
    let asked = Asked {
        fence: &statements.fence,
        ours: &ids,
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

/// Tables that are not the same on both sides, and stay so: what was defined behind the binary
/// log's back (`sql_log_bin = 0`), or on the target.
async fn drift(engine: &MySql, source: &SqlConn, target: &SqlConn) -> Result<Vec<String>, String> {
    let (scope, filter) = (engine.scope(), copy::filter(&engine.config));
    let mut found = Vec::new();
    for look in 0..LOOKS_MAX {
        if look > 0 {
            tokio::time::sleep(LOOK_PERIOD).await;
        }
        let (here, there) = tokio::try_join!(
            Catalog::read(source, Side::Source, &scope, &filter),
            Catalog::read(target, Side::Target, &scope, &filter),
        )
        .map_err(|error| words(&error))?;
        found = here.renamed(&there, |_| true);
        if found.is_empty() {
            break;
        }
    }
    Ok(found.iter().map(ToString::to_string).collect())
}

fn fence_options(config: &Config) -> FenceOptions {
    FenceOptions {
        nologin: config.fence.nologin.clone(),
        trusted_roles: config.fence.trusted_roles.clone(),
        // The pause's own limit counts; a busy server may need a good part of it.
        end_timeout: config
            .cutover
            .max_pause
            .0
            .max(FenceOptions::default().end_timeout),
        ..FenceOptions::default()
    }
}

/// The sessions that the fence must spare, asked at the moment it goes up.
fn ours(
    engine: &MySql,
    current: impl Fn() -> Option<MyFlow> + Send + Sync + 'static,
    source: &SqlConn,
) -> Ours {
    let relay = Arc::clone(&engine.relay);
    let control = source.thread_id();
    Arc::new(move || {
        let mut ids = relay.backend_ids(Side::Source);
        ids.push(control);
        ids.extend(current().iter().flat_map(MyFlow::backend_ids));
        ids
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
