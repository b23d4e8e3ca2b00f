//! What can go wrong with a fence.

use thiserror::Error;

use super::acl::AclSyntax;
use super::sessions::ForeignSession;

/// Why a fence is not up, or not down.
///
/// After an error of [`Fence::raise`](super::Fence::raise) the source may be half shut: ask
/// [`lower`](super::lower), which is right in every state.
#[derive(Debug, Error)]
pub enum FenceError {
    /// The server failed a statement of ours, or the connection broke.
    #[error("the server failed while pointsman was {step}")]
    Sql {
        /// What we were doing, in plain words.
        step: &'static str,
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The role cannot see or end other sessions, or cannot change who may connect.
    #[error(
        "role {role} may not fence this database: it lacks {}; see `pointsman check`",
        missing.join(", ")
    )]
    NotPermitted {
        /// The role pointsman logs in as.
        role: String,
        /// What it lacks.
        missing: Vec<String>,
    },
    /// Our tables are not in this database.
    #[error("the database has no table pointsman.fence; run `pointsman start` first")]
    NoBookkeeping,
    /// The fence's row has a state that this version does not know.
    #[error("pointsman.fence has the unknown state {position:?}; use the version that wrote it")]
    UnknownPosition {
        /// The word in the row.
        position: String,
    },
    /// The ACL of the database is not in a form that we can read.
    #[error("the database's access control list cannot be read")]
    Acl(#[from] AclSyntax),
    /// Somebody holds the database's row, or the fence's, locked.
    #[error(
        "another transaction holds the database's privileges locked (an open GRANT, REVOKE or \
         ALTER DATABASE); end it and try again"
    )]
    Locked {
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The fence is not down, or an earlier movement has this epoch or a later one, or the ACL was
    /// changed by somebody while we were raising.
    #[error(
        "the fence cannot be raised for epoch {epoch}: the row in pointsman.fence says {found}, \
         or the database's privileges were changed at this moment; lower it and try again"
    )]
    NotFromDown {
        /// The epoch that was to be raised.
        epoch: u64,
        /// State and epoch of the row that is there.
        found: String,
    },
    /// Prepared transactions pass every fence when they are committed.
    #[error(
        "prepared transactions stand in the database and could be committed behind the fence: {}; \
         commit them or roll them back",
        transactions.join(", ")
    )]
    PreparedTransactions {
        /// Their identifiers with their owners.
        transactions: Vec<String>,
    },
    /// The database itself is fed by logical replication.
    #[error(
        "subscriptions write into this database and no privilege stops them: {}; run ALTER \
         SUBSCRIPTION ... DISABLE for each",
        subscriptions.join(", ")
    )]
    Subscriptions {
        /// Their names.
        subscriptions: Vec<String>,
    },
    /// Superusers pass the fence.
    #[error(
        "superusers are connected and no privilege stops a superuser: {}; end these sessions, or \
         name their roles in the configuration as set to NOLOGIN or as trusted not to write",
        list(sessions)
    )]
    SuperuserSessions {
        /// Their sessions.
        sessions: Vec<ForeignSession>,
    },
    /// Background workers of extensions pass the fence.
    #[error(
        "background workers run in this database and no privilege stops them: {}; stop them, or \
         name them in the configuration as trusted not to write",
        workers.join(", ")
    )]
    Workers {
        /// Their names with their process ids.
        workers: Vec<String>,
    },
    /// Roles other than ours can still connect.
    #[error(
        "after the revocation these roles may still connect: {}; they inherit it from the role \
         that pointsman uses: revoke that membership",
        roles.join(", ")
    )]
    StillOpen {
        /// Their names.
        roles: Vec<String>,
    },
    /// The deadline passed with foreign sessions still there.
    #[error("these sessions could not be ended in time: {}", list(sessions))]
    Deadline {
        /// What is left.
        sessions: Vec<ForeignSession>,
    },
}

impl FenceError {
    pub(in crate::movement) fn sql(
        step: &'static str,
    ) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { step, source }
    }
}

fn list(sessions: &[ForeignSession]) -> String {
    sessions
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
