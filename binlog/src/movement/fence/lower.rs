//! Lowers the fence: puts back what [`raise`](super::Fence::raise) changed, from whatever state.

use std::time::{Duration, Instant};

use router::Epoch;

use super::settings::{self, Kind, Settings};
use super::state::{FencePosition, FenceRow, fence_row, has_table};
use super::{FenceError, Saved, lock, sessions, state, transactions};
use crate::movement::error::Failed;
use crate::movement::make_durable;
use crate::wire::SqlConn;

/// A fence that is down.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LowerReport {
    /// What could not be put back exactly as it was, in plain words; empty if everything was.
    pub not_exact: Vec<String>,
}

const STEP: &str = "lowering the fence";

/// Lowers the fence of whatever epoch; does nothing if it is down already or was never raised.
///
/// # Errors
/// When the fence's lock was not had in time or the server fails. The call may be made again, on a
/// new connection if this one broke.
pub async fn lower(client: &SqlConn, timeout: Duration) -> Result<LowerReport, FenceError> {
    match state(client).await?.row {
        Some(row) => lower_epoch(client, row.epoch, timeout).await,
        None => Ok(LowerReport::default()),
    }
}

/// Lowers the fence of `epoch` or an earlier one, and sees to it that none of them goes up any
/// more: a raise that is still on its way in a connection that we lost is ended with its session,
/// and one that comes later finds the epoch's note and fails. A fence of a later epoch is left
/// alone. Does nothing if our tables are not there, since then no fence can go up.
///
/// # Errors
/// As [`lower`].
pub async fn lower_epoch(
    client: &SqlConn,
    epoch: Epoch,
    timeout: Duration,
) -> Result<LowerReport, FenceError> {
    if !has_table(client).await? {
        return Ok(LowerReport::default());
    }
    // First: from here on nobody else raises or lowers.
    lock::take(client, timeout).await?;
    let report = lower_alone(client, epoch, timeout).await?;
    lock::release(client).await?;
    Ok(report)
}

/// [`lower_epoch`] for who holds the lock.
async fn lower_alone(
    client: &SqlConn,
    epoch: Epoch,
    timeout: Duration,
) -> Result<LowerReport, FenceError> {
    let seconds = timeout.as_secs().max(1);
    client
        .execute(&format!("SET SESSION lock_wait_timeout = {seconds}"))
        .await
        .map_err(Failed::sql(STEP))?;
    match fence_row(client).await? {
        Some(row) if row.epoch > epoch => Ok(LowerReport::default()),
        Some(row) if row.position == FencePosition::Down && row.epoch == epoch => {
            Ok(LowerReport::default())
        }
        Some(row) if row.position == FencePosition::Down => {
            note(client, epoch).await?;
            Ok(LowerReport::default())
        }
        Some(row) => {
            let report = open(client, &row).await?;
            note(client, epoch).await?;
            // Not every caller has somebody to tell.
            for what in &report.not_exact {
                tracing::warn!(%what, "the fence is down, but not everything is as it was");
            }
            Ok(report)
        }
        None => {
            note(client, epoch).await?;
            Ok(LowerReport::default())
        }
    }
}

/// Writes the epoch down as down, so that a raise of it that comes later fails. The lock is ours,
/// so the row is as it was read.
async fn note(client: &SqlConn, epoch: Epoch) -> Result<(), FenceError> {
    let sql = format!(
        "INSERT INTO pointsman.fence (only_row, epoch, state) VALUES (1, {epoch}, 'down')
         ON DUPLICATE KEY UPDATE epoch = {epoch}, state = 'down'"
    );
    client.execute(&sql).await.map_err(Failed::sql(STEP))?;
    Ok(make_durable(client, STEP).await?)
}

/// Puts the settings and the accounts back.
async fn open(client: &SqlConn, row: &FenceRow) -> Result<LowerReport, FenceError> {
    let kind = Kind::of(client.version());
    let mut report = LowerReport::default();
    let saved = row.saved.clone().unwrap_or_else(|| {
        report.not_exact.push(
            "the settings before the fence are not known; the server takes writes".to_owned(),
        );
        Saved {
            read_only: false,
            super_read_only: false,
            event_scheduler: "OFF".to_owned(),
            persisted: None,
            locked: Vec::new(),
        }
    });
    settings::open(client, kind, &saved).await?;
    for account in sessions::unlock_accounts(client, &saved.locked).await? {
        report
            .not_exact
            .push(format!("account {account}, which was locked, is gone"));
    }
    Ok(report)
}

/// What [`reassert`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reasserted {
    /// The fence stood as it should, or none should stand.
    Stood,
    /// The server took writes and was shut again: writes of applications that pass the proxy by may
    /// have come in between. Compare both sides.
    ShutAgain,
}

/// Shuts a server again whose row says that it is fenced and whose settings do not: after a
/// restart of a server that cannot persist them, or after somebody's hand. To be asked only for a
/// side that the journal says is left. Ends transactions that have written since.
///
/// # Errors
/// When the server fails; ask again.
pub async fn reassert(client: &SqlConn, timeout: Duration) -> Result<Reasserted, FenceError> {
    let before = state(client).await?;
    let kind = Kind::of(client.version());
    let is_fenced = before.is_fenced();
    let Some(row) = before.row.filter(|_| is_fenced) else {
        return Ok(Reasserted::Stood);
    };
    let now = Settings::read(client, kind).await?;
    let persists = matches!(kind, Kind::SuperReadOnly(settings::Persistence::Persisted));
    if now.is_shut() && (now.is_persisted() || !persists) {
        return Ok(Reasserted::Stood);
    }
    lock::take(client, timeout).await?;
    let found = shut_again(client, &row, &now, timeout).await?;
    lock::release(client).await?;
    Ok(found)
}

/// [`reassert`] for who holds the lock.
async fn shut_again(
    client: &SqlConn,
    row: &FenceRow,
    now: &Settings,
    timeout: Duration,
) -> Result<Reasserted, FenceError> {
    // The lock may have been taken from a lowering: look again.
    if fence_row(client).await?.as_ref() != Some(row) {
        return Ok(Reasserted::Stood);
    }
    client
        .execute("SET SESSION lock_wait_timeout = 1")
        .await
        .map_err(Failed::sql(STEP))?;
    now.shut(client).await?;
    transactions::end_writers(client, Instant::now() + timeout).await?;
    Ok(Reasserted::ShutAgain)
}
