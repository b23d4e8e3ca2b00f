//! The bounds of everything that could grow: each with the reason for its size.

use std::time::Duration;

/// Rows in one batch of net changes; beyond it the batch is flushed into the open transaction.
pub const BATCH_ROWS_MAX: usize = 50_000;

/// Bytes in one batch of net changes.
pub const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Rows in one window: a target transaction of this size is past the point where a larger one would
/// be cheaper, and still ends within a second.
pub const WINDOW_ROWS_MAX: usize = 4 * BATCH_ROWS_MAX;

/// Bytes in one window.
pub const WINDOW_BYTES_MAX: usize = 4 * BATCH_BYTES_MAX;

/// How long a window may stay open while more is waiting: what a backlog adds to the lag.
pub const WINDOW_OPEN_MAX: Duration = Duration::from_millis(500);
