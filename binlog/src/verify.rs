//! Compares both sides exactly while both live.
//!
//! Both are read under snapshots of the same state: the source's are taken as for the copy, with a
//! position of the binary log; the applier goes on to just this position and holds still there for
//! the moment in which the target's snapshots are opened. Then both are read at leisure, by several
//! workers on each side; the servers hash and sum up (`router::verify`), and only what differs is
//! read row by row.
//!
//! # What it guarantees
//!
//! * Nothing is changed on either server but one marker in the source's log.
//! * The applier holds still for at most [`HOLD_MAX`]; dropping the comparison lets it go on.
//! * No table is kept from definition statements for longer than it is read (but on MariaDB, which
//!   gives no lock back before its transaction ends).
//!
//! # What it does not do
//!
//! It reads no tables that are excluded or whose engine has no snapshots. Accounts, texts of views
//! and stored programs are not compared.

mod align;
mod error;
mod orphans;
mod plan;
mod render;
mod schema;
mod session;
mod sums;

use std::sync::Arc;
use std::time::{Duration, Instant};

use router::Side;
use router::verify::{Progress, Report};

pub use self::align::HOLD_MAX;
pub use self::error::VerifyError;
pub use self::session::Sessions;
use crate::apply::ApplyHandle;
use crate::schema::catalog::{Catalog, Scope, TableFilter};
use crate::wire::{Endpoint, SqlConn};

/// How to compare.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Which databases are moved.
    pub scope: Scope,
    /// Whose rows are moved.
    pub filter: TableFilter,
    /// Connections to each server.
    pub workers: usize,
    /// The most that is read from each server, all workers together.
    pub bytes_per_second: Option<u64>,
    /// The longest that applications may be held up by one attempt at a lock on the source.
    pub lock_timeout: Duration,
    /// Our name on both servers.
    pub program_name: String,
}

/// Compares the two sides at a place of the stream that this applier comes to. Its sessions are noted
/// in `sessions`.
///
/// # Cancel safety
/// When this is dropped the applier goes on. Statements that run may go on for a while on the
/// servers: see [`Sessions::end`].
///
/// # Errors
/// When there is no common place to be had, or a server fails. What only concerns one table is told in
/// the report.
pub async fn run(
    source: &Endpoint,
    target: &Endpoint,
    applier: &ApplyHandle,
    options: &VerifyOptions,
    sessions: &Sessions,
    progress: &Arc<Progress>,
) -> Result<Report, VerifyError> {
    let begun = Instant::now();
    let here = sessions.open(source, Side::Source, options).await?;
    let there = sessions.open(target, Side::Target, options).await?;
    let tables = catalog(&here, Side::Source, options).await?;
    let names = tables.moved_tables().map(|table| table.name.clone());
    let aligned = align::align(
        align::Servers { source, target },
        &here,
        names.collect(),
        applier,
        options,
        sessions,
        progress,
    )
    .await?;
    tracing::info!(position = %aligned.position, held = ?aligned.held, "both snapshots are open");
    progress.step("comparing the schemas");
    let (on_source, on_target) = tokio::try_join!(
        catalog(&here, Side::Source, options),
        catalog(&there, Side::Target, options)
    )?;
    let schema = schema::differences(&on_source, &on_target);
    let mut plan = plan::Plan::new(&on_source, &on_target);
    let mut tables = plan.take_incomparable();
    let compared = sums::compare_all(&aligned, &plan, options, progress).await?;
    tables.extend(compared);
    tables.sort_by(|one, two| one.name.cmp(&two.name));
    progress.expect(0, 0);
    progress.step("looking at foreign keys");
    let orphans = orphans::look(&aligned, &on_target, &tables).await?;
    let report = Report {
        position: aligned.position.to_string(),
        held: aligned.held,
        tables,
        schema,
        orphans,
        sequences_behind: schema::counters_behind(&on_source, &on_target),
        left_out: plan::left_out(&on_source),
    };
    tracing::info!(took = ?begun.elapsed(), equal = report.is_equal(), "both sides are compared");
    Ok(report)
}

async fn catalog(
    client: &SqlConn,
    side: Side,
    options: &VerifyOptions,
) -> Result<Catalog, VerifyError> {
    let read = Catalog::read(client, side, &options.scope, &options.filter).await;
    read.map_err(|source| VerifyError::Schema {
        side,
        source: Box::new(source),
    })
}
