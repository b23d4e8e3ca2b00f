//! Limits and times of the stream.

use std::time::Duration;

/// How often an idle server says that it is there.
pub(super) const HEARTBEAT_PERIOD: Duration = Duration::from_secs(5);

/// A server that says nothing for so long is gone.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Memory for transactions that wait for the consumer, unless told otherwise.
pub(super) const MEMORY_BYTES: usize = 64 * 1024 * 1024;

/// A disk that was full is tried again after so long.
pub(super) const SPACE_PERIOD: Duration = Duration::from_secs(1);

/// A stream that was just dropped may hold the spool's folder for so long.
pub(super) const SPOOL_WAIT: Duration = Duration::from_secs(5);

/// Positions that come one after the other without a transaction, of which one is told.
pub(super) const IDLES_MAX: u32 = 1000;

/// Descriptions of tables that are kept; a table gets a new number whenever its definition is read.
pub(super) const TABLES_MAX: usize = 10_000;
