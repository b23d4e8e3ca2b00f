//! The relay of client bytes: one client, one server connection, every feature of the server.
//!
//! [`Relay`] owns the threads that sessions run on and the list of sessions. A session reads only
//! what it must: packet headers, the first bytes of commands and of answers, and the words of
//! statements where servers do not tell what came of them. Before a switch each session's state is
//! read from its server and a *twin*, a connection to the other server, is brought to the same
//! state; at the release the session goes on through it. What cannot be carried is named
//! ([`Unmovable`]), and such a session is never moved in silence.
//!
//! # What clients must know
//! Where servers do not list them (MariaDB, MySQL before 8.0.13), user-level locks are known by the
//! names in the client's own statements; what a stored routine took by `GET_LOCK` is not seen there.
//! The result of `ROW_COUNT()` after a failed statement is 0 in place of -1: the relay asks the
//! server for its status then. Warnings and `FOUND_ROWS()` of a statement do not go over with its
//! session. Query attributes, compression and MariaDB's bulk operations are not
//! offered; clients that have them work without.
//!
//! # What happens in a crash
//! Nothing here is durable. A client whose relay dies is cut off, and connects again.

mod accounts;
mod answer;
mod command;
mod face;
mod fatal;
mod kill;
mod limits;
mod login;
mod look;
mod outcome;
mod outside;
mod packet;
mod preparation;
mod pulse;
mod pump;
mod question;
mod reading;
mod registry;
mod relay;
mod serve;
mod servers;
#[expect(
    clippy::module_inception,
    reason = "it is the one session, in the house of sessions"
)]
mod session;
mod startup;
mod state;
mod statements;
mod text;
mod threads;
mod tls;
mod twin;
mod variables;

pub use registry::{SessionId, SessionInfo, SessionState};
pub use relay::{LocalInfile, PasswordLearning, Relay, RelayOptions, TwinReport};
pub use serve::serve;
pub use state::Unmovable;
pub use tls::{ClientTls, ListenerTls, ListenerTlsError, TlsDemand};
