//! The commands of a client, as far as the relay must know them: what answers them, and which of
//! them it does not pass on.

/// What kind of answer a command brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Statements as text: any number of results, each of which may ask for a file.
    Query,
    /// Prepares a statement: its id, and definitions.
    Prepare,
    /// Runs a prepared statement: any number of results.
    Execute {
        /// The statement, as the server knows it.
        statement: u32,
        /// Whether the client asks for a cursor, if the statement can have one.
        cursor: bool,
    },
    /// Rows of an open cursor.
    Fetch {
        /// The statement that the cursor belongs to.
        statement: u32,
    },
    /// Forgets a statement, its cursor too. No answer.
    Close {
        /// The statement.
        statement: u32,
    },
    /// Forgets a statement's cursor and long data: OK or an error.
    Reset {
        /// The statement.
        statement: u32,
    },
    /// A piece of a parameter, for a later `Execute`. No answer.
    LongData {
        /// The statement.
        statement: u32,
    },
    /// Column definitions of a table up to an EOF.
    FieldList,
    /// One packet, whatever it begins with.
    Statistics,
    /// OK, EOF or an error.
    Simple,
    /// As `Simple`; afterwards the session is as after its log-in, but for the log-in itself.
    ResetConnection,
    /// Logs in anew on the same connection: done by the relay itself.
    ChangeUser,
    /// Ends another session or its statement, by whatever command: the relay sees to whom it means.
    Kill,
    /// The end. No answer.
    Quit,
    /// Not passed on.
    Refused(&'static str),
}

/// Bytes that must be there to tell a command: its code and, behind it, a statement's id.
pub(super) const STATEMENT_PREFIX_BYTES: usize = 5;

/// The same for `COM_STMT_EXECUTE`, where one byte of flags follows: which cursor is wanted, if any.
const EXECUTE_PREFIX_BYTES: usize = STATEMENT_PREFIX_BYTES + 1;

/// Codes of commands that the relay names.
pub(super) mod code {
    pub(in crate::session) const QUIT: u8 = 0x01;
    pub(in crate::session) const INIT_DB: u8 = 0x02;
    pub(in crate::session) const QUERY: u8 = 0x03;
    pub(in crate::session) const PROCESS_KILL: u8 = 0x0c;
    pub(in crate::session) const PING: u8 = 0x0e;
    pub(in crate::session) const SET_OPTION: u8 = 0x1b;
    pub(in crate::session) const STMT_PREPARE: u8 = 0x16;
    pub(in crate::session) const STMT_EXECUTE: u8 = 0x17;
    pub(in crate::session) const STMT_CLOSE: u8 = 0x19;
    pub(in crate::session) const RESET_CONNECTION: u8 = 0x1f;
}

/// `CURSOR_TYPE_READ_ONLY`, `CURSOR_TYPE_FOR_UPDATE` and `CURSOR_TYPE_SCROLLABLE`.
const CURSOR_TYPES: u8 = 0x07;

const REPLICATION: &str = "this connection does not carry the replication protocol; connect replicas \
                           to the server itself";
const UNKNOWN: &str = "unknown command";

/// How many bytes of a payload must be there before [`parse`] can tell the command.
pub(super) fn prefix_bytes(code: u8) -> usize {
    match code {
        code::STMT_EXECUTE => EXECUTE_PREFIX_BYTES,
        0x18..=0x1a | 0x1c => STATEMENT_PREFIX_BYTES,
        _other => 1,
    }
}

/// Tells the command from the beginning of its payload: at least [`prefix_bytes`] of it, or all of
/// it when it is shorter.
pub(super) fn parse(payload: &[u8]) -> Command {
    let Some(&code) = payload.first() else {
        return Command::Refused("malformed communication packet");
    };
    let statement = match payload {
        [_, a, b, c, d, ..] => Some(u32::from_le_bytes([*a, *b, *c, *d])),
        _shorter => None,
    };
    match (code, statement) {
        (code::QUIT, _) => Command::Quit,
        // INIT_DB, CREATE_DB, DROP_DB, REFRESH, SHUTDOWN, DEBUG, PING
        (0x02 | 0x05 | 0x06 | 0x07 | 0x08 | 0x0d | 0x0e | code::SET_OPTION, _) => Command::Simple,
        (code::QUERY | 0x0a, _) => Command::Query,
        (0x04, _) => Command::FieldList,
        (0x09, _) => Command::Statistics,
        (code::PROCESS_KILL, _) => Command::Kill,
        (0x11, _) => Command::ChangeUser,
        (0x12 | 0x13 | 0x14 | 0x15 | 0x1e, _) => Command::Refused(REPLICATION),
        (code::STMT_PREPARE, _) => Command::Prepare,
        (code::STMT_EXECUTE, Some(statement)) => Command::Execute {
            statement,
            cursor: payload
                .get(STATEMENT_PREFIX_BYTES)
                .is_some_and(|&flags| flags & CURSOR_TYPES != 0),
        },
        (0x18, Some(statement)) => Command::LongData { statement },
        (code::STMT_CLOSE, Some(statement)) => Command::Close { statement },
        (0x1a, Some(statement)) => Command::Reset { statement },
        (0x1c, Some(statement)) => Command::Fetch { statement },
        (0x17..=0x1a | 0x1c, None) => Command::Refused("malformed communication packet"),
        (code::RESET_CONNECTION, _) => Command::ResetConnection,
        (_unknown, _) => Command::Refused(UNKNOWN),
    }
}

impl Command {
    /// Whether an error of it may hide that a transaction began or ended.
    pub(super) fn runs_statements(self) -> bool {
        match self {
            Self::Query | Self::Execute { .. } | Self::Fetch { .. } => true,
            Self::Prepare
            | Self::Close { .. }
            | Self::Reset { .. }
            | Self::LongData { .. }
            | Self::FieldList
            | Self::Statistics
            | Self::Simple
            | Self::ResetConnection
            | Self::ChangeUser
            | Self::Kill
            | Self::Quit
            | Self::Refused(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_commands_and_unknown_ones_are_refused() {
        for code in [0x12, 0x13, 0x14, 0x15, 0x1e] {
            assert_eq!(parse(&[code]), Command::Refused(REPLICATION));
        }
        for code in [0x00, 0x0b, 0x0f, 0x10, 0x1d, 0x20, 0x77, 0xff] {
            assert_eq!(parse(&[code]), Command::Refused(UNKNOWN));
        }
    }

    #[test]
    fn a_statement_command_without_its_id_is_malformed() {
        for code in [0x17, 0x18, 0x19, 0x1a, 0x1c] {
            assert!(prefix_bytes(code) >= STATEMENT_PREFIX_BYTES);
            assert!(matches!(parse(&[code, 1, 2]), Command::Refused(_)));
        }
        for (flags, cursor) in [(0, false), (1, true), (8, false)] {
            let statement = 0x201;
            let execute = Command::Execute { statement, cursor };
            assert_eq!(parse(&[0x17, 1, 2, 0, 0, flags]), execute);
        }
    }
}
