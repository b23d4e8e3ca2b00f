//! The pulse of a session: whether its server is idle, told from the first bytes of packets.
//!
//! The relay reports every packet that it forwards, in both directions. A session is *idle* when
//! every command is answered, the server's last status flags say "not in a transaction", no cursor
//! is open, no piece of a parameter waits for its `Execute`, and nothing that was said holds for
//! the next transaction only (`SET TRANSACTION`). Only then may it change its server. With
//! `autocommit` off a session is idle between two transactions too: the flags tell.
//!
//! What makes this more than counting:
//!
//! * Only the place in an answer tells what a packet is: a row may begin with the byte of an OK.
//! * An error has no status flags. A statement that failed may have ended a transaction (a
//!   deadlock) or left one open (a procedure that began one). After such an error the session is
//!   *in doubt*, that is busy, until a question of ours brings the flags.
//! * Clients do send commands before earlier ones are answered (MariaDB's connectors).
//!
//! It guarantees that a busy server is never taken for idle.

mod answer;

use std::collections::{HashSet, VecDeque};

use thiserror::Error;

use self::answer::{Phase, Tail};
use super::command::Command;

/// Commands that may wait for their answers. A client that sends more is not read.
pub(super) const COMMANDS_MAX: usize = 4096;

/// Statements of one session with an open cursor or pieces of parameters.
const BUSY_STATEMENTS_MAX: usize = 65_536;

/// Bits of the status flags.
mod flag {
    pub(super) const IN_TRANSACTION: u16 = 0x0001;
    pub(super) const MORE_RESULTS: u16 = 0x0008;
    pub(super) const CURSOR_EXISTS: u16 = 0x0040;
    pub(super) const LAST_ROW_SENT: u16 = 0x0080;
}

/// How the ends of result sets are marked: agreed at the log-in (`CLIENT_DEPRECATE_EOF`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EofStyle {
    /// By EOF packets, behind the column definitions too.
    Packets,
    /// By an OK packet behind the rows only.
    Deprecated,
}

/// Whose command it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The client's: it gets the answer.
    Client,
    /// Ours: the client sees nothing of it.
    Own,
}

/// Whether a statement may ask the client for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LocalFile {
    /// The client's own words ask for it (`LOAD DATA LOCAL`), and the configuration allows it.
    MayAsk,
    /// A server that asks anyway is not obeyed.
    MustNotAsk,
}

/// What is known of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// None is open.
    Idle,
    /// One is open.
    InTransaction,
    /// A statement failed, and with it whatever it did to the transaction.
    InDoubt,
}

/// What a packet of the server means to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// More of it must be there first.
    More,
    /// It is for the client.
    Pass,
    /// It is the answer to a question of ours.
    Swallow,
    /// It is for the client, and tells a new statement's id.
    Prepared(Prepared),
    /// It is for the client: a statement was not prepared.
    NotPrepared,
    /// It is for the client, and the session is like new.
    Reset,
}

/// The first packet of the answer to a `Prepare`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prepared {
    /// The id that the server gave.
    pub(super) statement: u32,
    /// Its parameters.
    pub(super) params: u16,
}

/// The server said what it must not say here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Oddity {
    /// It cannot be read.
    #[error("the server sent a packet that cannot be read")]
    Malformed,
    /// It asks for a file that the client did not offer.
    #[error("the server asked for a file of the client that no statement offered to it")]
    UnaskedFile,
    /// Too many statements are busy.
    #[error("too many statements have open cursors or long data")]
    TooManyStatements,
}

#[derive(Debug, Clone, Copy)]
struct Awaited {
    command: Command,
    origin: Origin,
    file: LocalFile,
}

/// The state of one server connection as the relay sees it.
#[derive(Debug)]
pub(super) struct Pulse {
    eof: EofStyle,
    queue: VecDeque<Awaited>,
    /// How far the answer to the first of the queue came.
    phase: Phase,
    status: Status,
    warnings: u16,
    cursors: HashSet<u32>,
    long_data: HashSet<u32>,
    /// `SET TRANSACTION` was said, and commands since then.
    one_shot: Option<u8>,
}

impl Pulse {
    /// A connection whose log-in is just done.
    pub(super) fn new(eof: EofStyle, status_flags: u16) -> Self {
        Self {
            eof,
            queue: VecDeque::new(),
            phase: Phase::First,
            status: status_of(status_flags),
            warnings: 0,
            cursors: HashSet::new(),
            long_data: HashSet::new(),
            one_shot: None,
        }
    }

    /// Whether the server is idle, outside of any transaction.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty()
            && self.status == Status::Idle
            && self.cursors.is_empty()
            && self.long_data.is_empty()
            && self.one_shot.is_none()
    }

    /// Whether everything was answered; the session may be in a transaction.
    pub(super) fn is_answered(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether nothing but unanswered commands keeps the session busy, as far as is known.
    pub(super) fn is_idle_but_for_answers(&self) -> bool {
        self.status == Status::Idle
            && self.cursors.is_empty()
            && self.long_data.is_empty()
            && self.one_shot.is_none()
    }

    /// Whether so much is unanswered that the client must not be read.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= COMMANDS_MAX
    }

    /// Whether the server must be asked for its flags: everything is answered, the last by an
    /// error that may hide something.
    pub(super) fn wants_probe(&self) -> bool {
        self.queue.is_empty() && self.status == Status::InDoubt
    }

    /// Whether the server's next packet is for us.
    #[inline]
    pub(super) fn awaits_own(&self) -> bool {
        self.queue
            .front()
            .is_some_and(|awaited| awaited.origin == Origin::Own)
    }

    /// Whether what the client sends is a file and not a command.
    pub(super) fn reads_file(&self) -> bool {
        self.phase == Phase::File
    }

    /// The client's file is over.
    pub(super) fn file_ended(&mut self) {
        if self.phase == Phase::File {
            self.phase = Phase::First;
        }
    }

    /// Warnings that the last answer counted.
    pub(super) fn warnings(&self) -> u16 {
        self.warnings
    }

    /// The end style, for a parser of the same connection's answers.
    pub(super) fn eof(&self) -> EofStyle {
        self.eof
    }

    /// The words of the last command offer a file to the server.
    pub(super) fn offer_file(&mut self) {
        if let Some(last) = self.queue.back_mut()
            && last.command == Command::Query
        {
            last.file = LocalFile::MayAsk;
        }
    }

    /// `SET TRANSACTION` goes to the server: what it says holds for the next transaction only.
    pub(super) fn one_shot(&mut self) {
        self.one_shot = Some(0);
    }

    /// Notes a command that goes to the server.
    pub(super) fn client(
        &mut self,
        command: Command,
        origin: Origin,
        file: LocalFile,
    ) -> Result<(), Oddity> {
        match command {
            Command::LongData { statement } => {
                self.long_data.insert(statement);
                if self.long_data.len() > BUSY_STATEMENTS_MAX {
                    return Err(Oddity::TooManyStatements);
                }
                return Ok(());
            }
            Command::Execute { statement, .. }
            | Command::Reset { statement }
            | Command::Close { statement } => {
                self.long_data.remove(&statement);
            }
            Command::Query
            | Command::Prepare
            | Command::Fetch { .. }
            | Command::FieldList
            | Command::Statistics
            | Command::Simple
            | Command::ResetConnection
            | Command::ChangeUser
            | Command::Kill
            | Command::Refused(_) => {}
            Command::Quit => return Ok(()),
        }
        if origin == Origin::Client
            && command.runs_statements()
            && let Some(commands) = &mut self.one_shot
        {
            *commands = commands.saturating_add(1);
        }
        self.queue.push_back(Awaited {
            command,
            origin,
            file,
        });
        self.tidy();
        Ok(())
    }

    /// Takes out commands that nothing answers and whose turn it is.
    fn tidy(&mut self) {
        while let Some(first) = self.queue.front() {
            let Command::Close { statement } = first.command else {
                return;
            };
            self.cursors.remove(&statement);
            self.queue.pop_front();
        }
    }

    /// Notes a packet of the server that is no continuation of another: its payload's length, and
    /// as much of it as is there.
    #[inline]
    pub(super) fn server(&mut self, length: u32, payload: &[u8]) -> Result<Seen, Oddity> {
        let Some(awaited) = self.queue.front().copied() else {
            // The server's last word, or something that we do not know. The client will.
            return Ok(Seen::Pass);
        };
        let Some(step) = self.phase.step(
            awaited.command,
            answer::Packet { length, payload },
            self.eof,
        )?
        else {
            return Ok(Seen::More);
        };
        if let Phase::File = step.next
            && (awaited.file == LocalFile::MustNotAsk || self.queue.len() > 1)
        {
            return Err(Oddity::UnaskedFile);
        }
        self.phase = step.next;
        let mut seen = step.prepared.map_or(Seen::Pass, Seen::Prepared);
        match step.tail {
            None => {}
            Some(Tail::Ok { status, warnings }) => {
                self.status = status_of(status);
                self.warnings = warnings;
                self.note_cursor(awaited.command, status)?;
                if status & flag::MORE_RESULTS == 0 {
                    if awaited.command == Command::ResetConnection {
                        self.cursors.clear();
                        self.long_data.clear();
                        self.one_shot = None;
                        seen = Seen::Reset;
                    }
                    self.answered();
                }
            }
            Some(Tail::NoStatus) => self.answered(),
            Some(Tail::Error) => {
                if awaited.command.runs_statements() {
                    self.status = Status::InDoubt;
                }
                if awaited.command == Command::Prepare {
                    seen = Seen::NotPrepared;
                }
                self.note_cursor(awaited.command, 0)?;
                self.answered();
            }
        }
        if awaited.origin == Origin::Own {
            return Ok(Seen::Swallow);
        }
        Ok(seen)
    }

    fn answered(&mut self) {
        self.phase = Phase::First;
        self.queue.pop_front();
        if self.one_shot.is_some_and(|commands| commands > 1) && self.status == Status::Idle {
            self.one_shot = None;
        }
        self.tidy();
    }

    /// Notes whether a statement has an open cursor.
    fn note_cursor(&mut self, command: Command, status: u16) -> Result<(), Oddity> {
        let (statement, may_open) = match command {
            Command::Execute { statement, cursor } => (statement, cursor),
            Command::Fetch { statement } => (statement, true),
            Command::Reset { statement } => (statement, false),
            Command::Query
            | Command::Prepare
            | Command::Close { .. }
            | Command::LongData { .. }
            | Command::FieldList
            | Command::Statistics
            | Command::Simple
            | Command::ResetConnection
            | Command::ChangeUser
            | Command::Kill
            | Command::Quit
            | Command::Refused(_) => return Ok(()),
        };
        let open =
            may_open && status & flag::CURSOR_EXISTS != 0 && status & flag::LAST_ROW_SENT == 0;
        if open {
            self.cursors.insert(statement);
        } else {
            self.cursors.remove(&statement);
        }
        if self.cursors.len() > BUSY_STATEMENTS_MAX {
            return Err(Oddity::TooManyStatements);
        }
        Ok(())
    }
}

fn status_of(flags: u16) -> Status {
    if flags & flag::IN_TRANSACTION == 0 {
        Status::Idle
    } else {
        Status::InTransaction
    }
}

#[cfg(test)]
mod tests;
