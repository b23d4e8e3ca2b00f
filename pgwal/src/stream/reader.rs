//! The task that owns the replication connection: it takes what comes, and always answers.
//!
//! # Memory
//! It holds one batch at a time; everything else is the assembler's and the buffer's, which are
//! bounded. When the buffer is full the task takes nothing more from the socket, which in the end
//! makes the server wait.
//!
//! # Staying alive
//! The server ends a walsender that hears nothing for `wal_sender_timeout`. Status updates go out
//! on a timer of a quarter of that, and at once when the server asks, whatever the consumer does
//! and also while the disk is slow: files are only touched on blocking threads.
//!
//! # When the server shuts down
//! A walsender that is to stop waits until we acknowledge everything, which we do only once it is
//! applied; a target that is slow or gone would keep the source from stopping. It asks for an answer
//! again as soon as it has one, and that is how we know: the stream ends with a transient error.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use router::spool::SpoolError;
use router::{Lsn, words};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::assembler::Assembler;
use super::buffer::Pushed;
use super::copy_both::{CopyBoth, wire_error};
use super::error::StreamError;
use super::frame::{Frame, StatusUpdate};
use super::item::Item;
use super::limits::{
    BATCH_BYTES, PINGS_PER_SECOND_MAX, SILENCE_ASKED, SILENCE_MAX, STATUS_INTERVAL_MAX,
    STATUS_INTERVAL_MIN, STATUS_TIMEOUT,
};
use super::shared::Shared;
use crate::wire::{Message, ServerError, WireError};

/// The reader of one connection.
#[derive(Debug)]
pub(super) struct Reader {
    conn: CopyBoth,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tick: Interval,
    heard: Instant,
    warned: Warned,
    pings: Pings,
}

/// How often the server has asked for an answer, with nothing else in between.
#[derive(Debug, Clone, Copy)]
struct Pings {
    since: Instant,
    count: u32,
}

/// Whether the operator was told that the reader waits for space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Warned {
    No,
    Yes,
}

/// Everything between the socket and the buffer that may touch a file. It moves to a blocking
/// thread and back.
#[derive(Debug)]
struct Intake {
    assembler: Assembler,
    shared: Arc<Shared>,
    /// What came and was not assembled yet.
    frames: VecDeque<Frame>,
    /// What was assembled and did not fit the buffer yet.
    items: VecDeque<Item>,
}

/// How far an intake came.
#[derive(Debug)]
enum Progress {
    Done,
    /// There is no space; try again later.
    Full(SpoolError),
}

impl Reader {
    pub(super) fn new(
        conn: CopyBoth,
        shared: Arc<Shared>,
        stop: CancellationToken,
        wal_sender_timeout: Duration,
    ) -> Self {
        let period = match wal_sender_timeout {
            Duration::ZERO => STATUS_INTERVAL_MAX,
            limit => (limit / 4).clamp(STATUS_INTERVAL_MIN, STATUS_INTERVAL_MAX),
        };
        let mut tick = interval(period);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            conn,
            shared,
            stop,
            tick,
            heard: Instant::now(),
            warned: Warned::No,
            pings: Pings {
                since: Instant::now(),
                count: 0,
            },
        }
    }

    /// Runs until it is stopped or something fails; a failure is left for the consumer.
    pub(super) async fn run(mut self, dir: PathBuf, start: Lsn) {
        let assembler = Assembler::new(dir, start);
        let shared = Arc::clone(&self.shared);
        let intake = Intake {
            assembler,
            shared,
            frames: VecDeque::new(),
            items: VecDeque::new(),
        };
        if let Err(error) = self.read(intake).await {
            tracing::debug!(%error, "the stream's reader ends");
            self.shared.fail(error);
        }
    }

    async fn read(&mut self, mut intake: Intake) -> Result<(), StreamError> {
        let stop = self.stop.clone();
        loop {
            let message = tokio::select! {
                biased;
                () = stop.cancelled() => return self.say_goodbye().await,
                _ = self.tick.tick() => {
                    self.on_tick().await?;
                    continue;
                }
                message = self.conn.reader.read_message() => self.received(message)?,
            };
            self.heard = Instant::now();
            let asked = self.gather(message, &mut intake)?;
            self.pings.note(asked, &intake.frames);
            if self.pings.count > PINGS_PER_SECOND_MAX {
                self.say_goodbye().await?;
                return Err(StreamError::Ended {
                    endpoint: self.conn.endpoint.clone(),
                });
            }
            if asked {
                self.send_status(false).await?;
            }
            intake = self.take_in(intake).await?;
            if stop.is_cancelled() {
                return self.say_goodbye().await;
            }
        }
    }

    /// Puts the message, and what has come with it, into the intake. Says whether the server asks
    /// for an answer.
    fn gather(&mut self, first: Message, intake: &mut Intake) -> Result<bool, StreamError> {
        let mut asked = false;
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            bytes += message.body.len();
            if let Some(frame) = self.frame(message)? {
                if let Frame::Keepalive {
                    reply_requested, ..
                } = frame
                {
                    asked |= reply_requested;
                }
                intake.frames.push_back(frame);
            }
            if bytes >= BATCH_BYTES {
                break;
            }
            let more = self.conn.reader.try_message();
            next = more.map_err(|error| wire_error(&self.conn.endpoint, "stream", error))?;
        }
        Ok(asked)
    }

    fn frame(&self, message: Message) -> Result<Option<Frame>, StreamError> {
        match message.tag {
            b'd' => Frame::decode(message.body)
                .map(Some)
                .map_err(StreamError::Frame),
            b'N' | b'S' => Ok(None),
            b'E' => {
                let error = ServerError::parse(message.body);
                let error = error.map_or_else(WireError::from, WireError::from);
                Err(wire_error(
                    &self.conn.endpoint,
                    "go on with the stream",
                    error,
                ))
            }
            // The server ends the COPY when it shuts down.
            b'c' | b'C' | b'Z' => Err(StreamError::Ended {
                endpoint: self.conn.endpoint.clone(),
            }),
            tag => {
                let expected = "a piece of the stream";
                Err(wire_error(
                    &self.conn.endpoint,
                    "stream",
                    WireError::Unexpected { tag, expected },
                ))
            }
        }
    }

    fn received(&self, message: Result<Message, WireError>) -> Result<Message, StreamError> {
        message.map_err(|error| wire_error(&self.conn.endpoint, "stream", error))
    }

    /// Takes everything in, however long it takes; keeps the server informed meanwhile.
    async fn take_in(&mut self, mut intake: Intake) -> Result<Intake, StreamError> {
        loop {
            let progress = if intake.may_use_disk() {
                let (back, progress) = self
                    .on_disk(move || {
                        let progress = intake.run();
                        (intake, progress)
                    })
                    .await?;
                intake = back;
                progress?
            } else {
                intake.run()?
            };
            match progress {
                Progress::Done => {
                    if self.warned == Warned::Yes {
                        tracing::info!("the spool has space again; the stream goes on");
                        self.shared.progress.note_waiting_for_space(None);
                        self.warned = Warned::No;
                    }
                    return Ok(intake);
                }
                Progress::Full(error) => self.wait_for_space(&error).await?,
            }
            if self.stop.is_cancelled() {
                return Ok(intake);
            }
        }
    }

    async fn wait_for_space(&mut self, error: &SpoolError) -> Result<(), StreamError> {
        if self.warned == Warned::No {
            tracing::warn!(
                %error,
                "the stream waits: the source keeps its log until the target has caught up"
            );
            self.shared.progress.note_waiting_for_space(Some(format!(
                "{}; the source keeps its log until the target has caught up",
                words(error)
            )));
            self.warned = Warned::Yes;
        }
        // Not heard since nothing is read.
        self.heard = Instant::now();
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = shared.progress.relieved.notified() => self.trim().await,
            () = self.stop.cancelled() => Ok(()),
            _ = self.tick.tick() => self.on_tick().await,
        }
    }

    /// Runs a job on a blocking thread; status updates go out meanwhile.
    async fn on_disk<T: Send + 'static>(
        &mut self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StreamError> {
        let mut job = spawn_blocking(job);
        loop {
            tokio::select! {
                done = &mut job => return done.map_err(|error: JoinError| gone(&error)),
                _ = self.tick.tick() => self.send_status(false).await?,
            }
        }
    }

    async fn on_tick(&mut self) -> Result<(), StreamError> {
        self.sync().await?;
        self.trim().await?;
        let silence = self.heard.elapsed();
        if silence > SILENCE_MAX {
            let endpoint = self.conn.endpoint.clone();
            return Err(StreamError::Silent { endpoint, silence });
        }
        self.send_status(silence > SILENCE_ASKED).await
    }

    /// Makes what is in the spool durable, so that it may be acknowledged.
    async fn sync(&mut self) -> Result<(), StreamError> {
        if !self.shared.progress.disk().unsynced {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let outcome = self.on_disk(move || {
            let ticket = shared.with_buffer(|buffer| buffer.start_sync())?;
            let Some(ticket) = ticket else { return Ok(()) };
            let outcome = ticket.run();
            shared.with_buffer(|buffer| buffer.finish_sync(outcome))
        });
        if let Err(error) = outcome.await? {
            tracing::error!(
                %error,
                "the spool cannot be made durable; only what is applied will be acknowledged"
            );
        }
        Ok(())
    }

    async fn trim(&mut self) -> Result<(), StreamError> {
        let applied = self.shared.progress.acknowledged();
        if !self.shared.progress.disk().trimmable {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let trimmed = self.on_disk(move || shared.with_buffer(|buffer| buffer.trim(applied)));
        trimmed.await??;
        Ok(())
    }

    async fn send_status(&mut self, ask: bool) -> Result<(), StreamError> {
        let flushed = self.shared.flushed_now();
        let written = self.shared.progress.received().max(flushed);
        let update = StatusUpdate {
            written,
            flushed,
            ask,
        };
        update.encode(SystemTime::now(), self.conn.writer.out());
        match timeout(STATUS_TIMEOUT, self.conn.writer.flush()).await {
            Ok(sent) => sent.map_err(|error| wire_error(&self.conn.endpoint, "stream", error)),
            Err(_elapsed) => Err(StreamError::Silent {
                endpoint: self.conn.endpoint.clone(),
                silence: STATUS_TIMEOUT,
            }),
        }
    }

    /// The last status, and the end of the COPY.
    async fn say_goodbye(&mut self) -> Result<(), StreamError> {
        self.send_status(false).await?;
        // CopyDone, Terminate.
        self.conn
            .writer
            .out()
            .extend_from_slice(b"c\0\0\0\x04X\0\0\0\x04");
        match timeout(STATUS_TIMEOUT, self.conn.writer.flush()).await {
            Ok(sent) => sent.map_err(|error| wire_error(&self.conn.endpoint, "stream", error)),
            Err(_elapsed) => Ok(()),
        }
    }
}

impl Pings {
    fn note(&mut self, asked: bool, frames: &VecDeque<Frame>) {
        let data = |frame: &Frame| matches!(frame, Frame::XLogData(_));
        if self.since.elapsed() > Duration::from_secs(1) || frames.iter().any(data) {
            *self = Self {
                since: Instant::now(),
                count: 0,
            };
        }
        self.count += u32::from(asked);
    }
}

impl Intake {
    /// Whether the next run may touch a file, or would wait for one who does.
    fn may_use_disk(&self) -> bool {
        let bytes = |frame: &Frame| match frame {
            Frame::XLogData(message) => message.len() + size_of::<Item>(),
            Frame::Keepalive { .. } => 0,
        };
        let streams = |frame: &Frame| match frame {
            Frame::XLogData(message) => message.first() == Some(&b'S'),
            Frame::Keepalive { .. } => false,
        };
        self.assembler.may_use_disk()
            || self.frames.iter().any(streams)
            || self
                .shared
                .may_use_disk(self.frames.iter().map(bytes).sum())
    }

    /// Assembles what came and puts it into the buffer.
    fn run(&mut self) -> Result<Progress, StreamError> {
        loop {
            if let Pushed::Full(error) = self.push()? {
                return Ok(Progress::Full(error));
            }
            match self.assembler.relieve() {
                Ok(()) => {}
                Err(error) if error.is_full() => return Ok(Progress::Full(error)),
                Err(error) => return Err(error.into()),
            }
            let mut assembled = Vec::new();
            let mut bytes = 0;
            while bytes < BATCH_BYTES {
                match self.frames.pop_front() {
                    None => break,
                    Some(Frame::XLogData(message)) => {
                        bytes += message.len();
                        self.assembler.accept(message, &mut assembled)?;
                    }
                    Some(Frame::Keepalive { wal_end, .. }) => {
                        assembled.extend(self.assembler.keepalive(wal_end));
                    }
                }
            }
            if bytes == 0 && assembled.is_empty() && self.frames.is_empty() {
                return Ok(Progress::Done);
            }
            self.items.extend(assembled);
        }
    }

    fn push(&mut self) -> Result<Pushed, StreamError> {
        if self.items.is_empty() {
            return Ok(Pushed::All);
        }
        let transactions = |items: &VecDeque<Item>| {
            let count = items.iter().filter(|item| item.ends_transaction()).count();
            u64::try_from(count).unwrap_or(u64::MAX)
        };
        let end = |items: &VecDeque<Item>| items.iter().rev().find_map(|item| item.ends_at);
        // The positions of what is taken, counted from behind: what stays is not received yet.
        let (before, last) = (transactions(&self.items), end(&self.items));
        let items = &mut self.items;
        let pushed = self.shared.with_buffer(|buffer| buffer.push(items))?;
        if let (true, Some(last)) = (items.is_empty(), last) {
            self.shared.progress.raise_received(last);
        }
        self.shared
            .progress
            .count_received(before - transactions(items));
        self.shared.filled.notify_one();
        Ok(pushed)
    }
}

fn gone(error: &JoinError) -> StreamError {
    tracing::error!(%error, "a blocking task of the stream ended badly");
    StreamError::ReaderGone
}
