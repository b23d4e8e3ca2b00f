//! The schema: what the source has, how the target gets it, and how our traces are removed.

pub mod bookkeeping;
