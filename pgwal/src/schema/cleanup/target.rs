//! Emptying the target and taking back what was done to its roles and privileges.

use router::Side;
use tokio_postgres::Client;

use super::super::error::SqlCause;
use super::super::objects;
use super::server::{comment_literal, with_forgetting};
use super::{CleanupReport, acl};
use crate::name::quote_identifier;

/// Rounds of dropping: what hung on something else in one round goes in the next.
const ROUNDS_MAX: usize = 5;

/// Drops everything that is in the database now and was not before us.
pub(in super::super) async fn empty(client: &Client, report: &mut CleanupReport) {
    let quiet = "SET client_min_messages = 'error'; SET session_replication_role = replica";
    if client.batch_execute(quiet).await.is_err() {
        tracing::debug!("event triggers cannot be kept quiet on the target");
    }
    let mut dropped = 0_usize;
    let mut failures: Vec<String> = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let statements = match list(client, &objects::drop_statements()).await {
            Ok(statements) => statements,
            Err(cause) => {
                return report.left(Side::Target, format!("what the schema brought: {cause}"));
            }
        };
        failures.clear();
        if statements.is_empty() {
            break;
        }
        let before = dropped;
        for statement in statements {
            match client
                .batch_execute(&statement)
                .await
                .map_err(SqlCause::from)
            {
                Ok(()) => dropped += 1,
                Err(cause) => failures.push(format!("{statement}: {cause}")),
            }
        }
        if dropped == before {
            break;
        }
    }
    if dropped > 0 {
        report.done(
            Side::Target,
            format!("dropped {dropped} objects of the restored schema"),
        );
    }
    for failure in failures {
        report.left(Side::Target, failure);
    }
}

/// Puts owners, privileges, comments and settings back, and drops the roles that we made.
pub(super) async fn undo(client: &Client, report: &mut CleanupReport) {
    for (what, query) in [
        ("owners", acl::RESTORE_OWNERS),
        ("default privileges", acl::RESTORE_DEFAULTS),
        ("privileges", acl::RESTORE_GRANTS),
    ] {
        match list(client, query).await {
            Ok(statements) => {
                for statement in statements {
                    note(report, &statement, client.batch_execute(&statement).await);
                }
            }
            // Before the first copy there is no such table, and nothing to put back.
            Err(cause) if cause.sqlstate() == Some("42P01") => return,
            Err(cause) => report.left(Side::Target, format!("{what} as they were: {cause}")),
        }
    }
    restore_comments(client, report).await;
    let query = "SELECT position, statement FROM pointsman.undo ORDER BY position DESC";
    let rows = match client.query(query, &[]).await {
        Ok(rows) => rows,
        Err(error) => {
            let cause = SqlCause::from(error);
            return report.left(Side::Target, format!("roles and settings of ours: {cause}"));
        }
    };
    for row in rows {
        let statement: String = row.get(1);
        let block = with_forgetting(&statement, row.get(0));
        let Err(error) = client.batch_execute(&block).await else {
            report.done(Side::Target, undo_words(&statement));
            continue;
        };
        let cause = SqlCause::from(error);
        if client.batch_execute("ROLLBACK").await.is_err() {
            return report.left(Side::Target, "roles of ours, since the connection broke");
        }
        // Undefined object, undefined role: an administrator was faster.
        if cause.sqlstate() != Some("42704") {
            report.left(Side::Target, format!("{}: {cause}", undo_words(&statement)));
        }
    }
}

/// Leaves the roles that we made ourselves a member of.
pub(super) async fn leave_roles(client: &Client, report: &mut CleanupReport) {
    let query = "SELECT g.role_name FROM pointsman.granted_role g
                 WHERE EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = g.role_name)";
    match list(client, query).await {
        Ok(roles) => {
            for role in roles {
                let statement = format!("REVOKE {} FROM SESSION_USER", quote_identifier(&role));
                note(report, &statement, client.batch_execute(&statement).await);
            }
        }
        // No schema of ours, or of an older version.
        Err(cause) if matches!(cause.sqlstate(), Some("42P01" | "3F000")) => {}
        Err(cause) => report.left(
            Side::Target,
            format!("roles that we are a member of: {cause}"),
        ),
    }
}

/// The statement up to a verifier.
fn undo_words(statement: &str) -> &str {
    statement
        .split_once(" PASSWORD ")
        .map_or(statement, |(words, _)| words)
}

async fn restore_comments(client: &Client, report: &mut CleanupReport) {
    let rows = match client.query(acl::RESTORE_COMMENTS, &[]).await {
        Ok(rows) => rows,
        Err(error) => {
            let cause = SqlCause::from(error);
            return report.left(Side::Target, format!("comments as they were: {cause}"));
        }
    };
    for row in rows {
        let schema = quote_identifier(row.get(0));
        let comment = comment_literal(row.get::<_, Option<&str>>(1));
        let statement = format!("COMMENT ON SCHEMA {schema} IS {comment}");
        note(report, &statement, client.batch_execute(&statement).await);
    }
}

fn note(report: &mut CleanupReport, statement: &str, result: Result<(), tokio_postgres::Error>) {
    match result.map_err(SqlCause::from) {
        Ok(()) => report.done(Side::Target, statement),
        Err(cause) => report.left(Side::Target, format!("{statement}: {cause}")),
    }
}

async fn list(client: &Client, query: &str) -> Result<Vec<String>, SqlCause> {
    let rows = client.query(query, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
