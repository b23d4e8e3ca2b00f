//! The bounds of a window: each with the reason for its size.

use std::time::Duration;

/// Row changes of one window: a target transaction of this size is past the point where a larger
/// one would be cheaper, and still ends within a second.
pub const WINDOW_ROWS_MAX: u64 = 50_000;

/// Bytes of row changes of one window. One is gathered while another is applied, so that twice this
/// is held in memory.
pub const WINDOW_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// How long a window may stay open while more is waiting: what a backlog adds to the lag.
pub const WINDOW_OPEN_MAX: Duration = Duration::from_millis(100);

/// How long a position without changes waits to be written down: what the source keeps of its WAL
/// for nothing.
pub const WINDOW_IDLE_MAX: Duration = Duration::from_secs(3);
