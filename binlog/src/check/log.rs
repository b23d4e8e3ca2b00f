//! The source's binary log: everything that is streamed comes from it.

use router::Side;

use super::report::{Advice, Report};
use super::server::Server;
use crate::movement::error::Failed;
use crate::schema::catalog::Scope;

/// Logs that go sooner than this are gone before a copy of any size is done.
const KEPT_SECONDS_MIN: u64 = 86_400;

pub(super) async fn source(
    source: &Server,
    scope: &Scope,
    report: &mut Report,
) -> Result<(), Failed> {
    if !source.is_on("log_bin") {
        let advice = Advice {
            why: "changes are read from the binary log, and there is none",
            fix: "start the source with log_bin and a server_id of its own in its option file",
        };
        report.fail(Side::Source, "log_bin is off", advice);
        return Ok(());
    }
    format(source, report);
    kept(source, report);
    gtids(source, report);
    replica(source, report).await;
    filters(source, scope, report).await
}

fn format(source: &Server, report: &mut Report) {
    match source.variable("binlog_format") {
        None | Some("ROW") => report.ok(Side::Source, "the binary log has rows"),
        Some(other) => {
            let advice = Advice {
                why: "statements cannot be applied faithfully; the first that changes a moved \
                      table stops the migration",
                fix: "SET GLOBAL binlog_format = 'ROW' (and in the option file), then let every \
                      application connect anew: open sessions keep what they had",
            };
            report.fail(Side::Source, &format!("binlog_format is {other}"), advice);
        }
    }
    if source.number("server_id") == Some(0) {
        let advice = Advice {
            why: "a server without an id sends its log to nobody",
            fix: "SET GLOBAL server_id = a number of its own, and in the option file",
        };
        report.fail(Side::Source, "server_id is 0", advice);
    }
    if source
        .variable("binlog_storage_engine")
        .is_some_and(|engine| !engine.is_empty())
    {
        let advice = Advice {
            why: "pointsman was never tried with a log inside a storage engine",
            fix: "start the source without binlog_storage_engine",
        };
        report.fail(Side::Source, "binlog_storage_engine is set", advice);
    }
    if let Some(image @ ("MINIMAL" | "NOBLOB")) = source.variable("binlog_row_image") {
        let what = format!("binlog_row_image is {image}: changes are applied column by column");
        report.ok(Side::Source, &what);
        if source.variable("binlog_row_value_options") == Some("PARTIAL_JSON") {
            let advice = Advice {
                why: "a document that is changed in part is logged without the rest of it, and \
                      nothing can be made of that alone: the stream would stop",
                fix: "SET GLOBAL binlog_row_image = 'FULL' or SET GLOBAL \
                      binlog_row_value_options = '' for the time of the migration, then let every \
                      application connect anew: open sessions keep what they had",
            };
            let what = format!("binlog_row_value_options is PARTIAL_JSON with {image} row images");
            report.fail(Side::Source, &what, advice);
        }
    }
}

fn kept(source: &Server, report: &mut Report) {
    let seconds = source.number("binlog_expire_logs_seconds").unwrap_or(0);
    let days = source
        .variable("expire_logs_days")
        .and_then(|days| days.parse::<f64>().ok())
        .unwrap_or(0.0);
    let is_short = match seconds {
        0 => days > 0.0 && days < 1.0,
        seconds => seconds < KEPT_SECONDS_MIN,
    };
    if is_short {
        let advice = Advice {
            why: "log that is purged before it was read ends the migration: the copy begins again",
            fix: "SET GLOBAL binlog_expire_logs_seconds = 604800 (before MySQL 8.0: \
                  expire_logs_days = 7) for the time of the migration",
        };
        report.warn(
            Side::Source,
            "the binary log is kept for less than a day",
            advice,
        );
    }
}

fn gtids(source: &Server, report: &mut Report) {
    let Some(mode) = source.variable("gtid_mode") else {
        return;
    };
    if matches!(mode, "ON" | "ON_PERMISSIVE") {
        report.ok(Side::Source, "the stream resumes by GTID");
    } else {
        report.ok(
            Side::Source,
            &format!("gtid_mode is {mode}: the stream resumes by file and offset"),
        );
    }
}

/// A replica writes to its log what it applies only if it is told to.
async fn replica(source: &Server, report: &mut Report) {
    let logs = source.is_on("log_slave_updates") || source.is_on("log_replica_updates");
    let sql = if source.version.is_mariadb() {
        "SHOW ALL SLAVES STATUS"
    } else if source.version.is_mysql_at_least(8, 0, 22) {
        "SHOW REPLICA STATUS"
    } else {
        "SHOW SLAVE STATUS"
    };
    // Without the privilege, which is a finding of its own, nothing is said here.
    let Ok(rows) = source.rows(sql).await else {
        return;
    };
    if rows.is_empty() {
        return;
    }
    if !logs {
        let advice = Advice {
            why: "what it gets by replication is not in its own log, so it would never reach the \
                  target",
            fix: "start the source with log_replica_updates (before MySQL 8.0.26 and on MariaDB: \
                  log_slave_updates), or move from its own source",
        };
        let what = "the server is a replica and does not log what it applies";
        report.fail(Side::Source, what, advice);
    }
    let running = rows.iter().any(|row| {
        ["Replica_SQL_Running", "Slave_SQL_Running"]
            .iter()
            .any(|name| row.named(name).is_some_and(|value| value != "No"))
    });
    if running {
        let advice = Advice {
            why: "replication passes every fence, so the cutover refuses while it runs",
            fix: "STOP REPLICA (STOP SLAVE before MySQL 8.0.22 and on MariaDB) right before the \
                  cutover",
        };
        report.warn(Side::Source, "replication writes into the server", advice);
    }
}

/// Filters of the log hide changes of whole databases.
async fn filters(source: &Server, scope: &Scope, report: &mut Report) -> Result<(), Failed> {
    let sql = match source.version.is_mysql_at_least(8, 2, 0) {
        true => "SHOW BINARY LOG STATUS",
        false => "SHOW MASTER STATUS",
    };
    let rows = source
        .rows(sql)
        .await
        .map_err(Failed::sql("asking for the log's filters"))?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    let list = |name: &str| -> Vec<String> {
        let text = row.named(name).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (logged, ignored) = (list("Binlog_Do_DB"), list("Binlog_Ignore_DB"));
    let hidden = match scope {
        Scope::All => !logged.is_empty() || !ignored.is_empty(),
        Scope::Database(name) => {
            (!logged.is_empty() && !logged.contains(name)) || ignored.contains(name)
        }
    };
    let ours = (!logged.is_empty() && !logged.iter().any(|name| name == "pointsman"))
        || ignored.iter().any(|name| name == "pointsman");
    if hidden || ours {
        let advice = Advice {
            why: "changes of databases that the log leaves out would be lost in silence",
            fix: "start the source without binlog_do_db and binlog_ignore_db",
        };
        let what = "binlog_do_db or binlog_ignore_db leave databases out of the log";
        report.fail(Side::Source, what, advice);
    }
    Ok(())
}
