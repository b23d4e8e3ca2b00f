//! The task that reads the log: it takes events as long as there is room for them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout;

use super::assembler::{Assembler, Output};
use super::error::StreamError;
use super::handle::Progress;
use super::queue::{Pushed, Queue};
use super::suspicion::Suspicions;
use super::{limits, refusal};
use crate::position::Position;
use crate::wire::{Conn, ServerError, WireError};

/// The first byte of a packet: an event follows, the log ended, an error.
const EVENT: u8 = 0x00;
const END: u8 = 0xfe;
const ERROR: u8 = 0xff;

/// What the task works with.
pub(super) struct Reader {
    pub(super) conn: Conn,
    pub(super) assembler: Assembler,
    pub(super) progress: Arc<Progress>,
    pub(super) queue: Arc<Queue>,
    /// Our number as a replica.
    pub(super) server_id: u32,
    pub(super) suspicions: Suspicions,
}

impl Drop for Reader {
    /// Whoever waits must not wait for ever.
    fn drop(&mut self) {
        self.queue.end(None);
    }
}

impl Reader {
    /// Reads until the log ends, or an error.
    pub(super) async fn run(mut self) {
        let Err(error) = self.read().await;
        let error = self.suspicions.judge(error, self.server_id, Instant::now());
        tracing::debug!(%error, "the source's log ended");
        self.queue.end(Some(error));
    }

    async fn read(&mut self) -> Result<Infallible, StreamError> {
        let mut idle: Option<Position> = None;
        let mut idles = 0;
        // Told last. A server tells its place again and again; the consumer hears it once.
        let mut told = self.progress.received();
        loop {
            let ready = self.conn.try_packet()?;
            // Positions without a transaction are told when nothing else is there, or after many.
            if ready.is_none() || idles >= limits::IDLES_MAX {
                idles = 0;
                let news = idle.take().filter(|position| !position.is_same(&told));
                if let Some(position) = news {
                    told.clone_from(&position);
                    self.hand_on(Output::Idle(position)).await?;
                }
            }
            let mut event = match ready {
                Some(packet) => packet,
                None => {
                    let read = timeout(limits::SILENCE_MAX, self.conn.read_packet()).await;
                    read.map_err(|_late| StreamError::Silent(limits::SILENCE_MAX.as_secs()))??
                }
            };
            match event.split_to(1.min(event.len())).first() {
                Some(&EVENT) => {}
                Some(&ERROR) => return Err(self.refused(&event)),
                Some(&END) => return Err(StreamError::EndedBySource),
                None => return Err(WireError::Closed.into()),
                Some(&first) => {
                    let expected = "an event of the log";
                    return Err(WireError::Unexpected { first, expected }.into());
                }
            }
            let output = self.assembler.push(event)?;
            match output {
                None => {}
                Some(Output::Idle(position)) => {
                    self.progress.note_received(&position);
                    idle = Some(position);
                    idles += 1;
                }
                Some(Output::Transaction(transaction)) => {
                    (idle, idles) = (None, 0);
                    told.clone_from(&transaction.position);
                    self.progress.note_received(&transaction.position);
                    self.progress.count_received();
                    self.hand_on(Output::Transaction(transaction)).await?;
                }
            }
        }
    }

    /// Waits until there is room for it.
    async fn hand_on(&mut self, output: Output) -> Result<(), StreamError> {
        let mut pushed = self.queue.push(output)?;
        while let Pushed::Full(output, error) = pushed {
            self.progress
                .note_waiting_for_space(Some(error.to_string()));
            // A full disk tells nobody when it has space.
            timeout(limits::SPACE_PERIOD, self.queue.taken())
                .await
                .unwrap_or_default();
            pushed = self.queue.push(output)?;
        }
        self.progress.note_waiting_for_space(None);
        Ok(())
    }

    /// What a server says that cannot send its log. `packet` lacks its first byte.
    fn refused(&self, packet: &[u8]) -> StreamError {
        let whole: bytes::Bytes = [&[ERROR], packet].concat().into();
        let error = match ServerError::parse(&whole) {
            Ok(error) => error,
            Err(error) => return WireError::from(error).into(),
        };
        refusal::judge(error, self.server_id, self.assembler.place())
    }
}
