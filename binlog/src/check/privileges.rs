//! The privileges of pointsman's accounts, each with the statement that grants it.

use super::report::{Advice, Level, Report};
use super::server::Server;
use crate::schema::catalog::Scope;
use crate::version::ServerVersion;

/// One privilege.
struct Need {
    /// Its name in GRANT.
    name: &'static str,
    /// Its names in SHOW GRANTS, and others that contain it.
    names: &'static [&'static str],
    /// The versions that have it and need it.
    applies: fn(ServerVersion) -> bool,
    level: Level,
    why: &'static str,
}

const fn need(
    name: &'static str,
    names: &'static [&'static str],
    applies: fn(ServerVersion) -> bool,
    why: &'static str,
) -> Need {
    Need {
        name,
        names,
        applies,
        level: Level::Fail,
        why,
    }
}

fn any(_: ServerVersion) -> bool {
    true
}

fn mysql(version: ServerVersion) -> bool {
    version.is_mysql()
}

fn mysql_8(version: ServerVersion) -> bool {
    version.is_mysql_at_least(8, 0, 11)
}

fn mysql_8_2(version: ServerVersion) -> bool {
    version.is_mysql_at_least(8, 2, 0)
}

fn mysql_5(version: ServerVersion) -> bool {
    version.is_mysql() && !mysql_8(version)
}

fn mariadb(version: ServerVersion) -> bool {
    version.is_mariadb()
}

fn routine_shown(version: ServerVersion) -> bool {
    version.is_mysql_at_least(8, 0, 20)
}

/// On the source, on all databases. What its snapshot needs is looked at by itself.
const SOURCE: &[Need] = &[
    need(
        "SELECT",
        &["SELECT"],
        any,
        "rows, accounts and definitions are read",
    ),
    need("SHOW VIEW", &["SHOW VIEW"], any, "views are copied"),
    need("TRIGGER", &["TRIGGER"], any, "triggers are copied"),
    need("EVENT", &["EVENT"], any, "events are copied"),
    need(
        "SHOW_ROUTINE",
        &["SHOW_ROUTINE"],
        routine_shown,
        "routines are copied",
    ),
    need(
        "PROCESS",
        &["PROCESS"],
        any,
        "sessions and transactions must be seen at the cutover",
    ),
    need(
        "REPLICATION SLAVE",
        &["REPLICATION SLAVE", "REPLICATION REPLICA"],
        any,
        "the binary log is read as a replica does",
    ),
    need(
        "REPLICATION CLIENT",
        &["REPLICATION CLIENT", "SUPER"],
        mysql,
        "the end of the log is asked for",
    ),
    need(
        "BINLOG MONITOR",
        &["BINLOG MONITOR", "REPLICATION CLIENT"],
        mariadb,
        "the end of the log is asked for",
    ),
    need(
        "SLAVE MONITOR",
        &["SLAVE MONITOR", "REPLICA MONITOR"],
        mariadb,
        "replication into the source refuses the cutover",
    ),
    need(
        "SYSTEM_VARIABLES_ADMIN",
        &["SYSTEM_VARIABLES_ADMIN", "SUPER"],
        mysql_8,
        "the fence is a setting, and the marker behind it a GTID",
    ),
    need(
        "CONNECTION_ADMIN",
        &["CONNECTION_ADMIN", "SUPER"],
        mysql_8,
        "sessions are ended behind the fence",
    ),
    need(
        "XA_RECOVER_ADMIN",
        &["XA_RECOVER_ADMIN"],
        mysql_8,
        "prepared transactions refuse the cutover",
    ),
    need(
        "SUPER",
        &["SUPER"],
        mysql_5,
        "the fence is a setting, and sessions are ended behind it",
    ),
    need(
        "READ ONLY ADMIN",
        &["READ_ONLY ADMIN", "READ ONLY ADMIN"],
        mariadb,
        "the fence is read_only, and the marker is written behind it",
    ),
    need(
        "CONNECTION ADMIN",
        &["CONNECTION ADMIN"],
        mariadb,
        "sessions are ended behind the fence",
    ),
    Need {
        level: Level::Warn,
        ..need(
            "BINLOG ADMIN",
            &["BINLOG ADMIN"],
            mariadb,
            "without it the fence is proven by its setting alone",
        )
    },
    Need {
        level: Level::Warn,
        ..need(
            "SET USER",
            &["SET USER"],
            mariadb,
            "without it the fence is proven by its setting alone",
        )
    },
];

/// On the target, on all databases.
const TARGET: &[Need] = &[
    need("CREATE USER", &["CREATE USER"], any, "accounts are copied"),
    need(
        "SELECT",
        &["SELECT"],
        any,
        "accounts and settings are read, rows are compared",
    ),
    need("RELOAD", &["RELOAD"], any, "commits are made durable"),
    need(
        "PROCESS",
        &["PROCESS"],
        any,
        "sessions must be seen at the cutover",
    ),
    need(
        "REPLICATION CLIENT",
        &["REPLICATION CLIENT", "SUPER"],
        mysql,
        "its log is looked at",
    ),
    need(
        "BINLOG MONITOR",
        &["BINLOG MONITOR", "REPLICATION CLIENT"],
        mariadb,
        "its log is looked at",
    ),
    need(
        "SET_ANY_DEFINER",
        &["SET_ANY_DEFINER", "SET_USER_ID", "SUPER"],
        mysql_8,
        "views, routines, triggers and events keep their definers (before 8.2: SET_USER_ID)",
    ),
    Need {
        level: Level::Warn,
        ..need(
            "ALLOW_NONEXISTENT_DEFINER",
            &["ALLOW_NONEXISTENT_DEFINER", "SET_USER_ID", "SUPER"],
            mysql_8_2,
            "without it objects whose definer has no account on the source cannot be made",
        )
    },
    Need {
        level: Level::Warn,
        ..need(
            "ROLE_ADMIN",
            &["ROLE_ADMIN", "SUPER"],
            mysql_8,
            "without it accounts do not get the roles that they have on the source",
        )
    },
    need(
        "SYSTEM_VARIABLES_ADMIN",
        &["SYSTEM_VARIABLES_ADMIN", "SUPER"],
        mysql_8,
        "settings of the session that only it may set",
    ),
    need(
        "SUPER",
        &["SUPER"],
        mysql_5,
        "changes are applied, and definers are kept",
    ),
    need(
        "SET USER",
        &["SET USER", "SUPER"],
        mariadb,
        "views and programs keep their definers",
    ),
    Need {
        level: Level::Warn,
        ..need(
            "GRANT OPTION",
            &["GRANT OPTION"],
            any,
            "accounts are copied with grants that pointsman must have itself to hand them on",
        )
    },
    Need {
        level: Level::Warn,
        ..BINLOG_MYSQL
    },
    Need {
        level: Level::Warn,
        ..BINLOG_MARIADB
    },
];

const BINLOG_MYSQL: Need = need(
    "REPLICATION_APPLIER",
    &["REPLICATION_APPLIER", "SUPER"],
    mysql_8,
    "without it changes are applied as SQL, more slowly, and triggers on the target would fire",
);

const BINLOG_MARIADB: Need = need(
    "BINLOG REPLAY",
    &["BINLOG REPLAY"],
    mariadb,
    "without it changes are applied as SQL, more slowly, and triggers on the target would fire",
);

/// On the target, on the databases that are moved.
const MOVED: [&str; 16] = [
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "ALTER",
    "INDEX",
    "REFERENCES",
    "LOCK TABLES",
    "CREATE VIEW",
    "SHOW VIEW",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "TRIGGER",
    "EVENT",
    "EXECUTE",
];

/// On both, on the tables of pointsman.
const OURS: [&str; 8] = [
    "SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP", "ALTER", "INDEX",
];

pub(super) fn source(source: &Server, report: &mut Report) {
    let mut lacks = global(source, SOURCE, report);
    if source.is_on("event_scheduler") && source.version.is_mariadb() {
        let super_alone = need(
            "SUPER",
            &["SUPER"],
            mariadb,
            "the event scheduler runs, and is \
                               switched off behind the fence",
        );
        lacks += global(source, &[super_alone], report);
    }
    lacks += on_database(source, &OURS, "pointsman", report);
    said(source, lacks, report);
}

pub(super) fn target(target: &Server, scope: &Scope, report: &mut Report) {
    let mut lacks = global(target, TARGET, report);
    lacks += on_database(target, &OURS, "pointsman", report);
    lacks += match scope {
        Scope::Database(name) => on_database(target, &MOVED, name, report),
        Scope::All => {
            let missing: Vec<&str> = MOVED
                .into_iter()
                .filter(|name| !target.grants.has(&[name]))
                .collect();
            missing_on(target, &missing, "*", report)
        }
    };
    said(target, lacks, report);
}

/// Whether the target takes `BINLOG` statements from us.
pub(super) fn may_binlog(target: &Server) -> bool {
    match target.version {
        version if mysql_8(version) => target.grants.has(BINLOG_MYSQL.names),
        version if version.is_mysql() => target.grants.has(&["SUPER"]),
        version if version.is_mariadb_at_least(11, 0, 0) => target.grants.has(BINLOG_MARIADB.names),
        _older => target.grants.has(&["BINLOG REPLAY", "SUPER"]),
    }
}

fn said(server: &Server, lacks: usize, report: &mut Report) {
    if lacks == 0 {
        let what = format!("{} has the privileges it needs", server.account);
        report.ok(server.side, &what);
    }
}

fn global(server: &Server, needs: &[Need], report: &mut Report) -> usize {
    let missing = needs
        .iter()
        .filter(|need| (need.applies)(server.version) && !server.grants.has(need.names));
    let mut count = 0;
    for need in missing {
        count += 1;
        let what = format!("{} lacks {}", server.account, need.name);
        let fix = format!("GRANT {} ON *.* TO {}", need.name, server.account);
        let advice = Advice {
            why: need.why,
            fix: &fix,
        };
        report.add(need.level, server.side, &what, advice);
    }
    count
}

fn on_database(server: &Server, names: &[&str], database: &str, report: &mut Report) -> usize {
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !server.grants.has_on(&[name], database))
        .collect();
    let quoted = crate::wire::quote::ident(database);
    missing_on(server, &missing, &quoted, report)
}

fn missing_on(server: &Server, missing: &[&str], place: &str, report: &mut Report) -> usize {
    if missing.is_empty() {
        return 0;
    }
    let list = missing.join(", ");
    let what = format!("{} lacks {list} on {place}.*", server.account);
    let fix = format!("GRANT {list} ON {place}.* TO {}", server.account);
    let why = match place {
        "`pointsman`" => "pointsman keeps there what it needs to resume",
        _ => "the schema is made there and changes are applied",
    };
    report.fail(server.side, &what, Advice { why, fix: &fix });
    missing.len()
}
