//! Applies the stream of the source's transactions to the target.
//!
//! [`Applier::run`] takes whole committed transactions, gathers them into windows, nets the changes
//! of each row inside a window, and applies a window in one transaction of the target, together
//! with its progress row. While one window executes, the next is gathered.
//!
//! # What it guarantees
//!
//! * The target is, after each of its commits, in a state that the source had at a commit.
//! * Every transaction is applied exactly once, whatever crashes: the progress row is part of the
//!   window's transaction, and it moves only from where this applier left it.
//! * A row that is missing, or already there, stops it with the table's name and the row's key.
//!   Nothing is skipped.
//! * A position is acknowledged to the source only after the target has committed it.
//!
//! # What it does not do
//!
//! It compares no columns but keys and unique ones: a target row that differs otherwise is found by
//! `verify`. It creates nothing on the target but its replication origin.
//!
//! # Resumption
//!
//! After a transient error ([`ApplyError::is_transient`]) call [`Applier::reopen`], open the stream
//! again at [`Applier::position`], and [`Applier::run`] again.

mod copy_text;
mod error;
mod events;
mod execute;
mod failure;
mod gather;
mod handle;
mod pipeline;
mod raw;
mod relations;
mod session;
mod sql;
mod step;
mod target_table;
mod work;

use std::sync::Arc;

use router::window::WindowLimits;
use router::{Epoch, Lsn};
use tokio::sync::mpsc;

use self::execute::Executor;
use self::gather::{Gathered, Gatherer};
use self::handle::Shared;
use self::session::Session;
use crate::stream::Stream;
use crate::wire::Endpoint;

pub use self::error::{Action, ApplyError, Doing, RowsMissing, ServerFailure, TableError};
pub use self::events::{Blame, Events, EventsError};
pub use self::handle::{ApplyHandle, ApplyStatus, Paused, RunState};
pub use self::relations::Watermarks;
pub use self::session::OriginState;

/// How to apply.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// Name of the replication origin on the target, `pointsman_<id>`.
    pub origin_name: String,
    /// Position to start from when the target has no progress of this epoch yet: the slot's
    /// consistent point, or where the log stood when the other side began to serve.
    pub start: Lsn,
    /// The epoch in which the server serves that is streamed from. Progress of an earlier one is of
    /// an earlier stream.
    pub epoch: Epoch,
    /// Transactions of the stream that carry this replication origin are left out: they came from
    /// the target in the first place.
    pub ignored_origin: Option<String>,
    /// Target transactions that apply one window side by side; 1 for now.
    pub lanes: u16,
    /// How large windows may become.
    pub window: WindowLimits,
}

impl ApplyOptions {
    /// The defaults for a migration.
    #[must_use]
    pub fn new(origin_name: &str, start: Lsn) -> Self {
        Self {
            origin_name: origin_name.to_owned(),
            start,
            epoch: Epoch::FIRST,
            ignored_origin: None,
            lanes: 1,
            window: WindowLimits::default(),
        }
    }
}

/// Applies a stream to one target.
#[derive(Debug)]
pub struct Applier {
    target: Endpoint,
    options: ApplyOptions,
    watermarks: Watermarks,
    shared: Arc<Shared>,
    session: Option<Session>,
}

impl Applier {
    /// Opens the session on the target and reads how far it is.
    ///
    /// # Errors
    /// When the target cannot be reached or refuses what applying needs.
    pub async fn open(
        target: &Endpoint,
        options: ApplyOptions,
        watermarks: Watermarks,
    ) -> Result<Self, ApplyError> {
        if options.lanes != 1 {
            return Err(ApplyError::Lanes {
                lanes: options.lanes,
            });
        }
        let shared = Arc::new(Shared::new(options.start));
        let mut applier = Self {
            target: target.clone(),
            options,
            watermarks,
            shared,
            session: None,
        };
        applier.reopen().await?;
        Ok(applier)
    }

    /// Opens a new session, after the one before was lost.
    ///
    /// # Errors
    /// As [`Applier::open`].
    pub async fn reopen(&mut self) -> Result<(), ApplyError> {
        // The old session ends first: it holds the replication origin.
        self.session = None;
        let session = Session::open(&self.target, &self.options).await?;
        self.shared.set_applied(session.progress);
        self.session = Some(session);
        Ok(())
    }

    /// A handle to watch and hold this applier.
    #[must_use]
    pub fn handle(&self) -> ApplyHandle {
        ApplyHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Everything that committed on the source before this is applied: where a stream must start.
    #[must_use]
    pub fn position(&self) -> Lsn {
        *self.shared.applied().borrow()
    }

    /// Whether commits carry the replication origin; `None` while there is no session.
    #[must_use]
    pub fn origin(&self) -> Option<&OriginState> {
        self.session.as_ref().map(|session| &session.origin)
    }

    /// Applies `stream` until it is asked to stop, and acknowledges to the source what is durable on
    /// the target.
    ///
    /// # Errors
    /// As [`Applier::run`].
    ///
    /// # Cancel safety
    /// As [`Applier::run`].
    pub async fn run_stream(&mut self, stream: Stream) -> Result<(), ApplyError> {
        let handle = stream.handle();
        self.run(stream, move |position| handle.acknowledge(position))
            .await
    }

    /// Applies `stream` until it is asked to stop; `acknowledge` is told each position that is
    /// durable on the target.
    ///
    /// # Errors
    /// The reason it had to stop. The session is gone then: see [`Applier::reopen`].
    ///
    /// # Cancel safety
    /// When this is dropped the open window is lost and the session must be opened again; what was
    /// committed stays.
    pub async fn run(
        &mut self,
        stream: impl Events,
        acknowledge: impl Fn(Lsn) + Send,
    ) -> Result<(), ApplyError> {
        if self.session.is_none() {
            Box::pin(self.reopen()).await?;
        }
        let Some(mut session) = self.session.take() else {
            return Ok(());
        };
        let _running = Running::new(&self.shared);
        let (steps, received) = mpsc::channel(1);
        let gatherer = Gatherer::new(
            stream,
            Arc::clone(&session.client),
            &self.shared,
            steps,
            &self.options,
            &self.watermarks,
        );
        let gather = Box::pin(gatherer.run());
        let execute =
            Box::pin(Executor::new(&mut session).run(received, &self.shared, acknowledge));
        // When one half ends the other notices by their channel.
        let (gathered, executed) = futures_util::future::join(gather, execute).await;
        executed?;
        match gathered? {
            Gathered::Stopped | Gathered::ExecutorGone => {}
        }
        self.session = Some(session);
        Ok(())
    }
}

/// Tells the handles whether the applier runs.
struct Running<'a> {
    shared: &'a Shared,
}

impl<'a> Running<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.set_run(RunState::Running);
        Self { shared }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.shared.set_run(RunState::Ended);
    }
}
