//! Bounds of the relay: each with the reason for its size.

use std::time::Duration;

/// Bytes of one read: a thread's scratch buffer, shared by its sessions.
pub(super) const SCRATCH_BYTES: usize = 64 * 1024;

/// Bytes of a client that are kept while it must wait; beyond this its socket is not read.
pub(super) const WAITING_BYTES_MAX: usize = 64 * 1024;

/// The longest body of a message that must be there as a whole before an idle session begins something
/// by it. A longer one passes as it comes.
pub(super) const WHOLE_BYTES_MAX: u32 = 16 * 1024;

/// Capacity above which an empty buffer of a session is given back.
pub(super) const KEPT_BUFFER_BYTES: usize = 16 * 1024;

/// Bytes of named Parse messages kept for one session; statements beyond it make it unmovable.
pub(super) const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// The longest unnamed Parse message that is kept.
pub(super) const UNNAMED_BYTES_MAX: usize = 64 * 1024;

/// Sockets that wait for one relay thread to take them.
pub(super) const ACCEPTED_MAX: usize = 256;

/// Requests of the coordinator that wait at one session.
pub(super) const REQUESTS_MAX: usize = 8;

/// How long our own question to an idle server may take before we cancel it.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a cancelled question of ours may still take before the session is given up.
pub(super) const ASK_GRACE: Duration = Duration::from_secs(15);

/// How long the server may take for a cancel request.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// Names of settings outside of the catalog that every session is asked for.
pub(super) const CUSTOM_SETTINGS_MAX: usize = 500;

/// How long a server may take to let a twin in and to bring it to its session's state.
pub(super) const TWIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Sessions that are asked inside one hold what `currval()` says in them. Each takes about a
/// millisecond, more where there are many sequences; in those beyond it is not defined afterwards.
pub(super) const SEQUENCE_TURNS: usize = 64;

/// The longest description of columns or parameters in which types are looked for: the most columns
/// that a server gives, with names as long as it lets them be, take less.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 256 * 1024;

/// The longest row in which numbers of types are looked for.
pub(super) const WATCHED_ROW_BYTES_MAX: usize = 64 * 1024;

/// The longest message that is kept as a whole so that numbers of types in it can be replaced. The
/// session of a longer one is ended.
pub(super) const TRANSLATED_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// How long after one session's connection to the server that was left the next one's is closed: a
/// server works for up to a millisecond for each, and the clients shall not feel all of them at once.
pub(super) const CLOSE_PACE: Duration = Duration::from_millis(3);

/// How long closing all of them may take, however many there are.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(5);
