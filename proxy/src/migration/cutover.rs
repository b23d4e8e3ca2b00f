//! The command `cutover`: everything that can be known beforehand is looked at while nobody waits,
//! then the movement is driven to its end.

mod report;

use std::sync::Arc;
use std::time::Duration;

use pgwal::apply::ApplyHandle;
use pgwal::movement::fence::FenceOptions;
use pgwal::movement::journal;
use pgwal::movement::ready::{self, Asked, Findings};
use pgwal::movement::sides::{APPLICATION_NAME, Arriving, Leaving, Ours};
use pgwal::schema::catalog::Catalog;
use pgwal::session::Relay;
use pgwal::wire::{Endpoint, SqlConn};
use router::cutover::{Arrival, Ended, LongTransactions, Plan, Step};
use router::{Epoch, Side, words};
use tracing::info;

use super::board::{Board, Life};
use super::mover::{self, Moved, Parts};
use super::sessions::RelaySessions;
use super::standing;
use crate::admin::protocol::Response;
use crate::config::{Config, OnLongTransaction, OnUnmovableSession};
use crate::exit::Exit;

/// More log than this that is not applied yet, and the cutover is not begun: the pause would be
/// spent on catching up.
const LAG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Transactions that have been open for longer are named before the cutover.
const LONG_AFTER: Duration = Duration::from_secs(1);

/// How long busy sessions are waited for before the hold; those that are late are asked inside it.
const TWIN_PATIENCE: Duration = Duration::from_secs(10);

/// How long it may take to read sessions again right before the hold.
const FRESHEN_PATIENCE: Duration = Duration::from_millis(500);

/// How long everything before the hold may take; nobody waits for it but the operator.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(60);

/// Pause between two attempts at what must succeed.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// What the command was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// The hard limit of the pause.
    pub max_pause: Duration,
    /// Whether only to say what would happen.
    pub dry_run: bool,
}

/// Where the cutover happens.
pub(super) struct Scene<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The source.
    pub source: &'a Endpoint,
    /// The target.
    pub target: &'a Endpoint,
    /// The clients.
    pub relay: &'a Arc<Relay>,
    /// What status shows.
    pub board: &'a Arc<Board>,
    /// The applier that keeps the target current.
    pub apply: ApplyHandle,
}

/// Carries out the command.
pub(super) async fn cutover(scene: Scene<'_>, wanted: Wanted) -> Response {
    match attempt(&scene, wanted).await {
        Ok(response) => response,
        Err(reason) => {
            let refused = report::refused(reason);
            scene.board.cutover(refused.clone());
            report::answer(refused)
        }
    }
}

/// The two sides with everything prepared for the hold, and what was found on the way.
struct Prepared {
    leave: Leaving,
    arrive: Arriving,
    epoch: Epoch,
    findings: Findings,
}

async fn attempt(scene: &Scene<'_>, wanted: Wanted) -> Result<Response, String> {
    if !wanted.dry_run {
        scene.board.step("asking both servers who serves");
        standing::confirm(scene.source, scene.target, Side::Source).await?;
    }
    scene
        .board
        .step("opening the sessions' connections to the target");
    scene.relay.prepare_twins(TWIN_PATIENCE).await;
    scene.board.step("looking for what would stand in the way");
    let prepared = tokio::time::timeout(PREPARE_TIMEOUT, prepare(scene))
        .await
        .map_err(|_elapsed| {
            let seconds = PREPARE_TIMEOUT.as_secs();
            format!("a server has not answered within {seconds} s; nothing was changed")
        })??;
    let mut obstacles: Vec<String> = prepared.findings.obstacles.iter().map(in_words).collect();
    let unmovable = scene
        .relay
        .sessions()
        .iter()
        .filter(|one| !one.unmovable.is_empty())
        .count();
    if unmovable > 0 && scene.config.cutover.on_unmovable_session == OnUnmovableSession::Refuse {
        obstacles.push(format!(
            "{unmovable} sessions cannot be moved (`pointsman status` lists them): end them, or \
             set cutover.on_unmovable_session = \"end\""
        ));
    }
    if wanted.dry_run {
        return Ok(report::dry_run(
            &obstacles,
            report::would(scene, &prepared.findings),
        ));
    }
    if !obstacles.is_empty() {
        return Err(obstacles.join("; "));
    }
    // The looking took a while: whoever ran something since is read again, while it costs no pause.
    scene.relay.prepare_twins(FRESHEN_PATIENCE).await;
    let moved = drive(scene, &prepared, wanted).await;
    let fence = prepared.leave.fence_report();
    let moved_report = report::of(scene, &moved, fence.as_ref(), unmovable);
    scene.board.cutover(moved_report.clone());
    let mut response = report::answer(moved_report);
    if moved.ended == Ended::Contradiction {
        response.exit = Exit::Unknown;
        response.text.push_str(
            "\nthe journal says that somebody else moved the points; what to do: stop all other \
             pointsman processes and restart this one, which asks both servers",
        );
    }
    Ok(response)
}

fn in_words(obstacle: &ready::Obstacle) -> String {
    match obstacle {
        ready::Obstacle::Fence(error) => words(error),
        ready::Obstacle::Target(_)
        | ready::Obstacle::TargetReadOnly
        | ready::Obstacle::Lag(_)
        | ready::Obstacle::Drift(_) => obstacle.to_string(),
    }
}

async fn connect(endpoint: &Endpoint) -> Result<SqlConn, String> {
    endpoint
        .connect_sql(APPLICATION_NAME)
        .await
        .map_err(|error| words(&error))
}

async fn prepare(scene: &Scene<'_>) -> Result<Prepared, String> {
    let source = connect(scene.source).await?;
    let target = connect(scene.target).await?;
    let every_sequence = |_: &str, _: &str| true;
    let statements = ready::prepare(
        &source,
        &target,
        fence_options(scene.config),
        every_sequence,
    )
    .await;
    // After that: it has noted the schema, so what changes from here on is found behind the fence.
    let drift = drift(scene.config, &source, &target).await?;
    let statements = statements.map_err(|error| match drift.is_empty() {
        true => words(&error),
        false => format!("{} ({})", words(&error), drift.join("; ")),
    })?;
    let ours = ours(scene, &source);
    let pids = ours();
    let asked = Asked {
        fence: &statements.fence,
        ours: &pids,
        lag: ready::Lag {
            bytes: scene.board.lag().bytes,
            bytes_max: LAG_BYTES_MAX,
        },
        drift: &drift,
        long_after: LONG_AFTER,
    };
    let findings = ready::check(&source, &target, asked)
        .await
        .map_err(|error| words(&error))?;
    let epoch = journal::next_epoch(&target)
        .await
        .map_err(|error| words(&error))?;
    let leave = Leaving::new(scene.source.clone(), source, statements.clone(), ours);
    let arrive = Arriving::new(
        scene.target.clone(),
        target,
        statements,
        scene.apply.clone(),
    );
    Ok(Prepared {
        leave,
        arrive,
        epoch,
        findings,
    })
}

fn fence_options(config: &Config) -> FenceOptions {
    FenceOptions {
        nologin: config.fence.nologin.clone(),
        trusted_roles: config.fence.trusted_roles.clone(),
        trusted_workers: config.fence.trusted_workers.clone(),
        ..FenceOptions::default()
    }
}

/// What is on the source and not on the target, or the other way round, one sentence each.
///
/// # Errors
/// When a catalog cannot be read.
pub(super) async fn drift(
    config: &Config,
    source: &SqlConn,
    target: &SqlConn,
) -> Result<Vec<String>, String> {
    let filter = config.copy.tables.filter();
    let (now, moved) = tokio::try_join!(
        Catalog::read(source, Side::Source, &filter),
        Catalog::read(target, Side::Target, &filter),
    )
    .map_err(|error| words(&error))?;
    Ok(moved.drift(&now).iter().map(ToString::to_string).collect())
}

/// The server processes that the fence must spare, asked at the moment it goes up.
fn ours(scene: &Scene<'_>, source: &SqlConn) -> Ours {
    let (relay, board) = (Arc::clone(scene.relay), Arc::clone(scene.board));
    let control = source.backend_pid();
    Arc::new(move || {
        let mut pids = relay.source_pids();
        pids.push(control);
        pids.extend(board.stream().map(|stream| stream.backend_pid()));
        pids
    })
}

async fn drive(scene: &Scene<'_>, prepared: &Prepared, wanted: Wanted) -> Moved {
    let cutover = &scene.config.cutover;
    let plan = Plan {
        to: Side::Target,
        epoch: prepared.epoch,
        max_pause: wanted.max_pause,
        drain_timeout: cutover.drain_timeout.0,
        long_transactions: match cutover.on_long_transaction {
            OnLongTransaction::Refuse => LongTransactions::GiveUp,
            OnLongTransaction::End => LongTransactions::CutOff,
        },
        arrival: Arrival::Open,
        retry_delay: RETRY_DELAY,
    };
    scene.board.enter(Life::CuttingOver);
    info!(epoch = %plan.epoch, max_pause = ?plan.max_pause, "the cutover begins");
    let sessions = RelaySessions::new(scene.relay, cutover.on_unmovable_session);
    let board = Arc::clone(scene.board);
    let on_step = move |step: Step| board.step(step.as_str());
    let parts = Parts {
        switch: scene.relay.switch(),
        leave: &prepared.leave,
        arrive: &prepared.arrive,
        journal: &prepared.arrive,
        sessions: &sessions,
        on_step: &on_step,
    };
    mover::drive(plan, parts).await
}
