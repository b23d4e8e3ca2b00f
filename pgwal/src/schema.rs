//! What pointsman writes down in the two databases, and where.

pub mod bookkeeping;
