//! Statements sent without waiting for the answers of those before, in order.
//!
//! `tokio-postgres` sends a statement when its future is first polled; a [`Pipeline`] polls each
//! once when it is added, so statements reach the server in the order they were added, and round
//! trips do not add up.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use futures_util::future::{BoxFuture, MaybeDone, maybe_done};
use futures_util::{FutureExt, poll};

/// Statements in flight at once. Bounds what the driver queues; more than this hides no latency.
const IN_FLIGHT_MAX: usize = 64;

/// Statements in flight, each with what `E` expects of its answer.
pub(super) struct Pipeline<'a, E> {
    in_flight: VecDeque<(E, InFlight<'a>)>,
}

type InFlight<'a> = MaybeDone<BoxFuture<'a, Result<u64, tokio_postgres::Error>>>;

/// An answer: what was expected, and how many rows were affected.
pub(super) type Answered<E> = (E, Result<u64, tokio_postgres::Error>);

impl<'a, E> Pipeline<'a, E> {
    pub(super) fn new() -> Self {
        Self {
            in_flight: VecDeque::new(),
        }
    }

    /// Sends a statement. Gives back the oldest answer if enough are in flight already.
    pub(super) async fn add(
        &mut self,
        expected: E,
        statement: impl Future<Output = Result<u64, tokio_postgres::Error>> + Send + 'a,
    ) -> Option<Answered<E>> {
        let oldest = if self.in_flight.len() >= IN_FLIGHT_MAX {
            self.next().await
        } else {
            None
        };
        let mut statement = maybe_done(statement.boxed());
        // Ready or not: the statement is sent, and its answer is kept by `MaybeDone`.
        let _sent = poll!(&mut statement);
        self.in_flight.push_back((expected, statement));
        oldest
    }

    /// The oldest answer that was not given yet.
    pub(super) async fn next(&mut self) -> Option<Answered<E>> {
        let (expected, mut statement) = self.in_flight.pop_front()?;
        (&mut statement).await;
        Pin::new(&mut statement)
            .take_output()
            .map(|result| (expected, result))
    }
}
