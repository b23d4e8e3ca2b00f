//! From the server to the client.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::super::fatal::Fatal;
use super::super::limits::SCRATCH_BYTES;
use super::super::question::TAG_BYTES;
use super::super::registry::SessionState;
use super::{
    Flow, Pump, SCRATCH, Stop, flush_backlog, give_back, read_into, read_scratch, skip_remaining,
    write_or_keep,
};
use crate::wire::Fields;
use crate::wire::frame::{self, HEADER_BYTES, Header};
use crate::wire::limits::MESSAGE_BYTES_MAX;

impl Pump {
    /// Carries what the server says until there is no more, or the client does not take it.
    pub(super) fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        loop {
            match flush_backlog(&mut self.down.backlog, &mut self.client, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_gone)) => return Poll::Ready(Stop::Fatal(Fatal::ClientGone)),
                Poll::Ready(Ok(())) => {}
            }
            if self.down.flow != Flow::Open {
                return Poll::Ready(Stop::Ended);
            }
            if !self.down.held.is_empty() {
                let mut held = std::mem::take(&mut self.down.held);
                match self.scan_down(&mut held) {
                    Err(fatal) => return Poll::Ready(Stop::Fatal(fatal)),
                    Ok(forward) => {
                        self.down.held = held;
                        let ready = self.down.held.split_to(forward);
                        self.down.backlog.unsplit(ready);
                    }
                }
                give_back(&mut self.down.held);
                if !self.down.backlog.is_empty() {
                    continue;
                }
            }
            match self.read_down(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(fatal)) => return Poll::Ready(Stop::Fatal(fatal)),
            }
        }
    }

    fn read_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fatal>> {
        if !self.down.held.is_empty() {
            let read = read_into(&mut self.server, &mut self.down.held, cx);
            return read.map(|result| self.note_end(result).map(|_count| ()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let read = match read_scratch(&mut self.server, scratch, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(result) => self.note_end(result)?,
            };
            let bytes = scratch.get_mut(..read).unwrap_or_default();
            let forward = self.scan_down(bytes)?;
            let (forward, rest) = bytes.split_at(forward);
            write_or_keep(forward, &mut self.down.backlog, &mut self.client, cx)
                .map_err(|_gone| Fatal::ClientGone)?;
            self.down.held.extend_from_slice(rest);
            Poll::Ready(Ok(()))
        })
    }

    fn note_end(&mut self, read: std::io::Result<usize>) -> Result<usize, Fatal> {
        let count = read.map_err(|_gone| Fatal::ServerGone)?;
        if count == 0 {
            self.down.flow = Flow::Ending;
        }
        Ok(count)
    }

    /// Looks at the headers in `bytes`: how many bytes may be forwarded. The rest is the beginning
    /// of a header, or of a short message that must be seen whole.
    fn scan_down(&mut self, bytes: &mut [u8]) -> Result<usize, Fatal> {
        let mut at = skip_remaining(&mut self.down.remaining, bytes);
        loop {
            let rest = bytes.get_mut(at..).unwrap_or_default();
            let header = frame::header(rest, MESSAGE_BYTES_MAX)
                .map_err(|_bad| Fatal::protocol("the server sent a bad message header"))?;
            let Some(header) = header else { return Ok(at) };
            let body = rest.get_mut(HEADER_BYTES..).unwrap_or_default();
            if !self.note_down(header, body)? {
                return Ok(at);
            }
            self.down.remaining = header.message_bytes();
            at += skip_remaining(&mut self.down.remaining, rest);
        }
    }

    /// Notes a message; `false` when more of it is needed first.
    #[inline]
    fn note_down(&mut self, header: Header, body: &mut [u8]) -> Result<bool, Fatal> {
        match header.tag {
            b'Z' => {
                let Some(status) = body.first().copied() else {
                    return Ok(false);
                };
                if header.body_bytes != 1 {
                    return Err(Fatal::protocol("the server sent a bad ReadyForQuery"));
                }
                self.pulse.ready(status);
                self.types.down(header, body, self.side)?;
                if self.pulse.is_answered() {
                    self.types.answered();
                }
                if self.pulse.is_answered() && !self.pulse.is_idle() {
                    self.entry.set_state(SessionState::IdleInTransaction);
                }
            }
            b'S' => {
                let length = usize::try_from(header.body_bytes).unwrap_or(usize::MAX);
                match body.get(..length) {
                    Some(body) => self.note_parameter(body),
                    None if length < SCRATCH_BYTES / 2 => return Ok(false),
                    None => {}
                }
            }
            b'A' => match body.first_chunk_mut() {
                Some(pid) => self.name_sender(pid),
                None => return Ok(header.body_bytes < 4),
            },
            tag => {
                if tag == b'C' {
                    let length = usize::try_from(header.body_bytes).unwrap_or(usize::MAX);
                    if body.len() < length.min(TAG_BYTES) {
                        return Ok(false);
                    }
                }
                if !self.types.down(header, body, self.side)? {
                    return Ok(false);
                }
                if tag == b'C' {
                    self.question.note_command(body);
                }
                self.pulse.server(tag);
            }
        }
        Ok(true)
    }

    /// A client knows its own notifications by the process id that it was told at its log-in.
    pub(super) fn name_sender(&self, pid: &mut [u8; 4]) {
        if *pid == self.server_pid.to_be_bytes() {
            *pid = self.issued_pid.to_be_bytes();
        }
    }

    /// Notes a `ParameterStatus` that goes to the client.
    pub(in crate::session) fn note_parameter(&mut self, body: &[u8]) {
        let mut fields = Fields::new(body);
        if let (Ok(name), Ok(value)) = (fields.string(), fields.string()) {
            let value = Bytes::copy_from_slice(value);
            self.parameters.insert(Bytes::copy_from_slice(name), value);
        }
    }
}
