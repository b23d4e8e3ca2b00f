//! How far the answer to one command came.

use super::super::command::Command;
use super::{EofStyle, Oddity, Prepared, flag};

/// Payloads of this length go on in the next packet.
const PACKET_FULL: u32 = 0x00ff_ffff;

/// Payload bytes of an OK packet that are needed for its flags: header, two numbers of up to nine
/// bytes, flags, warnings.
const OK_PREFIX_BYTES: u32 = 1 + 9 + 9 + 2 + 2;

/// Payload bytes of the first packet of the answer to a `Prepare`.
const PREPARED_BYTES: u32 = 12;

/// Columns that a result may have: far more than any server allows.
const COLUMNS_MAX: u64 = 65_535;

const OK: u8 = 0x00;
const FILE: u8 = 0xfb;
const EOF: u8 = 0xfe;
const ERROR: u8 = 0xff;

/// Where in an answer the next packet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It is the first of an answer, or of one of its results.
    First,
    /// The server waits for the client's file.
    File,
    /// Column definitions, so many.
    Columns(u64),
    /// The EOF behind the column definitions.
    ColumnsEnd,
    /// Rows, up to their end.
    Rows,
    /// Definitions and EOFs behind a `Prepare`, so many.
    Definitions(u64),
}

/// One packet that is no continuation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) length: u32,
    /// As much as is there.
    pub(super) payload: &'a [u8],
}

/// What a packet ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// A result; the flags say whether another follows.
    Ok { status: u16, warnings: u16 },
    /// An answer without flags.
    NoStatus,
    /// An answer, by an error.
    Error,
}

/// What a packet does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) next: Phase,
    pub(super) tail: Option<Tail>,
    pub(super) prepared: Option<Prepared>,
}

impl Step {
    fn to(next: Phase) -> Self {
        Self {
            next,
            tail: None,
            prepared: None,
        }
    }

    fn end(tail: Tail) -> Self {
        Self {
            next: Phase::First,
            tail: Some(tail),
            prepared: None,
        }
    }
}

/// `None` when more of the packet must be there first.
type Stepped = Result<Option<Step>, Oddity>;

impl Phase {
    /// What the next packet of the answer to `command` does.
    #[inline]
    pub(super) fn step(self, command: Command, packet: Packet<'_>, eof: EofStyle) -> Stepped {
        match self {
            Self::Rows => rows(packet, eof),
            Self::First => first(command, packet, eof),
            Self::Columns(left) => Ok(Some(Step::to(match left.saturating_sub(1) {
                0 if eof == EofStyle::Packets => Self::ColumnsEnd,
                0 => Self::Rows,
                left => Self::Columns(left),
            }))),
            Self::ColumnsEnd => columns_end(command, packet),
            Self::Definitions(left) => Ok(Some(match left.saturating_sub(1) {
                0 => Step::end(Tail::NoStatus),
                left => Step::to(Self::Definitions(left)),
            })),
            // Only an error may come before the file is over.
            Self::File => match packet.byte() {
                None => packet.or_more(),
                Some(ERROR) => Ok(Some(Step::end(Tail::Error))),
                Some(_other) => Err(Oddity::Malformed),
            },
        }
    }
}

impl Packet<'_> {
    fn byte(self) -> Option<u8> {
        self.payload.first().copied()
    }

    fn has(self, wanted: u32) -> bool {
        u64::try_from(self.payload.len()).unwrap_or(u64::MAX) >= u64::from(wanted.min(self.length))
    }

    /// More is needed, unless there is no more.
    fn or_more(self) -> Stepped {
        if self.length == 0 {
            Err(Oddity::Malformed)
        } else {
            Ok(None)
        }
    }

    /// The end of something: an OK packet under any header, or an EOF.
    fn end(self) -> Stepped {
        if !self.has(OK_PREFIX_BYTES) {
            return Ok(None);
        }
        let tail = if self.length < 9 && self.byte() == Some(EOF) {
            self.eof_tail()
        } else {
            self.ok_tail()
        };
        tail.map(|tail| Some(Step::end(tail)))
            .ok_or(Oddity::Malformed)
    }

    fn eof_tail(self) -> Option<Tail> {
        match self.payload {
            [_, w0, w1, s0, s1, ..] => Some(Tail::Ok {
                status: u16::from_le_bytes([*s0, *s1]),
                warnings: u16::from_le_bytes([*w0, *w1]),
            }),
            // Without flags: servers before 4.1.
            _shorter => None,
        }
    }

    fn ok_tail(self) -> Option<Tail> {
        let rest = self.payload.get(1..)?;
        let (_affected, rest) = number(rest)?;
        let (_insert_id, rest) = number(rest)?;
        match rest {
            [s0, s1, w0, w1, ..] => Some(Tail::Ok {
                status: u16::from_le_bytes([*s0, *s1]),
                warnings: u16::from_le_bytes([*w0, *w1]),
            }),
            _shorter => None,
        }
    }
}

/// A length-encoded number and what follows it.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let width = match first {
        0..=0xfa => return Some((u64::from(first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xfb | 0xff => return None,
    };
    let digits = rest.get(..width)?;
    let value = digits
        .iter()
        .rev()
        .fold(0, |value, digit| (value << 8) | u64::from(*digit));
    Some((value, rest.get(width..)?))
}

#[inline]
fn rows(packet: Packet<'_>, eof: EofStyle) -> Stepped {
    let Some(byte) = packet.byte() else {
        return packet.or_more();
    };
    match (byte, eof) {
        (ERROR, _) => Ok(Some(Step::end(Tail::Error))),
        // A row may begin with this byte too, when its first value is longer than a packet.
        (EOF, EofStyle::Deprecated) if packet.length < PACKET_FULL => packet.end(),
        (EOF, EofStyle::Packets) if packet.length < 9 => packet.end(),
        (_row, _) => Ok(Some(Step::to(Phase::Rows))),
    }
}

fn columns_end(command: Command, packet: Packet<'_>) -> Stepped {
    let Some(mut step) = packet.end()? else {
        return Ok(None);
    };
    // With a cursor the rows come when they are fetched. MariaDB lets the flag be seen of a cursor
    // inside a routine too, which is no business of the client.
    let asked = matches!(command, Command::Execute { cursor: true, .. });
    if let Some(Tail::Ok { status, .. }) = step.tail
        && !(asked && status & flag::CURSOR_EXISTS != 0)
    {
        step = Step::to(Phase::Rows);
    }
    Ok(Some(step))
}

fn first(command: Command, packet: Packet<'_>, eof: EofStyle) -> Stepped {
    let Some(byte) = packet.byte() else {
        return packet.or_more();
    };
    match command {
        _any if byte == ERROR => Ok(Some(Step::end(Tail::Error))),
        Command::Query | Command::Execute { .. } => result(command, byte, packet),
        Command::Prepare => prepared(packet, eof),
        Command::Fetch { .. } => rows(packet, eof),
        Command::FieldList => field(byte, packet),
        Command::Statistics => Ok(Some(Step::end(Tail::NoStatus))),
        Command::Reset { .. }
        | Command::Simple
        | Command::ResetConnection
        | Command::ChangeUser
        | Command::Kill => match byte {
            OK | EOF => packet.end(),
            _other => Err(Oddity::Malformed),
        },
        Command::Close { .. } | Command::LongData { .. } | Command::Quit | Command::Refused(_) => {
            Err(Oddity::Malformed)
        }
    }
}

/// The first packet of a result.
fn result(command: Command, byte: u8, packet: Packet<'_>) -> Stepped {
    match byte {
        OK => packet.end(),
        EOF if packet.length < 9 => packet.end(),
        FILE if command == Command::Query => Ok(Some(Step::to(Phase::File))),
        _count => {
            if !packet.has(9) {
                return Ok(None);
            }
            match number(packet.payload) {
                Some((count @ 1..=COLUMNS_MAX, _)) => Ok(Some(Step::to(Phase::Columns(count)))),
                Some(_) | None => Err(Oddity::Malformed),
            }
        }
    }
}

fn prepared(packet: Packet<'_>, eof: EofStyle) -> Stepped {
    if !packet.has(PREPARED_BYTES) {
        return Ok(None);
    }
    let [OK, a, b, c, d, c0, c1, p0, p1, ..] = packet.payload else {
        return Err(Oddity::Malformed);
    };
    let columns = u16::from_le_bytes([*c0, *c1]);
    let params = u16::from_le_bytes([*p0, *p1]);
    let packets = |definitions: u16| match (definitions, eof) {
        (0, _) => 0,
        (count, EofStyle::Packets) => u64::from(count) + 1,
        (count, EofStyle::Deprecated) => u64::from(count),
    };
    let mut step = match packets(params) + packets(columns) {
        0 => Step::end(Tail::NoStatus),
        count => Step::to(Phase::Definitions(count)),
    };
    step.prepared = Some(Prepared {
        statement: u32::from_le_bytes([*a, *b, *c, *d]),
        params,
    });
    Ok(Some(step))
}

/// A column definition of `FieldList`, or its end.
fn field(byte: u8, packet: Packet<'_>) -> Stepped {
    if byte == EOF {
        packet.end()
    } else {
        Ok(Some(Step::to(Phase::First)))
    }
}
