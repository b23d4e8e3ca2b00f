//! The stream back: while the target serves, what is written there is applied to the source, so that
//! `rollback` can lead back and lose nothing.
//!
//! Nothing here can hurt who serves. What may pass is tried again; what cannot pass closes the way
//! back: the target serves on, `status` says why, and `rollback` is refused with the reason.
//!
//! # Resumption
//!
//! As the [pump](super::pump)'s: every attempt begins with what is written down on the two servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use router::Side;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::board::{Board, WayBack};
use super::pump::applying::{Applying, apply};
use super::pump::failure::Attempt;
use super::pump::{Attempts, persist};
use crate::engine::{Engine, NO_WAY_BACK};

/// How long one attempt may take to remove what feeds the target.
const FORGET_TIMEOUT: Duration = Duration::from_secs(20);

/// Everything that the stream back works with.
pub(super) struct Back<E: Engine> {
    /// The servers.
    pub engine: Arc<E>,
    /// What status shows.
    pub board: Arc<Board<E>>,
    /// Whether the source keeps no log for us any more. Looked after once: a rollback that is under
    /// way makes that anew.
    pub forgotten: AtomicBool,
}

impl<E: Engine> Back<E> {
    /// Runs until it is stopped or no way back is left.
    pub(super) async fn run(self, stop: CancellationToken) {
        let failure = persist(&self.board, &self, &stop).await;
        if let Some(failure) = failure {
            warn!(what = %failure.what, detail = %failure.detail, "there is no way back any more");
            self.board.way_back(Some(WayBack::Closed(failure)));
        }
    }
}

impl<E: Engine> Attempts for Back<E> {
    async fn attempt(&self, stop: &CancellationToken) -> Attempt {
        let opening = async {
            // The source's slot keeps log that nobody reads any more.
            if !self.forgotten.load(Ordering::Relaxed) {
                let forgotten = self.engine.forget_way_back(Side::Source);
                match tokio::time::timeout(FORGET_TIMEOUT, forgotten).await {
                    Ok(Ok(())) => self.forgotten.store(true, Ordering::Relaxed),
                    Ok(Err(why)) => self.still_there(&why),
                    Err(_elapsed) => self.still_there("it does not answer"),
                }
            }
            self.engine.way_back().await.map_err(Attempt::from)
        };
        let opened = tokio::select! {
            biased;
            () = stop.cancelled() => return Attempt::Stopped,
            opened = Box::pin(opening) => opened,
        };
        let (applier, stream) = match opened {
            Ok(opened) => opened,
            Err(attempt) => return attempt,
        };
        let applying = Applying {
            engine: &*self.engine,
            board: &self.board,
            serving: Side::Target,
        };
        let flowing = || {
            info!("changes flow back");
            self.board.way_back(Some(WayBack::Open));
        };
        match apply(applying, applier, stream, flowing, stop).await {
            Ok(()) => Attempt::Stopped,
            Err(Attempt::Failed(mut failure)) => {
                failure.hint = NO_WAY_BACK.to_owned();
                Attempt::Failed(failure)
            }
            Err(attempt) => attempt,
        }
    }
}

impl<E: Engine> Back<E> {
    fn still_there(&self, why: &str) {
        warn!(%why, "the source's slot is of no use any more and cannot be dropped yet");
    }
}
