//! MySQL and MariaDB, all of it: the wire, the stream of the binary log, the copy, the apply, the
//! schema, the sessions, the movement of the points on the servers, and the preflight check.
//!
//! The modules are those of `pgwal`, under the same names: who knows one crate knows the other.

pub mod apply;
pub mod check;
pub mod copy;
mod json;
pub mod movement;
pub mod name;
pub mod position;
pub mod schema;
pub mod session;
pub mod stream;
pub mod verify;
pub mod version;
pub mod wire;
