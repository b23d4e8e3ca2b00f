//! The admin socket: one JSON object a line, in both directions.
//!
//! The server runs on a thread of its own, so that `status` answers while everything else is busy.
//! The socket file has mode 0600 and only the user that runs the proxy (or root) is served; every
//! command is logged with the peer's uid.

pub(crate) mod client;
pub(crate) mod protocol;
pub(crate) mod server;
