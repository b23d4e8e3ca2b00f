//! From the client to the server, through the gate.

use std::pin::Pin;
use std::task::{Context, Poll};

use router::{Gate, MustWait, Side};
use tokio::io::AsyncWrite;

use super::super::fatal::Fatal;
use super::super::limits::WHOLE_BYTES_MAX;
use super::super::pulse::Status;
use super::super::registry::SessionState;
use super::{
    Flow, Pump, SCRATCH, Stop, flush_backlog, give_back, read_into, read_scratch, skip_remaining,
    write_or_keep,
};
use crate::wire::frame::{self, HEADER_BYTES, Header};
use crate::wire::limits::MESSAGE_BYTES_MAX;

/// Why a scan did not go on to the end of the bytes.
#[derive(Debug)]
enum Verdict {
    /// It did, or only part of a header is left.
    Through,
    /// The next message begins something, and the switch is held.
    MustWait,
    /// The next message begins something, and the permit is for this other side.
    Move(Side),
    /// The switch is held: the next message waits until those before it are answered, since
    /// only then is known whether it belongs to a transaction that runs.
    Paused,
}

impl Pump {
    /// Carries what the client says until there is no more, the server does not take it, or it may
    /// not pass.
    pub(super) fn poll_up(&mut self, cx: &mut Context<'_>, gate: &mut Gate) -> Poll<Stop> {
        loop {
            match flush_backlog(&mut self.up.backlog, &mut self.server, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_gone)) => self.server_is_deaf(),
                Poll::Ready(Ok(())) => {}
            }
            match self.up.flow {
                Flow::Open => {}
                Flow::Ending => {
                    if Pin::new(&mut self.server).poll_shutdown(cx).is_pending() {
                        return Poll::Pending;
                    }
                    self.up.flow = Flow::Closed;
                    return Poll::Pending;
                }
                Flow::Closed => return Poll::Pending,
            }
            if self.pulse.is_full() {
                return Poll::Pending;
            }
            match self.forward_held(gate) {
                Err(fatal) => return Poll::Ready(Stop::Fatal(fatal)),
                Ok(Verdict::Through) => {}
                Ok(Verdict::Paused) => return Poll::Pending,
                Ok(Verdict::MustWait) => return Poll::Ready(Stop::MustWait),
                Ok(Verdict::Move(side)) => return Poll::Ready(Stop::Move(side)),
            }
            if !self.up.backlog.is_empty() {
                continue;
            }
            match self.read_up(cx, gate) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(fatal)) => return Poll::Ready(Stop::Fatal(fatal)),
            }
        }
    }

    /// Moves what may pass from the held bytes to the backlog.
    fn forward_held(&mut self, gate: &mut Gate) -> Result<Verdict, Fatal> {
        if self.up.held.is_empty() {
            return Ok(Verdict::Through);
        }
        let mut held = std::mem::take(&mut self.up.held);
        let (forward, verdict) = self.scan_up(&mut held, gate)?;
        if forward == held.len() {
            self.up.backlog = held;
            return Ok(Verdict::Through);
        }
        self.up.backlog.unsplit(held.split_to(forward));
        self.up.held = held;
        give_back(&mut self.up.held);
        // First what may pass is written; then the same verdict is found again.
        if self.up.backlog.is_empty() {
            Ok(verdict)
        } else {
            Ok(Verdict::Through)
        }
    }

    fn read_up(&mut self, cx: &mut Context<'_>, gate: &mut Gate) -> Poll<Result<(), Fatal>> {
        if !self.up.held.is_empty() {
            let read = read_into(&mut self.client, &mut self.up.held, cx);
            return read.map(|result| self.note_client_end(result).map(|_count| ()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let read = match read_scratch(&mut self.client, scratch, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(result) => self.note_client_end(result)?,
            };
            let bytes = scratch.get_mut(..read).unwrap_or_default();
            let (forward, _verdict) = self.scan_up(bytes, gate)?;
            let (forward, rest) = bytes.split_at(forward);
            let written = write_or_keep(forward, &mut self.up.backlog, &mut self.server, cx);
            if written.is_err() {
                self.server_is_deaf();
            }
            self.up.held.extend_from_slice(rest);
            Poll::Ready(Ok(()))
        })
    }

    fn note_client_end(&mut self, read: std::io::Result<usize>) -> Result<usize, Fatal> {
        let count = read.map_err(|_gone| Fatal::ClientGone)?;
        if count == 0 {
            self.up.held.clear();
            self.up.flow = Flow::Ending;
        }
        Ok(count)
    }

    /// The server takes nothing any more. What it said before is still to be read.
    fn server_is_deaf(&mut self) {
        self.up.backlog.clear();
        self.up.flow = Flow::Closed;
    }

    /// Looks at the headers in `bytes`: how many bytes may be forwarded, and why not more.
    fn scan_up(&mut self, bytes: &mut [u8], gate: &mut Gate) -> Result<(usize, Verdict), Fatal> {
        let mut at = skip_remaining(&mut self.up.remaining, bytes);
        if self.statements.wants_more() {
            self.statements.more(bytes.get(..at).unwrap_or_default());
        }
        loop {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            let header = frame::header(rest, MESSAGE_BYTES_MAX)
                .map_err(|bad| Fatal::protocol(format!("invalid message: {bad}")))?;
            let Some(header) = header else {
                return Ok((at, Verdict::Through));
            };
            if self.pulse.is_full() {
                return Ok((at, Verdict::Paused));
            }
            if self.is_awaited_whole(header, rest) {
                return Ok((at, Verdict::Through));
            }
            let body = rest.get_mut(HEADER_BYTES..).unwrap_or_default();
            if self.types.awaits_more_up(header, body)? {
                return Ok((at, Verdict::Through));
            }
            match self.admit(header.tag, gate) {
                Verdict::Through => {}
                verdict @ (Verdict::MustWait | Verdict::Move(_) | Verdict::Paused) => {
                    return Ok((at, verdict));
                }
            }
            match header.tag {
                b'P' => self.statements.begin(body, header.body_bytes),
                b'Q' => self.statements.forget_unnamed(),
                b'C' => {
                    let body_bytes = usize::try_from(header.body_bytes).unwrap_or(usize::MAX);
                    if let Some(whole) = body.get(..body_bytes) {
                        self.statements.close(whole);
                    }
                }
                _other => {}
            }
            self.types.up(header, body, self.side);
            self.pulse.client(header.tag);
            self.up.remaining = header.message_bytes();
            at += skip_remaining(&mut self.up.remaining, rest);
        }
    }

    /// Whether more of a message must be there before an idle session begins something by it: half
    /// of one that the client does not go on with would keep the server busy, and a drain waiting.
    fn is_awaited_whole(&self, header: Header, there: &[u8]) -> bool {
        let missing = |bytes| usize::try_from(bytes).is_ok_and(|bytes: usize| there.len() < bytes);
        header.body_bytes <= WHOLE_BYTES_MAX
            && missing(header.message_bytes())
            && self.pulse.is_idle()
    }

    /// Whether a message may pass now. An idle session enters the gate by it.
    #[inline]
    fn admit(&mut self, tag: u8, gate: &mut Gate) -> Verdict {
        // The server ignores these when it is idle, or they end the session.
        if matches!(tag, b'd' | b'c' | b'f' | b'H' | b'X') {
            return Verdict::Through;
        }
        if self.pulse.is_idle() {
            return match gate.try_enter() {
                Err(MustWait) => Verdict::MustWait,
                Ok(side) if side != self.side => Verdict::Move(side),
                Ok(_same) => {
                    self.entry.mark_dirty();
                    self.entry.set_state(SessionState::Active);
                    Verdict::Through
                }
            };
        }
        if self.pulse.is_answered() {
            self.entry.set_state(SessionState::Active);
        } else if tag != b'S'
            && self.pulse.status() == Status::Idle
            && self.pulse.is_at_boundary()
            && gate.switch().is_held()
        {
            return Verdict::Paused;
        }
        Verdict::Through
    }
}
