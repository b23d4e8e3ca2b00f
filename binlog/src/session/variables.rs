//! Names of user variables that a client's statements use, for servers that do not list them.

use std::collections::BTreeSet;

use super::limits::VARIABLES_MAX;
use super::text;

/// The names, as far as they can be told from texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// All of them.
    All(BTreeSet<String>),
    /// Some could not be told.
    Unknown,
}

impl Default for Names {
    fn default() -> Self {
        Self::All(BTreeSet::new())
    }
}

impl Names {
    /// Notes those of one statement.
    pub(super) fn note(&mut self, sql: &[u8]) {
        let Self::All(names) = self else { return };
        match text::variables(sql) {
            Some(found) if names.len() + found.len() <= VARIABLES_MAX => names.extend(found),
            Some(_) | None => *self = Self::Unknown,
        }
    }

    /// A statement was too long to be looked at.
    pub(super) fn lose(&mut self) {
        *self = Self::Unknown;
    }
}
