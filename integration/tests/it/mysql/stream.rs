//! The stream on real servers: whole transactions in order, once, from any position on.

mod busy;
mod fixture;
mod formats;
mod markers;
mod order;
mod resume;
mod spool;
mod two_phase;
mod whole;
