//! The decisions of pointsman: which side serves, what a window changes, how far a stream has come.
//!
//! Nothing here opens a socket, speaks SQL or reads a clock. Every part is a value or a small state
//! machine that the engine crates (`pgwal`, `binlog`) and the program (`proxy`) drive; that is what
//! makes it possible to check them with loom and with random histories. The one file-backed part is
//! the spool: an append-only queue of opaque records that both engines need.

mod change;
mod position;
mod secret;
mod side;
mod sync;
mod words;

pub mod cutover;
pub mod engine;
pub mod failpoint;
pub mod limits;
pub mod net;
pub mod spool;
pub mod switch;
pub mod verify;
pub mod window;

pub use change::{Cell, Change, Key, KeyError, OldImage, Row};
pub use net::{Identity, Moved, NetChange, NetError, NetShape, NetTable, Updated};
pub use position::{Lsn, ParseLsnError, Position};
pub use secret::Secret;
pub use side::{Epoch, Side};
pub use switch::{
    CaughtUp, Drained, Fenced, Gate, Held, HoldError, MustWait, Switch, Switched, Undecided,
};
pub use words::words;
