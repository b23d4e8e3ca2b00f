//! Bounds of the relay: each with the reason for its size.

use std::time::Duration;

/// Bytes of one read: a thread's scratch buffer, shared by its sessions.
pub(super) const SCRATCH_BYTES: usize = 64 * 1024;

/// Bytes of a client that are kept while it must wait; beyond this its socket is not read.
pub(super) const WAITING_BYTES_MAX: usize = 64 * 1024;

/// How long a client that ended another one's session waits for its answer until that one's connection
/// is closed, too. Servers close it before they answer.
pub(super) const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// Capacity above which an empty buffer of a session is given back: a silent session has none.
pub(super) const KEPT_BUFFER_BYTES: usize = 1024;

/// The longest command that is looked at as a whole before it is passed on. Longer ones are looked
/// at piece by piece.
pub(super) const WHOLE_BYTES_MAX: u32 = 16 * 1024;

/// Bytes of prepared statements kept for one session; statements beyond it make it unmovable.
pub(super) const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// Prepared statements of one session: four times what servers allow all sessions together.
pub(super) const STATEMENTS_MAX: usize = 65_536;

/// Names of user variables that are kept where the server does not list them.
pub(super) const VARIABLES_MAX: usize = 200;

/// The longest packet of a client before it is let in, and of a `COM_CHANGE_USER`: the connect
/// attributes alone may have 64 KiB.
pub(super) const LOGIN_PACKET_BYTES_MAX: u32 = 128 * 1024;

/// How often a client may wish in vain to be another user, where that does not end its session.
pub(super) const REFUSED_USERS_MAX: u8 = 3;

/// Passwords longer than this are no passwords; the servers' own limit for SHA-2 is 256.
pub(super) const PASSWORD_BYTES_MAX: usize = 1024;

/// Accounts whose passwords are remembered for the fast path.
pub(super) const REMEMBERED_MAX: usize = 10_000;

/// Sockets that wait for one relay thread to take them.
pub(super) const ACCEPTED_MAX: usize = 256;

/// Requests of the coordinator that wait at one session.
pub(super) const REQUESTS_MAX: usize = 8;

/// How long our own question to an idle server may take before the session is given up.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a goodbye to a server may take.
pub(super) const GOODBYE_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of an answer to a question of ours.
pub(super) const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long after a statement with warnings a client may still ask for them before a question of
/// ours wipes them out. Clients that do ask, do so at once.
pub(super) const WARNINGS_PATIENCE: Duration = Duration::from_millis(200);

/// How long a twin waits for a user-level lock that another twin may have to give back first.
pub(super) const LOCK_PATIENCE_S: u32 = 1;

/// How often a session may have taken one user-level lock.
pub(super) const LOCK_NESTING_MAX: usize = 256;

/// How long a server may take to let a twin in and to bring it to its session's state.
pub(super) const TWIN_TIMEOUT: Duration = Duration::from_secs(15);

/// How long after one session's connection to the server that was left the next one's is closed: a
/// server works for up to a millisecond for each, and the clients shall not feel all of them at once.
pub(super) const CLOSE_PACE: Duration = Duration::from_millis(3);

/// How long closing all of them may take, however many there are.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(5);
