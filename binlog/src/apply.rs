//! Applies the stream of the source's transactions to the target.
//!
//! [`Applier::run`] takes whole committed transactions, gathers them into windows, nets the changes
//! of each row inside a window, and applies a window in one transaction of the target, together
//! with its progress row. While one window executes, the next is gathered. Rows are written by row
//! events that we compose and the target executes with `BINLOG`; where that is not permitted, by
//! SQL. Definition statements are carried out at their place, between windows.
//!
//! # What it guarantees
//!
//! * The target is, after each of its commits, in a state that the source had at a commit.
//! * Every transaction is applied exactly once, whatever crashes: the progress row is part of the
//!   window's transaction, and it moves only from where this applier left it.
//! * A row that is missing, or already there, stops it with the table's name and the row's key.
//!   Nothing is skipped.
//! * A value is written as the source has it, or it stops with the column's name: servers check
//!   little of what row events bring.
//! * A position is told as durable only after the target has committed it.
//!
//! # What it does not do
//!
//! It compares no columns but keys and unique ones: a target row that differs otherwise is found by
//! `verify`.
//!
//! # Resumption
//!
//! After a transient error ([`ApplyError::is_transient`]) call [`Applier::reopen`], open the stream
//! again at [`Applier::position`], and [`Applier::run`] again. How definition statements survive a
//! crash is told in `ddl`.

mod charset;
mod compose;
mod convert;
pub(crate) mod ddl;
mod documents;
mod encode;
mod error;
mod events;
mod execute;
mod failure;
pub(crate) mod field;
mod gather;
mod handle;
mod json;
mod relations;
mod render;
mod session;
mod sql;
mod step;
mod target_table;
mod work;

use std::sync::Arc;

use router::window::WindowLimits;
use tokio::sync::mpsc;

use self::execute::Executor;
use self::gather::{Gathered, Gatherer};
use self::handle::Shared;
use self::session::Session;
use crate::position::Position;
use crate::schema::catalog::Scope;
use crate::stream::Stream;
use crate::wire::Endpoint;

pub use self::error::{
    Action, ApplyError, DdlError, DdlWhy, Divergence, Doing, Found, Refusal, RowName, TableError,
};
pub use self::events::{Blame, Events, EventsError};
pub use self::handle::{ApplyHandle, ApplyStatus, Paused, RunState};
pub use self::relations::Watermarks;
pub use self::target_table::Method;

/// How to apply.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// What the sessions on the target call themselves.
    pub program_name: String,
    /// Position to start from when the target has no progress yet: the copy's.
    pub start: Position,
    /// Which databases are moved: definition statements about others are left out.
    pub scope: Scope,
    /// Target transactions that apply one window side by side; 1 for now.
    pub lanes: u16,
    /// How large windows may become.
    pub window: WindowLimits,
}

impl ApplyOptions {
    /// The defaults for a migration.
    #[must_use]
    pub fn new(program_name: &str, start: Position, scope: Scope) -> Self {
        Self {
            program_name: program_name.to_owned(),
            start,
            scope,
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
        let shared = Arc::new(Shared::new(options.start.clone()));
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
        // The old session ends first: it may hold the progress row.
        self.session = None;
        let ApplyOptions {
            program_name,
            start,
            scope: _,
            lanes: _,
            window: _,
        } = &self.options;
        let session = Box::pin(Session::open(&self.target, program_name, start)).await?;
        self.shared.set_applied(session.progress.clone());
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

    /// Everything that committed on the source up to this is applied: where a stream must start.
    #[must_use]
    pub fn position(&self) -> Position {
        self.shared.applied().borrow().clone()
    }

    /// How rows are written on this target; `None` while there is no session.
    #[must_use]
    pub fn method(&self) -> Option<Method> {
        self.session.as_ref().map(|session| session.method)
    }

    /// Applies `stream` until it is asked to stop, and tells it what is durable on the target.
    ///
    /// # Errors
    /// As [`Applier::run`].
    ///
    /// # Cancel safety
    /// As [`Applier::run`].
    pub async fn run_stream(&mut self, stream: Stream) -> Result<(), ApplyError> {
        let handle = stream.handle();
        self.run(stream, move |position| handle.acknowledge(position.clone()))
            .await
    }

    /// Applies `stream` until it is asked to stop; `on_durable` is told each position that is
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
        on_durable: impl Fn(&Position) + Send,
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
            &session,
            &self.shared,
            steps,
            &self.options,
            &self.watermarks,
        );
        let gather = Box::pin(gatherer.run());
        let execute = Box::pin(Executor::new(&self.target, &mut session).run(
            received,
            &self.shared,
            on_durable,
        ));
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
