//! What a server says about its fence.

use std::fmt;

use router::Epoch;
use tokio_postgres::Client;

use super::{FenceError, ForeignSession};

/// How far the fence's row says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FencePosition {
    /// The privileges are as they were before.
    Down,
    /// The privileges are taken away; sessions may still be there. A crash here is undone by
    /// [`lower`](super::lower).
    Raising,
    /// Nobody but us can connect and no foreign session is left.
    Up,
    /// Like `Raising`, on the way back.
    Lowering,
}

impl FencePosition {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "down" => Some(Self::Down),
            "raising" => Some(Self::Raising),
            "up" => Some(Self::Up),
            "lowering" => Some(Self::Lowering),
            _ => None,
        }
    }

    /// The word in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Raising => "raising",
            Self::Up => "up",
            Self::Lowering => "lowering",
        }
    }

    /// Whether the privileges are taken away.
    #[must_use]
    pub fn is_fenced(self) -> bool {
        match self {
            Self::Down => false,
            Self::Raising | Self::Up | Self::Lowering => true,
        }
    }
}

/// The row of `pointsman.fence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceRow {
    /// The movement that it was last raised for.
    pub epoch: Epoch,
    /// How far it is.
    pub position: FencePosition,
    /// The database's ACL before, `None` if it was NULL (the default).
    pub datacl: Option<String>,
    /// Roles that were set to NOLOGIN.
    pub nologin: Vec<String>,
}

impl fmt::Display for FenceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of epoch {}", self.position.as_str(), self.epoch)
    }
}

/// Whether our tables are in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bookkeeping {
    /// They are.
    Here,
    /// They are not: no migration was begun here, or it is finished.
    Absent,
}

/// The fence as the server sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceState {
    /// Our row; `None` if a fence was never raised here, or our tables are not here.
    pub row: Option<FenceRow>,
    /// Whether our tables are here.
    pub bookkeeping: Bookkeeping,
    /// Roles that may log in and connect, ours and superusers left out. Empty behind a fence; a
    /// fence that is up with roles here was opened by somebody's hand.
    pub open_to: Vec<String>,
}

impl FenceState {
    /// Whether the row says that the privileges are taken away.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.row
            .as_ref()
            .is_some_and(|row| row.position.is_fenced())
    }
}

const STEP: &str = "reading the fence's state";

/// What the server says about its fence.
///
/// # Errors
/// When the server fails or the row is not one of ours.
pub async fn state(client: &Client) -> Result<FenceState, FenceError> {
    let (row, bookkeeping) = match has_table(client).await? {
        true => (fence_row(client).await?, Bookkeeping::Here),
        false => (None, Bookkeeping::Absent),
    };
    let open_to = client
        .query_one(
            "SELECT ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
             WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> session_user
               AND d.datname = pg_catalog.current_database()
               AND pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT') ORDER BY 1)",
            &[],
        )
        .await
        .and_then(|row| row.try_get(0))
        .map_err(FenceError::sql(STEP))?;
    Ok(FenceState {
        row,
        bookkeeping,
        open_to,
    })
}

pub(super) async fn has_table(client: &Client) -> Result<bool, FenceError> {
    crate::movement::has_table(client, "fence")
        .await
        .map_err(FenceError::sql(STEP))
}

/// The row, if there is one; the table must be there.
pub(super) async fn fence_row(client: &Client) -> Result<Option<FenceRow>, FenceError> {
    let row = client
        .query_opt(
            "SELECT epoch, state, datacl, nologin FROM pointsman.fence",
            &[],
        )
        .await
        .map_err(FenceError::sql(STEP))?;
    let Some(row) = row else { return Ok(None) };
    let read = || -> Result<_, tokio_postgres::Error> {
        Ok((
            row.try_get::<_, i64>(0)?,
            row.try_get::<_, String>(1)?,
            row.try_get(2)?,
            row.try_get(3)?,
        ))
    };
    let (epoch, position, datacl, nologin) = read().map_err(FenceError::sql(STEP))?;
    let position =
        FencePosition::parse(&position).ok_or(FenceError::UnknownPosition { position })?;
    Ok(Some(FenceRow {
        epoch: Epoch(epoch.cast_unsigned()),
        position,
        datacl,
        nologin,
    }))
}

/// Fails when the role of this connection lacks something that a fence needs.
pub(super) async fn may_fence(client: &Client) -> Result<(), FenceError> {
    if !has_table(client).await? {
        return Err(FenceError::NoBookkeeping);
    }
    let row = client
        .query_one(
            "SELECT session_user::text,
                pg_catalog.pg_has_role(session_user, 'pg_read_all_stats', 'USAGE'),
                pg_catalog.pg_has_role(session_user, 'pg_signal_backend', 'USAGE'),
                pg_catalog.pg_has_role(session_user, d.datdba, 'USAGE')
             FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()",
            &[],
        )
        .await
        .map_err(FenceError::sql("asking for our privileges"))?;
    let read = || -> Result<_, tokio_postgres::Error> {
        let role: String = row.try_get(0)?;
        Ok((
            role,
            [row.try_get::<_, bool>(1)?, row.try_get(2)?, row.try_get(3)?],
        ))
    };
    let (role, has) = read().map_err(FenceError::sql("asking for our privileges"))?;
    let names = [
        "membership in pg_monitor (to see other sessions)",
        "membership in pg_signal_backend (to end other sessions)",
        "ownership of the database, or membership in its owner (to revoke CONNECT)",
    ];
    let missing: Vec<String> = names
        .iter()
        .zip(has)
        .filter(|(_, has)| !has)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(FenceError::NotPermitted { role, missing }),
    }
}

/// The sessions of these server processes that are still there.
pub(super) async fn sessions(
    client: &Client,
    pids: &[i32],
) -> Result<Vec<ForeignSession>, FenceError> {
    let step = "reading the list of sessions";
    let rows = client
        .query(
            "SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''),
                    coalesce(pg_catalog.host(client_addr), ''), coalesce(backend_type, 'unknown')
             FROM pg_catalog.pg_stat_activity WHERE pid = ANY ($1) ORDER BY pid",
            &[&pids],
        )
        .await
        .map_err(FenceError::sql(step))?;
    rows.iter()
        .map(ForeignSession::from_row)
        .collect::<Result<_, _>>()
        .map_err(FenceError::sql(step))
}
