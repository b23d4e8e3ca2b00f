//! What a server says about its fence.

use std::fmt;

use router::Epoch;

use super::settings::{Kind, Settings};
use super::{FenceError, Saved, replication, transactions};
use crate::movement::error::Failed;
use crate::wire::SqlConn;

/// How far the fence's row says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FencePosition {
    /// The settings are as they were before.
    Down,
    /// The settings are changed, or about to be, or not yet all back. Nobody can write a further
    /// word behind `super_read_only`. A crash here is undone by [`lower`](super::lower).
    Raising,
}

impl FencePosition {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "down" => Some(Self::Down),
            "raising" => Some(Self::Raising),
            _ => None,
        }
    }

    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Raising => "raising",
        }
    }

    /// Whether the settings may be changed.
    #[must_use]
    pub fn is_fenced(self) -> bool {
        match self {
            Self::Down => false,
            Self::Raising => true,
        }
    }
}

/// The row of `pointsman.fence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceRow {
    /// The movement that it was last raised or lowered for.
    pub epoch: Epoch,
    /// How far it is.
    pub position: FencePosition,
    /// The settings before it was last raised.
    pub saved: Option<Saved>,
}

impl fmt::Display for FenceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of epoch {}", self.position.as_str(), self.epoch)
    }
}

/// Whether our tables are on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bookkeeping {
    /// They are.
    Here,
    /// They are not: no migration was begun here, or it is finished.
    Absent,
}

/// Whether the server takes writes of applications, by its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// It does.
    Taken,
    /// It does not.
    Refused,
}

/// The fence as the server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceState {
    /// Our row; `None` if a fence was never prepared here, or our tables are not here.
    pub row: Option<FenceRow>,
    /// Whether our tables are here.
    pub bookkeeping: Bookkeeping,
    /// What the settings say.
    pub writes: Writes,
}

impl FenceState {
    /// Whether the row says that the fence may be up.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.row
            .as_ref()
            .is_some_and(|row| row.position.is_fenced())
    }

    /// Whether the row says that the fence is up and the settings do not: the server was restarted,
    /// or somebody opened it by hand. While this side is left, ask [`reassert`](super::reassert).
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_fenced() && self.writes == Writes::Taken
    }
}

const STEP: &str = "reading the fence's state";

/// What the server says about its fence.
///
/// # Errors
/// When the server fails or the row is not one of ours.
pub async fn state(client: &SqlConn) -> Result<FenceState, FenceError> {
    let (row, bookkeeping) = match has_table(client).await? {
        true => (fence_row(client).await?, Bookkeeping::Here),
        false => (None, Bookkeeping::Absent),
    };
    let sql = match Kind::of(client.version()) {
        Kind::SuperReadOnly(_) => "SELECT @@GLOBAL.super_read_only",
        Kind::ReadOnly => "SELECT @@GLOBAL.read_only NOT IN ('0', 'OFF')",
    };
    let writes = match crate::movement::one::<u8>(client, sql, STEP).await? {
        0 => Writes::Taken,
        _ => Writes::Refused,
    };
    Ok(FenceState {
        row,
        bookkeeping,
        writes,
    })
}

pub(super) async fn has_table(client: &SqlConn) -> Result<bool, FenceError> {
    Ok(crate::movement::has_table(client, "fence", STEP).await?)
}

/// The row, if there is one; the table must be there.
pub(super) async fn fence_row(client: &SqlConn) -> Result<Option<FenceRow>, FenceError> {
    let sql = "SELECT epoch, state, saved FROM pointsman.fence WHERE only_row = 1";
    let row = client.query_first(sql).await.map_err(Failed::sql(STEP))?;
    let Some(row) = row else { return Ok(None) };
    let epoch = row.parse(0).map_err(Failed::answer(STEP))?;
    let word: String = row.parse(1).map_err(Failed::answer(STEP))?;
    let position = FencePosition::parse(&word).ok_or(FenceError::UnknownRow {
        column: "state",
        value: word,
    })?;
    Ok(Some(FenceRow {
        epoch: Epoch(epoch),
        position,
        saved: row.text(2).map(Saved::parse).transpose()?,
    }))
}

/// Fails when the account of this connection lacks something that a fence needs. Everything is
/// tried in a form that changes nothing, since grants may come by many roads.
pub(super) async fn may_fence(client: &SqlConn, kind: Kind) -> Result<(), FenceError> {
    if !has_table(client).await? {
        return Err(FenceError::NoBookkeeping);
    }
    let mut missing = Vec::new();
    let mut tried = |what: &str, failed: Option<Failed>| match failed {
        None => Ok(()),
        Some(Failed::Sql {
            source: crate::wire::SqlError::Server(error),
            ..
        }) => {
            missing.push(format!("{what} ({error})"));
            Ok(())
        }
        Some(other) => Err(FenceError::from(other)),
    };
    let settings = Settings::read(client, kind).await;
    let runs_events = settings.as_ref().is_ok_and(Settings::runs_events);
    tried("reading the settings", settings.err())?;
    // A setting that is set to what it is needs the privilege and takes no lock.
    let mut sets = vec![format!("SET GLOBAL {0} = @@GLOBAL.{0}", kind.variable())];
    if runs_events {
        sets.push("SET GLOBAL event_scheduler = ON".to_owned());
    }
    for sql in sets {
        let failed = client.execute(&sql).await.err();
        tried(&sql, failed.map(Failed::sql(STEP)))?;
    }
    tried("XA RECOVER", transactions::prepared(client).await.err())?;
    tried(
        "the status of replication",
        replication::writing(client).await.err(),
    )?;
    // Not INNODB_TRX itself: the server repeats its answer to who asks again soon.
    let sql = "SELECT COUNT(*) FROM information_schema.INNODB_CMP";
    tried(
        "PROCESS",
        client.query(sql).await.err().map(Failed::sql(STEP)),
    )?;
    if kind == Kind::ReadOnly {
        let users = super::sessions::bypassing_users(client).await;
        tried("reading the accounts", users.err())?;
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(FenceError::NotPermitted { missing }),
    }
}
