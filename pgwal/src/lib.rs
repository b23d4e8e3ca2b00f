//! PostgreSQL, all of it: the wire, the stream of logical WAL, the copy, the apply, the schema, the
//! sessions, the movement of the points on the servers, the preflight check, and the comparison of both
//! sides.

pub mod apply;
pub mod check;
pub mod copy;
pub mod movement;
pub mod name;
pub mod schema;
pub mod session;
pub mod stream;
pub mod verify;
pub mod wire;
