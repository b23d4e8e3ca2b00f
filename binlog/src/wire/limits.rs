//! Bounds of the wire: each with the reason for its size.

use std::time::Duration;

/// Largest payload of one frame; a payload of exactly this size is continued in the next frame.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 0x00ff_ffff;

/// Largest packet, all its frames together: the servers' own limit of `max_allowed_packet` and what
/// a binary log event may add to it.
pub const PACKET_BYTES_MAX: usize = 0x4000_0000 + 64 * 1024;

/// Largest packet of a peer that is not logged in yet. Greetings and answers are some hundred
/// bytes; connection attributes may make 64 KiB.
pub const LOGIN_PACKET_BYTES_MAX: usize = 128 * 1024;

/// Packets a server may send during a log-in before we think that it plays with us.
pub const LOGIN_PACKETS_MAX: usize = 16;

/// Most columns of a result; the servers allow 4096 in a table, and as many in a select list.
pub const COLUMNS_MAX: u64 = 4_096;

/// Bytes asked from the socket at once.
pub const READ_CHUNK_BYTES: usize = 64 * 1024;

/// Bytes of one piece of a LOAD DATA LOCAL that are put into one packet.
pub const LOAD_PACKET_BYTES_MAX: usize = 1024 * 1024;

/// Largest public key a server may send for RSA: 16,384 bits in PEM are below 4 KiB.
pub const PUBLIC_KEY_BYTES_MAX: usize = 8 * 1024;

/// How long a connection attempt, log-in included, may take when the URL does not say.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long we look for what a server wrote before it closed a connection under our hands. It is
/// there already, or never comes.
pub const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of rows that a query holds at once; what may be more is streamed.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
