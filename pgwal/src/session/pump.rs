//! The hot loop: bytes of one session in both directions.
//!
//! Headers are scanned, bodies are forwarded as they come. Reads go to a scratch buffer that all
//! sessions of a thread share, and from there straight to the other socket; only what the other
//! side does not take at once is kept, and then its sender is not read: memory is bounded and slow
//! readers slow their senders down. There is no timer and no allocation per message here.
//!
//! System calls of a transaction of one message: two reads, two writes, two waits. `tokio` learns
//! from a short read that the socket is empty and does not ask again.

mod ask;
mod down;
mod up;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use router::{Gate, Side};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::PollSemaphore;

pub(super) use self::ask::{Told, Want};
use super::fatal::Fatal;
use super::limits::{KEPT_BUFFER_BYTES, REQUESTS_MAX, SCRATCH_BYTES, WAITING_BYTES_MAX};
use super::pulse::Pulse;
use super::question::Question;
use super::registry::{Entry, Request, SessionState, When};
use super::statements::Statements;
use super::types::Types;
use super::types::exchange::Exchange;
use super::types::numbers::Numbers;
use crate::wire::{ConnParts, Socket};

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Why the loop stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The coordinator asks for something, and it can be done now.
    Request(Due),
    /// The client wants to begin something while the switch is held.
    MustWait,
    /// The client begins something, and the permit is for another side than our server's.
    Move(Side),
    /// The session is over: the server closed, and the client has everything that it said.
    Ended,
    /// The session cannot go on.
    Fatal(Fatal),
}

/// A request whose time has come.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) request: Request,
    /// The right to keep a server busy with our questions, for those requests that many sessions
    /// get at once. Until it is given the client is served on.
    pub(super) turn: Option<OwnedSemaphorePermit>,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    /// Read, and not to be forwarded yet: part of a header, or a message that must wait.
    held: BytesMut,
    /// To be forwarded; the receiver does not take more.
    backlog: BytesMut,
    /// Bytes that are missing of the message that was forwarded last.
    remaining: u64,
    flow: Flow,
}

/// Whether a direction still carries bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Flow {
    /// It does.
    #[default]
    Open,
    /// Its sender has ended; what is left is delivered.
    Ending,
    /// Nothing comes or goes.
    Closed,
}

/// The sockets of one session and what is under way between them.
#[derive(Debug)]
pub(super) struct Pump {
    client: Socket,
    server: Socket,
    /// The side that `server` belongs to.
    side: Side,
    /// The process id of `server`, and the one that the client was told.
    server_pid: i32,
    issued_pid: i32,
    up: Lane,
    down: Lane,
    pulse: Pulse,
    pub(super) statements: Statements,
    pub(super) types: Types,
    question: Question,
    /// Server parameters as the client knows them.
    parameters: HashMap<Bytes, Bytes>,
    entry: Arc<Entry>,
    requests: mpsc::Receiver<Request>,
    /// Requests that came and whose time has not; at most [`REQUESTS_MAX`].
    pending: VecDeque<Request>,
    turns: Arc<Semaphore>,
    /// Our place in the line for a turn, while we wait for one.
    in_line: Option<PollSemaphore>,
}

/// A session that begins: a client that is let in, and its server.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) client: Socket,
    /// What the client sent beyond its log-in.
    pub(super) client_sent: BytesMut,
    /// What the client must be told first.
    pub(super) welcome: BytesMut,
    pub(super) server: ConnParts,
    pub(super) side: Side,
    pub(super) entry: Arc<Entry>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) turns: Arc<Semaphore>,
}

impl Pump {
    pub(super) fn new(beginning: Beginning) -> Self {
        let pid = beginning.entry.legs.lock().current.pid;
        Self {
            server_pid: pid,
            issued_pid: pid,
            client: beginning.client,
            server: beginning.server.socket,
            side: beginning.side,
            up: Lane {
                held: beginning.client_sent,
                ..Lane::default()
            },
            down: Lane {
                held: beginning.server.read,
                backlog: beginning.welcome,
                ..Lane::default()
            },
            pulse: Pulse::new(),
            statements: Statements::default(),
            types: Types::default(),
            question: Question::default(),
            parameters: HashMap::new(),
            entry: beginning.entry,
            requests: beginning.requests,
            pending: VecDeque::new(),
            turns: beginning.turns,
            in_line: None,
        }
    }

    /// The side of the present server.
    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// Carries bytes until something is to be decided.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, gate: &mut Gate) -> Poll<Stop> {
        self.poll_request(cx);
        if let Poll::Ready(stop) = self.poll_down(cx) {
            return Poll::Ready(stop);
        }
        if gate.is_inside() && self.pulse.is_idle() {
            gate.leave();
            self.types.settle();
            self.entry.set_state(SessionState::Idle);
        }
        if let Some(due) = self.due_request(cx) {
            return Poll::Ready(Stop::Request(due));
        }
        self.poll_up(cx, gate)
    }

    /// As [`Pump::poll`] while the client waits for the release: its server may still say
    /// something, the coordinator may ask, and a client that leaves is noticed.
    pub(super) fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        self.poll_request(cx);
        if let Poll::Ready(stop) = self.poll_down(cx) {
            return Poll::Ready(stop);
        }
        if let Some(due) = self.due_request(cx) {
            return Poll::Ready(Stop::Request(due));
        }
        while self.up.held.len() < WAITING_BYTES_MAX {
            match read_into(&mut self.client, &mut self.up.held, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Stop::Fatal(Fatal::ClientGone)),
                Poll::Ready(Ok(_)) => {}
            }
        }
        Poll::Pending
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) {
        if self.pending.len() >= REQUESTS_MAX {
            self.pending.retain(Request::is_awaited);
        }
        while self.pending.len() < REQUESTS_MAX
            && let Poll::Ready(Some(request)) = self.requests.poll_recv(cx)
        {
            match request {
                // It overtakes what waits for an idle moment.
                Request::End => self.pending.push_front(request),
                Request::Prepare(_)
                | Request::Read(_)
                | Request::Refresh(_)
                | Request::Complete(_)
                | Request::Relax(_)
                | Request::Settle(_)
                | Request::DropTwin(_)
                | Request::EndWhenIdle => self.pending.push_back(request),
            }
        }
    }

    /// The request, if its time has come: both directions are between messages and the server is
    /// idle. Only an immediate end waits for nothing.
    fn due_request(&mut self, cx: &mut Context<'_>) -> Option<Due> {
        let when = self.pending.front().map(Request::when)?;
        if when != When::Now && !self.is_quiet() {
            // Whoever is busy does not keep its place in the line.
            self.in_line = None;
            return None;
        }
        let mut turn = None;
        if when == When::IdleInTurn {
            let turns = || PollSemaphore::new(Arc::clone(&self.turns));
            match self.in_line.get_or_insert_with(turns).poll_acquire(cx) {
                Poll::Pending => return None,
                Poll::Ready(given) => turn = given,
            }
            self.in_line = None;
        }
        let request = self.pending.pop_front()?;
        Some(Due { request, turn })
    }

    /// Whether the server can be asked or left: idle, with no message half forwarded.
    fn is_quiet(&self) -> bool {
        self.pulse.is_idle()
            && self.up.remaining == 0
            && self.up.backlog.is_empty()
            && self.down.remaining == 0
    }

    /// The first bytes that the client sent and that wait.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.up.held
    }

    /// Whether a message of ours may be put between the server's.
    pub(super) fn may_tell_client(&self) -> bool {
        self.down.remaining == 0
    }

    /// Messages to the client, behind what it is still to get.
    pub(super) fn tell_client(&mut self) -> &mut BytesMut {
        &mut self.down.backlog
    }

    /// Server parameters as the client knows them.
    pub(super) fn parameters(&mut self) -> &mut HashMap<Bytes, Bytes> {
        &mut self.parameters
    }

    /// Replaces the server, between two messages. Gives back the old connection.
    pub(super) fn change_server(
        &mut self,
        parts: ConnParts,
        side: Side,
        exchange: Option<(Box<Exchange>, Numbers)>,
    ) -> Socket {
        self.side = side;
        self.types.change_server(exchange);
        self.server_pid = self.entry.legs.lock().current.pid;
        self.pulse = Pulse::new();
        self.question.forget();
        self.entry.set_asked(false);
        self.up.flow = Flow::Open;
        self.down.held = parts.read;
        self.up.backlog = parts.write;
        std::mem::replace(&mut self.server, parts.socket)
    }

    /// How often the server sent what was not expected.
    pub(super) fn oddities(&self) -> u32 {
        self.pulse.oddities()
    }

    /// The sockets and what the client is still to get.
    pub(super) fn into_sockets(self) -> (Socket, BytesMut, Socket) {
        (self.client, self.down.backlog, self.server)
    }
}

/// Writes as much of the backlog as the socket takes. Ready when all of it is written.
fn flush_backlog(
    backlog: &mut BytesMut,
    socket: &mut Socket,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<()>> {
    while !backlog.is_empty() {
        match Pin::new(&mut *socket).poll_write(cx, backlog) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(0)) => {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            Poll::Ready(Ok(written)) => backlog.advance(written),
        }
    }
    give_back(backlog);
    // TLS keeps what the network does not take.
    Pin::new(socket).poll_flush(cx)
}

/// Gives back the memory of an empty buffer that had to grow.
fn give_back(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > KEPT_BUFFER_BYTES {
        *buffer = BytesMut::new();
    }
}

/// Reads behind what is already there.
fn read_into(
    socket: &mut Socket,
    buffer: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let read = read_scratch(socket, scratch, cx);
        if let Poll::Ready(Ok(count)) = read {
            buffer.extend_from_slice(scratch.get(..count).unwrap_or_default());
        }
        read
    })
}

fn read_scratch(
    socket: &mut Socket,
    scratch: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    let mut space = ReadBuf::new(scratch);
    match Pin::new(socket).poll_read(cx, &mut space) {
        Poll::Pending => Poll::Pending,
        Poll::Ready(Ok(())) => Poll::Ready(Ok(space.filled().len())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
    }
}

/// Writes as much of `bytes` as the socket takes at once; the rest goes to the backlog.
fn write_or_keep(
    bytes: &[u8],
    backlog: &mut BytesMut,
    socket: &mut Socket,
    cx: &mut Context<'_>,
) -> std::io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let written = match Pin::new(socket).poll_write(cx, bytes) {
        Poll::Pending => 0,
        Poll::Ready(written) => written?,
    };
    backlog.extend_from_slice(bytes.get(written..).unwrap_or_default());
    Ok(())
}

/// Steps over what is missing of a message; the number of bytes that belong to it.
fn skip_remaining(remaining: &mut u64, bytes: &[u8]) -> usize {
    let available = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let step = available.min(*remaining);
    *remaining -= step;
    usize::try_from(step).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests;
