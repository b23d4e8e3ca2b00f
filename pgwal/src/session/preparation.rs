//! Preparing a twin while its client is served on.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use router::Side;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::limits::TWIN_TIMEOUT;
use super::relay::Relay;
use super::state::{Replay, Unmovable};
use super::twin::Twin;
use super::types::numbers::Numbers;
use crate::wire::{Credential, Endpoint};

/// Everything it takes to have a twin that is like its session.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) side: Side,
    pub(super) endpoint: Endpoint,
    pub(super) parameters: Vec<(String, String)>,
    pub(super) credential: Credential,
    pub(super) replay: Replay,
    /// The numbers of types that the client knows.
    pub(super) numbers: Numbers,
    pub(super) relay: Arc<Relay>,
    /// The twin that stands already.
    pub(super) twin: Option<Twin>,
}

/// A twin on its way.
pub(super) struct Preparation {
    /// The state that the twin gets.
    replay: Replay,
    work: BoxFuture<'static, Result<Twin, Unmovable>>,
    waiting: Vec<oneshot::Sender<()>>,
    turn: Option<OwnedSemaphorePermit>,
}

/// What came of it, and who wants to know that it is over.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The state that the twin was to get.
    pub(super) replay: Replay,
    pub(super) twin: Result<Twin, Unmovable>,
    pub(super) waiting: Vec<oneshot::Sender<()>>,
}

impl fmt::Debug for Preparation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preparation")
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Plan {
    /// Begins; nothing happens before it is polled.
    pub(super) fn begin(self) -> Preparation {
        Preparation {
            replay: self.replay.clone(),
            work: Box::pin(self.carry_out()),
            waiting: Vec::new(),
            turn: None,
        }
    }

    async fn carry_out(self) -> Result<Twin, Unmovable> {
        match timeout(TWIN_TIMEOUT, self.prepare()).await {
            Ok(prepared) => prepared,
            Err(_elapsed) => Err(Unmovable::NotLetIn(format!(
                "the server has not answered for {} s",
                TWIN_TIMEOUT.as_secs()
            ))),
        }
    }

    async fn prepare(self) -> Result<Twin, Unmovable> {
        let mut usable = None;
        if let Some(mut old) = self.twin {
            if old.side == self.side && old.is_alive() {
                usable = Some(old);
            } else {
                old.conn.close().await;
            }
        }
        let mut twin = match usable {
            Some(twin) => twin,
            None => {
                Twin::open(self.side, &self.endpoint, &self.parameters, self.credential).await?
            }
        };
        let brought = twin.bring_to(&self.replay, self.numbers, &self.relay);
        match brought.await {
            Ok(()) => Ok(twin),
            Err(reason) => {
                twin.conn.close().await;
                Err(reason)
            }
        }
    }
}

impl Preparation {
    /// Whoever waited for the one before this waits for this.
    pub(super) fn on_behalf_of(mut self, waiting: Vec<oneshot::Sender<()>>) -> Self {
        self.waiting = waiting;
        self
    }

    /// Somebody wants to know when it is over; the turn is kept until then.
    pub(super) fn report_to(
        &mut self,
        done: oneshot::Sender<()>,
        turn: Option<OwnedSemaphorePermit>,
    ) {
        self.waiting.push(done);
        if turn.is_some() {
            self.turn = turn;
        }
    }

    /// Goes on with the preparation in `slot`; takes it out when it is over.
    pub(super) fn poll_slot(
        slot: &mut Option<Self>,
        cx: &mut Context<'_>,
    ) -> Option<Box<Prepared>> {
        let preparation = slot.as_mut()?;
        let Poll::Ready(twin) = preparation.work.as_mut().poll(cx) else {
            return None;
        };
        let preparation = slot.take()?;
        Some(Box::new(preparation.over(twin)))
    }

    /// Waits for the end.
    pub(super) async fn wait(mut self) -> Box<Prepared> {
        let twin = self.work.as_mut().await;
        Box::new(self.over(twin))
    }

    fn over(self, twin: Result<Twin, Unmovable>) -> Prepared {
        Prepared {
            replay: self.replay,
            twin,
            waiting: self.waiting,
        }
    }
}
