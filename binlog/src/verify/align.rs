//! Snapshots of the same state on both sides.
//!
//! The source's are taken as for the copy: under a lock of some milliseconds, or without one where
//! MariaDB tells each snapshot's position. The applier is held still from before they are taken, so
//! that it cannot have passed their position; then it goes on to it, and the target's snapshots are
//! opened. A marker behind the position makes the stream come to it on an idle source too.

use std::time::{Duration, Instant};

use router::Side;
use router::verify::Progress;
use tokio::time::timeout;

use super::VerifyOptions;
use super::error::VerifyError;
use super::session::Sessions;
use crate::apply::ApplyHandle;
use crate::copy::snapshot::{Snapshot, SnapshotOptions};
use crate::movement::marker::MarkerWriter;
use crate::name::QualifiedName;
use crate::position::Position;
use crate::schema::patience::LockPatience;
use crate::wire::{Endpoint, SqlConn};

/// How long the applier may take to its next window boundary.
const STILL_PATIENCE: Duration = Duration::from_secs(60);

/// How long the applier holds still at most.
pub const HOLD_MAX: Duration = Duration::from_secs(20);

/// How often a lock on the source is tried.
const LOCK_ATTEMPTS: u32 = 6;

/// How long the applier may take from there to the snapshots' position; it applies meanwhile.
const ADVANCE_PATIENCE: Duration = Duration::from_secs(120);

/// Where the two sides are.
#[derive(Clone, Copy)]
pub(super) struct Servers<'a> {
    pub(super) source: &'a Endpoint,
    pub(super) target: &'a Endpoint,
}

/// Open snapshots of one state.
pub(super) struct Aligned {
    pub(super) position: Position,
    /// How long the applier was held.
    pub(super) held: Duration,
    pub(super) source: Snapshot,
    pub(super) target: Vec<SqlConn>,
}

pub(super) async fn align(
    servers: Servers<'_>,
    control: &SqlConn,
    tables: Vec<QualifiedName>,
    applier: &ApplyHandle,
    options: &VerifyOptions,
    sessions: &Sessions,
    progress: &Progress,
) -> Result<Aligned, VerifyError> {
    let writer = MarkerWriter::prepare(control).await?;
    let mut there = Vec::with_capacity(options.workers);
    for _ in 0..options.workers.max(1) {
        there.push(sessions.open(servers.target, Side::Target, options).await?);
    }
    progress.step("aligning two snapshots");
    let still = timeout(STILL_PATIENCE, applier.pause()).await;
    let still = still.map_err(|_elapsed| VerifyError::NotStill {
        patience: STILL_PATIENCE,
    })?;
    let since = Instant::now();
    let taken = timeout(HOLD_MAX, common_snapshot(servers.source, tables, options)).await;
    let source = taken.map_err(|_elapsed| VerifyError::Busy { patience: HOLD_MAX })??;
    for reader in &source.readers {
        sessions.note(Side::Source, &reader.client);
    }
    let position = source.start().ok_or(VerifyError::Unread)?;
    writer.write(control).await?;
    let come = timeout(ADVANCE_PATIENCE, still.advance(position.clone())).await;
    let still = come.map_err(|_elapsed| VerifyError::Behind {
        position: position.to_string(),
        patience: ADVANCE_PATIENCE,
    })?;
    for client in &there {
        for sql in ["START TRANSACTION WITH CONSISTENT SNAPSHOT", SAVEPOINT] {
            let opened = client.execute(sql).await;
            opened.map_err(VerifyError::sql(Side::Target, "opening a snapshot"))?;
        }
    }
    still.resume();
    Ok(Aligned {
        position,
        held: since.elapsed(),
        source,
        target: there,
    })
}

/// What the source's snapshots have too; see [`release`].
const SAVEPOINT: &str = "SAVEPOINT pointsman";

/// Gives the tables that were read free for definition statements, as far as the server does.
pub(super) async fn release(client: &SqlConn) {
    // What fails here shows at the next table.
    let back = client.execute("ROLLBACK TO SAVEPOINT pointsman").await;
    back.map(drop).unwrap_or_default();
}

/// Snapshots of one position: one alone where several are not to be had.
async fn common_snapshot(
    source: &Endpoint,
    tables: Vec<QualifiedName>,
    options: &VerifyOptions,
) -> Result<Snapshot, VerifyError> {
    let mut wanted = SnapshotOptions {
        readers: options.workers.max(1),
        patience: LockPatience {
            lock_timeout: options.lock_timeout,
            attempts: LOCK_ATTEMPTS,
        },
        tables,
        program_name: options.program_name.clone(),
    };
    let failed = |error| VerifyError::Snapshot(Box::new(error));
    let taken = Snapshot::take(source, &wanted).await.map_err(failed)?;
    if taken.is_common() {
        return Ok(taken);
    }
    drop(taken);
    wanted.readers = 1;
    Snapshot::take(source, &wanted).await.map_err(failed)
}
