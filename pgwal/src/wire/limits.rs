//! Bounds of the wire: each with the reason for its size.

use std::time::Duration;

/// Largest message a server may send and a client may ask us to forward. The server itself refuses
/// more than 1 GiB - 1 in one message.
pub const MESSAGE_BYTES_MAX: u32 = 0x4000_0000;

/// Largest startup packet; the server's own limit (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_BYTES_MAX: u32 = 10_000;

/// Largest message a client may send before it is logged in: a SCRAM message or a password.
pub const LOGIN_MESSAGE_BYTES_MAX: u32 = 4_096;

/// Bytes a server may send between the start of the log-in and its first `ReadyForQuery`.
pub const GREETING_BYTES_MAX: usize = 256 * 1024;

/// Most SCRAM iterations we compute for a peer that we do not know yet.
pub const SCRAM_ITERATIONS_MAX: u32 = 100_000;

/// Bytes asked from the socket at once by [`super::Conn`].
pub const READ_CHUNK_BYTES: usize = 64 * 1024;

/// How long a connection attempt, log-in included, may take when the URL does not say.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
