//! What the applier takes from the stream: whole committed transactions, event by event.

use std::error::Error;
use std::future::Future;

use thiserror::Error;

use crate::stream::Stream;
pub(super) use crate::stream::event::{
    CommitTime, Relation, RelationColumn, ReplicaIdentity, StreamEvent,
};

/// Where the applier takes its events from: whole committed transactions in commit order.
pub trait Events: Send {
    /// The next event.
    ///
    /// # Cancel safety
    /// An implementation must lose nothing when the future is dropped.
    fn next(&mut self) -> impl Future<Output = Result<StreamEvent, EventsError>> + Send;
}

impl Events for Stream {
    async fn next(&mut self) -> Result<StreamEvent, EventsError> {
        Self::next(self).await.map_err(|error| EventsError {
            blame: if error.is_transient() {
                Blame::Transient
            } else {
                Blame::Definite
            },
            source: Box::new(error),
        })
    }
}

/// Why no event comes any more.
#[derive(Debug, Error)]
#[error("no more events")]
pub struct EventsError {
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
    /// Whether opening the stream again can help.
    pub blame: Blame,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// It may: a connection was lost, a server restarted.
    Transient,
    /// It cannot.
    Definite,
}
