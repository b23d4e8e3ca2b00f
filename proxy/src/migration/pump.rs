//! The pump: copies, then streams and applies, until it is stopped or something is definitely wrong.
//!
//! What may pass (a connection, a restarting server, a full disk) is tried again with growing
//! pauses, and the board says so; what cannot pass ends in `failed` with what to do.
//!
//! # Resumption
//!
//! Every attempt begins with what is written down on the target, so an attempt after an error is
//! the same as one after a crash: the copy goes on with the tables that are not finished, the stream
//! behind the last transaction that is committed on the target.

mod ahead;
pub(super) mod applying;
pub(super) mod failure;
mod watch;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use router::Side;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::applying::{Applying, apply};
use self::failure::Attempt;
use super::board::{Board, Life};
use crate::config::Config;
use crate::engine::{Engine, InitialCopy};
use crate::status::Failure;

/// Where the stream of an engine's copy starts.
type Start<E> = <<E as Engine>::Copy as InitialCopy>::Start;

/// What an engine's stream goes on from.
type Copied<E> = <<E as Engine>::Copy as InitialCopy>::Copied;

/// The first pause before trying again; it doubles.
const RETRY_FIRST: Duration = Duration::from_millis(200);

/// The longest pause before trying again.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How often the copy's step is shown and the source is asked whether a migration was begun.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// Everything the pump works with.
pub(super) struct Pump<E: Engine> {
    /// The configuration.
    pub config: Arc<Config>,
    /// The servers.
    pub engine: Arc<E>,
    /// What status shows.
    pub board: Arc<Board<E>>,
}

/// Whether a migration was begun: its id stands on the source. Asks until it gets an answer.
pub(super) async fn was_begun<E: Engine>(engine: &E, shutdown: &CancellationToken) -> bool {
    loop {
        match engine.migration_id(Side::Source).await {
            Ok(id) => return id.is_some(),
            Err(why) => {
                warn!(%why, "cannot ask the source for a migration that was begun");
            }
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return false,
            () = tokio::time::sleep(RETRY_MAX) => {}
        }
    }
}

/// What is tried until it is stopped.
pub(super) trait Attempts: Sync {
    /// One attempt, from what is written down on the servers.
    fn attempt(&self, stop: &CancellationToken) -> impl Future<Output = Attempt> + Send;
}

/// Tries again and again, with growing pauses, until it is stopped or there is what cannot pass.
pub(super) async fn persist<E: Engine>(
    board: &Board<E>,
    attempts: &impl Attempts,
    stop: &CancellationToken,
) -> Option<Failure> {
    let mut pause = RETRY_FIRST;
    loop {
        let tried = Box::pin(attempts.attempt(stop)).await;
        board.streaming(None);
        match tried {
            Attempt::Stopped => return None,
            Attempt::Failed(failure) => return Some(failure),
            Attempt::Again { why, progressed } => {
                if progressed {
                    pause = RETRY_FIRST;
                }
                warn!(%why, ?pause, "trying again");
                board.trouble(Some(format!("{why}; trying again")));
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

impl<E: Engine> Attempts for Pump<E> {
    async fn attempt(&self, stop: &CancellationToken) -> Attempt {
        let copy = async {
            let id = self.id().await.map_err(|why| Attempt::Again {
                why,
                progressed: false,
            })?;
            self.copy(&id).await
        };
        let copied = tokio::select! {
            biased;
            // Dropping the copy loses nothing that is written down. The stream is not dropped: it
            // ends by itself at a window's boundary.
            () = stop.cancelled() => return Attempt::Stopped,
            copied = copy => copied,
        };
        let (copied, ahead) = match copied {
            Ok(copied) => copied,
            Err(attempt) => return attempt,
        };
        match Box::pin(self.stream(copied, ahead, stop)).await {
            Ok(()) => Attempt::Stopped,
            Err(attempt) => attempt,
        }
    }
}

impl<E: Engine> Pump<E> {
    /// Runs until it is stopped or the migration has failed.
    pub(super) async fn run(self, stop: CancellationToken) {
        let failure = persist(&self.board, &self, &stop).await;
        if let Some(failure) = failure {
            warn!(what = %failure.what, detail = %failure.detail, "the migration stopped");
            self.board.enter(Life::Failed(failure));
        }
    }

    /// The id of the migration that was begun, or a new one.
    async fn id(&self) -> Result<String, String> {
        for side in [Side::Source, Side::Target] {
            if let Some(id) = self.engine.migration_id(side).await? {
                return Ok(id);
            }
        }
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
        Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
    }

    /// Copies, and meanwhile reads the stream into the spool.
    async fn copy(&self, id: &str) -> Result<(Copied<E>, Option<E::Stream>), Attempt> {
        let copy = self.engine.copy(id);
        self.board.copying(copy.progress());
        let show_step = async {
            loop {
                self.board.step(copy.step());
                self.board.warnings(copy.warnings());
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        };
        let mut ahead = None;
        let copied = tokio::select! {
            copied = copy.run() => copied.map_err(Attempt::from),
            failed = ahead::read_ahead(self, &copy, &mut ahead) => Err(failed),
            () = show_step => Err(Attempt::Stopped),
        };
        self.board.warnings(copy.warnings());
        Ok((copied?, ahead))
    }

    async fn stream(
        &self,
        copied: Copied<E>,
        ahead: Option<E::Stream>,
        stop: &CancellationToken,
    ) -> Result<(), Attempt> {
        let begin = <E::Copy as InitialCopy>::start_of(&copied).clone();
        let applier = self.engine.applier(copied).await?;
        let stream = match ahead {
            // The copy has just ended: nothing was applied yet, so it begins at the right place.
            Some(stream) if !E::has_failed(&stream) => stream,
            broken => {
                drop(broken);
                self.open_stream(&begin, Some(&applier)).await?
            }
        };
        let applying = Applying {
            engine: &*self.engine,
            board: &self.board,
            serving: Side::Source,
        };
        let flowing = || {
            if matches!(self.board.life(), Life::Copying) {
                self.board.enter(Life::Streaming);
            }
        };
        apply(applying, applier, stream, flowing, stop).await
    }

    async fn open_stream(
        &self,
        begin: &Start<E>,
        behind: Option<&E::Applier>,
    ) -> Result<E::Stream, Attempt> {
        let folder = &self.config.spool.dir;
        std::fs::create_dir_all(folder).map_err(|error| failure::of_spool(folder, &error))?;
        Ok(self.engine.open_stream(begin, behind).await?)
    }
}
