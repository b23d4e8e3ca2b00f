//! The relay of client bytes: one client, one server connection, every feature of the server.
//!
//! [`Relay`] owns the threads that sessions run on and the list of sessions. A session reads only
//! what it must: message headers, the transaction status, and the few messages that carry state.
//! Before a switch each session's state is read from its server and a *twin*, a connection to the
//! other server, is brought to the same state; at the release the session goes on through it.
//! What cannot be carried is named ([`Unmovable`]), and such a session is never moved in silence.
//!
//! # What happens in a crash
//! Nothing here is durable. A client whose relay dies is cut off, and connects again.

mod advisory;
mod cached_plan;
mod cancel;
mod columns;
mod fatal;
mod limits;
mod login;
mod observer;
mod preparation;
mod pulse;
mod pump;
mod question;
mod registry;
mod relay;
mod sequences;
mod serve;
#[expect(
    clippy::module_inception,
    reason = "it is the one session, in the house of sessions"
)]
mod session;
mod sql_prepare;
mod startup;
mod state;
mod statements;
mod threads;
mod tls;
mod twin;
mod type_names;
mod types;
mod users;
mod verifiers;

pub use registry::{SessionId, SessionInfo, SessionState};
pub use relay::{Relay, RelayOptions, TwinReport};
pub use serve::serve;
pub use state::Unmovable;
pub use tls::{ListenerTls, ListenerTlsError, TlsDemand};
pub use users::{Users, UsersError};
