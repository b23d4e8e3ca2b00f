//! What can end a stream, and whether opening it again may help.

use std::time::Duration;

use router::Lsn;
use router::spool::SpoolError;
use thiserror::Error;

use super::pgoutput::{DecodeError, Tag};
use super::slot::ResumeError;
use crate::wire::{ConnectError, ServerError, WireError};

/// A stream that cannot go on.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The source cannot be reached, or refuses us.
    #[error("cannot open the replication connection")]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error("the replication connection to {endpoint} was lost")]
    Disconnected {
        /// The source.
        endpoint: String,
        /// How.
        #[source]
        source: WireError,
    },
    /// The source ended the stream in order, as it does when it shuts down.
    #[error("{endpoint} ended the stream; it is probably shutting down")]
    Ended {
        /// The source.
        endpoint: String,
    },
    /// The source says nothing any more.
    #[error("{endpoint} has sent nothing for {silence:?}, though it was asked to")]
    Silent {
        /// The source.
        endpoint: String,
        /// For how long.
        silence: Duration,
    },
    /// The source answered a command, or the stream, with an error.
    #[error("{endpoint} cannot {doing}")]
    Server {
        /// The source.
        endpoint: String,
        /// What was asked of it.
        doing: &'static str,
        /// The server's error.
        #[source]
        source: Box<ServerError>,
    },
    /// The source answered a command in a way that makes no sense.
    #[error("{endpoint} gave {what} in answer to {command}")]
    Answer {
        /// The source.
        endpoint: String,
        /// The command.
        command: &'static str,
        /// What is wrong with the answer.
        what: &'static str,
    },
    /// Another process reads from the slot; an old one of ours may not have noticed its end.
    #[error("replication slot \"{slot}\" on {endpoint} is in use")]
    SlotBusy {
        /// The source.
        endpoint: String,
        /// The slot.
        slot: String,
        /// The server's error, which names the process.
        #[source]
        source: Box<ServerError>,
    },
    /// The slot cannot give what comes after the applied position.
    #[error("the stream cannot go on where it stopped")]
    Resume(#[from] ResumeError),
    /// The source sent what is no replication message.
    #[error("the source sent {0}")]
    Frame(&'static str),
    /// The source sent a message that we do not understand.
    #[error("the stream holds a message that cannot be applied")]
    Decode(#[from] DecodeError),
    /// A message came where it has no place.
    #[error("message {tag} came {place}")]
    Misplaced {
        /// The message's tag.
        tag: Tag,
        /// Where it stood.
        place: &'static str,
    },
    /// A row of a relation that was never announced, or not with as many columns.
    #[error("a change of relation {relation} does not fit what the source announced of it")]
    Relation {
        /// The relation's oid.
        relation: u32,
    },
    /// More at once than a bound allows.
    #[error("the source has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// Commits must come in the order of their positions.
    #[error("a commit at {found} came after one at {after}")]
    Order {
        /// The position before.
        after: Lsn,
        /// The position that came.
        found: Lsn,
    },
    /// The spool does not work.
    #[error("the spool on the local disk failed")]
    Spool(#[from] SpoolError),
    /// A task of ours ended without saying why.
    #[error("the reader of the stream is gone")]
    ReaderGone,
}

impl StreamError {
    /// Whether opening the stream again at the applied position may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Disconnected { .. }
            | Self::Ended { .. }
            | Self::Silent { .. }
            | Self::SlotBusy { .. }
            | Self::ReaderGone => true,
            Self::Connect(error) => connect_is_transient(error),
            Self::Server { source, .. } => sqlstate_is_transient(&source.sqlstate),
            Self::Spool(error) => error.is_full() || matches!(error, SpoolError::InUse { .. }),
            Self::Answer { .. }
            | Self::Resume(_)
            | Self::Frame(_)
            | Self::Decode(_)
            | Self::Misplaced { .. }
            | Self::Relation { .. }
            | Self::TooMany { .. }
            | Self::Order { .. } => false,
        }
    }
}

fn connect_is_transient(error: &ConnectError) -> bool {
    match error {
        ConnectError::Unreachable { .. }
        | ConnectError::Timeout { .. }
        | ConnectError::Wire { .. } => true,
        ConnectError::Refused { source, .. } => sqlstate_is_transient(&source.sqlstate),
        ConnectError::Sql { source, .. } => source
            .code()
            .is_none_or(|code| sqlstate_is_transient(code.code())),
        ConnectError::Tls { .. } | ConnectError::Auth { .. } => false,
    }
}

/// Connection trouble, lack of resources, deadlocks, and servers that start or stop.
pub(super) fn sqlstate_is_transient(sqlstate: &str) -> bool {
    const CLASSES: [&str; 4] = ["08", "40", "53", "57"];
    CLASSES.iter().any(|class| sqlstate.starts_with(class))
}
