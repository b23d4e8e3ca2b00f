//! Names that a client's statements use, of user variables and of user-level locks, for servers that
//! do not list them.

use std::collections::BTreeSet;

use super::limits::VARIABLES_MAX;

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
    /// Notes those of one statement; `None` when they cannot be told.
    pub(super) fn note(&mut self, found: Option<Vec<String>>) {
        let Self::All(names) = self else { return };
        match found {
            Some(found) if names.len() + found.len() <= VARIABLES_MAX => names.extend(found),
            Some(_) | None => *self = Self::Unknown,
        }
    }

    /// A statement was too long to be looked at.
    pub(super) fn lose(&mut self) {
        *self = Self::Unknown;
    }
}
