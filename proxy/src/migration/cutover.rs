//! The command `cutover`: everything that can be known beforehand is looked at while nobody waits,
//! then the movement is driven to its end.

mod report;
mod twins;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use router::Side;
use router::cutover::{Arrival, Ended, LongTransactions, Plan, Step};
use tracing::info;

use super::Asker;
use super::board::{Board, Life};
use super::mover::{self, Moved, Parts};
use super::sessions::{RelaySessions, in_words, unmovable};
use super::standing;
use crate::admin::protocol::Response;
use crate::config::{Config, Policy};
use crate::engine::{Clients as _, Engine, Limits, Prepared};
use crate::exit::Exit;
use crate::status::RunningSession;

/// More log than this that is not applied yet, and the cutover is not begun: the pause would be
/// spent on catching up.
const LAG_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Transactions that have been open for longer are named before the cutover.
const LONG_AFTER: Duration = Duration::from_secs(1);

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
pub(super) struct Scene<'a, E: Engine> {
    /// The configuration.
    pub config: &'a Config,
    /// The servers and the clients.
    pub engine: &'a Arc<E>,
    /// What status shows.
    pub board: &'a Arc<Board<E>>,
    /// Who waits for the answer.
    pub asker: &'a Asker,
}

impl<E: Engine> Scene<'_, E> {
    /// Nobody is held for a command whose operator has given it up.
    fn confirm_wanted(&self) -> Result<(), Refused> {
        match self.asker.is_gone() {
            true => Err("the command was given up before anybody had to wait"
                .to_owned()
                .into()),
            false => Ok(()),
        }
    }
}

/// Why a cutover is not begun.
struct Refused {
    reason: String,
    /// Whose transactions are in its way, if that is it.
    still_running: Vec<RunningSession>,
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self {
            reason,
            still_running: Vec::new(),
        }
    }
}

/// Carries out the command.
pub(super) async fn cutover<E: Engine>(scene: Scene<'_, E>, wanted: Wanted) -> Response {
    match attempt(&scene, wanted).await {
        Ok(response) => response,
        Err(Refused {
            reason,
            still_running,
        }) => {
            let refused = report::refused(reason, still_running);
            scene.board.cutover(refused.clone());
            report::answer(refused)
        }
    }
}

async fn attempt<E: Engine>(scene: &Scene<'_, E>, wanted: Wanted) -> Result<Response, Refused> {
    if !wanted.dry_run {
        scene.board.step("asking both servers who serves");
        standing::confirm(&**scene.engine, Side::Source).await?;
    }
    let clients = &**scene.engine.clients();
    let still_running = twins::open(scene).await;
    let refuses = scene.config.cutover.on_long_transaction == Policy::Refuse;
    if !wanted.dry_run {
        if refuses && !still_running.is_empty() {
            return Err(Refused {
                reason: too_long(scene, &still_running),
                still_running,
            });
        }
        waiting::until_out_of_the_way(scene, &still_running).await?;
    }
    scene.board.step("looking for what would stand in the way");
    let prepared = tokio::time::timeout(PREPARE_TIMEOUT, prepare(scene))
        .await
        .map_err(|_elapsed| {
            let seconds = PREPARE_TIMEOUT.as_secs();
            format!("a server has not answered within {seconds} s; nothing was changed")
        })??;
    let mut obstacles = prepared.obstacles.clone();
    obstacles.extend(refusing(scene));
    if wanted.dry_run {
        if refuses && !still_running.is_empty() {
            obstacles.push(too_long(scene, &still_running));
        }
        return Ok(report::dry_run(
            &obstacles,
            still_running,
            report::would(scene, &prepared.long_transactions),
        ));
    }
    if !obstacles.is_empty() {
        return Err(obstacles.join("; ").into());
    }
    // The looking took a while: whoever ran something since is read again, while it costs no pause.
    twins::freshen(clients).await;
    scene.confirm_wanted()?;
    let (moved, sessions_ended) = drive(scene, &prepared, wanted).await;
    let foreign_ended = E::foreign_ended(&prepared.leave);
    let mut moved_report = report::of(scene, &moved, foreign_ended, sessions_ended);
    if moved.ended == Ended::Switched {
        moved_report.for_replicas = E::for_replicas(&prepared.leave, &prepared.arrive).await;
    }
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

/// The sessions that refuse the cutover by the operator's policies, in words.
fn refusing<E: Engine>(scene: &Scene<'_, E>) -> Option<String> {
    let clients = &**scene.engine.clients();
    let refusing = unmovable(clients, &scene.config.cutover).refuse;
    let words = in_words(&refusing)?;
    Some(format!(
        "{words} (`pointsman status` lists all: end them, or set cutover.on_unmovable_session to \
         \"wait\" or \"end\")"
    ))
}

/// Why a transaction that has been open for so long refuses the cutover.
fn too_long<E: Engine>(scene: &Scene<'_, E>, running: &[RunningSession]) -> String {
    format!(
        "{} still running after {:?} (cutover.drain_timeout); end what runs, wait, or set \
         cutover.on_long_transaction = \"end\"",
        match running.len() {
            1 => "a transaction is".to_owned(),
            many => format!("{many} transactions are"),
        },
        scene.config.cutover.drain_timeout.0
    )
}

async fn prepare<E: Engine>(scene: &Scene<'_, E>) -> Result<Prepared<E>, String> {
    let board = Arc::clone(scene.board);
    let limits = Limits {
        lag_bytes_max: LAG_BYTES_MAX,
        long_after: LONG_AFTER,
    };
    scene.engine.prepare(move || board.flow(), limits).await
}

/// Moves the points. Also says how many sessions were ended.
async fn drive<E: Engine>(
    scene: &Scene<'_, E>,
    prepared: &Prepared<E>,
    wanted: Wanted,
) -> (Moved, usize) {
    let cutover = &scene.config.cutover;
    let plan = Plan {
        to: Side::Target,
        epoch: prepared.epoch,
        max_pause: wanted.max_pause,
        drain_timeout: cutover.drain_timeout.0,
        long_transactions: match cutover.on_long_transaction {
            Policy::Refuse | Policy::Wait => LongTransactions::GiveUp,
            Policy::End => LongTransactions::CutOff,
        },
        arrival: Arrival::Open,
        retry_delay: RETRY_DELAY,
    };
    scene.board.enter(Life::CuttingOver);
    info!(epoch = %plan.epoch, max_pause = ?plan.max_pause, "the cutover begins");
    let clients = &**scene.engine.clients();
    let sessions = RelaySessions::new(clients, cutover);
    let board = Arc::clone(scene.board);
    let on_step = move |step: Step| board.step(step.as_str());
    let parts = Parts {
        switch: clients.switch(),
        leave: &prepared.leave,
        arrive: &prepared.arrive,
        journal: &prepared.arrive,
        sessions: &sessions,
        on_step: &on_step,
    };
    let moved = mover::drive(plan, parts).await;
    (moved, sessions.ended())
}
