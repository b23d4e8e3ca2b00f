//! The PostgreSQL wire: framing, the messages we read and write, log-in in both roles, and one
//! connection of our own.
//!
//! Lower parts ([`frame`], [`frontend`], [`backend`], [`auth`]) do no input or output: they take and
//! give bytes, and every length from a peer is checked before it is used. [`Conn`] is a connection
//! in the frontend's role that also works for replication; [`SqlConn`] is `tokio-postgres` with the
//! settings that all control queries of pointsman share.
//!
//! Message formats: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

pub mod auth;
pub mod backend;
pub mod frame;
pub mod frontend;
pub mod limits;

mod conn;
mod endpoint;
mod error;
mod fields;
mod login;
mod settings;
mod socket;
mod sql;
mod tls;

pub use conn::{Conn, ConnParts, ConnReader, ConnWriter};
pub use endpoint::{Endpoint, EndpointError, TlsMode};
pub use error::{ConnectError, ServerError, WireError};
pub use fields::{FieldError, Fields};
pub use frame::Message;
pub use login::Credential;
pub use router::Secret;
pub use settings::SESSION_SETTINGS;
pub use socket::Socket;
pub use sql::SqlConn;
pub use tls::TlsError;
