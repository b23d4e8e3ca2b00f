//! One worker: two connections, and the next job until there is none.

use std::sync::Arc;

use router::Side;
use router::failpoint::{self, Point};

use super::link::{self, LinkError, TargetLink};
use super::pipe::{Counts, PipeError, pipe};
use super::plan::{Completion, Job, Plan, Reading, TablePlan};
use super::progress::{CopyProgress, TableProgress};
use super::throttle::Throttle;
use super::{CopyError, CopyOptions, CopySnapshot};
use crate::name::quote_literal;
use crate::schema::catalog::Table;
use crate::schema::error::{is_transient_sqlstate, message_without_values};
use crate::wire::{Conn, ConnectError, Endpoint, ServerError, WireError};

/// What all workers of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) source: Endpoint,
    pub(super) target: Endpoint,
    pub(super) snapshot: CopySnapshot,
    pub(super) options: CopyOptions,
    pub(super) plan: Plan,
    pub(super) throttle: Throttle,
    pub(super) progress: Arc<CopyProgress>,
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    source: Option<Conn>,
    target: Option<TargetLink>,
}

/// Why one attempt at a job failed.
enum Fault {
    /// It may work on new connections.
    Transient(CopyError),
    /// It would fail again.
    Definite(CopyError),
    /// The range was committed by an earlier attempt whose answer was lost.
    CopiedBefore,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            source: None,
            target: None,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), CopyError> {
        let shared = Arc::clone(&self.shared);
        while let Some(job) = shared.plan.next_job() {
            let Some(plan) = shared.plan.table(job) else {
                continue;
            };
            let Some(progress) = shared.progress.table(&plan.table.name) else {
                continue;
            };
            self.copy(job, plan, &progress).await?;
            match (plan.reading, plan.range_copied()) {
                (Reading::Whole, _) => progress.finish(),
                (Reading::Ranges, Completion::Range) => {}
                (Reading::Ranges, Completion::Table) => {
                    self.record_split_table(&plan.table).await?;
                    progress.finish();
                }
            }
        }
        Ok(())
    }

    /// Copies one job, again while that makes sense.
    async fn copy(
        &mut self,
        job: Job,
        plan: &TablePlan,
        progress: &TableProgress,
    ) -> Result<(), CopyError> {
        let mut pause = self.shared.options.retry_pause;
        let mut attempt = 0;
        loop {
            let mut counted = Counts::default();
            let Err(fault) = self.try_copy(job, plan, progress, &mut counted).await else {
                return Ok(());
            };
            progress.take_back(counted.rows, counted.bytes);
            self.source = None;
            self.target = None;
            match fault {
                Fault::Transient(error) if attempt >= self.shared.options.retries => {
                    return Err(error);
                }
                Fault::Transient(error) => {
                    tracing::warn!(table = %plan.table.name, attempt, %error, "copying it again");
                }
                Fault::Definite(error) => return Err(error),
                Fault::CopiedBefore => return Ok(()),
            }
            attempt += 1;
            tokio::time::sleep(pause).await;
            pause = pause
                .saturating_mul(2)
                .min(self.shared.options.retry_pause * 50);
        }
    }

    async fn try_copy(
        &mut self,
        job: Job,
        plan: &TablePlan,
        progress: &TableProgress,
        counted: &mut Counts,
    ) -> Result<(), Fault> {
        let shared = Arc::clone(&self.shared);
        let table = &plan.table;
        let at = Place { table };
        let source = match &mut self.source {
            Some(source) => source,
            none => none.insert(
                link::open(&shared.source, &shared.options.application_name)
                    .await
                    .map_err(|error| at.link(Side::Source, error))?,
            ),
        };
        let target = match &mut self.target {
            Some(target) => target,
            none => none.insert(
                TargetLink::open(&shared.target, &shared.options.application_name)
                    .await
                    .map_err(|error| at.link(Side::Target, error))?,
            ),
        };
        enter_snapshot(source, &shared.snapshot, table).await?;
        if table.carried_columns().is_empty() {
            copy_bare_rows(source, target, table, counted).await?;
        } else {
            let opening = opening(job, plan);
            target
                .begin_copy(&opening)
                .await
                .map_err(|error| at.opening(job, plan, error))?;
            let query = source_query(job, plan);
            pipe(source, &query, target, &shared.throttle, progress, counted)
                .await
                .map_err(|error| at.pipe(error))?;
        }
        failpoint::reach(Point::TableLoaded).await;
        let closing = closing(job, plan, &shared.snapshot, *counted);
        target
            .execute(&closing)
            .await
            .map_err(|error| at.wire(Side::Target, error))?;
        failpoint::reach(Point::TableCopied).await;
        source
            .query("COMMIT")
            .await
            .map_err(|error| at.wire(Side::Source, error))?;
        Ok(())
    }

    /// All ranges are in: the table counts as copied from here on. Harmless when done twice.
    async fn record_split_table(&mut self, table: &Table) -> Result<(), CopyError> {
        let at = Place { table };
        let (schema, name) = (
            quote_literal(&table.name.schema),
            quote_literal(&table.name.name),
        );
        let ranges = format!(
            "FROM pointsman.copied_range r WHERE r.schema_name = {schema} AND r.table_name = {name}"
        );
        let sql = format!(
            "BEGIN;
             UPDATE pointsman.table_copy SET copied = true, watermark = '{watermark}',
                rows = (SELECT pg_catalog.sum(r.rows) {ranges}),
                bytes = (SELECT pg_catalog.sum(r.bytes) {ranges})
             WHERE schema_name = {schema} AND table_name = {name} AND NOT copied;
             DELETE {ranges};
             COMMIT",
            watermark = self.shared.snapshot.consistent_point,
        );
        let mut attempt = 0;
        loop {
            let endpoint = &self.shared.target;
            let name = &self.shared.options.application_name;
            let fault = match TargetLink::open(endpoint, name).await {
                Ok(mut link) => match link.execute(&sql).await {
                    Ok(_tag) => return Ok(()),
                    Err(error) => at.wire(Side::Target, error),
                },
                Err(error) => at.link(Side::Target, error),
            };
            match fault {
                Fault::Transient(error) if attempt >= self.shared.options.retries => {
                    return Err(error);
                }
                Fault::Definite(error) => return Err(error),
                Fault::Transient(_) | Fault::CopiedBefore => {}
            }
            attempt += 1;
            tokio::time::sleep(self.shared.options.retry_pause).await;
        }
    }
}

/// Begins the source's transaction on the snapshot and makes sure the table is still what it was.
async fn enter_snapshot(
    source: &mut Conn,
    snapshot: &CopySnapshot,
    table: &Table,
) -> Result<(), Fault> {
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
         SET TRANSACTION SNAPSHOT {snapshot};
         LOCK TABLE ONLY {table} IN ACCESS SHARE MODE;
         SELECT c.relfilenode = pg_catalog.pg_relation_filenode(c.oid)
         FROM pg_catalog.pg_class c WHERE c.oid = {oid}",
        snapshot = quote_literal(&snapshot.name),
        table = table.name.quoted(),
        oid = table.oid,
    );
    let stale = || {
        Fault::Definite(CopyError::SnapshotStale {
            table: table.name.clone(),
        })
    };
    match source.query(&sql).await {
        Ok(rows) => match rows.first().and_then(|row| row.first()) {
            Some(Some(same)) if same.as_ref() == b"t" => Ok(()),
            Some(_) | None => Err(stale()),
        },
        Err(error) => match error.server().map(|server| server.sqlstate.as_str()) {
            // "invalid snapshot identifier"; from 17 on "snapshot .. does not exist".
            Some("22023" | "42704") => Err(Fault::Definite(CopyError::SnapshotLost)),
            Some(_) | None => Err(Place { table }.wire(Side::Source, error)),
        },
    }
}

/// A table without any column that travels has only a number of rows.
async fn copy_bare_rows(
    source: &mut Conn,
    target: &mut TargetLink,
    table: &Table,
    counted: &mut Counts,
) -> Result<(), Fault> {
    let at = Place { table };
    let name = table.name.quoted();
    let count = source
        .query(&format!("SELECT pg_catalog.count(*) FROM ONLY {name}"))
        .await
        .map_err(|error| at.wire(Side::Source, error))?;
    let count = count.first().and_then(|row| row.first()?.as_ref());
    let count = count
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .unwrap_or_default();
    let sql = format!(
        "BEGIN; TRUNCATE ONLY {name};
         INSERT INTO {name} SELECT FROM pg_catalog.generate_series(1, {count})"
    );
    target
        .execute(&sql)
        .await
        .map_err(|error| at.wire(Side::Target, error))?;
    counted.rows = count.parse().unwrap_or(0);
    Ok(())
}

/// The target's statements up to the rows.
fn opening(job: Job, plan: &TablePlan) -> String {
    let table = plan.table.name.quoted();
    let columns = plan.table.carried_columns();
    match plan.reading {
        Reading::Whole => format!(
            "BEGIN; TRUNCATE ONLY {table}; COPY {table} ({columns}) FROM STDIN WITH (FREEZE)"
        ),
        Reading::Ranges => format!(
            "BEGIN; INSERT INTO pointsman.copied_range VALUES ({}, {}, {}, 0, 0);
             COPY {table} ({columns}) FROM STDIN",
            quote_literal(&plan.table.name.schema),
            quote_literal(&plan.table.name.name),
            job.range,
        ),
    }
}

fn source_query(job: Job, plan: &TablePlan) -> String {
    let table = plan.table.name.quoted();
    let columns = plan.table.carried_columns();
    match plan.reading {
        // Not a query: the server reads the table alone, without children, and faster.
        Reading::Whole => format!("COPY {table} ({columns}) TO STDOUT"),
        Reading::Ranges => {
            let below = job.to_page.map_or_else(String::new, |page| {
                format!(" AND ctid < '({page},0)'::pg_catalog.tid")
            });
            format!(
                "COPY (SELECT {columns} FROM ONLY {table} \
                 WHERE ctid >= '({},0)'::pg_catalog.tid{below}) TO STDOUT",
                job.from_page
            )
        }
    }
}

/// The record of what was copied, in the transaction of the rows.
fn closing(job: Job, plan: &TablePlan, snapshot: &CopySnapshot, counts: Counts) -> String {
    let Counts { rows, bytes } = counts;
    let place = format!(
        "WHERE schema_name = {} AND table_name = {}",
        quote_literal(&plan.table.name.schema),
        quote_literal(&plan.table.name.name),
    );
    match plan.reading {
        Reading::Whole => format!(
            "UPDATE pointsman.table_copy SET copied = true, watermark = '{}', rows = {rows}, \
             bytes = {bytes} {place}; COMMIT",
            snapshot.consistent_point
        ),
        Reading::Ranges => format!(
            "UPDATE pointsman.copied_range SET rows = {rows}, bytes = {bytes} {place} \
             AND range_number = {}; COMMIT",
            job.range
        ),
    }
}

/// The table in work, for errors.
#[derive(Clone, Copy)]
struct Place<'a> {
    table: &'a Table,
}

impl Place<'_> {
    fn link(self, side: Side, error: LinkError) -> Fault {
        match error {
            LinkError::Wire(error) => self.wire(side, error),
            LinkError::Connect(source) => {
                let transient = match &source {
                    ConnectError::Tls { .. } | ConnectError::Auth { .. } => false,
                    ConnectError::Unreachable { .. }
                    | ConnectError::Timeout { .. }
                    | ConnectError::Wire { .. }
                    | ConnectError::Sql { .. } => true,
                    ConnectError::Refused { source, .. } => is_transient_sqlstate(&source.sqlstate),
                };
                let error = CopyError::Connect { side, source };
                if transient {
                    Fault::Transient(error)
                } else {
                    Fault::Definite(error)
                }
            }
        }
    }

    fn wire(self, side: Side, error: WireError) -> Fault {
        let table = self.table.name.clone();
        match error {
            WireError::Server(server) => self.server(side, &server),
            source @ (WireError::Io(_)
            | WireError::Closed
            | WireError::Frame(_)
            | WireError::Malformed(_)
            | WireError::Unexpected { .. }
            | WireError::Unwritable(_)) => Fault::Transient(CopyError::Broken {
                side,
                table,
                source,
            }),
        }
    }

    fn server(self, side: Side, server: &ServerError) -> Fault {
        if side == Side::Target && server.sqlstate == "53100" {
            let table = self.table.name.clone();
            return Fault::Definite(CopyError::TargetDiskFull { table });
        }
        let error = CopyError::Refused {
            side,
            what: format!("the copy of {}", self.table.name),
            message: message_without_values(&server.sqlstate, &server.message),
            sqlstate: server.sqlstate.clone(),
        };
        if is_transient_sqlstate(&server.sqlstate) {
            Fault::Transient(error)
        } else {
            Fault::Definite(error)
        }
    }

    /// The record of a range is its key: when it is there, the range is too.
    fn opening(self, job: Job, plan: &TablePlan, error: WireError) -> Fault {
        let duplicate = error
            .server()
            .is_some_and(|server| server.sqlstate == "23505");
        if plan.reading == Reading::Ranges && duplicate {
            tracing::info!(table = %self.table.name, range = job.range, "it was copied before");
            return Fault::CopiedBefore;
        }
        self.wire(Side::Target, error)
    }

    fn pipe(self, error: PipeError) -> Fault {
        match error {
            PipeError::Wire(side, error) => self.wire(side, error),
            PipeError::Count { sent, taken } => {
                let table = self.table.name.clone();
                Fault::Definite(CopyError::CountMismatch { table, sent, taken })
            }
        }
    }
}
