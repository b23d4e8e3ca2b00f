//! How the copy's snapshot will be taken, by what the source grants.

use router::Side;

use super::report::{Advice, Level, Report};
use super::server::Server;
use crate::schema::catalog::Scope;

/// The best way that is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// MariaDB's snapshots tell where they stand; on a busy server the global lock is taken, so
    /// that several can read one table.
    LockFreeOrGlobal,
    /// MariaDB's snapshots alone.
    LockFree,
    /// `FLUSH TABLES WITH READ LOCK`.
    Global,
    /// `LOCK TABLES .. READ`.
    Tables,
    /// None.
    None,
}

fn way(source: &Server, scope: &Scope) -> Way {
    let has_reload = source.grants.has(&["RELOAD"]);
    let lock_tables = ["LOCK TABLES"];
    let has_lock_tables = match scope {
        Scope::Database(name) => source.grants.has_on(&lock_tables, name),
        Scope::All => source.grants.has(&lock_tables),
    };
    match (source.version.is_mariadb(), has_reload) {
        (true, true) => Way::LockFreeOrGlobal,
        (true, false) => Way::LockFree,
        (false, true) => Way::Global,
        (false, false) if has_lock_tables => Way::Tables,
        (false, false) => Way::None,
    }
}

/// Why RELOAD is needed on this source whatever the snapshot needs.
fn needs_reload(source: &Server) -> Option<&'static str> {
    let has_gtids = matches!(source.variable("gtid_mode"), Some("ON" | "ON_PERMISSIVE"));
    let is_durable = source.number("innodb_flush_log_at_trx_commit") == Some(1)
        && source.number("sync_binlog") == Some(1);
    if source.version.is_mysql() && !has_gtids {
        Some("the end of the log is marked by FLUSH BINARY LOGS, since there are no GTIDs")
    } else if is_durable {
        None
    } else {
        Some(
            "commits do not wait for the disk there, so what is written down of the fence is \
             flushed by FLUSH ENGINE LOGS",
        )
    }
}

/// Says which way it will be, and what that means for who writes.
pub(super) fn source(source: &Server, scope: &Scope, report: &mut Report) {
    let account = &source.account;
    let fix = format!("GRANT RELOAD ON *.* TO {account}");
    let mut add = |level, what: &str, why| {
        report.add(level, Side::Source, what, Advice { why, fix: &fix });
    };
    let lacks = format!("{account} lacks RELOAD");
    let needs = needs_reload(source);
    match (way(source, scope), needs) {
        (Way::LockFree | Way::Tables, Some(why)) => add(Level::Fail, &lacks, why),
        (Way::LockFree, None) => add(
            Level::Warn,
            &format!("{lacks}: the snapshot is taken without any lock"),
            "nobody waits, but on a busy server a large table is then read by one connection only",
        ),
        (Way::Tables, None) => add(
            Level::Warn,
            &format!(
                "{lacks}: the snapshot is taken under LOCK TABLES .. READ on all moved tables"
            ),
            "their writers wait for some milliseconds, more with thousands of tables, and it is \
             tried again while a transaction stands in its way",
        ),
        (Way::None, _) => add(
            Level::Fail,
            &format!("{account} lacks RELOAD, and LOCK TABLES on what is moved"),
            "there is no way to take a snapshot of which the position in the log is known",
        ),
        (Way::LockFreeOrGlobal, _) => report.ok(
            Side::Source,
            "the snapshot is taken without a lock, or on a busy server under FLUSH TABLES WITH \
             READ LOCK, which writers wait for for some milliseconds",
        ),
        (Way::Global, _) => report.ok(
            Side::Source,
            "the snapshot is taken under FLUSH TABLES WITH READ LOCK, which writers wait for for \
             some milliseconds",
        ),
    }
    definitions(source, report);
}

/// Whether definition statements will wait for the copy.
fn definitions(source: &Server, report: &mut Report) {
    if !source.version.is_mysql_at_least(8, 0, 0) {
        return;
    }
    if source.grants.has(&["BACKUP_ADMIN"]) {
        report.ok(
            Side::Source,
            "definition statements wait while rows are copied (LOCK INSTANCE FOR BACKUP)",
        );
        return;
    }
    let account = &source.account;
    let advice = Advice {
        why: "a table that is altered meanwhile is copied again, and what cannot be told apart \
              stops the copy",
        fix: &format!("GRANT BACKUP_ADMIN ON *.* TO {account}"),
    };
    let what = format!(
        "{account} lacks BACKUP_ADMIN: definition statements do not wait while rows are copied"
    );
    report.warn(Side::Source, &what, advice);
}
