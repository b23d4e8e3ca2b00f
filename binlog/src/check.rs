//! The preflight check: what would make a migration fail or differ, found before anything is done.
//!
//! Nothing is changed on either server: the transactions of its sessions are read-only. Each
//! finding says what was found and where, why it matters, and the statement or setting that puts it
//! right. A part that cannot be asked is a FAIL of its own, never silence.

mod activity;
mod changes;
mod connect;
mod grants;
mod log;
mod objects;
mod privileges;
mod report;
mod server;
mod settings;
mod snapshot;
mod target;
mod versions;

use router::Side;

use crate::schema::catalog::{Catalog, Scope, TableFilter};
use crate::wire::Endpoint;

use self::report::Report;
use self::server::Server;

pub use self::report::{Finding, Level};

/// What is done with tables that have no usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeylessTables {
    /// Their rows are found by all their columns.
    #[default]
    Full,
    /// They refuse the migration.
    Refuse,
}

/// What the operator has decided, as far as the check must know it.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Tables without a usable key.
    pub keyless_tables: KeylessTables,
    /// The tables that are moved.
    pub tables: TableFilter,
    /// The migration that is under way; its own tables are no leftovers, and the target need not
    /// be empty.
    pub migration_id: Option<String>,
    /// Users with a privilege that passes `read_only` that are locked behind the fence.
    pub nologin: Vec<String>,
    /// Users with such a privilege that are trusted not to write.
    pub trusted_roles: Vec<String>,
    /// Sessions of pointsman on the source.
    pub ours: Vec<u32>,
}

/// Checks both servers and returns all findings: first the source's, then the target's, then those
/// that compare the two. The database in the source's address is the one that moves; without one
/// all of the user's databases do.
///
/// A server that cannot be reached is a finding; what can still be asked is asked.
pub async fn run(source: &Endpoint, target: &Endpoint, options: &CheckOptions) -> Vec<Finding> {
    let mut report = Report::default();
    let scope = Scope::of_database(source.database.as_deref());
    let source = connect::connect(source, Side::Source, &mut report).await;
    let target = connect::connect(target, Side::Target, &mut report).await;
    let mut catalog = None;
    if let Some(source) = &source {
        catalog = check_source(source, &scope, options, &mut report).await;
    }
    if let Some(target) = &target {
        check_target(target, &scope, options, &mut report).await;
    }
    if let (Some(source), Some(target)) = (&source, &target) {
        check_both(source, target, catalog.as_ref(), &mut report).await;
    }
    report.findings
}

async fn check_source(
    source: &Server,
    scope: &Scope,
    options: &CheckOptions,
    report: &mut Report,
) -> Option<Catalog> {
    versions::in_range(source, report);
    let done = log::source(source, scope, report).await;
    report.asked(source, "binary log", done);
    privileges::source(source, report);
    snapshot::source(source, scope, report);
    let done = activity::source(source, options, report).await;
    report.asked(source, "sessions and transactions", done);
    match Catalog::read(&source.conn, Side::Source, scope, &options.tables).await {
        Ok(catalog) => {
            objects::source(source, &catalog, options, report);
            Some(catalog)
        }
        Err(error) => {
            report.not_asked(source, "tables and other objects", &error);
            None
        }
    }
}

async fn check_target(target: &Server, scope: &Scope, options: &CheckOptions, report: &mut Report) {
    let done = target::target(target, scope, options, report).await;
    report.asked(target, "contents and settings", done);
    privileges::target(target, scope, report);
}

async fn check_both(
    source: &Server,
    target: &Server,
    catalog: Option<&Catalog>,
    report: &mut Report,
) {
    versions::both(source, target, report);
    settings::both(source, target, report);
    match target::accounts_of(source).await {
        Ok(accounts) => {
            let done = target::accounts(&accounts, target, report).await;
            report.asked(target, "ways to log in", done);
        }
        Err(error) => report.not_asked(source, "accounts", &error),
    }
    let Some(catalog) = catalog else { return };
    let done = changes::both(source, target, catalog, report).await;
    report.asked(source, "dates", done);
    objects::triggers(target, catalog, report);
    objects::creators(target, catalog, report);
    objects::translated(source, target, catalog, report).await;
}
