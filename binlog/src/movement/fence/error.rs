//! What can go wrong with a fence.

use thiserror::Error;

use super::sessions::ForeignSession;
use crate::movement::error::Failed;

/// Why a fence is not up, or not down.
///
/// After an error of [`Fence::raise`](super::Fence::raise) the source may be half shut: ask
/// [`lower`](super::lower), which is right in every state.
#[derive(Debug, Error)]
pub enum FenceError {
    /// The server failed a statement of ours, or the connection broke.
    #[error("the server failed at its fence")]
    Failed(#[from] Failed),
    /// The account cannot do what a fence needs.
    #[error(
        "the account of pointsman may not fence this server: it lacks {}; see `pointsman check`",
        missing.join(", ")
    )]
    NotPermitted {
        /// What it lacks.
        missing: Vec<String>,
    },
    /// Our tables are not on this server.
    #[error("the server has no table pointsman.fence; run `pointsman start` first")]
    NoBookkeeping,
    /// The fence's row has a state or settings that this version does not know.
    #[error("pointsman.fence has the unknown {column} {value:?}; use the version that wrote it")]
    UnknownRow {
        /// The column.
        column: &'static str,
        /// What it says.
        value: String,
    },
    /// Another session of pointsman holds the fence's lock and does not end.
    #[error(
        "another session of pointsman (thread {thread_id}) holds the lock of the fence and could \
         not be ended in time; end it with KILL and try again"
    )]
    Locked {
        /// Its number on the server.
        thread_id: u32,
    },
    /// Statements that write are running, or somebody holds a lock on everything.
    #[error(
        "the server could not be made read-only in time: a statement that writes is still \
         running, or somebody holds a global lock; end it and try again"
    )]
    Busy {
        /// The cause.
        #[source]
        source: Failed,
    },
    /// The fence is not down, or an earlier movement has this epoch or a later one.
    #[error(
        "the fence cannot be raised for epoch {epoch}: the row in pointsman.fence says {found}; \
         lower it and try again"
    )]
    NotFromDown {
        /// The epoch that was to be raised.
        epoch: u64,
        /// State and epoch of the row that is there.
        found: String,
    },
    /// Prepared transactions pass every fence when they are committed.
    #[error(
        "prepared XA transactions stand on the server and could be committed behind the fence: \
         {}; XA COMMIT or XA ROLLBACK each",
        transactions.join(", ")
    )]
    PreparedTransactions {
        /// Their identifiers.
        transactions: Vec<String>,
    },
    /// The server itself is fed by replication.
    #[error(
        "replication writes into this server and no setting stops it: {}; run STOP REPLICA (STOP \
         SLAVE before MySQL 8.0.22) for each channel",
        channels.join(", ")
    )]
    Replication {
        /// Channels or connections.
        channels: Vec<String>,
    },
    /// Accounts with a privilege that passes `read_only` are connected.
    #[error(
        "sessions are connected that read_only does not stop: {}; end them, take SUPER and READ \
         ONLY ADMIN from their accounts, or name their users in the configuration as locked \
         behind the fence or as trusted not to write",
        list(sessions)
    )]
    BypassingSessions {
        /// Their sessions.
        sessions: Vec<ForeignSession>,
    },
    /// The proof of the fence went through.
    #[error("the fence does not hold: a write as {who} was not refused as read-only ({answer})")]
    StillOpen {
        /// As whom it was tried.
        who: String,
        /// What the server answered.
        answer: String,
    },
    /// Somebody reads the list of transactions so often that the server only repeats an old one.
    #[error(
        "the server only repeats an old list of its transactions: somebody reads \
         information_schema.INNODB_TRX all the time; stop that monitoring for the cutover"
    )]
    StaleTransactions,
    /// The deadline passed with sessions still there.
    #[error("these sessions could not be ended in time: {}", list(sessions))]
    Deadline {
        /// What is left.
        sessions: Vec<ForeignSession>,
    },
}

fn list(sessions: &[ForeignSession]) -> String {
    sessions
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
