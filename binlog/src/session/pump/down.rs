//! From the server to the client.

use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};

use super::super::command::{Command, code};
use super::super::fatal::Fatal;
use super::super::limits::SCRATCH_BYTES;
use super::super::outcome::Outcome;
use super::super::packet::{HEADER_BYTES, Header};
use super::super::pulse::{LocalFile, Origin, Prepared, Seen};
use super::super::registry::SessionState;
use super::bytes_io::{
    flush_backlog, give_back, read_into, read_scratch, skip_remaining, write_or_keep,
};
use super::{Flow, Payload, Pump, SCRATCH, Stop};
use crate::wire::ServerError;

/// Where a scan stopped.
#[derive(Debug)]
enum Cut {
    /// At the end of the bytes, or where part of a packet is missing.
    End,
    /// Bytes are to be left out, and others put in their place.
    Replace { drop: usize, with: BytesMut },
}

impl Pump {
    /// Carries what the server says until there is no more, or the client does not take it.
    pub(super) fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        loop {
            match flush_backlog(&mut self.down, &mut self.client, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_gone)) => return Poll::Ready(Stop::Fatal(Fatal::ClientGone)),
                Poll::Ready(Ok(())) => {}
            }
            if self.down.flow != Flow::Open {
                return Poll::Ready(Stop::Ended);
            }
            if !self.down.held.is_empty() {
                if let Err(fatal) = self.forward_held_down() {
                    return Poll::Ready(Stop::Fatal(fatal));
                }
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

    /// Moves what may pass from the held bytes to the backlog.
    fn forward_held_down(&mut self) -> Result<(), Fatal> {
        let mut held = std::mem::take(&mut self.down.held);
        loop {
            let (forward, cut) = self.scan_down(&held)?;
            self.down.backlog.unsplit(held.split_to(forward));
            match cut {
                Cut::End => break,
                Cut::Replace { drop, with } => {
                    let _left_out = held.split_to(drop);
                    self.down.backlog.extend_from_slice(&with);
                }
            }
        }
        self.down.held = held;
        give_back(&mut self.down.held);
        Ok(())
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
            let bytes = scratch.get(..read).unwrap_or_default();
            let (forward, cut) = self.scan_down(bytes)?;
            let (forward, rest) = bytes.split_at(forward);
            write_or_keep(forward, &mut self.down, &mut self.client, cx)
                .map_err(|_gone| Fatal::ClientGone)?;
            let rest = match cut {
                Cut::End => rest,
                Cut::Replace { drop, with } => {
                    self.down.backlog.extend_from_slice(&with);
                    rest.get(drop..).unwrap_or_default()
                }
            };
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

    /// Looks at the headers in `bytes`: how many bytes may be forwarded, and why not more.
    fn scan_down(&mut self, bytes: &[u8]) -> Result<(usize, Cut), Fatal> {
        let mut at = skip_remaining(&mut self.down.remaining, bytes);
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(header) = Header::peek(rest) else {
                return Ok((at, Cut::End));
            };
            if self.down.payload == Payload::Ends {
                let body = rest.get(HEADER_BYTES..).unwrap_or_default();
                let length = usize::try_from(header.length).unwrap_or(usize::MAX);
                let body = body.get(..length).unwrap_or(body);
                if let Some(cut) = self.note_down(header, body)? {
                    return Ok((at, cut));
                }
            }
            self.begin_down(header);
            at += skip_remaining(&mut self.down.remaining, rest);
        }
    }

    /// Notes a packet by as much of its payload as is there; `None` when it is to be forwarded.
    #[inline]
    fn note_down(&mut self, header: Header, body: &[u8]) -> Result<Option<Cut>, Fatal> {
        if self.pulse.awaits_own() && body.len() < usize::try_from(header.length).unwrap_or(0) {
            if body.len() > SCRATCH_BYTES {
                return Err(Fatal::other("the server answered a ping at length"));
            }
            return Ok(Some(Cut::End));
        }
        match self.pulse.server(header.length, body)? {
            Seen::Pass => {}
            Seen::More => return Ok(Some(Cut::End)),
            Seen::Swallow => return self.swallow(header, body).map(Some),
            Seen::NotPrepared => self.statements.not_prepared(),
            Seen::Reset => {
                self.forget_state();
                self.entry.mark_dirty();
            }
            Seen::Prepared(prepared) => {
                if let Some(with) = self.note_prepared(header, prepared)? {
                    self.begin_down(header);
                    if self.pulse.is_answered() {
                        self.answered();
                    }
                    let drop = skip_remaining(&mut self.down.remaining, &with);
                    return Ok(Some(Cut::Replace { drop, with }));
                }
            }
        }
        if self.pulse.is_answered() {
            self.answered();
        }
        Ok(None)
    }

    fn begin_down(&mut self, header: Header) {
        self.down.remaining = header.frame_bytes();
        self.down.payload = if header.continues() {
            Payload::GoesOn
        } else {
            Payload::Ends
        };
        self.sequence = header.sequence.wrapping_add(1);
    }

    /// Everything is answered: what comes next begins anew.
    fn answered(&mut self) {
        if self.pulse.wants_probe() {
            self.ask_for_status();
        } else if !self.pulse.is_idle() {
            self.entry.set_state(SessionState::IdleInTransaction);
        }
    }

    /// Asks the server for its status flags, between two commands of the client. Of what a client
    /// could ask for after an error, a ping changes `ROW_COUNT()` alone.
    fn ask_for_status(&mut self) {
        let pushed = self
            .pulse
            .client(Command::Simple, Origin::Own, LocalFile::MustNotAsk);
        if pushed.is_ok() {
            super::super::packet::put(&[code::PING], 0, &mut self.up.backlog);
            self.outcome = Some(Outcome::failed());
        }
    }

    /// The first packet of the answer to a `Prepare`: what to send in its place, if the client
    /// knows the statement by another id.
    fn note_prepared(
        &mut self,
        header: Header,
        prepared: Prepared,
    ) -> Result<Option<BytesMut>, Fatal> {
        let too_many = || Fatal::other("too many prepared statements in one session");
        let id = self.statements.prepared(prepared).ok_or_else(too_many)?;
        if id == prepared.statement {
            return Ok(None);
        }
        let mut with = BytesMut::with_capacity(HEADER_BYTES + 5);
        let [a, b, c, _none] = header.length.to_le_bytes();
        with.put_slice(&[a, b, c, header.sequence, 0]);
        with.put_u32_le(id);
        Ok(Some(with))
    }

    /// Leaves out the answer to a question of ours, all of which is there.
    fn swallow(&mut self, header: Header, body: &[u8]) -> Result<Cut, Fatal> {
        if body.first() == Some(&0xff) {
            let error = ServerError::parse(&Bytes::copy_from_slice(body));
            return Err(error.map_or(Fatal::ServerGone, |error| Fatal::Error(Box::new(error))));
        }
        if self.pulse.is_answered() {
            self.answered();
        }
        let frame = usize::try_from(header.frame_bytes()).unwrap_or(usize::MAX);
        Ok(Cut::Replace {
            drop: frame,
            with: BytesMut::new(),
        })
    }
}
