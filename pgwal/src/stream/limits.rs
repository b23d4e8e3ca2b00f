//! Bounds of the stream: each with the reason for its size.

use std::time::Duration;

/// Changes held in memory before the spool is used, unless the options say otherwise.
pub const MEMORY_BYTES_DEFAULT: usize = 32 * 1024 * 1024;

/// Size of the spool, unless the options say otherwise.
pub const SPOOL_BYTES_DEFAULT: u64 = 16 * 1024 * 1024 * 1024;

/// A spool's segment: small enough that disk space comes back while the backlog is worked off.
pub(super) const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Messages taken from the socket at once, so that one lock and one wake-up serve many.
pub(super) const BATCH_BYTES: usize = 256 * 1024;

/// Changes handed to the consumer at once.
pub(super) const TAKE_BYTES: usize = 512 * 1024;

/// Changes in one record of the spool or of a transaction's file: large enough to compress well.
pub(super) const CHUNK_BYTES: usize = 128 * 1024;

/// Changes of running transactions held in memory; the largest goes to its file beyond it.
pub(super) const RUNNING_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Transactions streamed while they run, at once. The server streams only what exceeds its
/// `logical_decoding_work_mem`, so thousands would be hundreds of gigabytes.
pub(super) const RUNNING_TRANSACTIONS_MAX: usize = 10_000;

/// Aborted subtransactions remembered of one running transaction (64 MiB).
pub(super) const ABORTED_SUBTRANSACTIONS_MAX: usize = 16 * 1024 * 1024;

/// Longest pause between two status updates to the server.
pub(super) const STATUS_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Shortest pause between two status updates to the server.
pub(super) const STATUS_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Without a word from the server for this long, it is asked for one.
pub(super) const SILENCE_ASKED: Duration = Duration::from_secs(20);

/// Without a word from the server for this long, the connection counts as broken.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long a status update may take to be written.
pub(super) const STATUS_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the opening waits for the spool of a stream that was just dropped.
pub(super) const SPOOL_WAIT: Duration = Duration::from_secs(10);

/// Requests for an answer within a second, without data in between, that tell a server which is
/// shutting down. Otherwise it asks twice in each `wal_sender_timeout`.
pub(super) const PINGS_PER_SECOND_MAX: u32 = 30;
