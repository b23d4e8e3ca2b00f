//! The two servers as a movement sees them: what `router`'s machine asks for, done with SQL.
//!
//! Everything of the pause runs on two connections on which all statements were prepared before the
//! hold. What must succeed in the end (lowering a fence, asking the journal) opens a new connection
//! when that one is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use router::cutover::Resolution;
use router::engine::{Arrive, Failure, Journal, Leave};
use router::{Epoch, Side};
use thiserror::Error;

use super::fence::{self, FenceError, FenceReport, LowerReport};
use super::journal::{self, JournalError, Outcome};
use super::marker::{Marker, MarkerError};
use super::ready::Prepared;
use super::sequences::{SequenceError, SequenceValue};
use crate::apply::{ApplyHandle, RunState};
use crate::wire::{ConnectError, Endpoint, SqlConn};

/// The `application_name` of a movement's connections.
pub const APPLICATION_NAME: &str = "pointsman movement";

/// How long one attempt to lower the fence waits for locks; the machine tries again.
const LOWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Server processes on the source that the fence must spare, as of now.
pub type Ours = Arc<dyn Fn() -> Vec<i32> + Send + Sync>;

/// The side that is left, with everything prepared.
pub struct Leaving {
    endpoint: Endpoint,
    client: SqlConn,
    prepared: Prepared,
    ours: Ours,
    attempts: Attempts,
    raised: Mutex<Option<FenceReport>>,
    lowered: Mutex<Option<LowerReport>>,
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
    client: SqlConn,
    prepared: Prepared,
    apply: ApplyHandle,
    attempts: Attempts,
}

/// Counts attempts at what must succeed in the end: the first uses the connection that is there,
/// the others a new one, since that one may hang in a network that is gone.
#[derive(Debug, Default)]
struct Attempts(AtomicU32);

impl Attempts {
    fn is_first(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) == 0
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
    /// The sequences.
    #[error("the sequences failed")]
    Sequences(#[from] SequenceError),
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
            client,
            prepared,
            ours,
            attempts: Attempts::default(),
            raised: Mutex::new(None),
            lowered: Mutex::new(None),
        }
    }

    /// What raising the fence did, once it is up.
    #[must_use]
    pub fn fence_report(&self) -> Option<FenceReport> {
        self.raised.lock().clone()
    }

    /// What lowering the fence did, once it is down again.
    #[must_use]
    pub fn lower_report(&self) -> Option<LowerReport> {
        self.lowered.lock().clone()
    }

    /// Server processes of ours: those that were named and our own.
    fn all_ours(&self) -> Vec<i32> {
        let mut pids = (self.ours)();
        pids.push(self.client.backend_pid());
        pids
    }
}

impl Leave for Leaving {
    type Marker = Marker;
    type Counters = Vec<SequenceValue>;
    type Error = LeaveError;

    async fn raise_fence(&self, epoch: Epoch) -> Result<(), LeaveError> {
        let ours = self.all_ours();
        let report = self
            .prepared
            .fence
            .raise(&self.client, &ours, epoch)
            .await?;
        *self.raised.lock() = Some(report);
        Ok(())
    }

    async fn lower_fence(&self, epoch: Epoch) -> Result<(), LeaveError> {
        let report = if self.attempts.is_first() && !self.client.is_closed() {
            fence::lower_epoch(&self.client, epoch, LOWER_TIMEOUT).await?
        } else {
            let client = self.endpoint.connect_sql(APPLICATION_NAME).await?;
            fence::lower_epoch(&client, epoch, LOWER_TIMEOUT).await?
        };
        *self.lowered.lock() = Some(report);
        Ok(())
    }

    async fn write_marker(&self) -> Result<Marker, LeaveError> {
        Ok(self.prepared.marker.write(&self.client).await?)
    }

    async fn read_counters(&self) -> Result<Vec<SequenceValue>, LeaveError> {
        Ok(self.prepared.sequences.read(&self.client).await?)
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
            client,
            prepared,
            apply,
            attempts: Attempts::default(),
        }
    }
}

impl Arrive<Leaving> for Arriving {
    type Error = ArriveError;

    async fn caught_up(&self, marker: &Marker) -> Result<(), ArriveError> {
        let mut run = self.apply.run_state();
        tokio::select! {
            _position = self.apply.wait_marker(&marker.token) => Ok(()),
            _ended = run.wait_for(|run| *run == RunState::Ended) => Err(ArriveError::Stopped),
        }
    }

    async fn promote(
        &self,
        epoch: Epoch,
        counters: Vec<SequenceValue>,
    ) -> Result<(), Failure<ArriveError>> {
        let promoted = self
            .prepared
            .promote
            .run(&self.client, epoch, &counters)
            .await;
        promoted.map_err(failure)
    }

    async fn lower_fence(&self, _epoch: Epoch) -> Result<(), ArriveError> {
        Err(ArriveError::NoFence)
    }
}

impl Journal for Arriving {
    type Error = ArriveError;

    async fn begin(&self, epoch: Epoch, to: Side) -> Result<(), Failure<ArriveError>> {
        journal::begin(&self.client, epoch, to)
            .await
            .map_err(failure)
    }

    async fn resolve(&self, epoch: Epoch) -> Result<Resolution, ArriveError> {
        let outcome = if self.attempts.is_first() && !self.client.is_closed() {
            journal::resolve(&self.client, epoch).await?
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
