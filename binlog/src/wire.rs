//! The wire of MySQL and MariaDB: packets, the handshake and its methods of authentication, TLS,
//! and connections of our own.
//!
//! Lower parts ([`packet`], [`fields`], [`lenenc`], [`handshake`], [`response`], [`compress`],
//! [`column`](mod@column),
//! [`auth`]) do no input or output: they take and give bytes, and every length from a peer is
//! checked before it is used. [`Conn`] is a connection in the client's role that knows packets and
//! no more, which also serves the dump of the binary log; [`SqlConn`] runs SQL with the settings
//! that all control queries of pointsman share.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>

pub mod auth;
pub mod capabilities;
pub mod column;
pub mod command;
pub mod compress;
pub mod fields;
pub mod handshake;
pub mod lenenc;
pub mod limits;
pub mod packet;
pub mod quote;
pub mod response;

mod conn;
mod endpoint;
mod error;
mod login;
#[cfg(test)]
mod mock;
mod settings;
mod socket;
mod sql;
mod tls;

pub use capabilities::{Capabilities, StatusFlags};
pub use compress::Compressor;
pub use conn::{Compression, Conn, ConnParts, ConnectOptions};
pub use endpoint::{Endpoint, EndpointError, TlsMode};
pub use error::{ConnectError, ServerError, WireError};
pub use fields::{FieldError, Fields};
pub use login::Credential;
pub use router::Secret;
pub use settings::SESSION_SETTINGS;
pub use socket::Socket;
pub use sql::{Columns, Done, Load, ParseCellError, RowStream, SqlConn, SqlError, TextRow};
pub use tls::TlsError;
