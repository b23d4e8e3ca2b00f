//! The hot loop: bytes of one session in both directions.
//!
//! Headers are scanned, bodies are forwarded as they come. Reads go to a scratch buffer that all
//! sessions of a thread share, and from there straight to the other socket; only what the other
//! side does not take at once is kept, and then its sender is not read: memory is bounded and slow
//! readers slow their senders down. There is no timer on its way, and no allocation per packet.
//!
//! Few packets are changed on their way: a `KILL`, the ids of prepared statements and the types of their parameters once a session went over to another server.

mod ask;
mod bytes_io;
mod down;
mod up;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use router::{Gate, Side};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_util::sync::PollSemaphore;

use self::bytes_io::{flush_backlog, give_back, read_into};
use super::command::Command;
use super::fatal::Fatal;

use super::limits::{REQUESTS_MAX, SCRATCH_BYTES, WAITING_BYTES_MAX, WARNINGS_PATIENCE};
use super::look::Seen;
use super::outcome::Outcome;
use super::packet::HEADER_BYTES;
use super::pulse::{EofStyle, LocalFile, Origin, Pulse};
use super::registry::{Entry, Request, SessionState, When};
use super::statements::Statements;
use super::text::{Reader, Words};
use super::variables::Names;
use crate::wire::{Conn, Socket};

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
    /// The client wants to log in anew; the payload of its packet.
    ChangeUser(Bytes),
    /// The client wants to end another session or its statement; the payload of its command.
    Kill(Bytes),
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
    /// Read, and not to be forwarded yet: part of a packet, or a command that must wait.
    held: BytesMut,
    /// To be forwarded; the receiver does not take more.
    backlog: BytesMut,
    /// Whether the receiver's stream has bytes that it did not send on yet (TLS).
    flushed: Flushed,
    /// Bytes that are missing of the frame that was forwarded last.
    remaining: u64,
    /// Whether that frame's payload goes on in another.
    payload: Payload,
    flow: Flow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Flushed {
    #[default]
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Payload {
    #[default]
    Ends,
    GoesOn,
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

/// What the frame that is forwarded right now is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// Nothing to look at.
    Opaque,
    /// A piece of a statement's text.
    Text,
}

/// The sockets of one session and what is under way between them.
#[derive(Debug)]
pub(super) struct Pump {
    client: Socket,
    server: Socket,
    /// The side that `server` belongs to.
    side: Side,
    up: Lane,
    down: Lane,
    body: Body,
    pub(super) pulse: Pulse,
    pub(super) statements: Statements,
    reader: Reader,
    /// Words in what the client said since its log-in.
    pub(super) words: Words,
    /// The variables as they were read last, with what a look said then.
    pub(super) seen: Option<Seen>,
    /// Words in its last statement.
    last_words: Words,
    /// Names of user variables in its statements, where the server does not list them.
    pub(super) variables: Names,
    /// Names of user-level locks in its statements, likewise.
    pub(super) locks: Names,
    /// The default database of the log-in.
    database: Option<Bytes>,
    /// What the client's last statement left, while questions of ours stand between it and the next.
    pub(super) outcome: Option<Outcome>,
    local_file: LocalFile,
    /// The number of the next packet of ours, were we to say something to the client.
    sequence: u8,
    entry: Arc<Entry>,
    requests: mpsc::Receiver<Request>,
    /// Requests that came and whose time has not; at most [`REQUESTS_MAX`].
    pending: VecDeque<Request>,
    turns: Arc<Semaphore>,
    /// Our place in the line for a turn, while we wait for one.
    in_line: Option<PollSemaphore>,
    /// Wakes us when the client did not ask for what we would wipe out.
    until_stale: Option<Pin<Box<Sleep>>>,
}

/// A server connection that the client is to be served by.
#[derive(Debug)]
pub(super) struct Present {
    pub(super) leg: Socket,
    /// What was read and not yet taken.
    pub(super) read: BytesMut,
    pub(super) side: Side,
    pub(super) status_flags: u16,
}

impl Present {
    /// A connection whose log-in is done.
    pub(super) fn of(conn: Conn, side: Side) -> Self {
        let status_flags = conn.status_flags().0;
        let parts = conn.into_parts();
        let mut read = parts.read;
        // A log-in takes a large buffer, and the session needs none while it is silent.
        give_back(&mut read);
        Self {
            leg: parts.socket,
            read,
            side,
            status_flags,
        }
    }
}

/// A session that begins: a client that is let in, and its server.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) client: Socket,
    /// What the client must be told first.
    pub(super) welcome: BytesMut,
    pub(super) server: Present,
    pub(super) eof: EofStyle,
    /// The default database that the client asked for.
    pub(super) database: Option<Bytes>,
    pub(super) local_file: LocalFile,
    pub(super) entry: Arc<Entry>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) turns: Arc<Semaphore>,
}

impl Pump {
    pub(super) fn new(beginning: Beginning) -> Self {
        let server = beginning.server;
        Self {
            client: beginning.client,
            server: server.leg,
            side: server.side,
            up: Lane::default(),
            down: Lane {
                held: server.read,
                backlog: beginning.welcome,
                ..Lane::default()
            },
            body: Body::Opaque,
            pulse: Pulse::new(beginning.eof, server.status_flags),
            statements: Statements::default(),
            reader: Reader::default(),
            words: Words::default(),
            seen: None,
            last_words: Words::default(),
            variables: Names::default(),
            locks: Names::default(),
            database: beginning.database,
            outcome: None,
            local_file: beginning.local_file,
            sequence: 0,
            entry: beginning.entry,
            requests: beginning.requests,
            pending: VecDeque::new(),
            turns: beginning.turns,
            in_line: None,
            until_stale: None,
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
                | Request::Refresh(..)
                | Request::Settle(_)
                | Request::DropTwin(_)
                | Request::EndWhenIdle => self.pending.push_back(request),
            }
        }
    }

    /// The request, if its time has come: both directions are between packets and the server is
    /// idle. Only an immediate end waits for nothing.
    fn due_request(&mut self, cx: &mut Context<'_>) -> Option<Due> {
        let when = self.pending.front().map(Request::when)?;
        let can_wait = self.pending.front().is_some_and(Request::can_wait);
        if when != When::Now && (!self.is_quiet() || (can_wait && self.is_volatile(cx))) {
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

    /// Whether the server can be asked or left: idle, with no packet half forwarded.
    fn is_quiet(&self) -> bool {
        self.pulse.is_idle()
            && self.up.remaining == 0
            && self.up.backlog.is_empty()
            && self.down.remaining == 0
            && self.down.payload == Payload::Ends
    }

    /// Whether the client may be about to ask for what a question of ours would wipe out: the
    /// warnings of its last statement, or `FOUND_ROWS()`. We are woken when it did not.
    fn is_volatile(&mut self, cx: &mut Context<'_>) -> bool {
        let left_something = self.pulse.warnings() > 0 || self.last_words.has(Words::FOUND_ROWS);
        let left = WARNINGS_PATIENCE.saturating_sub(self.entry.state_age());
        if !left_something || left.is_zero() {
            self.until_stale = None;
            return false;
        }
        let mut until = Box::pin(tokio::time::sleep(left));
        let is_over = until.as_mut().poll(cx).is_ready();
        self.until_stale = Some(until);
        !is_over
    }

    /// Whether a packet of ours may be put between the server's.
    pub(super) fn may_tell_client(&self) -> bool {
        self.down.remaining == 0 && self.down.payload == Payload::Ends
    }

    /// Packets to the client, behind what it is still to get.
    pub(super) fn tell_client(&mut self) -> &mut BytesMut {
        &mut self.down.backlog
    }

    /// The number that a packet of ours to the client must have now.
    pub(super) fn next_sequence(&self) -> u8 {
        // A command that waits is packet 0 of its exchange.
        if self.pulse.is_answered() && !self.up.held.is_empty() {
            1
        } else {
            self.sequence
        }
    }

    /// The number of the next packet to the client, after an exchange that passed the loop by.
    pub(super) fn set_sequence(&mut self, sequence: u8) {
        self.sequence = sequence;
    }

    /// The client's own leg, between two commands.
    pub(super) fn client(&mut self) -> &mut Socket {
        &mut self.client
    }

    /// The server's leg, between two commands.
    pub(super) fn server(&mut self) -> &mut Socket {
        &mut self.server
    }

    /// Sends a query for the client, between two commands, in place of the one that it sent.
    pub(super) fn send_query(&mut self, payload: &[u8]) -> Result<(), Fatal> {
        super::packet::put(payload, 0, &mut self.up.backlog);
        self.sequence = 1;
        let file = LocalFile::MustNotAsk;
        Ok(self.pulse.client(Command::Query, Origin::Client, file)?)
    }

    /// Sends what is on its way to the server, and waits for what comes back: the first byte of the
    /// answer, which stays to be forwarded; `None` when the server ends instead. Cancel safe.
    pub(super) async fn first_of_answer(&mut self) -> Option<u8> {
        poll_fn(|cx| {
            match flush_backlog(&mut self.up, &mut self.server, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_gone)) => return Poll::Ready(None),
                Poll::Ready(Ok(())) => {}
            }
            loop {
                if let Some(first) = self.down.held.get(HEADER_BYTES) {
                    return Poll::Ready(Some(*first));
                }
                match read_into(&mut self.server, &mut self.down.held, cx) {
                    Poll::Pending => return Poll::Pending,
                    // The loop finds it again.
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(None),
                    Poll::Ready(Ok(_)) => {}
                }
            }
        })
        .await
    }

    /// The present server has forgotten everything that the session had open.
    pub(super) fn nothing_is_open(&mut self) {
        self.pulse = Pulse::new(self.pulse.eof(), 0);
    }

    /// Replaces the server, between two commands. Gives back the old connection.
    pub(super) fn change_server(&mut self, present: Present) -> Socket {
        self.side = present.side;
        self.pulse = Pulse::new(self.pulse.eof(), present.status_flags);
        self.seen = None;
        self.up.flow = Flow::Open;
        self.up.flushed = Flushed::Yes;
        self.up.backlog.clear();
        self.down.flow = Flow::Open;
        self.down.held = present.read;
        std::mem::replace(&mut self.server, present.leg)
    }

    /// The session is like new: the connection was reset, or another user logged in.
    pub(super) fn forget_state(&mut self) {
        self.statements.clear();
        // Another user may have another one.
        self.database = None;
        self.words = Words::default();
        self.last_words = Words::default();
        self.variables = Names::default();
        self.locks = Names::default();
        self.outcome = None;
    }

    /// The sockets and what the client is still to get.
    pub(super) fn into_sockets(self) -> (Socket, BytesMut, Socket) {
        (self.client, self.down.backlog, self.server)
    }
}

#[cfg(test)]
mod tests;
