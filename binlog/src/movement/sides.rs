//! The two servers as a movement sees them: what `router`'s machine asks for, done with SQL.
//!
//! Everything of the pause runs on two connections on which everything was prepared before the
//! hold. What must succeed in the end (lowering a fence, asking the journal) opens a new connection
//! when that one is gone.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use router::cutover::Resolution;
use router::engine::{Arrive, Failure, Journal, Leave};
use router::{Epoch, Side};
use thiserror::Error;

use super::counters::{CounterError, CounterValue};
use super::events;
use super::fence::{self, FenceError, FenceReport};
use super::journal::{self, JournalError, Outcome};
use super::marker::{Marker, MarkerError};
use super::ready::Prepared;
use super::replicas::{self, Place};

use crate::apply::{ApplyHandle, RunState};
use crate::wire::{ConnectError, Endpoint, SqlConn};

/// The program name of a movement's connections.
pub const APPLICATION_NAME: &str = "pointsman movement";

/// How long one attempt to lower the fence waits for locks; the machine tries again.
const LOWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Sessions of ours on the source that the fence must spare, as of now.
pub type Ours = Arc<dyn Fn() -> Vec<u32> + Send + Sync>;

/// The side that is left, with everything prepared.
pub struct Leaving {
    endpoint: Endpoint,
    line: Line,
    prepared: Prepared,
    ours: Ours,
    raised: Mutex<Option<FenceReport>>,
}

impl std::fmt::Debug for Leaving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leaving")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// The side that is arrived at, and the journal on it.
#[derive(Debug)]
pub struct Arriving {
    endpoint: Endpoint,
    line: Line,
    prepared: Prepared,
    apply: ApplyHandle,
    promoted_at: Mutex<Option<Result<Place, String>>>,
}

/// The connection on which everything was prepared, and whether it still answers.
#[derive(Debug)]
struct Line {
    client: SqlConn,
    /// Requests that were begun and not answered, those that nobody waits for any more included.
    unanswered: AtomicU32,
    /// Attempts at what must succeed in the end.
    attempts: AtomicU32,
}

impl Line {
    fn new(client: SqlConn) -> Self {
        Self {
            client,
            unanswered: AtomicU32::new(0),
            attempts: AtomicU32::new(0),
        }
    }

    /// Asks something on this connection. Dropped, it counts as unanswered for good.
    async fn ask<T>(&self, question: impl Future<Output = T>) -> T {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        let answer = question.await;
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        answer
    }

    /// Whether what must succeed in the end may go this way: only the first attempt, and only
    /// behind nothing that has no answer yet. Otherwise it would wait with that in a network that
    /// is gone, and clients with it.
    fn is_free(&self) -> bool {
        self.attempts.fetch_add(1, Ordering::Relaxed) == 0
            && self.unanswered.load(Ordering::Relaxed) == 0
            && !self.client.is_closed()
    }
}

/// Why a step on the side that is left failed.
#[derive(Debug, Error)]
pub enum LeaveError {
    /// The fence.
    #[error("the fence failed")]
    Fence(#[from] FenceError),
    /// The marker.
    #[error("the marker failed")]
    Marker(#[from] MarkerError),
    /// The counters.
    #[error("the AUTO_INCREMENT counters could not be read")]
    Counters(#[from] CounterError),
    /// The source cannot be reached.
    #[error("the source cannot be reached")]
    Connect(#[from] ConnectError),
}

/// Why a step on the side that is arrived at failed.
#[derive(Debug, Error)]
pub enum ArriveError {
    /// The journal.
    #[error("the journal failed")]
    Journal(#[from] JournalError),
    /// The counters.
    #[error("the AUTO_INCREMENT counters could not be raised")]
    Counters(#[from] CounterError),
    /// The applier is not running any more.
    #[error("the stream stopped before the marker came")]
    Stopped,
    /// The target cannot be reached.
    #[error("the target cannot be reached")]
    Connect(#[from] ConnectError),
    /// The target has no fence in this version.
    #[error("the target was never fenced by pointsman")]
    NoFence,
}

impl Leaving {
    /// The source, whose statements were prepared on `client`.
    #[must_use]
    pub fn new(endpoint: Endpoint, client: SqlConn, prepared: Prepared, ours: Ours) -> Self {
        Self {
            endpoint,
            line: Line::new(client),
            prepared,
            ours,
            raised: Mutex::new(None),
        }
    }

    /// What raising the fence did, once it is up.
    #[must_use]
    pub fn fence_report(&self) -> Option<FenceReport> {
        self.raised.lock().clone()
    }

    /// Where its log ends, behind the fence.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub async fn ends_at(&self) -> Result<Place, String> {
        let place = replicas::place(&self.line.client, Side::Source);
        self.line.ask(place).await
    }

    /// Sessions of ours: those that were named and our own.
    fn all_ours(&self) -> Vec<u32> {
        let mut ids = (self.ours)();
        ids.push(self.line.client.thread_id());
        ids
    }
}

impl Leave for Leaving {
    type Marker = Marker;
    type Counters = Vec<CounterValue>;
    type Error = LeaveError;

    async fn raise_fence(&self, epoch: Epoch) -> Result<(), LeaveError> {
        let ours = self.all_ours();
        let raise = self.prepared.fence.raise(&self.line.client, &ours, epoch);
        let report = self.line.ask(raise).await?;
        *self.raised.lock() = Some(report);
        Ok(())
    }

    async fn lower_fence(&self, epoch: Epoch) -> Result<(), LeaveError> {
        if self.line.is_free() {
            fence::lower_epoch(&self.line.client, epoch, LOWER_TIMEOUT).await?;
        } else {
            let client = self.endpoint.connect_sql(APPLICATION_NAME).await?;
            fence::lower_epoch(&client, epoch, LOWER_TIMEOUT).await?;
        }
        Ok(())
    }

    async fn write_marker(&self) -> Result<Marker, LeaveError> {
        let write = self.prepared.marker.write(&self.line.client);
        Ok(self.line.ask(write).await?)
    }

    async fn read_counters(&self) -> Result<Vec<CounterValue>, LeaveError> {
        let read = self.prepared.counters.read(&self.line.client);
        Ok(self.line.ask(read).await?)
    }
}

impl Arriving {
    /// The target, whose statements were prepared on `client` and which `apply` keeps current.
    #[must_use]
    pub fn new(
        endpoint: Endpoint,
        client: SqlConn,
        prepared: Prepared,
        apply: ApplyHandle,
    ) -> Self {
        Self {
            endpoint,
            line: Line::new(client),
            prepared,
            apply,
            promoted_at: Mutex::new(None),
        }
    }

    /// Where its log was when it was promoted, before anybody wrote.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub fn promoted_at(&self) -> Result<Place, String> {
        let noted = self.promoted_at.lock().clone();
        noted.unwrap_or_else(|| Err("the connection broke at the switch".to_owned()))
    }
}

impl Arrive<Leaving> for Arriving {
    type Error = ArriveError;

    async fn caught_up(&self, marker: &Marker) -> Result<(), ArriveError> {
        let mut run = self.apply.run_state();
        tokio::select! {
            _position = self.apply.wait_marker(marker) => Ok(()),
            _ended = run.wait_for(|run| *run == RunState::Ended) => Err(ArriveError::Stopped),
        }
    }

    async fn promote(
        &self,
        epoch: Epoch,
        counters: Vec<CounterValue>,
    ) -> Result<(), Failure<ArriveError>> {
        // The counters first: ALTER TABLE commits by itself. They are only ever raised, so they do
        // no harm when the journal refuses.
        let raise = self.prepared.counters.raise(&self.line.client, &counters);
        let raised = self.line.ask(raise).await;
        raised.map_err(|error| Failure::Refused(error.into()))?;
        let promote = journal::promote(&self.line.client, epoch);
        self.line.ask(promote).await.map_err(failure)?;
        // Before its events run and before anybody writes.
        let place = self
            .line
            .ask(replicas::place(&self.line.client, Side::Target))
            .await;
        *self.promoted_at.lock() = Some(place);
        let enable = events::enable_or_warn(&self.line.client);
        self.line.ask(enable).await;
        Ok(())
    }

    async fn lower_fence(&self, _epoch: Epoch) -> Result<(), ArriveError> {
        Err(ArriveError::NoFence)
    }
}

impl Journal for Arriving {
    type Error = ArriveError;

    async fn begin(&self, epoch: Epoch, to: Side) -> Result<(), Failure<ArriveError>> {
        let begin = journal::begin(&self.line.client, epoch, to);
        self.line.ask(begin).await.map_err(failure)
    }

    async fn resolve(&self, epoch: Epoch) -> Result<Resolution, ArriveError> {
        let outcome = if self.line.is_free() {
            journal::resolve(&self.line.client, epoch).await?
        } else {
            let client = self.endpoint.connect_sql(APPLICATION_NAME).await?;
            journal::resolve(&client, epoch).await?
        };
        Ok(match outcome {
            Outcome::Switched => Resolution::Switched,
            Outcome::Aborted => Resolution::Aborted,
        })
    }
}

/// Whether the journal's entry may have been made although it failed.
fn failure(error: JournalError) -> Failure<ArriveError> {
    if error.is_refused() {
        Failure::Refused(error.into())
    } else {
        Failure::Unknown(error.into())
    }
}
