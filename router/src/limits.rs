//! The bounds of everything that could grow: each with the reason for its size.

/// Rows in one batch of net changes; beyond it the batch is flushed into the open transaction.
pub const BATCH_ROWS_MAX: usize = 50_000;

/// Bytes in one batch of net changes.
pub const BATCH_BYTES_MAX: usize = 32 * 1024 * 1024;
