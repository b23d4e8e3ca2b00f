//! Why a session ends before its client wants it to, and what the client is told.

use bytes::{Bytes, BytesMut};

use crate::wire::{ConnectError, backend};

/// The end of a session that the client did not ask for.
#[derive(Debug)]
pub(super) enum Fatal {
    /// The client is gone; nobody is left to be told.
    ClientGone,
    /// The server closed the connection; it has said why by itself.
    ServerGone,
    /// The server's own error, passed on as it came.
    Server(Bytes),
    /// An error of ours.
    Error {
        sqlstate: &'static str,
        message: String,
        hint: Option<&'static str>,
    },
}

impl Fatal {
    pub(super) fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self::Error {
            sqlstate,
            message: message.into(),
            hint: None,
        }
    }

    /// `protocol_violation`
    pub(super) fn protocol(message: impl Into<String>) -> Self {
        Self::new("08P01", message)
    }

    /// `admin_shutdown`, in the server's words.
    pub(super) fn terminated() -> Self {
        Self::new(
            "57P01",
            "terminating connection due to administrator command",
        )
    }

    /// In the server's words.
    pub(super) fn wrong_password(user: &str) -> Self {
        Self::new(
            "28P01",
            format!("password authentication failed for user \"{user}\""),
        )
    }

    /// In the server's words.
    pub(super) fn no_user() -> Self {
        Self::new(
            "28000",
            "no PostgreSQL user name specified in startup packet",
        )
    }

    /// In the server's words.
    pub(super) fn unsupported_protocol(version: u32) -> Self {
        let (major, minor) = (version >> 16, version & 0xffff);
        Self::new(
            "0A000",
            format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2"),
        )
    }

    /// A server connection could not be opened for a client.
    pub(super) fn connect(error: &ConnectError) -> Self {
        if let Some(server) = error.server() {
            return Self::Server(server.body.clone());
        }
        let hint = Some("The reason is in pointsman's log.");
        let (sqlstate, message) = match error {
            ConnectError::Auth { source, .. } => (
                "28000",
                format!("pointsman cannot log in to the server: {source}"),
            ),
            ConnectError::Timeout { .. } => (
                "08006",
                "the server did not finish the log-in in time".to_owned(),
            ),
            ConnectError::Unreachable { .. }
            | ConnectError::Tls { .. }
            | ConnectError::Refused { .. }
            | ConnectError::Wire { .. }
            | ConnectError::Sql { .. } => (
                "08001",
                "pointsman cannot connect to the database server".to_owned(),
            ),
        };
        Self::Error {
            sqlstate,
            message,
            hint,
        }
    }

    /// Writes the message that tells the client, if there is one to tell and to say.
    pub(super) fn write(&self, out: &mut BytesMut) {
        match self {
            Self::ClientGone | Self::ServerGone => {}
            Self::Server(body) => backend::raw(b'E', body, out),
            Self::Error {
                sqlstate,
                message,
                hint,
            } => backend::error_response(
                backend::ErrorFields {
                    severity: "FATAL",
                    sqlstate,
                    message,
                    detail: None,
                    hint: *hint,
                },
                out,
            ),
        }
    }
}
