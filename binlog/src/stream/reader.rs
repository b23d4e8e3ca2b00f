//! The task that reads the log: it takes events as fast as memory for them is left.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::assembler::{Assembler, Output};
use super::error::StreamError;
use super::handle::Progress;
use super::suspicion::Suspicions;
use super::{limits, refusal};
use crate::position::Position;
use crate::wire::{Conn, ServerError, WireError};

/// The first byte of a packet: an event follows, the log ended, an error.
const EVENT: u8 = 0x00;
const END: u8 = 0xfe;
const ERROR: u8 = 0xff;

/// Memory is counted in units of so many bytes.
const UNIT_BYTES: usize = 1024;

/// A transaction or a position, with the memory that it holds.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) output: Output,
    pub(super) memory: OwnedSemaphorePermit,
}

/// Memory for what waits for the consumer.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    units: Arc<Semaphore>,
    units_max: u32,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(units)),
            units_max: u32::try_from(units).unwrap_or(u32::MAX),
        }
    }

    /// Waits until there is so much; what is larger than all of it takes all.
    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StreamError> {
        let units = u32::try_from(bytes / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        let units = units.min(self.units_max);
        let permit = Arc::clone(&self.units).acquire_many_owned(units).await;
        permit.map_err(|_closed| StreamError::Ended)
    }
}

/// What the task works with.
pub(super) struct Reader {
    pub(super) conn: Conn,
    pub(super) assembler: Assembler,
    pub(super) memory: Memory,
    pub(super) progress: Arc<Progress>,
    pub(super) items: mpsc::Sender<Result<Item, StreamError>>,
    /// Our number as a replica.
    pub(super) server_id: u32,
    pub(super) suspicions: Suspicions,
}

impl Reader {
    /// Reads until the log ends, an error, or nobody takes what was read.
    pub(super) async fn run(mut self) {
        let Err(error) = self.read().await;
        let error = self.suspicions.judge(error, self.server_id, Instant::now());
        tracing::debug!(%error, "the source's log ended");
        if self.items.send(Err(error)).await.is_err() {
            tracing::debug!("nobody waits for the end of the stream");
        }
    }

    async fn read(&mut self) -> Result<Infallible, StreamError> {
        let mut idle: Option<Position> = None;
        // Told last. A server tells its place again and again; the consumer hears it once.
        let mut told = self.progress.received();
        loop {
            // Positions without a transaction are told when nothing else is there.
            let packet = match self.conn.try_packet()? {
                Some(packet) => packet,
                None => {
                    let news = idle.take().filter(|position| !position.is_same(&told));
                    if let Some(position) = news {
                        told.clone_from(&position);
                        self.hand_on(Output::Idle(position)).await?;
                    }
                    let read = timeout(limits::SILENCE_MAX, self.conn.read_packet()).await;
                    read.map_err(|_late| StreamError::Silent(limits::SILENCE_MAX.as_secs()))??
                }
            };
            let mut event = packet;
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
                }
                Some(Output::Transaction(transaction)) => {
                    idle = None;
                    told.clone_from(&transaction.position);
                    self.hand_on(Output::Transaction(transaction)).await?;
                }
            }
        }
    }

    /// Waits for memory and for the consumer.
    async fn hand_on(&mut self, output: Output) -> Result<(), StreamError> {
        let bytes = match &output {
            Output::Transaction(transaction) => {
                self.progress.note_received(&transaction.position);
                transaction.memory_bytes()
            }
            Output::Idle(_) => 0,
        };
        let is_transaction = matches!(output, Output::Transaction(_));
        let item = Item {
            output,
            memory: self.memory.take(bytes).await?,
        };
        if is_transaction {
            self.progress.count_received();
        }
        let sent = self.items.send(Ok(item)).await;
        sent.map_err(|_nobody_takes| StreamError::Ended)
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
