//! The applier on real servers: what it writes is what the source has, and what it cannot write
//! stops it.

mod cascades;
mod crashed_definitions;
mod definitions;
mod log;
mod markers;
mod pair;
mod partial;
mod refusals;
mod resuming;
mod rows;
mod rows_by_sql;
mod types;
mod values_by_sql;
