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
mod failure;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use pgwal::apply::{Applier, ApplyOptions};
use pgwal::check;
use pgwal::schema::initial::{InitialCopy, InitialDone, InitialOptions, StreamStart};
use pgwal::schema::patience::LockPatience;
use pgwal::schema::setup::{KeylessPolicy, migration_id};
use pgwal::session::Relay;
use pgwal::stream::{Stream, StreamOptions};
use pgwal::wire::Endpoint;
use router::window::WindowLimits;
use router::{Lsn, Side, words};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::failure::Attempt;
use super::board::{Board, Life};
use crate::config::{Config, KeylessTables};

/// The first pause before trying again; it doubles.
const RETRY_FIRST: Duration = Duration::from_millis(200);

/// The longest pause before trying again.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How often the copy's step is shown and the source is asked whether a migration was begun.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// Everything the pump works with.
pub(super) struct Pump {
    /// The configuration.
    pub config: Arc<Config>,
    /// The source.
    pub source: Endpoint,
    /// The target.
    pub target: Endpoint,
    /// The clients, who are told the names of custom settings found in the catalog.
    pub relay: Arc<Relay>,
    /// What status shows.
    pub board: Arc<Board>,
}

/// Whether a migration was begun: its id stands on the source. Asks until it gets an answer.
pub(super) async fn was_begun(source: &Endpoint, shutdown: &CancellationToken) -> bool {
    loop {
        match id_on(source, Side::Source).await {
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

async fn id_on(endpoint: &Endpoint, side: Side) -> Result<Option<String>, String> {
    let client = endpoint
        .connect_sql("pointsman control")
        .await
        .map_err(|error| format!("the {side} cannot be reached: {}", words(&error)))?;
    migration_id(&client, side)
        .await
        .map_err(|error| words(&error))
}

impl Pump {
    /// Runs until it is stopped or the migration has failed.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut pause = RETRY_FIRST;
        loop {
            let tried = Box::pin(self.attempt(&stop)).await;
            self.board.streaming(None, None);
            match tried {
                Attempt::Stopped => return,
                Attempt::Failed(failure) => {
                    warn!(what = %failure.what, detail = %failure.detail, "the migration stopped");
                    self.board.enter(Life::Failed(failure));
                    return;
                }
                Attempt::Again { why, progressed } => {
                    if progressed {
                        pause = RETRY_FIRST;
                    }
                    warn!(%why, ?pause, "trying again");
                    self.board.trouble(Some(format!("{why}; trying again")));
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// One attempt, from what is written down on the target.
    async fn attempt(&self, stop: &CancellationToken) -> Attempt {
        let copy = async {
            let id = self.id().await.map_err(|why| Attempt::Again {
                why,
                progressed: false,
            })?;
            let copied = self.copy(&id).await?;
            self.find_custom_settings().await;
            Ok(copied)
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

    /// The id of the migration that was begun, or a new one.
    async fn id(&self) -> Result<String, String> {
        if let Some(id) = id_on(&self.source, Side::Source).await? {
            return Ok(id);
        }
        if let Some(id) = id_on(&self.target, Side::Target).await? {
            return Ok(id);
        }
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).map_err(|error| format!("no random numbers: {error}"))?;
        Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
    }

    /// Copies, and meanwhile reads the stream into the spool.
    async fn copy(&self, id: &str) -> Result<(InitialDone, Option<Stream>), Attempt> {
        let config = &self.config.copy;
        let options = InitialOptions {
            filter: config.tables.filter(),
            keyless: match config.keyless_tables {
                KeylessTables::Full => KeylessPolicy::Full,
                KeylessTables::Refuse => KeylessPolicy::Refuse,
            },
            patience: LockPatience {
                lock_timeout: config.lock_timeout.0,
                ..LockPatience::default()
            },
            pg_dump_dir: config.pg_dump_dir.clone(),
            workers: config.workers,
            bytes_per_second: config.bandwidth_limit.map(|limit| limit.0),
            ..InitialOptions::new(id)
        };
        let copy = InitialCopy::new(self.source.clone(), self.target.clone(), options);
        self.board.copying(copy.rows());
        let show_step = async {
            loop {
                self.board.step(copy.step().as_str());
                self.board.warnings(copy.warnings());
                tokio::time::sleep(LOOK_PERIOD).await;
            }
        };
        let mut ahead = None;
        let copied = tokio::select! {
            copied = copy.run() => copied.map_err(failure::of_copy),
            failed = ahead::read_ahead(self, &copy, &mut ahead) => Err(failed),
            () = show_step => Err(Attempt::Stopped),
        };
        self.board.warnings(copy.warnings());
        Ok((copied?, ahead))
    }

    /// Names of the application's own settings, which no server lists for a session.
    async fn find_custom_settings(&self) {
        let Ok(client) = self.source.connect_sql("pointsman control").await else {
            return;
        };
        match check::custom_settings(&client).await {
            Ok(found) => {
                let configured = self.config.sessions.custom_settings.iter().cloned();
                self.relay
                    .set_custom_settings(found.into_iter().chain(configured));
            }
            Err(error) => warn!(error = %words(&error), "cannot look for custom settings"),
        }
    }

    async fn stream(
        &self,
        copied: InitialDone,
        ahead: Option<Stream>,
        stop: &CancellationToken,
    ) -> Result<(), Attempt> {
        let begin = &copied.start;
        let options = ApplyOptions {
            lanes: u16::try_from(self.config.apply.lanes).unwrap_or(u16::MAX),
            window: WindowLimits {
                rows_max: self.config.apply.window.rows,
                bytes_max: self.config.apply.window.bytes.0,
                ..WindowLimits::default()
            },
            ..ApplyOptions::new(&begin.slot, begin.consistent_point)
        };
        let watermarks = copied
            .watermarks
            .iter()
            .map(|(name, at)| (name.clone(), *at))
            .collect();
        let mut applier = Applier::open(&self.target, options, watermarks)
            .await
            .map_err(failure::of_apply)?;
        let stream = match ahead {
            // The copy has just ended: nothing was applied yet, so it begins at the right place.
            Some(stream) if !stream.has_failed() => stream,
            broken => {
                drop(broken);
                self.open_stream(begin, applier.position()).await?
            }
        };
        let (handle, apply) = (stream.handle(), applier.handle());
        self.board
            .streaming(Some(handle.clone()), Some(apply.clone()));
        self.board.trouble(None);
        if matches!(self.board.life(), Life::Copying) {
            self.board.enter(Life::Streaming);
        }
        info!(start = %applier.position(), "changes flow");
        let start = applier.position();
        let acknowledge = handle.clone();
        let run = applier.run(stream, move |position| acknowledge.acknowledge(position));
        let watch = watch::drift(&self.config, &self.source, &self.target);
        let stopped = async {
            stop.cancelled().await;
            apply.stop();
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = run => ended.map_err(failure::of_apply),
            drift = watch => Err(Attempt::Failed(failure::of_drift(&drift))),
            () = stopped => Ok(()),
        };
        let ended = match ended {
            Err(Attempt::Failed(failure)) => {
                let looked = watch::explain(failure, &self.config, &self.source, &self.target);
                Err(Attempt::Failed(looked.await))
            }
            other => other,
        };
        let progressed = *apply.applied().borrow() > start;
        ended.map_err(|attempt| attempt.progressed(progressed))
    }

    async fn open_stream(&self, begin: &StreamStart, position: Lsn) -> Result<Stream, Attempt> {
        let spool = &self.config.spool;
        std::fs::create_dir_all(&spool.dir)
            .map_err(|error| failure::of_spool(&spool.dir, &error))?;
        let (slot, publication) = (begin.slot.as_str(), begin.publication.as_str());
        let options = StreamOptions {
            source: Some(begin.source.clone()),
            spool_limit_bytes: spool.limit.0,
            ..StreamOptions::new(slot, publication, position, spool.dir.join(slot))
        };
        Stream::open(&self.source, options)
            .await
            .map_err(failure::of_stream)
    }
}
