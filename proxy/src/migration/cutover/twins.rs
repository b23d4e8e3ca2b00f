//! The sessions' connections to the target, before anybody has to wait: opened, and brought so close
//! to their sessions that little is left to do inside the hold.

use std::time::{Duration, Instant};

use super::Scene;
use crate::config::Policy;
use crate::engine::{Clients, Engine, Session};
use crate::migration::sessions::running_for;
use crate::status::RunningSession;

/// After so long the operator is told how many are open.
const ROUND: Duration = Duration::from_secs(1);

/// How long may pass without another connection; sessions that are late are asked inside the hold.
const NO_PROGRESS_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether only long transactions are waited for.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// How long it may take to read sessions again right before the hold.
const FRESHEN_PATIENCE: Duration = Duration::from_millis(500);

/// Has the sessions' connections to the target opened, and does not wait behind a transaction for
/// longer than the drain would: those that are open for so long are given back.
pub(super) async fn open<E: Engine>(scene: &Scene<'_, E>) -> Vec<RunningSession> {
    let clients = &**scene.engine.clients();
    let drain_timeout = scene.config.cutover.drain_timeout.0;
    let long = || running_for(clients, drain_timeout);
    let only_long_ones_lack = || {
        let sessions = clients.sessions();
        sessions
            .iter()
            .filter(|one| one.transaction_age() < Some(drain_timeout))
            .all(is_done)
    };
    let policy = scene.config.cutover.on_long_transaction;
    let stuck = async {
        tokio::time::sleep(drain_timeout).await;
        loop {
            let running = long();
            let enough = match policy {
                Policy::Refuse => true,
                Policy::Wait | Policy::End => only_long_ones_lack(),
            };
            if enough && !running.is_empty() {
                return running;
            }
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    };
    tokio::select! {
        () = open_all(scene) => Vec::new(),
        running = stuck => running,
    }
}

/// Opens them at the relay's own rate, for as long as there are more of them.
async fn open_all<E: Engine>(scene: &Scene<'_, E>) {
    let clients = &**scene.engine.clients();
    let doing = "opening the sessions' connections to the target";
    let done = || {
        let sessions = clients.sessions();
        let done = sessions.iter().filter(|one| is_done(one)).count();
        (done, sessions.len())
    };
    let (mut most, _) = done();
    let mut progress = Instant::now();
    while progress.elapsed() < NO_PROGRESS_MAX {
        let begun = Instant::now();
        clients.prepare_twins(ROUND).await;
        if begun.elapsed() < ROUND {
            return;
        }
        let (done, all) = done();
        if done > most {
            scene.board.step(format!("{doing}: {done} of {all}"));
            most = done;
            progress = Instant::now();
        }
    }
}

/// Reads those sessions again that ran something meanwhile, in rounds: each takes less time than
/// the one before it, so fewer run something in it. It ends when a round gains nothing any more.
pub(super) async fn freshen<C: Clients>(clients: &C) {
    // The first one at the relay's own rate: it may be all of them.
    clients.prepare_twins(FRESHEN_PATIENCE).await;
    let begun = Instant::now();
    let mut changed = clients.changed();
    while changed > 0 && begun.elapsed() < FRESHEN_PATIENCE {
        clients.refresh_changed(FRESHEN_PATIENCE).await;
        let still = clients.changed();
        if still >= changed {
            return;
        }
        changed = still;
    }
}

fn is_done(session: &Session) -> bool {
    session.twin_ready || !session.unmovable.is_empty()
}
