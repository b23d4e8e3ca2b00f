//! Facts that every engine tells in the same words.

use std::net::SocketAddr;
use std::time::Duration;

use router::cutover::standing::Standing;
use serde_json::Value;

/// One client's session.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Our number of it.
    pub id: u64,
    /// Where the client is.
    pub client: SocketAddr,
    /// The user it logged in as.
    pub user: String,
    /// The database it asked for, or uses.
    pub database: String,
    /// What it does.
    pub activity: Activity,
    /// For how long it has been logged in.
    pub age: Duration,
    /// Whether its connection to the other side stands ready.
    pub twin_ready: bool,
    /// Why it cannot be moved; empty when it can, as far as is known.
    pub unmovable: Vec<Reason>,
}

/// Why a session cannot be moved.
#[derive(Debug, Clone)]
pub(crate) struct Reason {
    /// The name of its kind, one of [`Kind::unmovable_kinds`].
    ///
    /// [`Kind::unmovable_kinds`]: super::Kind::unmovable_kinds
    pub kind: &'static str,
    /// In words.
    pub text: String,
}

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Nothing that a movement would have to wait for.
    Quiet,
    /// It is in a transaction.
    InTransaction {
        /// Whether its server works, or waits for its client.
        word: &'static str,
        /// How long ago it began it.
        age: Duration,
    },
}

impl Session {
    /// Why it cannot be moved, in words.
    pub(crate) fn reasons(&self) -> String {
        let texts: Vec<&str> = self.unmovable.iter().map(|one| one.text.as_str()).collect();
        texts.join(", ")
    }

    /// How long ago it began the transaction that it is in.
    pub(crate) fn transaction_age(&self) -> Option<Duration> {
        match self.activity {
            Activity::Quiet => None,
            Activity::InTransaction { age, .. } => Some(age),
        }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// The migration works, but the operator should know.
    Warn,
    /// The migration is refused.
    Fail,
}

/// One finding of the preflight check.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// How bad it is.
    pub level: Level,
    /// For people.
    pub text: String,
    /// For machines.
    pub json: Value,
}

/// What was removed, and what is left to remove.
#[derive(Debug, Clone)]
pub(crate) struct Cleanup {
    /// What was taken away or put back.
    pub done: Vec<String>,
    /// What is still there, and why. Empty: no trace is left.
    pub left: Vec<String>,
}

/// Who serves, by what the two servers say.
#[derive(Debug, Clone)]
pub(crate) struct WhoServes {
    /// What follows from the facts.
    pub standing: Standing,
    /// Why the source could not be asked.
    pub source_silent: Option<String>,
    /// Why the target could not be asked.
    pub target_silent: Option<String>,
}
