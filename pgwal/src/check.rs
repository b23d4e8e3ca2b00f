//! The preflight check: what would make a migration fail or differ, found before anything is done.
//!
//! Nothing is changed on either server: the connections run with `default_transaction_read_only`
//! on. Each finding says what was found and where, why it matters, and the statement or setting
//! that puts it right. A part that cannot be asked is a FAIL of its own, never silence.

mod activity;
mod connect;
mod custom;
mod locale;
mod objects;
mod ordinary;
mod privileges;
mod replication;
mod report;
mod roles;
mod rule;
mod server;
mod target;
mod tools;
mod versions;

use std::path::PathBuf;

use router::Side;

use crate::schema::catalog::TableFilter;
use crate::wire::Endpoint;

use self::report::Report;
use self::server::Server;

pub use self::custom::custom_settings;
pub use self::report::{Finding, Level};

/// What is done with tables that have no usable key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeylessTables {
    /// They get REPLICA IDENTITY FULL for the time of the migration.
    #[default]
    Full,
    /// They refuse the migration.
    Refuse,
}

/// What is done with large objects, whose changes are in no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LargeObjects {
    /// They refuse the migration.
    #[default]
    Refuse,
    /// The operator knows that they are not moved.
    Accept,
}

/// Where the proxy finds the verifiers that it lets clients in with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verifiers {
    /// In `pg_authid`, read with the role of pointsman.
    #[default]
    Catalog,
    /// The operator has configured a query.
    Query,
    /// The operator has written them into a file.
    File,
}

/// What the operator has decided, as far as the check must know it.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Tables without a usable key.
    pub keyless_tables: KeylessTables,
    /// The tables that are moved.
    pub tables: TableFilter,
    /// Folder of `pg_dump` and `pg_restore`; none means they are looked for.
    pub pg_dump_dir: Option<PathBuf>,
    /// Large objects.
    pub large_objects: LargeObjects,
    /// Where verifiers are found.
    pub verifiers: Verifiers,
    /// The migration that is under way; its own slot, publication and schemas are no leftovers,
    /// and the target need not be empty.
    pub migration_id: Option<String>,
    /// Superuser roles that get NOLOGIN behind the fence.
    pub nologin: Vec<String>,
    /// Superuser roles that are trusted not to write.
    pub trusted_roles: Vec<String>,
    /// Background workers (by `backend_type`) that are trusted not to write.
    pub trusted_workers: Vec<String>,
    /// Server processes of pointsman on the source.
    pub ours: Vec<i32>,
}

/// Checks both servers and returns all findings: first the source's, then the target's, then those
/// that compare the two.
///
/// A server that cannot be reached is a finding; what can still be asked is asked.
pub async fn run(source: &Endpoint, target: &Endpoint, options: &CheckOptions) -> Vec<Finding> {
    let mut report = Report::default();
    let source = connect::connect(source, Side::Source, &mut report).await;
    let target = connect::connect(target, Side::Target, &mut report).await;
    if let Some(source) = &source {
        check_source(source, options, &mut report).await;
    }
    if let Some(target) = &target {
        check_target(target, options, &mut report).await;
    }
    if let (Some(source), Some(target)) = (&source, &target) {
        check_both(source, target, options, &mut report).await;
    }
    report.findings
}

async fn check_source(source: &Server, options: &CheckOptions, report: &mut Report) {
    versions::source(source, report);
    let done = replication::source(source, options, report).await;
    report.asked(source, "replication settings", done);
    let done = privileges::source(source, options, report).await;
    report.asked(source, "privileges", done);
    let done = objects::source(source, options, report).await;
    report.asked(source, "tables and other objects", done);
    let done = roles::source(source, options, report).await;
    report.asked(source, "roles", done);
    let done = activity::source(source, options, report).await;
    report.asked(source, "sessions and transactions", done);
}

async fn check_target(target: &Server, options: &CheckOptions, report: &mut Report) {
    let done = target::target(target, options, report).await;
    report.asked(target, "contents and settings", done);
    let done = privileges::target(target, report).await;
    report.asked(target, "privileges", done);
}

async fn check_both(source: &Server, target: &Server, options: &CheckOptions, report: &mut Report) {
    versions::both(source, target, report);
    tools::both(source, target, options.pg_dump_dir.as_deref(), report).await;
    let done = locale::both(source, target, report).await;
    report.asked(target, "encoding and collations", done);
    let done = target::extensions(source, target, report).await;
    report.asked(target, "extensions", done);
    let done = target::settings(source, target, report).await;
    report.asked(target, "settings", done);
    let done = target::way_back_on_source(source, report).await;
    report.asked(source, "what a way back needs", done);
    let done = roles::both(source, target, report).await;
    report.asked(target, "roles", done);
    let done = ordinary::both(source, target, report).await;
    report.asked(target, "what its role may make", done);
}
