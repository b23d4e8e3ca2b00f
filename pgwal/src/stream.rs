//! The stream of changes after the copy's snapshot, by logical decoding with pgoutput.

pub mod event;
pub mod pgoutput;
