//! A server that failed us in the middle of a movement.

use thiserror::Error;

use crate::wire::{ParseCellError, SqlError};

use super::code;

/// A statement of ours failed, or its answer cannot be read.
#[derive(Debug, Error)]
pub enum Failed {
    /// The server refused it, or the connection broke.
    #[error("the server failed while pointsman was {step}")]
    Sql {
        /// What we were doing, in plain words.
        step: &'static str,
        /// The cause.
        #[source]
        source: SqlError,
    },
    /// It is committed, but not known to survive a loss of power.
    #[error("what was committed could not be made durable while pointsman was {step}")]
    NotDurable {
        /// What we were doing, in plain words.
        step: &'static str,
        /// The cause.
        #[source]
        source: SqlError,
    },
    /// The answer is not of the form that it must have.
    #[error("the server's answer cannot be read while pointsman was {step}")]
    Answer {
        /// What we were doing, in plain words.
        step: &'static str,
        /// The cause.
        #[source]
        source: ParseCellError,
    },
    /// There is no row where one must be.
    #[error("the server answered with no row while pointsman was {step}")]
    Empty {
        /// What we were doing, in plain words.
        step: &'static str,
    },
}

impl Failed {
    pub(crate) fn sql(step: &'static str) -> impl FnOnce(SqlError) -> Self {
        move |source| Self::Sql { step, source }
    }

    pub(crate) fn answer(step: &'static str) -> impl FnOnce(ParseCellError) -> Self {
        move |source| Self::Answer { step, source }
    }

    /// The server's error number, when it refused.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Sql { source, .. } | Self::NotDurable { source, .. } => source.code(),
            Self::Answer { .. } | Self::Empty { .. } => None,
        }
    }

    /// Whether the statement certainly did nothing: the server refused it and works on.
    ///
    /// A connection that broke, or a server that goes down, says nothing about a commit.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Sql {
                source: SqlError::Server(error),
                ..
            } => !matches!(error.code, code::SERVER_SHUTDOWN | code::QUERY_INTERRUPTED),
            Self::Sql {
                source: SqlError::Wire { .. },
                ..
            }
            | Self::NotDurable { .. }
            | Self::Answer { .. }
            | Self::Empty { .. } => false,
        }
    }
}
