//! The target: empty, writable, and with a place for the source's accounts.

use router::Side;

use super::CheckOptions;
use super::report::{Advice, Report, listed};
use super::server::Server;
use crate::movement::error::Failed;
use crate::schema::catalog::Scope;

pub(super) async fn target(
    target: &Server,
    scope: &Scope,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), Failed> {
    writable(target, report);
    way_back(target, report);
    local_infile(target, report);
    if options.migration_id.is_none() {
        empty(target, scope, report).await?;
    }
    Ok(())
}

fn writable(target: &Server, report: &mut Report) {
    let closed = ["read_only", "super_read_only"]
        .into_iter()
        .filter(|name| {
            target
                .variable(name)
                .is_some_and(|value| !matches!(value, "OFF" | "0"))
        })
        .collect::<Vec<_>>();
    if !closed.is_empty() {
        let advice = Advice {
            why: "nothing can be written to it, or applications could not write after the switch",
            fix: "SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF, and in its option \
                  file; if it is a replica, name a server that is none",
        };
        report.fail(
            Side::Target,
            &format!("{} is on", closed.join(" and ")),
            advice,
        );
    }
    if target
        .variable("innodb_force_recovery")
        .is_some_and(|value| value != "0")
    {
        let advice = Advice {
            why: "the storage engine takes no writes",
            fix: "start the target without innodb_force_recovery",
        };
        report.fail(Side::Target, "innodb_force_recovery is set", advice);
    }
}

/// What a rollback after the switch needs of the target.
fn way_back(target: &Server, report: &mut Report) {
    let is_row = target
        .variable("binlog_format")
        .is_none_or(|format| format == "ROW");
    if target.is_on("log_bin") && is_row {
        let what = "it logs rows, so a way back can be kept";
        report.ok(Side::Target, what);
        return;
    }
    let advice = Advice {
        why: "after the switch the changes made on the target could not be streamed back, so \
              `rollback` would not be possible",
        fix: "start the target with log_bin, a server_id of its own and binlog_format=ROW",
    };
    report.warn(Side::Target, "it has no binary log of rows", advice);
}

fn local_infile(target: &Server, report: &mut Report) {
    if target.is_on("local_infile") {
        return;
    }
    let advice = Advice {
        why: "rows are copied by INSERT instead of LOAD DATA, which is slower",
        fix: "SET GLOBAL local_infile = ON on the target for the time of the copy",
    };
    report.warn(Side::Target, "local_infile is off", advice);
}

async fn empty(target: &Server, scope: &Scope, report: &mut Report) -> Result<(), Failed> {
    let databases = target
        .names("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY 1")
        .await?;
    if databases.iter().any(|name| name == "pointsman") {
        let advice = Advice {
            why: "its tables say how far another migration is",
            fix: "run `pointsman abort` (or `finish` after a switch) with the configuration of that \
                  migration; if its proxy is gone for good, DROP DATABASE pointsman on both servers",
        };
        report.fail(
            Side::Target,
            "an earlier migration left database pointsman",
            advice,
        );
    }
    let filled = target
        .names(
            "SELECT DISTINCT TABLE_SCHEMA FROM information_schema.TABLES
             UNION SELECT DISTINCT ROUTINE_SCHEMA FROM information_schema.ROUTINES
             UNION SELECT DISTINCT EVENT_SCHEMA FROM information_schema.EVENTS ORDER BY 1",
        )
        .await?;
    let filled: Vec<String> = filled
        .into_iter()
        .filter(|name| scope.holds(name))
        .collect();
    if filled.is_empty() {
        report.ok(Side::Target, "nothing is where the databases will be");
        return Ok(());
    }
    let advice = Advice {
        why: "the source's tables and rows would meet what is there, and pointsman deletes nothing \
              that it did not make",
        fix: "use a new server, or drop these databases there",
    };
    let what = format!("databases are not empty: {}", listed(&filled));
    report.fail(Side::Target, &what, advice);
    Ok(())
}

/// An account of applications.
pub(super) struct Account {
    user: String,
    host: String,
    /// How it logs in.
    plugin: String,
    password: Password,
}

/// Whether an account has a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Password {
    Set,
    /// None is asked for, which every server can do.
    Empty,
}

/// Methods that ask for a password; other ones need none and may still be missing.
const BY_PASSWORD: [&str; 3] = [
    "mysql_native_password",
    "caching_sha2_password",
    "sha256_password",
];

/// The source's accounts, without those that servers make for themselves.
pub(super) async fn accounts_of(source: &Server) -> Result<Vec<Account>, Failed> {
    let is_new = source.version.is_mysql_at_least(5, 7, 6);
    let verifier = match is_new {
        true => "COALESCE(authentication_string, '')",
        false => "CONCAT(COALESCE(Password, ''), COALESCE(authentication_string, ''))",
    };
    let rows = source
        .rows(&format!(
            "SELECT User, Host, plugin, {verifier} = '' FROM mysql.user
             WHERE User NOT IN ('', 'root', 'mysql', 'mariadb.sys', 'mysql.sys', 'mysql.session',
                                'mysql.infoschema', 'debian-sys-maint', 'PUBLIC') AND Host <> ''
             ORDER BY 1, 2"
        ))
        .await
        .map_err(Failed::sql("reading the accounts"))?;
    let account = |row: &crate::wire::TextRow| {
        let (user, host) = (row.text(0).unwrap_or_default(), row.text(1).unwrap_or("%"));
        let plugin = match row.text(2) {
            None | Some("") => "mysql_native_password",
            Some(plugin) => plugin,
        };
        let is_empty = row.text(3) == Some("1") && BY_PASSWORD.contains(&plugin);
        Account {
            user: user.to_owned(),
            host: host.to_owned(),
            plugin: plugin.to_owned(),
            password: match is_empty {
                true => Password::Empty,
                false => Password::Set,
            },
        }
    };
    Ok(rows.iter().map(account).collect())
}

/// Accounts whose way to log in the target does not have.
pub(super) async fn accounts(
    accounts: &[Account],
    target: &Server,
    report: &mut Report,
) -> Result<(), Failed> {
    let plugins = target
        .names("SELECT PLUGIN_NAME FROM information_schema.PLUGINS WHERE PLUGIN_STATUS = 'ACTIVE'")
        .await?;
    let ready = may_log_in(target).await?;
    let lost: Vec<String> = accounts
        .iter()
        .filter(|account| account.password == Password::Set)
        .filter(|account| !plugins.contains(&account.plugin))
        .filter(|account| !ready.contains(&format!("{}@{}", account.user, account.host)))
        .map(|account| format!("{}@{} ({})", account.user, account.host, account.plugin))
        .collect();
    if lost.is_empty() {
        report.ok(
            Side::Target,
            "it has every way to log in that the accounts use",
        );
        return Ok(());
    }
    let method = match target.version.is_mariadb() {
        true => "VIA mysql_native_password USING PASSWORD('...')",
        false => "WITH caching_sha2_password BY '...'",
    };
    let fix = format!(
        "CREATE USER ... IDENTIFIED {method} on the target before `pointsman start`, with the \
         passwords that the applications use: their grants are carried. What is not made by then is \
         made locked; ALTER USER ... IDENTIFIED {method} ACCOUNT UNLOCK opens it"
    );
    let why = "the target does not know how these accounts log in, and a verifier of one method \
               cannot be turned into one of another, so they could not after the switch";
    // All of them: each is one application that would stand outside.
    let what = format!("accounts would not be able to log in: {}", lost.join(", "));
    report.warn(Side::Target, &what, Advice { why, fix: &fix });
    Ok(())
}

/// The accounts that stand on the target already and are not locked, as `user@host`.
async fn may_log_in(target: &Server) -> Result<Vec<String>, Failed> {
    let open = if target.version.is_mariadb() {
        "mysql.global_priv WHERE COALESCE(JSON_VALUE(Priv, '$.account_locked'), 'false')
             NOT IN ('1', 'true')"
    } else if target.version.is_mysql_at_least(5, 7, 6) {
        "mysql.user WHERE account_locked = 'N'"
    } else {
        "mysql.user"
    };
    target
        .names(&format!("SELECT CONCAT(User, '@', Host) FROM {open}"))
        .await
}
