//! What can go wrong on a connection, split by who is to blame.

use std::io;
use std::time::Duration;

use super::auth::AuthError;
use super::fields::FieldError;
use super::packet::PacketError;
use super::tls::TlsError;
use crate::version::VersionError;

mod server;

pub use server::ServerError;

/// A connection that was open does not work any more, or answered what it must not.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The server sent an error.
    #[error("the server refused")]
    Server(#[source] Box<ServerError>),
    /// The server closed the connection and said why.
    #[error("the server ended the connection")]
    Ended(#[source] Box<ServerError>),
    /// Frames that cannot be right.
    #[error("the server broke the protocol")]
    Packet(#[from] PacketError),
    /// A packet that cannot be read.
    #[error("the server sent a packet that cannot be read")]
    Malformed(#[from] FieldError),
    /// A packet that has no place here.
    #[error("the server sent a packet beginning with {first:#04x} where {expected} was expected")]
    Unexpected {
        /// Its first byte.
        first: u8,
        /// What should have come.
        expected: &'static str,
    },
    /// The server asked for a file that we never offered.
    #[error("the server asked for a local file in answer to a statement that loads none")]
    LocalFileRefused,
    /// Rows that were to be held all at once are too many.
    #[error("the answer has more than {limit_bytes} bytes, which is more than is held at once")]
    AnswerTooLarge {
        /// What is held at most.
        limit_bytes: usize,
    },
    /// An earlier statement was given up in the middle, or the connection broke earlier.
    #[error("the connection is closed: it broke, or an earlier statement on it was given up")]
    Unusable,
}

impl WireError {
    /// The server's own error, when that is what it was.
    #[must_use]
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) | Self::Ended(error) => Some(error),
            Self::Io(_)
            | Self::Closed
            | Self::Packet(_)
            | Self::Malformed(_)
            | Self::Unexpected { .. }
            | Self::LocalFileRefused
            | Self::AnswerTooLarge { .. }
            | Self::Unusable => None,
        }
    }
}

impl From<ServerError> for WireError {
    /// After some errors the servers close the connection.
    fn from(error: ServerError) -> Self {
        if error.ends_connection() {
            Self::Ended(Box::new(error))
        } else {
            Self::Server(Box::new(error))
        }
    }
}

impl From<io::Error> for WireError {
    /// A server that is killed has no time for the goodbye of TLS.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Closed
        } else {
            Self::Io(error)
        }
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
    /// TLS is demanded and could not be had.
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
    /// It is a server that pointsman does not know.
    #[error("cannot work with the server at {endpoint}")]
    Version {
        /// The endpoint as shown to people.
        endpoint: String,
        /// What it calls itself.
        #[source]
        source: VersionError,
    },
}

impl ConnectError {
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
            | Self::Version { .. } => None,
        }
    }
}
