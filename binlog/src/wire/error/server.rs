//! An error of a server, and how it is shown without the values of anybody's rows.

use std::fmt;

use bytes::Bytes;

use crate::wire::fields::{FieldError, Fields};
use crate::wire::response::ERR;

/// The SQLSTATE of an error that came without one: those before the log-in do.
const GENERAL_ERROR: &str = "HY000";

/// An error of a server.
///
/// `message` is what the server said. `Display` leaves out the values and pieces of SQL that the
/// messages of some errors repeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerError {
    /// The error number.
    pub code: u16,
    /// The SQLSTATE, five characters.
    pub sqlstate: String,
    /// The message as it came.
    pub message: String,
}

impl ServerError {
    /// An error of our own making, for a client.
    #[must_use]
    pub fn new(code: u16, sqlstate: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            sqlstate: sqlstate.to_owned(),
            message: message.into(),
        }
    }

    /// Reads an ERR packet. Text that is not UTF-8 is shown with replacement characters.
    ///
    /// # Errors
    /// The packet ends before the error number.
    pub fn parse(packet: &Bytes) -> Result<Self, FieldError> {
        let mut fields = Fields::new(packet);
        if fields.u8()? != ERR {
            return Err(FieldError("it is no ERR packet"));
        }
        let code = fields.u16()?;
        let mut sqlstate = GENERAL_ERROR.to_owned();
        if let Some((b"#", rest)) = fields.rest().split_first_chunk::<1>()
            && let Some((state, message)) = rest.split_first_chunk::<5>()
        {
            sqlstate = String::from_utf8_lossy(state).into_owned();
            fields = Fields::new(message);
        }
        Ok(Self {
            code,
            sqlstate,
            message: String::from_utf8_lossy(fields.rest()).into_owned(),
        })
    }

    /// Whether the server closes the connection after this error.
    #[must_use]
    pub fn ends_connection(&self) -> bool {
        // ER_SERVER_SHUTDOWN, ER_ABORTING_CONNECTION, ER_NET_PACKET_TOO_LARGE, the ER_NET_.. about
        // reading and writing, ER_CONNECTION_KILLED of MariaDB, ER_SESSION_WAS_KILLED,
        // ER_CLIENT_INTERACTION_TIMEOUT
        match self.code {
            1053 | 1152 | 1153 | 1156..=1161 | 3169 | 4031 => true,
            // MySQL has the number for something else.
            1927 => self.message.contains("killed"),
            _other => false,
        }
    }

    /// The SQLSTATE as the wire has it: exactly five bytes.
    #[must_use]
    pub fn sqlstate_bytes(&self) -> [u8; 5] {
        <[u8; 5]>::try_from(self.sqlstate.as_bytes()).unwrap_or(*b"HY000")
    }

    /// The message without values.
    #[must_use]
    pub fn safe_message(&self) -> String {
        let Some(quote) = hidden_in(self.code) else {
            return self.message.clone();
        };
        let Some((before, hidden)) = self.message.split_once(quote.opens) else {
            return self.message.clone();
        };
        // The value itself may hold quotes and even the words, so the last place counts.
        let after = quote
            .ends
            .iter()
            .filter_map(|end| hidden.rfind(end))
            .max()
            .and_then(|at| hidden.get(at..))
            .unwrap_or(quote.closes);
        format!("{before}{}***{after}", quote.opens)
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "error {} ({}): {}",
            self.code,
            self.sqlstate,
            self.safe_message()
        )
    }
}

impl std::error::Error for ServerError {}

/// Where a message holds a value: from the first `opens` to the last of `ends`, or to its end.
struct Hidden {
    opens: &'static str,
    closes: &'static str,
    ends: &'static [&'static str],
}

const IN_QUOTES: &[&str] = &[
    "' for key ",
    "' for column ",
    "' for CAST",
    "' for function ",
];

/// Which errors repeat a value or a piece of SQL.
///
/// <https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html>
fn hidden_in(code: u16) -> Option<Hidden> {
    let (opens, ends): (_, &'static [_]) = match code {
        // ER_DUP_ENTRY, ER_DUP_ENTRY_WITH_KEY_NAME, ER_DUP_ENTRY_AUTOINCREMENT_CASE,
        // ER_FOREIGN_DUPLICATE_KEY(_WITH_CHILD_INFO)
        1062 | 1586 | 1569 | 1557 => ("'", IN_QUOTES),
        1761 | 1762 => ("record '", &["' would lead "]),
        // ER_TRUNCATED_WRONG_VALUE(_FOR_FIELD), ER_ILLEGAL_VALUE_FOR_TYPE, ER_WRONG_VALUE(_FOR_TYPE),
        // ER_INVALID_CHARACTER_STRING
        1292 | 1300 | 1366 | 1367 | 1411 | 1525 => ("'", IN_QUOTES),
        // ER_CANNOT_CONVERT_STRING
        3854 => ("string '", &["' from "]),
        // ER_NO_PARTITION_FOR_GIVEN_VALUE
        1526 => ("value ", &[]),
        // ER_PARSE_ERROR: a piece of the statement, and its line.
        1064 | 1149 => ("near '", &["' at line "]),
        // ER_DATA_OUT_OF_RANGE repeats the expression.
        1690 => ("in '", &[]),
        _other => return None,
    };
    let closes = if opens.ends_with('\'') { "'" } else { "" };
    Some(Hidden {
        opens,
        closes,
        ends,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u16, message: &str) -> ServerError {
        ServerError::new(code, "23000", message)
    }

    #[test]
    fn messages_are_shown_without_the_values_they_repeat() {
        for (code, message, shown) in [
            (
                1062,
                "Duplicate entry 'o' for key 'x' for key 'orders.PRIMARY'",
                "Duplicate entry '***' for key 'orders.PRIMARY'",
            ),
            (
                1366,
                "Incorrect integer value: 'secret' for column 'a' at row 1",
                "Incorrect integer value: '***' for column 'a' at row 1",
            ),
            (
                1064,
                "You have an error near 'IDENTIFIED BY 'secret'' at line 1",
                "You have an error near '***' at line 1",
            ),
            (
                1292,
                "Truncated incorrect DOUBLE value: 'secret'",
                "Truncated incorrect DOUBLE value: '***'",
            ),
            (
                1690,
                "BIGINT value is out of range in '(9 + 1)'",
                "BIGINT value is out of range in '***'",
            ),
            (1213, "Deadlock found; 'kept'", "Deadlock found; 'kept'"),
        ] {
            assert_eq!(error(code, message).safe_message(), shown);
        }
        let shown = error(1062, "Duplicate entry 'v' for key 'k'").to_string();
        assert_eq!(
            shown,
            "error 1062 (23000): Duplicate entry '***' for key 'k'"
        );
    }

    #[test]
    fn errors_with_and_without_a_state_are_read() {
        let packet = Bytes::from_static(b"\xff\x15\x04#28000Access denied");
        let denied = ServerError::parse(&packet).unwrap();
        assert_eq!((denied.code, denied.sqlstate.as_str()), (1045, "28000"));
        assert_eq!(denied.message, "Access denied");
        let packet = Bytes::from_static(b"\xff\x10\x04Too many connections");
        let busy = ServerError::parse(&packet).unwrap();
        assert_eq!((busy.code, busy.sqlstate.as_str()), (1040, "HY000"));
        assert!(ServerError::parse(&Bytes::from_static(b"\xff\x10")).is_err());
    }
}
