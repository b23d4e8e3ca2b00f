//! What a server said when it refused a statement, without the application's values.

use std::fmt;

use router::words;
use tokio_postgres::error::{DbError, SqlState};

/// A server's refusal: its SQLSTATE and the names it gave, and its message only when messages of
/// that kind show no values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFailure {
    kind: Box<Kind>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// The connection ended, or broke the protocol.
    Connection { reason: String },
    /// The server refused.
    Refused {
        sqlstate: String,
        message: Option<String>,
        constraint: Option<String>,
        column: Option<String>,
    },
}

impl ServerFailure {
    /// What is left of a driver's error.
    #[must_use]
    pub fn of(error: &tokio_postgres::Error) -> Self {
        let kind = match error.as_db_error() {
            Some(refusal) => Kind::Refused {
                sqlstate: refusal.code().code().to_owned(),
                message: shows_no_values(refusal).then(|| refusal.message().to_owned()),
                constraint: refusal.constraint().map(str::to_owned),
                column: refusal.column().map(str::to_owned),
            },
            None => Kind::Connection {
                reason: words(error),
            },
        };
        Self {
            kind: Box::new(kind),
        }
    }

    /// The SQLSTATE, `None` when the connection broke.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match &*self.kind {
            Kind::Connection { .. } => None,
            Kind::Refused { sqlstate, .. } => Some(sqlstate),
        }
    }

    /// The constraint that was violated.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match &*self.kind {
            Kind::Connection { .. } => None,
            Kind::Refused { constraint, .. } => constraint.as_deref(),
        }
    }

    /// Whether the server refused because of this SQLSTATE.
    #[must_use]
    pub fn is(&self, state: &SqlState) -> bool {
        self.sqlstate() == Some(state.code())
    }

    /// Whether the same statement may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.sqlstate().is_none_or(is_transient_state)
    }
}

impl fmt::Display for ServerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.kind {
            Kind::Connection { reason } => write!(f, "connection lost: {reason}"),
            Kind::Refused {
                sqlstate,
                message,
                constraint,
                column,
            } => {
                write!(f, "SQLSTATE {sqlstate}")?;
                if let Some(message) = message {
                    write!(f, ", {message}")?;
                }
                if let Some(constraint) = constraint {
                    write!(f, ", constraint {constraint}")?;
                }
                if let Some(column) = column {
                    write!(f, ", column {column}")?;
                }
                Ok(())
            }
        }
    }
}

/// Whether a refusal with this SQLSTATE may be none later.
pub(super) fn is_transient_state(sqlstate: &str) -> bool {
    // 08 connection, 40 serialization and deadlock, 53 disk, memory and connections, 57 operator
    // (shutdown, cancel), 58 the operating system; a target that fails over is read-only for a
    // while, a lock may be held, and an origin may still belong to the backend we lost.
    let classes = ["08", "40", "53", "57", "58"];
    let states = [
        SqlState::READ_ONLY_SQL_TRANSACTION,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::OBJECT_IN_USE,
    ];
    let listed = classes.iter().any(|class| sqlstate.starts_with(class))
        || states.iter().any(|state| state.code() == sqlstate);
    let lasting = [
        SqlState::DATABASE_DROPPED,
        SqlState::CONFIGURATION_LIMIT_EXCEEDED,
    ];
    listed && !lasting.iter().any(|state| state.code() == sqlstate)
}

/// Whether messages of this kind name objects only. Data exceptions (class 22) quote the value;
/// what an application's own function raises may say anything.
fn shows_no_values(refusal: &DbError) -> bool {
    let shown = [
        "08", "23", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58",
    ];
    shown
        .iter()
        .any(|class| refusal.code().code().starts_with(class))
}
