//! The figures of MySQL 9.7, durable commits on both sides.

pub mod backlog;
pub mod copy;
pub mod cutover;
pub mod peers;
pub mod relay;
pub mod sessions;
pub mod snapshot;
pub mod stage;
