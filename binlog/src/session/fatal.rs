//! Why a session ends before its client wants it to, and what the client is told.

use bytes::{BufMut, BytesMut};

use super::packet;
use super::pulse::Oddity;
use crate::wire::{ConnectError, ServerError};

/// Error numbers in the servers' own sense.
mod number {
    pub(super) const TOO_MANY_CONNECTIONS: u16 = 1040;
    pub(super) const BAD_HANDSHAKE: u16 = 1043;
    pub(super) const ACCESS_DENIED: u16 = 1045;
    pub(super) const NO_SUCH_THREAD: u16 = 1094;
    pub(super) const SHUTDOWN: u16 = 1053;
    pub(super) const UNKNOWN_ERROR: u16 = 1105;
    pub(super) const PACKETS_OUT_OF_ORDER: u16 = 1156;
    pub(super) const NOT_SUPPORTED_AUTH_MODE: u16 = 1251;
    pub(super) const READ_TIMEOUT: u16 = 1159;
    pub(super) const MALFORMED_PACKET: u16 = 1835;
    pub(super) const NO_SUCH_PLUGIN: u16 = 1524;
    pub(super) const SECURE_TRANSPORT_REQUIRED: u16 = 3159;
    /// No right to the database, a wrong password, no such database, an account without password,
    /// its limits, a locked one.
    pub(super) const REFUSED_LOG_INS: [u16; 6] = [1044, ACCESS_DENIED, 1049, 1226, 1698, 4151];
}

/// The end of a session that the client did not ask for.
#[derive(Debug)]
pub(super) enum Fatal {
    /// The client is gone; nobody is left to be told.
    ClientGone,
    /// The server closed the connection; it has said why by itself.
    ServerGone,
    /// The server's own error, or one of ours.
    Error(Box<ServerError>),
}

impl Fatal {
    pub(super) fn new(code: u16, sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self::Error(Box::new(ServerError::new(code, sqlstate, message)))
    }

    /// Something of ours that has no number of its own.
    pub(super) fn other(message: impl Into<String>) -> Self {
        Self::new(number::UNKNOWN_ERROR, "HY000", message)
    }

    /// The client broke the protocol.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(number::MALFORMED_PACKET, "HY000", message)
    }

    /// A command that is not relayed.
    pub(super) fn refused(reason: &str) -> Self {
        Self::new(1047, "08S01", reason)
    }

    /// In the server's words.
    pub(super) fn unknown_command() -> Self {
        Self::refused("Unknown command")
    }

    /// A `KILL` by an id that may be another session's by now.
    pub(super) fn kills_nobody(id: u32) -> Self {
        Self::new(
            number::NO_SUCH_THREAD,
            "HY000",
            format!(
                "the database moved to another server, and the thread id {id} is that of one \
                 session before and of another one since; ask the session that is to be killed for \
                 its CONNECTION_ID() again"
            ),
        )
    }

    /// A `KILL` whose id only the server can find out.
    pub(super) fn kills_unseen() -> Self {
        Self::new(
            number::NO_SUCH_THREAD,
            "HY000",
            "pointsman cannot tell whom this KILL means, and after a move to another server a thread \
             id of before may be another session's; give the id as a number",
        )
    }

    /// Whether it is the answer to a log-in that is not granted.
    pub(super) fn refuses_log_in(&self) -> bool {
        match self {
            Self::Error(error) => number::REFUSED_LOG_INS.contains(&error.code),
            Self::ClientGone | Self::ServerGone => false,
        }
    }

    /// In the server's words.
    pub(super) fn out_of_order() -> Self {
        Self::new(
            number::PACKETS_OUT_OF_ORDER,
            "08S01",
            "Got packets out of order",
        )
    }

    /// In the server's words.
    pub(super) fn bad_handshake() -> Self {
        Self::new(number::BAD_HANDSHAKE, "08S01", "Bad handshake")
    }

    /// In the server's words.
    pub(super) fn too_late() -> Self {
        Self::new(
            number::READ_TIMEOUT,
            "08S01",
            "Got timeout reading communication packets",
        )
    }

    /// In the server's words.
    pub(super) fn too_many_clients() -> Self {
        Self::new(
            number::TOO_MANY_CONNECTIONS,
            "08004",
            "Too many connections",
        )
    }

    /// In the server's words.
    pub(super) fn terminated() -> Self {
        Self::new(number::SHUTDOWN, "08S01", "Server shutdown in progress")
    }

    /// In the server's words.
    pub(super) fn wrong_password(user: &str, host: &str, using: bool) -> Self {
        let using = if using { "YES" } else { "NO" };
        Self::new(
            number::ACCESS_DENIED,
            "28000",
            format!("Access denied for user '{user}'@'{host}' (using password: {using})"),
        )
    }

    /// A client in clear, where the configuration wants TLS.
    pub(super) fn only_with_tls() -> Self {
        Self::new(
            number::SECURE_TRANSPORT_REQUIRED,
            "08004",
            "pointsman takes connections only with TLS (ssl-mode=REQUIRED or stricter)",
        )
    }

    /// A client that is too old for the plugin of its account; in the server's words.
    pub(super) fn old_client() -> Self {
        Self::new(
            number::NOT_SUPPORTED_AUTH_MODE,
            "08004",
            "Client does not support authentication protocol requested by server; consider \
             upgrading MySQL client",
        )
    }

    /// An account whose authentication cannot pass a proxy.
    pub(super) fn plugin(user: &str, plugin: &str) -> Self {
        Self::new(
            number::NO_SUCH_PLUGIN,
            "HY000",
            format!(
                "pointsman cannot log in user '{user}': its authentication plugin '{plugin}' \
                 cannot pass a proxy; let the application use an account with \
                 mysql_native_password or caching_sha2_password"
            ),
        )
    }

    /// A server connection could not be opened for a client.
    pub(super) fn connect(error: &ConnectError) -> Self {
        match error.server() {
            Some(server) => Self::Error(Box::new(server.clone())),
            None => Self::new(
                2003,
                "HY000",
                "pointsman cannot connect to the database server; the reason is in its log",
            ),
        }
    }

    /// Writes the packet that tells the client, if there is one to tell.
    pub(super) fn write(&self, sequence: u8, out: &mut BytesMut) {
        match self {
            Self::ClientGone | Self::ServerGone => {}
            Self::Error(error) => {
                let mut payload = BytesMut::new();
                payload.put_u8(0xff);
                payload.put_u16_le(error.code);
                payload.put_u8(b'#');
                payload.put_slice(&error.sqlstate_bytes());
                payload.put_slice(error.message.as_bytes());
                packet::put(&payload, sequence, out);
            }
        }
    }
}

impl From<Oddity> for Fatal {
    fn from(oddity: Oddity) -> Self {
        Self::other(oddity.to_string())
    }
}
