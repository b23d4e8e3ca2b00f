//! The applier on real servers: what it writes is what the source has, and what it cannot write
//! stops it.

mod definitions;
mod log_file;
mod pair;
mod resuming;
mod rows;
mod types;
