//! From the client to the server, through the gate.

use std::task::{Context, Poll};

use bytes::{BufMut, BytesMut};
use router::{Gate, MustWait, Side};

use super::super::command::{self, Command, code};
use super::super::fatal::Fatal;
use super::super::kill;
use super::super::limits::{LOGIN_PACKET_BYTES_MAX, WHOLE_BYTES_MAX};
use super::super::outcome::Outcome;
use super::super::packet::{self, FRAME_FULL, HEADER_BYTES, Header};
use super::super::pulse::{LocalFile, Origin};
use super::super::registry::SessionState;
use super::super::text::{self, Words};
use super::bytes_io::{
    flush_backlog, give_back, read_into, read_scratch, skip_remaining, write_or_keep,
};
use super::{Body, Flow, Payload, Pump, SCRATCH, Stop};

/// Why a scan did not go on to the end of the bytes.
#[derive(Debug)]
enum Verdict {
    /// It did, or part of what must be seen is missing.
    Through,
    /// The next command begins something, and the switch is held.
    MustWait,
    /// The next command begins something, and the permit is for this other side.
    Move(Side),
    /// The next command waits until those before it are answered.
    Paused,
    /// The client wants to log in anew: so many bytes of a frame.
    ChangeUser(usize),
    /// The client wants to end another session: so many bytes of a frame.
    Kill(usize),
    /// Bytes are to be left out, and others put in their place.
    Replace { drop: usize, with: BytesMut },
}

impl Pump {
    /// Carries what the client says until there is no more, the server does not take it, or it may
    /// not pass.
    pub(super) fn poll_up(&mut self, cx: &mut Context<'_>, gate: &mut Gate) -> Poll<Stop> {
        loop {
            match flush_backlog(&mut self.up, &mut self.server, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_gone)) => self.server_is_deaf(),
                Poll::Ready(Ok(())) => {}
            }
            match self.up.flow {
                Flow::Open => {}
                Flow::Ending => {
                    if self.server.poll_half_close(cx).is_pending() {
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
                Ok(Verdict::Through | Verdict::Replace { .. }) => {}
                Ok(Verdict::Paused) => return Poll::Pending,
                Ok(Verdict::MustWait) => return Poll::Ready(Stop::MustWait),
                Ok(Verdict::Move(side)) => return Poll::Ready(Stop::Move(side)),
                Ok(Verdict::ChangeUser(bytes)) => {
                    let frame = self.up.held.split_to(bytes).freeze();
                    return Poll::Ready(Stop::ChangeUser(frame.slice(HEADER_BYTES..)));
                }
                Ok(Verdict::Kill(bytes)) => {
                    let frame = self.up.held.split_to(bytes).freeze();
                    return Poll::Ready(Stop::Kill(frame.slice(HEADER_BYTES..)));
                }
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
        let verdict = loop {
            let (forward, verdict) = self.scan_up(&held, gate)?;
            self.up.backlog.unsplit(held.split_to(forward));
            if let Verdict::Replace { drop, with } = verdict {
                let _left_out = held.split_to(drop);
                self.up.backlog.extend_from_slice(&with);
            } else {
                break verdict;
            }
        };
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
            let bytes = scratch.get(..read).unwrap_or_default();
            let (forward, verdict) = self.scan_up(bytes, gate)?;
            let (forward, mut rest) = bytes.split_at(forward);
            if write_or_keep(forward, &mut self.up, &mut self.server, cx).is_err() {
                self.server_is_deaf();
            }
            if let Verdict::Replace { drop, with } = verdict {
                self.up.backlog.extend_from_slice(&with);
                rest = rest.get(drop..).unwrap_or_default();
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
    fn scan_up(&mut self, bytes: &[u8], gate: &mut Gate) -> Result<(usize, Verdict), Fatal> {
        let mut at = skip_remaining(&mut self.up.remaining, bytes);
        self.note_text(bytes.get(..at).unwrap_or_default());
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(header) = Header::peek(rest) else {
                return Ok((at, Verdict::Through));
            };
            if self.up.payload == Payload::GoesOn || self.pulse.reads_file() {
                if self.up.payload == Payload::Ends && header.length == 0 {
                    self.pulse.file_ended();
                }
                self.begin_up(header);
                let step = skip_remaining(&mut self.up.remaining, rest);
                self.note_text(rest.get(HEADER_BYTES..step).unwrap_or_default());
                at += step;
                continue;
            }
            match self.command(header, rest, gate)? {
                None => return Ok((at, Verdict::Through)),
                Some(Verdict::Through) => {
                    self.begin_up(header);
                    at += skip_remaining(&mut self.up.remaining, rest);
                }
                Some(verdict) => return Ok((at, verdict)),
            }
        }
    }

    fn begin_up(&mut self, header: Header) {
        self.up.remaining = header.frame_bytes();
        self.up.payload = if header.continues() {
            Payload::GoesOn
        } else {
            Payload::Ends
        };
        self.sequence = header.sequence.wrapping_add(1);
    }

    /// Looks at the beginning of a command; `None` when more of it must be there first.
    fn command(
        &mut self,
        header: Header,
        rest: &[u8],
        gate: &mut Gate,
    ) -> Result<Option<Verdict>, Fatal> {
        if header.sequence != 0 {
            return Err(Fatal::out_of_order());
        }
        if header.length == 0 {
            return Err(Fatal::malformed("Malformed communication packet"));
        }
        if self.pulse.is_full() {
            return Ok(Some(Verdict::Paused));
        }
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let payload = rest.get(HEADER_BYTES..).unwrap_or_default();
        let payload = payload.get(..length).unwrap_or(payload);
        let prefix = payload
            .first()
            .map_or(1, |code| command::prefix_bytes(*code));
        if payload.len() < prefix.min(length) {
            return Ok(None);
        }
        let command = command::parse(payload);
        let wanted = self.wanted_bytes(command, header)?;
        if payload.len() < wanted.min(length) {
            return Ok(None);
        }
        // Half of a command that the client does not go on with would keep the server busy, and a
        // drain waiting.
        if payload.len() < length && header.length <= WHOLE_BYTES_MAX && self.pulse.is_idle() {
            return Ok(None);
        }
        let command = if payload.len() == length && self.is_kill(command, payload) {
            Command::Kill
        } else {
            command
        };
        match self.admit(command, gate) {
            Verdict::Through => self.pass(command, header, payload).map(Some),
            verdict => Ok(Some(verdict)),
        }
    }

    /// Whether a command is a `KILL` by other means than its own code.
    #[inline]
    fn is_kill(&self, command: Command, payload: &[u8]) -> bool {
        match command {
            Command::Query => kill::is_kill(payload.get(1..).unwrap_or_default()),
            Command::Execute { statement, .. } => self.statements.kills(statement),
            Command::Prepare
            | Command::Fetch { .. }
            | Command::Close { .. }
            | Command::Reset { .. }
            | Command::LongData { .. }
            | Command::FieldList
            | Command::Statistics
            | Command::Simple
            | Command::ResetConnection
            | Command::ChangeUser
            | Command::Kill
            | Command::Quit
            | Command::Refused(_) => false,
        }
    }

    /// Bytes of a command's payload that must be there before it is passed on.
    fn wanted_bytes(&self, command: Command, header: Header) -> Result<usize, Fatal> {
        let whole = usize::try_from(header.length).unwrap_or(usize::MAX);
        match command {
            Command::Query | Command::Prepare if header.length <= WHOLE_BYTES_MAX => Ok(whole),
            Command::Execute { statement, .. }
                if self.statements.kills(statement) && header.length <= WHOLE_BYTES_MAX =>
            {
                Ok(whole)
            }
            Command::Execute { statement, .. } => {
                Ok(self.statements.execute_prefix_bytes(statement))
            }
            Command::ChangeUser | Command::Kill if header.length > LOGIN_PACKET_BYTES_MAX => {
                Err(Fatal::malformed("Malformed communication packet"))
            }
            Command::ChangeUser | Command::Kill => Ok(whole),
            Command::Refused(reason) if self.pulse.is_answered() => Err(Fatal::refused(reason)),
            Command::Query
            | Command::Prepare
            | Command::Fetch { .. }
            | Command::Close { .. }
            | Command::Reset { .. }
            | Command::LongData { .. }
            | Command::FieldList
            | Command::Statistics
            | Command::Simple
            | Command::ResetConnection
            | Command::Quit
            | Command::Refused(_) => Ok(0),
        }
    }

    /// Whether a command may pass now. An idle session enters the gate by it.
    #[inline]
    fn admit(&mut self, command: Command, gate: &mut Gate) -> Verdict {
        // They are not answered and begin nothing.
        if matches!(command, Command::Quit) {
            return Verdict::Through;
        }
        let is_ours = matches!(
            command,
            Command::Refused(_) | Command::ChangeUser | Command::Kill
        );
        if is_ours && !self.pulse.is_answered() {
            return Verdict::Paused;
        }
        if matches!(command, Command::Close { .. }) {
            self.entry.mark_dirty();
            return Verdict::Through;
        }
        if self.pulse.is_idle() {
            return match gate.try_enter() {
                Err(MustWait) => Verdict::MustWait,
                Ok(side) if side != self.side => Verdict::Move(side),
                Ok(_same) => {
                    self.entry.set_state(SessionState::Active);
                    self.entry.mark_dirty();
                    Verdict::Through
                }
            };
        }
        if self.pulse.is_answered() {
            self.entry.set_state(SessionState::Active);
        } else if self.pulse.is_idle_but_for_answers() && gate.switch().is_held() {
            // Whether it belongs to a transaction that runs is known when those before it are
            // answered.
            return Verdict::Paused;
        }
        Verdict::Through
    }

    /// Notes a command that passes.
    fn pass(&mut self, command: Command, header: Header, payload: &[u8]) -> Result<Verdict, Fatal> {
        self.body = Body::Opaque;
        let outcome = if matches!(command, Command::Close { .. } | Command::LongData { .. }) {
            None
        } else {
            self.outcome.take()
        };
        if command == Command::ChangeUser {
            let frame = usize::try_from(header.frame_bytes()).unwrap_or(usize::MAX);
            self.sequence = 1;
            return Ok(Verdict::ChangeUser(frame));
        }
        if command == Command::Kill {
            let frame = usize::try_from(header.frame_bytes()).unwrap_or(usize::MAX);
            self.sequence = 1;
            self.last_words = Words::default();
            return Ok(Verdict::Kill(frame));
        }
        let file = match command {
            Command::Query | Command::Prepare => self.note_statement(command, header, payload),
            Command::Close { .. }
            | Command::Execute { .. }
            | Command::Fetch { .. }
            | Command::Reset { .. }
            | Command::LongData { .. }
            | Command::FieldList
            | Command::Statistics
            | Command::Simple
            | Command::ResetConnection
            | Command::ChangeUser
            | Command::Kill
            | Command::Quit
            | Command::Refused(_) => LocalFile::MustNotAsk,
        };
        let told = outcome
            .filter(|_outcome| command == Command::Query)
            .and_then(|outcome| self.tell_outcome(outcome, header, payload));
        let replaced = match told {
            Some(told) => Some(told),
            None => self.replacement(command, header, payload)?,
        };
        match command {
            Command::Close { statement } => self.statements.close(statement),
            Command::Execute { statement, .. } => self.statements.executes(statement),
            Command::Simple if payload.first() == Some(&code::INIT_DB) => {
                self.note_database(payload.get(1..).unwrap_or_default());
            }
            _other => {}
        }
        if self.last_words.has(Words::SET_TRANSACTION) && command == Command::Query {
            self.pulse.one_shot();
        }
        self.pulse.client(command, Origin::Client, file)?;
        Ok(replaced.unwrap_or(Verdict::Through))
    }

    /// Notes the text of a query or of a statement to prepare.
    fn note_statement(&mut self, command: Command, header: Header, payload: &[u8]) -> LocalFile {
        let sql = payload.get(1..).unwrap_or_default();
        let missing = header.length.saturating_sub(1);
        let missing = missing.saturating_sub(u32::try_from(sql.len()).unwrap_or(u32::MAX));
        let whole = missing == 0 && !header.continues();
        if !whole {
            self.body = Body::Text;
        }
        self.last_words = self.reader.begin(sql);
        self.note_words(sql);
        if !whole {
            self.lose_names();
        }
        if self.last_words.has(Words::CONTEXT) {
            self.statements.context_changes();
        }
        if command == Command::Prepare {
            // Frames of 16 MiB are far beyond what is kept of a statement.
            let missing = if header.continues() {
                FRAME_FULL
            } else {
                missing
            };
            self.statements.preparing(sql, missing);
        }
        self.local_file_of_last()
    }

    /// The client names a default database. That of its log-in, named again, changes nothing.
    fn note_database(&mut self, name: &[u8]) {
        if self.database.as_deref() != Some(name) || !self.statements.is_in_first_context() {
            self.statements.context_changes();
        }
    }

    fn local_file_of_last(&self) -> LocalFile {
        if self.last_words.has(Words::LOAD_LOCAL) {
            self.local_file
        } else {
            LocalFile::MustNotAsk
        }
    }

    /// Adds the words of the statement that was read last.
    fn note_words(&mut self, sql: &[u8]) {
        if self.last_words.has(Words::VARIABLE) {
            self.variables.note(text::variables(sql));
        }
        if self.last_words.has(Words::GET_LOCK) {
            self.locks.note(text::lock_names(sql));
        }
        if text::unlocks_tables(sql) {
            self.words.remove(Words::LOCK);
        }
        self.words.add(self.last_words);
    }

    /// A statement whose text is not here as a whole may name anything.
    fn lose_names(&mut self) {
        if self.last_words.has(Words::VARIABLE) {
            self.variables.lose();
        }
        if self.last_words.has(Words::GET_LOCK) {
            self.locks.lose();
        }
    }

    /// More of a statement's text passes.
    fn note_text(&mut self, piece: &[u8]) {
        if self.body == Body::Opaque || piece.is_empty() {
            return;
        }
        self.last_words = self.reader.more(piece);
        self.words.add(self.last_words);
        self.lose_names();
        if self.last_words.has(Words::CONTEXT) {
            self.statements.context_changes();
        }
        if self.local_file_of_last() == LocalFile::MayAsk {
            self.pulse.offer_file();
        }
        self.statements.more(piece, self.up.remaining);
    }

    /// What is to be sent in place of (the beginning of) a command.
    fn replacement(
        &mut self,
        command: Command,
        header: Header,
        payload: &[u8],
    ) -> Result<Option<Verdict>, Fatal> {
        match command {
            Command::Execute { statement, .. } => {
                self.replace_execution(statement, header, payload)
            }
            Command::Fetch { statement }
            | Command::Close { statement }
            | Command::Reset { statement }
            | Command::LongData { statement } => {
                let id = self.statements.translated(statement);
                Ok(id.map(|id| self.replace_id(id, header, payload)))
            }
            Command::Query
            | Command::Kill
            | Command::Prepare
            | Command::FieldList
            | Command::Statistics
            | Command::Simple
            | Command::ResetConnection
            | Command::ChangeUser
            | Command::Quit
            | Command::Refused(_) => Ok(None),
        }
    }

    /// The statement with what the one before it left, if it asks for that.
    fn tell_outcome(
        &mut self,
        outcome: Outcome,
        header: Header,
        payload: &[u8],
    ) -> Option<Verdict> {
        let is_whole = u32::try_from(payload.len()) == Ok(header.length) && !header.continues();
        let sql = payload
            .strip_prefix(&[code::QUERY])
            .filter(|_sql| is_whole)?;
        let mut told = BytesMut::new();
        told.put_u8(code::QUERY);
        told.extend_from_slice(&outcome.tell(sql)?);
        let mut with = BytesMut::with_capacity(HEADER_BYTES + told.len());
        packet::put(&told, header.sequence, &mut with);
        self.sequence = header.sequence.wrapping_add(1);
        let drop = HEADER_BYTES + payload.len();
        Some(Verdict::Replace { drop, with })
    }

    fn replace_id(&mut self, id: u32, header: Header, payload: &[u8]) -> Verdict {
        let mut with = BytesMut::with_capacity(HEADER_BYTES + 5);
        let [a, b, c, _none] = header.length.to_le_bytes();
        with.put_slice(&[a, b, c, header.sequence]);
        with.put_u8(payload.first().copied().unwrap_or(code::STMT_EXECUTE));
        with.put_u32_le(id);
        self.begin_up(header);
        let drop = skip_remaining(&mut self.up.remaining, &with);
        Verdict::Replace { drop, with }
    }

    fn replace_execution(
        &mut self,
        statement: u32,
        header: Header,
        payload: &[u8],
    ) -> Result<Option<Verdict>, Fatal> {
        let id = self.statements.translated(statement);
        let Some(mut rebound) = self.statements.execute(statement, payload) else {
            return Ok(id.map(|id| self.replace_id(id, header, payload)));
        };
        if let (Some(id), Some(place)) = (id, rebound.with.get_mut(1..5)) {
            place.copy_from_slice(&id.to_le_bytes());
        }
        let grown = rebound.with.len().saturating_sub(rebound.replaced);
        let length = u32::try_from(grown)
            .ok()
            .and_then(|grown| header.length.checked_add(grown))
            .filter(|length| *length < FRAME_FULL && !header.continues())
            .ok_or_else(|| {
                Fatal::other(
                    "a prepared statement cannot go on after the move to another server: its \
                     first parameters there are longer than a packet",
                )
            })?;
        let [a, b, c, _none] = length.to_le_bytes();
        let mut with = BytesMut::from(&[a, b, c, header.sequence][..]);
        with.put_slice(&rebound.with);
        self.begin_up(header);
        let drop = HEADER_BYTES + rebound.replaced;
        self.up.remaining = self
            .up
            .remaining
            .saturating_sub(u64::try_from(drop).unwrap_or(u64::MAX));
        Ok(Some(Verdict::Replace { drop, with }))
    }
}
