//! Taking everything of ours away again: `finish` after the switch, `abort` before it.
//!
//! # Guarantees
//! Both may be called at any time, any number of times, and go on where an earlier call ended: our
//! schema, which says what must be put back, goes last and only when everything else is done. What
//! could not be done is named in the report, with the server it is on. A server that cannot be
//! reached does not keep the other from being cleaned; only the journal, which says that the target
//! serves, stays until the source is clean.
//!
//! `abort` empties the target of all that came with the restored schema, drops the roles that we
//! made there and gives back privileges, owners and settings. It refuses once the target serves.

mod acl;
mod server;
mod target;

use std::time::Duration;

use router::failpoint::{self, Point};
use router::{Epoch, Side};
use tokio_postgres::Client;

use super::error::SchemaError;
use super::setup::migration_id;
use crate::movement::fence;
use crate::movement::journal::{self, MovementState, Outcome};
use crate::wire::{Endpoint, SqlConn};
use server::Cleaner;
pub(super) use target::empty as empty_target;

/// What becomes of the fence around the side that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceFate {
    /// Applications may connect again.
    Lift,
    /// They may not; the privileges stay as the fence made them, for good.
    Keep,
}

/// What was done, and what is left to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CleanupReport {
    /// Sentences about what was taken away or put back.
    pub done: Vec<String>,
    /// Sentences about what is still there, and why. Empty: no trace is left.
    pub left: Vec<String>,
}

impl CleanupReport {
    fn done(&mut self, side: Side, what: impl AsRef<str>) {
        self.done.push(format!("{side}: {}", what.as_ref()));
    }

    fn left(&mut self, side: Side, what: impl AsRef<str>) {
        self.left.push(format!("{side}: {}", what.as_ref()));
    }
}

/// How long lowering the fence may wait for locks.
const FENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// The two servers, as far as they can be reached.
struct Servers {
    source: Option<SqlConn>,
    target: Option<SqlConn>,
    /// From either server.
    id: Option<String>,
    report: CleanupReport,
}

/// Removes every trace of a migration from both servers and leaves the data on both.
///
/// The journal on the target goes last: cut off at any time, the target serves on after a restart.
///
/// # Errors
/// A server has bookkeeping of another version of pointsman, or of two different migrations.
pub async fn finish(
    source: &Endpoint,
    target: &Endpoint,
    fate: FenceFate,
) -> Result<CleanupReport, SchemaError> {
    let mut servers = Servers::open(source, target).await?;
    let Some(id) = servers.id.clone() else {
        return Ok(servers.report);
    };
    failpoint::reach(Point::FinishBegins).await;
    let report = &mut servers.report;
    for (side, client) in [
        (Side::Source, &servers.source),
        (Side::Target, &servers.target),
    ] {
        let Some(client) = client else { continue };
        let mut cleaner = Cleaner {
            client,
            side,
            id: &id,
            report,
        };
        cleaner.fence(fate).await;
        cleaner.replication().await;
        cleaner.identities().await;
        if side == Side::Target {
            target::leave_roles(client, cleaner.report).await;
        }
        match side {
            Side::Target if cleaner.has_left(Side::Source) => cleaner.report.left(
                side,
                "the schema pointsman, which says that this side serves as long as the source is \
                 not clean (if the source is gone for good, drop it by hand, and name this server \
                 as the source in the configuration)",
            ),
            Side::Source | Side::Target => cleaner.drop_schema().await,
        }
        failpoint::reach(match side {
            Side::Source => Point::FinishSourceClean,
            Side::Target => Point::FinishTargetClean,
        })
        .await;
    }
    Ok(servers.report)
}

/// Removes every trace of a migration that never switched, and empties the target.
///
/// # Errors
/// The target serves, or nobody can tell: nothing is touched then.
pub async fn abort(source: &Endpoint, target: &Endpoint) -> Result<CleanupReport, SchemaError> {
    let mut servers = Servers::open(source, target).await?;
    let Some(id) = servers.id.clone() else {
        return Ok(servers.report);
    };
    servers.refuse_if_switched().await?;
    failpoint::reach(Point::AbortBegins).await;
    let report = &mut servers.report;
    if let Some(client) = &servers.source {
        let mut cleaner = Cleaner {
            client,
            side: Side::Source,
            id: &id,
            report,
        };
        cleaner.end_ours().await;
        cleaner.fence(FenceFate::Lift).await;
        cleaner.replication().await;
        cleaner.identities().await;
        cleaner.drop_schema().await;
    }
    failpoint::reach(Point::AbortSourceClean).await;
    if let Some(client) = &servers.target {
        let mut cleaner = Cleaner {
            client,
            side: Side::Target,
            id: &id,
            report,
        };
        cleaner.end_ours().await;
        cleaner.fence(FenceFate::Lift).await;
        cleaner.replication().await;
        let left_before = cleaner.report.left.len();
        target::empty(client, cleaner.report).await;
        target::undo(client, cleaner.report).await;
        target::leave_roles(client, cleaner.report).await;
        if cleaner.report.left.len() == left_before {
            cleaner.drop_schema().await;
        }
    }
    failpoint::reach(Point::AbortTargetClean).await;
    Ok(servers.report)
}

impl Servers {
    async fn open(source: &Endpoint, target: &Endpoint) -> Result<Self, SchemaError> {
        let mut report = CleanupReport::default();
        let mut opened = Vec::new();
        for (side, endpoint) in [(Side::Source, source), (Side::Target, target)] {
            opened.push(
                match super::connect(endpoint, side, "pointsman_cleanup").await {
                    Ok(client) => Some(client),
                    Err(error) => {
                        report.left(side, format!("everything of ours, since there is {error}"));
                        None
                    }
                },
            );
        }
        let target = opened.pop().flatten();
        let source = opened.pop().flatten();
        let mut id: Option<String> = None;
        for (side, client) in [(Side::Source, &source), (Side::Target, &target)] {
            let Some(client) = client else { continue };
            let Some(found) = migration_id(client, side).await? else {
                continue;
            };
            match &id {
                Some(expected) if *expected != found => {
                    let expected = expected.clone();
                    return Err(SchemaError::ForeignMigration {
                        side,
                        found,
                        expected,
                    });
                }
                Some(_) | None => id = Some(found),
            }
        }
        Ok(Self {
            source,
            target,
            id,
            report,
        })
    }

    /// Only the target's journal, or a source that was never fenced, proves that nothing switched.
    async fn refuse_if_switched(&self) -> Result<(), SchemaError> {
        match (&self.target, &self.source) {
            (Some(target), _) => refuse_if_target_serves(target).await,
            (None, Some(source)) => match fence::state(source).await {
                Ok(state) if !state.is_fenced() => Ok(()),
                Ok(_) | Err(_) => Err(SchemaError::NobodyKnows),
            },
            (None, None) => Ok(()),
        }
    }
}

async fn refuse_if_target_serves(target: &Client) -> Result<(), SchemaError> {
    if migration_id(target, Side::Target).await?.is_none() {
        return Ok(());
    }
    let movements = journal::movements(target).await?;
    let mut serving: Option<(Epoch, Side)> = None;
    for movement in movements {
        let switched = match movement.state {
            MovementState::Switched => true,
            MovementState::Aborted => false,
            MovementState::Pending => {
                journal::resolve(target, movement.epoch).await? == Outcome::Switched
            }
        };
        let newer = serving.is_none_or(|(epoch, _)| epoch < movement.epoch);
        if switched && newer {
            serving = Some((movement.epoch, movement.serving));
        }
    }
    match serving {
        Some((epoch, Side::Target)) => Err(SchemaError::AlreadySwitched { epoch: epoch.0 }),
        Some((_, Side::Source)) | None => Ok(()),
    }
}
