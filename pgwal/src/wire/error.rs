//! What can go wrong on a connection, split by who is to blame.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;

use super::auth::AuthError;
use super::endpoint::Endpoint;
use super::fields::{FieldError, Fields};
use super::frame::{FrameError, show_tag};
use super::tls::TlsError;

/// An `ErrorResponse` of a server.
///
/// `Display` shows severity, SQLSTATE and message; the detail may hold row values and is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, `FATAL` or `PANIC`, not translated where the server says so.
    pub severity: String,
    /// The SQLSTATE, five characters.
    pub sqlstate: String,
    /// The primary message.
    pub message: String,
    /// The detail line.
    pub detail: Option<String>,
    /// The hint line.
    pub hint: Option<String>,
    /// The message body as it came, to be passed on untouched.
    pub body: Bytes,
}

impl ServerError {
    /// Reads the body of an `ErrorResponse` or `NoticeResponse`. Fields that are missing stay empty
    /// and unknown fields are skipped; text that is not UTF-8 is shown with replacement characters.
    ///
    /// # Errors
    /// A field has no terminator.
    pub fn parse(body: Bytes) -> Result<Self, FieldError> {
        let mut error = Self {
            severity: String::new(),
            sqlstate: String::new(),
            message: String::new(),
            detail: None,
            hint: None,
            body: body.clone(),
        };
        let mut fields = Fields::new(&body);
        loop {
            let kind = fields.u8()?;
            if kind == 0 {
                return Ok(error);
            }
            let text = String::from_utf8_lossy(fields.string()?).into_owned();
            match kind {
                b'V' => error.severity = text,
                b'S' if error.severity.is_empty() => error.severity = text,
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'D' => error.detail = Some(text),
                b'H' => error.hint = Some(text),
                _other => {}
            }
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.sqlstate, self.message)
    }
}

impl std::error::Error for ServerError {}

/// A connection that was open does not work any more, or answered what it must not.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server sent an error.
    #[error("the server refused")]
    Server(#[source] Box<ServerError>),
    /// A header cannot be right.
    #[error("the server sent a bad message header")]
    Frame(#[from] FrameError),
    /// A message body cannot be read.
    #[error("the server sent a message that cannot be read")]
    Malformed(#[from] FieldError),
    /// A message that has no place here.
    #[error("the server sent message {} where {expected} was expected", show_tag(*tag))]
    Unexpected {
        /// The kind of message that came.
        tag: u8,
        /// What should have come.
        expected: &'static str,
    },
    /// Something of ours does not fit a message.
    #[error("a message of ours cannot be written: {0}")]
    Unwritable(&'static str),
}

impl WireError {
    /// The server's own error, when that is what it was.
    #[must_use]
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) => Some(error),
            Self::Io(_)
            | Self::Closed
            | Self::Frame(_)
            | Self::Malformed(_)
            | Self::Unexpected { .. }
            | Self::Unwritable(_) => None,
        }
    }
}

impl From<ServerError> for WireError {
    fn from(error: ServerError) -> Self {
        Self::Server(Box::new(error))
    }
}

/// A connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No socket to the server.
    #[error("cannot reach {endpoint}; check the address and that the server listens there")]
    Unreachable {
        /// The endpoint as shown to people.
        endpoint: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server did not finish the log-in in time.
    #[error("{endpoint} did not finish the log-in within {timeout:?}")]
    Timeout {
        /// The endpoint as shown to people.
        endpoint: String,
        /// The limit.
        timeout: Duration,
    },
    /// The TLS that the endpoint demands cannot be had.
    #[error("no TLS connection to {endpoint}")]
    Tls {
        /// The endpoint as shown to people.
        endpoint: String,
        /// Why.
        #[source]
        source: TlsError,
    },
    /// The server refused the log-in.
    #[error("{endpoint} refused the connection of user \"{user}\"")]
    Refused {
        /// The endpoint as shown to people.
        endpoint: String,
        /// The user that wanted in.
        user: String,
        /// What the server said.
        #[source]
        source: Box<ServerError>,
    },
    /// The server asks for something we cannot or will not give.
    #[error("cannot authenticate at {endpoint} as user \"{user}\"")]
    Auth {
        /// The endpoint as shown to people.
        endpoint: String,
        /// The user that wanted in.
        user: String,
        /// What was asked.
        #[source]
        source: AuthError,
    },
    /// The connection broke during the log-in.
    #[error("the connection to {endpoint} broke during the log-in")]
    Wire {
        /// The endpoint as shown to people.
        endpoint: String,
        /// How.
        #[source]
        source: WireError,
    },
    /// `tokio-postgres` could not connect.
    #[error("cannot connect to {endpoint} as user \"{user}\"")]
    Sql {
        /// The endpoint as shown to people.
        endpoint: String,
        /// The user that wanted in.
        user: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
}

impl ConnectError {
    /// No socket to this endpoint.
    pub(super) fn no_socket(endpoint: &Endpoint, error: TlsError) -> Self {
        let endpoint = endpoint.to_string();
        match error {
            TlsError::Io(source) => Self::Unreachable { endpoint, source },
            source => Self::Tls { endpoint, source },
        }
    }

    /// The server's own refusal, when that is what it was.
    #[must_use]
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Refused { source, .. } => Some(source),
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Tls { .. }
            | Self::Auth { .. }
            | Self::Wire { .. }
            | Self::Sql { .. } => None,
        }
    }
}
