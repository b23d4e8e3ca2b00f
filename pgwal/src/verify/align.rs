//! Two snapshots of the same state.
//!
//! The source's comes from a temporary slot: it has exactly what committed before the slot's
//! consistent point. The applier is held still from before the slot is made, so that it cannot have
//! passed that point; then it goes on to it, and the target's snapshot is opened. A marker behind
//! the point makes the stream come to it on an idle source too. The slot lives for that moment only:
//! the snapshot is exported again from an ordinary transaction, so that the source keeps no log for
//! as long as it is read.
//!
//! A slot waits for writing transactions. Those that are old already are waited for before the applier is
//! held.

use std::time::{Duration, Instant};

use router::verify::Progress;
use router::{Lsn, Side};
use tokio::time::{sleep, timeout};

use super::VerifyOptions;
use super::error::VerifyError;
use super::session;
use crate::apply::ApplyHandle;
use crate::movement::marker;
use crate::stream::slot;
use crate::wire::{Endpoint, SqlConn};

/// How long old writing transactions of the source are waited for, with the applier at work.
const WRITERS_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked for them.
const WRITERS_PERIOD: Duration = Duration::from_millis(100);

/// How long the applier may take to its next window boundary.
const STILL_PATIENCE: Duration = Duration::from_secs(60);

/// How long the slot waits for each writing transaction while the applier holds still.
const LOCK_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the applier holds still at most.
pub const HOLD_MAX: Duration = Duration::from_secs(20);

/// How long the applier may take from there to the snapshot's position; it applies meanwhile.
const ADVANCE_PATIENCE: Duration = Duration::from_secs(120);

/// Two open snapshots of one state.
pub(super) struct Aligned {
    pub(super) position: Lsn,
    /// How long the applier was held.
    pub(super) held: Duration,
    pub(super) source: Exported,
    pub(super) target: Exported,
}

/// A snapshot for `SET TRANSACTION SNAPSHOT`.
pub(super) struct Exported {
    pub(super) name: String,
    /// Its transaction; nothing else is done on it.
    _conn: SqlConn,
}

pub(super) async fn align(
    source: &Endpoint,
    target: &Endpoint,
    applier: &ApplyHandle,
    options: &VerifyOptions,
    progress: &Progress,
) -> Result<Aligned, VerifyError> {
    let here = session::open(source, Side::Source, &options.application_name).await?;
    let there = session::open(target, Side::Target, &options.application_name).await?;
    let control = session::open(source, Side::Source, &options.application_name).await?;
    let writer = marker::MarkerWriter::prepare(&control).await?;
    progress.step("waiting for writing transactions of the source");
    until_no_old_writers(&control).await?;

    progress.step("aligning two snapshots");
    let still = timeout(STILL_PATIENCE, applier.pause()).await;
    let still = still.map_err(|_elapsed| VerifyError::NotStill {
        patience: STILL_PATIENCE,
    })?;
    let since = Instant::now();
    let taken = timeout(HOLD_MAX, snapshot_of_source(source, here, options)).await;
    let (position, source) = match taken {
        Ok(taken) => taken?,
        Err(_elapsed) => {
            drop(still);
            let blockers = slot::old_writers(&control).await.unwrap_or_default();
            return Err(VerifyError::Busy {
                patience: HOLD_MAX,
                blockers,
            });
        }
    };
    writer.write(&control).await?;
    let there_now = timeout(ADVANCE_PATIENCE, still.advance(position)).await;
    let still = there_now.map_err(|_elapsed| VerifyError::Behind {
        position: position.to_string(),
        patience: ADVANCE_PATIENCE,
    })?;
    let target = export(there, Side::Target, None).await?;
    still.resume();
    Ok(Aligned {
        position,
        held: since.elapsed(),
        source,
        target,
    })
}

async fn snapshot_of_source(
    source: &Endpoint,
    conn: SqlConn,
    options: &VerifyOptions,
) -> Result<(Lsn, Exported), VerifyError> {
    let name = options.application_name.replace(' ', "_");
    let slot = slot::create_temporary(source, &name, LOCK_TIMEOUT).await;
    let slot = slot.map_err(Box::new)?;
    let exported = export(conn, Side::Source, Some(&slot.snapshot_name)).await?;
    Ok((slot.consistent_point, exported))
}

/// Opens a transaction, under this snapshot if there is one, and exports what it sees.
async fn export(
    conn: SqlConn,
    side: Side,
    snapshot: Option<&str>,
) -> Result<Exported, VerifyError> {
    let failed = || VerifyError::sql(side, "opening a snapshot");
    conn.batch_execute(&session::begin(snapshot))
        .await
        .map_err(failed())?;
    let row = conn
        .query_one("SELECT pg_catalog.pg_export_snapshot()", &[])
        .await
        .map_err(failed())?;
    let name = row.try_get(0).map_err(failed())?;
    Ok(Exported { name, _conn: conn })
}

async fn until_no_old_writers(control: &SqlConn) -> Result<(), VerifyError> {
    let begun = Instant::now();
    loop {
        let found = slot::old_writers(control).await;
        let blockers = found.map_err(VerifyError::sql(
            Side::Source,
            "looking for writing transactions",
        ))?;
        if blockers.is_empty() {
            return Ok(());
        }
        if begun.elapsed() >= WRITERS_PATIENCE {
            return Err(VerifyError::Busy {
                patience: WRITERS_PATIENCE,
                blockers,
            });
        }
        sleep(WRITERS_PERIOD).await;
    }
}
