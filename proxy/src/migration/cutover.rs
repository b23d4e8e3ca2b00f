//! The commands `cutover` and `rollback`, the same movement in two directions: everything that can be
//! known beforehand is looked at while nobody waits, then the movement is driven to its end.

mod report;
mod twins;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
use crate::config::{Config, Policy, WayBack};
use crate::engine::{Clients as _, Engine, Limits, NoWayBack, Prepared};
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

/// Why there is no way back when nobody says why.
const NO_ANSWER: &str = "a server has not answered in time";

/// What the command was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// The hard limit of the pause.
    pub max_pause: Duration,
    /// Whether only to say what would happen.
    pub dry_run: bool,
}

/// Where the movement happens.
pub(super) struct Scene<'a, E: Engine> {
    /// The side that is to serve.
    pub to: Side,
    /// The configuration.
    pub config: &'a Config,
    /// The servers and the clients.
    pub engine: &'a Arc<E>,
    /// What status shows.
    pub board: &'a Arc<Board<E>>,
    /// Who waits for the answer.
    pub asker: &'a Asker,
    /// Set once there may be something of a way back that is of no use if this is given up.
    pub made_way_back: &'a AtomicBool,
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
pub(super) async fn carry_out<E: Engine>(scene: Scene<'_, E>, wanted: Wanted) -> Response {
    match attempt(&scene, wanted).await {
        Ok(response) => response,
        Err(Refused {
            reason,
            still_running,
        }) => {
            let refused = report::refused(scene.to, reason, still_running);
            scene.board.moved(scene.to, refused.clone());
            report::answer(refused)
        }
    }
}

/// Whether sessions can only be let in on the other side once its fence is lowered.
async fn arrival<E: Engine>(scene: &Scene<'_, E>) -> Result<Arrival, String> {
    let asked = scene.engine.arrival(scene.to);
    let arrival = tokio::time::timeout(PREPARE_TIMEOUT, asked)
        .await
        .map_err(|_elapsed| format!("the {} does not answer", scene.to))??;
    let late = arrival == Arrival::Fenced && !E::FENCED_LETS_IN;
    scene.engine.clients().set_late(late);
    Ok(arrival)
}

async fn attempt<E: Engine>(scene: &Scene<'_, E>, wanted: Wanted) -> Result<Response, Refused> {
    if !wanted.dry_run {
        scene.board.step("asking both servers who serves");
        standing::confirm(&**scene.engine, scene.to.other()).await?;
    }
    let arrival = arrival(scene).await?;
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
        // What is too far behind, or is not applied at all, is refused by name below.
        let lacks = scene.board.bytes_behind().unwrap_or(0);
        if lacks <= LAG_BYTES_MAX && scene.board.flow().is_some() {
            waiting::until_close_behind(scene, wanted.max_pause).await?;
        }
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
            scene.to,
            &obstacles,
            still_running,
            report::would(scene, &prepared.long_transactions),
            look_for_way_back(scene).await,
        ));
    }
    if !obstacles.is_empty() {
        return Err(obstacles.join("; ").into());
    }
    let no_way_back = prepare_way_back(scene).await?;
    // It may have fallen behind again meanwhile.
    waiting::until_close_behind(scene, wanted.max_pause).await?;
    // The looking took a while: whoever ran something since is read again, while it costs no pause.
    twins::freshen(clients).await;
    scene.confirm_wanted()?;
    let (moved, sessions_ended) = drive(scene, &prepared, arrival, wanted).await;
    let foreign_ended = E::foreign_ended(&prepared.leave);
    let mut moved_report = report::of(scene, &moved, foreign_ended, sessions_ended);
    if moved.ended == Ended::Switched {
        moved_report.no_way_back = no_way_back;
        moved_report.for_replicas = E::for_replicas(&prepared.leave, &prepared.arrive).await;
    }
    scene.board.moved(scene.to, moved_report.clone());
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

/// Looks whether another movement could lead back; gives the reason why none could.
async fn look_for_way_back<E: Engine>(scene: &Scene<'_, E>) -> Option<String> {
    if let Some(off) = is_off(scene) {
        return Some(off);
    }
    let looked = scene.engine.look_for_way_back(scene.to);
    match tokio::time::timeout(PREPARE_TIMEOUT, looked).await {
        Ok(looked) => looked.err(),
        Err(_elapsed) => Some(NO_ANSWER.to_owned()),
    }
}

/// Prepares that another movement may lead back; gives the reason why none can.
///
/// # Errors
/// When a cutover must not go on without: the operator demands a way back, or there could be one and
/// it only failed now. A rollback goes on: home is more than away.
async fn prepare_way_back<E: Engine>(scene: &Scene<'_, E>) -> Result<Option<String>, Refused> {
    let none = match is_off(scene) {
        Some(off) => NoWayBack::Never(off),
        None => {
            scene.board.step("preparing the way back");
            scene.made_way_back.store(true, Ordering::Relaxed);
            let prepared = scene.engine.prepare_way_back(scene.to);
            match tokio::time::timeout(PREPARE_TIMEOUT, prepared).await {
                Ok(Ok(())) => return Ok(None),
                Ok(Err(none)) => none,
                Err(_elapsed) => NoWayBack::NotNow(NO_ANSWER.to_owned()),
            }
        }
    };
    match (none, scene.to, scene.config.cutover.way_back) {
        (NoWayBack::Never(why), Side::Target, WayBack::Require) => Err(format!(
            "there would be no way back: {why} (cutover.way_back = \"require\")"
        )
        .into()),
        (NoWayBack::NotNow(why), Side::Target, _) => Err(format!(
            "the way back could not be prepared: {why}; try again, or set cutover.way_back = \
             \"off\" to go without"
        )
        .into()),
        (NoWayBack::Never(why) | NoWayBack::NotNow(why), _, _) => Ok(Some(why)),
    }
}

/// What the operator has decided against.
fn is_off<E: Engine>(scene: &Scene<'_, E>) -> Option<String> {
    let off = scene.config.cutover.way_back == WayBack::Off && scene.to == Side::Target;
    off.then(|| "switched off (cutover.way_back)".to_owned())
}

async fn prepare<E: Engine>(scene: &Scene<'_, E>) -> Result<Prepared<E>, String> {
    let board = Arc::clone(scene.board);
    let limits = Limits {
        lag_bytes_max: LAG_BYTES_MAX,
        long_after: LONG_AFTER,
    };
    let flow = move || board.flow();
    scene.engine.prepare(scene.to, flow, limits).await
}

/// Moves the points. Also says how many sessions were ended.
async fn drive<E: Engine>(
    scene: &Scene<'_, E>,
    prepared: &Prepared<E>,
    arrival: Arrival,
    wanted: Wanted,
) -> (Moved, usize) {
    let cutover = &scene.config.cutover;
    let plan = Plan {
        to: scene.to,
        epoch: prepared.epoch,
        max_pause: wanted.max_pause,
        drain_timeout: cutover.drain_timeout.0,
        long_transactions: match cutover.on_long_transaction {
            Policy::Refuse | Policy::Wait => LongTransactions::GiveUp,
            Policy::End => LongTransactions::CutOff,
        },
        arrival,
        retry_delay: RETRY_DELAY,
    };
    scene.board.enter(match scene.to {
        Side::Target => Life::CuttingOver,
        Side::Source => Life::RollingBack,
    });
    let to = scene.to.as_str();
    info!(to, epoch = %plan.epoch, max_pause = ?plan.max_pause, "the movement begins");
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
