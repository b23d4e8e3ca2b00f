//! The two servers as a movement sees them: what `router`'s machine asks for, done with SQL.
//!
//! Everything of the pause runs on two connections on which all statements were prepared before the
//! hold. What must succeed in the end (lowering a fence, asking the journal) opens a new connection
//! when that one is gone.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join;
use parking_lot::Mutex;
use router::cutover::Resolution;
use router::engine::{Arrive, Failure, Journal, Leave};
use router::{Epoch, Side};
use thiserror::Error;

use super::fence::{self, FenceError, FenceReport};
use super::journal::{self, JournalError, Outcome};
use super::marker::{Marker, MarkerError};
use super::ready::Prepared;
use super::schema::SchemaError;
use super::sequences::{SequenceError, SequenceValue};
use crate::apply::{ApplyHandle, RunState};
use crate::wire::{ConnectError, Endpoint, SqlConn};

/// The `application_name` of a movement's connections.
pub const APPLICATION_NAME: &str = "pointsman movement";

/// How long one attempt to lower the fence waits for locks; the machine tries again.
const LOWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Server processes on the side that is left which the fence must spare, as of now.
pub type Ours = Arc<dyn Fn() -> Vec<i32> + Send + Sync>;

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

/// The side that is arrived at, and the journal.
#[derive(Debug)]
pub struct Arriving {
    place: Place,
    prepared: Prepared,
    apply: ApplyHandle,
}

/// A server and the connection to it on which a movement was prepared.
#[derive(Debug)]
pub struct Arrival {
    /// The server.
    pub endpoint: Endpoint,
    /// The connection.
    pub client: SqlConn,
}

/// Where a movement leads.
#[derive(Debug)]
enum Place {
    /// To the target, which has the journal.
    Target(Box<Spot>),
    /// To the source; the journal is on the target, which is left.
    Source {
        source: Box<Spot>,
        journal: Box<Spot>,
    },
}

/// A server, with the line that was prepared.
#[derive(Debug)]
struct Spot {
    endpoint: Endpoint,
    line: Line,
}

impl From<Arrival> for Box<Spot> {
    fn from(arrival: Arrival) -> Self {
        Self::new(Spot {
            endpoint: arrival.endpoint,
            line: Line::new(arrival.client),
        })
    }
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
    /// The sequences.
    #[error("the sequences failed")]
    Sequences(#[from] SequenceError),
    /// The schema.
    #[error("the schema could not be compared")]
    Schema(#[from] SchemaError),
    /// The server cannot be reached.
    #[error("the server that is left cannot be reached")]
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
    /// The sequences of the source.
    #[error("the sequences could not be set")]
    Sequences(#[from] SequenceError),
    /// The fence of an earlier movement.
    #[error("the fence of an earlier movement could not be lowered")]
    Fence(#[from] FenceError),
    /// The server cannot be reached.
    #[error("the server that is arrived at, or the one with the journal, cannot be reached")]
    Connect(#[from] ConnectError),
    /// Invariant: a movement to the source has the statement that sets its sequences.
    #[error("the sequences were not prepared; this is a bug")]
    NotPrepared,
}

impl Leaving {
    /// The server that is left, whose statements were prepared on `client`.
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

    /// Server processes of ours: those that were named and our own.
    fn all_ours(&self) -> Vec<i32> {
        let mut pids = (self.ours)();
        pids.push(self.line.client.backend_pid());
        pids
    }
}

impl Leave for Leaving {
    type Marker = Marker;
    type Counters = Vec<SequenceValue>;
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

    async fn read_counters(&self) -> Result<Vec<SequenceValue>, LeaveError> {
        let client = &self.line.client;
        let read = async {
            let values = self.prepared.sequences.read(client);
            let (values, changed) = join(values, self.prepared.schema.look(client)).await;
            changed?;
            Ok(values?)
        };
        self.line.ask(read).await
    }
}

impl Arriving {
    /// The target, which `apply` keeps current.
    #[must_use]
    pub fn at_target(target: Arrival, prepared: Prepared, apply: ApplyHandle) -> Self {
        let place = Place::Target(target.into());
        Self {
            place,
            prepared,
            apply,
        }
    }

    /// The source, which `apply` keeps current while the target serves, and the journal there.
    #[must_use]
    pub fn at_source(
        source: Arrival,
        journal: Arrival,
        prepared: Prepared,
        apply: ApplyHandle,
    ) -> Self {
        let place = Place::Source {
            source: source.into(),
            journal: journal.into(),
        };
        Self {
            place,
            prepared,
            apply,
        }
    }

    fn arrival(&self) -> &Spot {
        match &self.place {
            Place::Target(spot) | Place::Source { source: spot, .. } => spot,
        }
    }

    fn journal(&self) -> &Spot {
        match &self.place {
            Place::Target(spot) | Place::Source { journal: spot, .. } => spot,
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
        let promote = &self.prepared.promote;
        match &self.place {
            Place::Target(spot) => {
                let line = &spot.line;
                let run = promote.run(&line.client, epoch, &counters);
                line.ask(run).await.map_err(failure)
            }
            Place::Source { source, journal } => {
                let set = self.prepared.set_sequences.as_ref();
                let set = set.ok_or(Failure::Refused(ArriveError::NotPrepared))?;
                // The journal has not been asked yet: whatever fails here, it did not happen.
                let set = set.run(&source.line.client, &counters);
                let set = source.line.ask(set).await;
                let position = set.map_err(|error| Failure::Refused(error.into()))?;
                let run = promote.run_for_source(&journal.line.client, epoch, position);
                journal.line.ask(run).await.map_err(failure)
            }
        }
    }

    async fn lower_fence(&self, epoch: Epoch) -> Result<(), ArriveError> {
        let Spot { endpoint, line } = self.arrival();
        if line.is_free() {
            fence::lower_epoch(&line.client, epoch, LOWER_TIMEOUT).await?;
        } else {
            let client = endpoint.connect_sql(APPLICATION_NAME).await?;
            fence::lower_epoch(&client, epoch, LOWER_TIMEOUT).await?;
        }
        Ok(())
    }
}

impl Journal for Arriving {
    type Error = ArriveError;

    async fn begin(&self, epoch: Epoch, to: Side) -> Result<(), Failure<ArriveError>> {
        let line = &self.journal().line;
        let begin = journal::begin(&line.client, epoch, to);
        line.ask(begin).await.map_err(failure)
    }

    async fn resolve(&self, epoch: Epoch) -> Result<Resolution, ArriveError> {
        let Spot { endpoint, line } = self.journal();
        let outcome = if line.is_free() {
            journal::resolve(&line.client, epoch).await?
        } else {
            let client = endpoint.connect_sql(APPLICATION_NAME).await?;
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
