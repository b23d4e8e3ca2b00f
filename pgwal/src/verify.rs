//! Compares both sides exactly while both live.
//!
//! Both are read under snapshots of the same state: the source's comes with a position of the stream
//! ([`align`](self)), the applier goes on to just this position and holds still there for the moment
//! in which the target's snapshot is opened. Then both are read at leisure, in ranges, by several
//! workers on each side; the servers hash and sum up (`router::verify`), and only what differs is
//! read row by row.
//!
//! # What it guarantees
//!
//! * Nothing is changed on either server but one marker row on the source, which the stream carries.
//! * The applier holds still for at most [`HOLD_MAX`]; dropping the comparison lets it go on.
//! * No lock is kept longer than one range is read.
//!
//! # What it does not do
//!
//! It reads nothing that is not moved: unlogged and excluded tables, rows of extensions, contents of
//! materialized views, large objects. Owners and privileges are not compared.

mod align;
mod error;
mod orphans;
mod plan;
mod render;
mod schema;
mod session;
mod sums;

use std::sync::Arc;
use std::time::Instant;

use router::Side;
use router::verify::{Progress, Report, TableReport};

pub use self::align::HOLD_MAX;
pub use self::error::VerifyError;
pub use self::session::end_sessions;
use self::session::{Reader, Readers};
use crate::apply::ApplyHandle;
use crate::schema::catalog::{Catalog, TableFilter};
use crate::wire::Endpoint;

/// How to compare.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Whose rows are moved.
    pub filter: TableFilter,
    /// Connections to each server.
    pub workers: usize,
    /// The most that is read from each server, all workers together.
    pub bytes_per_second: Option<u64>,
    /// `application_name` of all connections, unlike any other's: see [`end_sessions`].
    pub application_name: String,
}

/// Compares the two sides at a place of the stream that this applier comes to.
///
/// # Cancel safety
/// When this is dropped the applier goes on. Statements that run may go on for a while on the
/// servers: see [`end_sessions`].
///
/// # Errors
/// When there is no common place to be had, or a server fails. What only concerns one table is told in
/// the report.
pub async fn run(
    source: &Endpoint,
    target: &Endpoint,
    applier: &ApplyHandle,
    options: &VerifyOptions,
    progress: &Arc<Progress>,
) -> Result<Report, VerifyError> {
    let begun = Instant::now();
    let aligned = align::align(source, target, applier, options, progress).await?;
    tracing::info!(position = %aligned.position, held = ?aligned.held, "both snapshots are open");
    let readers = Readers::new(source, target, &aligned, options);
    progress.step("comparing the schemas");
    let mut here = readers.reader(Side::Source);
    let mut there = readers.reader(Side::Target);
    let (catalogs, schema) = look(&mut here, &mut there, &options.filter).await?;
    let (mut plan, left_out) = plan::Plan::new(&readers, &catalogs.0, &catalogs.1).await?;
    let mut tables = plan.take_incomparable();
    tables.extend(sums::compare_all(&readers, plan, options, progress).await?);
    tables.sort_by(|one, two| one.name.cmp(&two.name));
    progress.expect(0, 0);
    progress.step("looking at foreign keys and sequences");
    let orphans = orphans::look(&mut there, &catalogs.1, &tables).await?;
    let sequences_behind = schema::sequences_behind(&mut here, &mut there).await?;
    let report = Report {
        position: aligned.position.to_string(),
        held: aligned.held,
        tables,
        schema,
        orphans,
        sequences_behind,
        left_out,
    };
    tracing::info!(took = ?begun.elapsed(), equal = report.is_equal(), "both sides are compared");
    Ok(report)
}

type Looked = ((Catalog, Catalog), Vec<router::verify::ObjectDifference>);

/// The catalogs, and how they differ.
async fn look(
    here: &mut Reader<'_>,
    there: &mut Reader<'_>,
    filter: &TableFilter,
) -> Result<Looked, VerifyError> {
    let catalogs = tokio::try_join!(here.catalog(filter), there.catalog(filter))?;
    let (on_source, on_target) = tokio::try_join!(schema::facts(here), schema::facts(there))?;
    Ok((catalogs, schema::differences(on_source, on_target)))
}

/// A table that is told of without being read.
fn cannot_compare(name: &crate::name::QualifiedName, why: String) -> TableReport {
    TableReport {
        name: name.to_string(),
        verdict: router::verify::Verdict::CannotCompare { why },
    }
}
