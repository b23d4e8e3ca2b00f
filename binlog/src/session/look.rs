//! A look at a session's variables: one value that is the same as long as all of them are.
//!
//! `SHOW SESSION VARIABLES` tells six hundred of them and costs its server and us more than all
//! other questions together. Most sessions that work up to a hold change none of those that are
//! carried, and then a digest of these says so.

use bytes::Bytes;

use super::answer::Answer;
use super::state::{Setting, carries};
use crate::wire::{SqlConn, SqlError, quote};

/// What was read of a session's variables, and what a look said then.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    digest: Bytes,
    settings: Vec<Setting>,
}

impl Seen {
    /// The settings that were read when a look said this.
    pub(super) fn new(digest: Bytes, settings: Vec<Setting>) -> Self {
        Self { digest, settings }
    }

    /// The settings, if a look says the same again.
    pub(super) fn unless_changed(&self, digest: Option<&Bytes>) -> Option<Vec<Setting>> {
        (digest == Some(&self.digest)).then(|| self.settings.clone())
    }
}

/// What a look said; nothing when the server refused it.
pub(super) fn digest(answer: Answer) -> Option<Bytes> {
    answer.ok()?.rows.into_iter().next()?.into_iter().next()?
}

/// Finds out which of these variables sessions have, by asking for each: no version tells it in a
/// table that all have. Gives the SQL of the look.
///
/// # Errors
/// The connection ends.
pub(super) async fn learn(
    sql: &SqlConn,
    globals: impl Iterator<Item = &str>,
) -> Result<String, SqlError> {
    let mut names: Vec<&str> = globals.filter(|name| carries(name)).collect();
    names.extend(super::state::SESSION_ONLY.iter().map(|(name, _)| *name));
    names.retain(|name| *name != "last_insert_id");
    names.sort_unstable();
    names.dedup();
    let mut values = Vec::new();
    for name in names {
        let value = format!("@@SESSION.{}", quote::ident(name));
        match sql.query(&format!("SELECT {value} LIMIT 1")).await {
            Ok(_value) => values.push(value),
            Err(SqlError::Server(_has_none)) => {}
            Err(broken) => return Err(broken),
        }
    }
    let values = values.join(",");
    Ok(format!("SELECT SHA2(CONCAT_WS('|',{values}),256) LIMIT 1"))
}
