//! The target: empty, writable, and with the extensions and settings of the source.

use router::Side;
use tokio_postgres::Row;

use super::CheckOptions;
use super::replication::LEFTOVER;
use super::report::{Advice, Level, Report, listed};
use super::rule::Rule;
use super::server::Server;
use crate::name::quote_identifier;

pub(super) async fn target(
    target: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    writable(target, report).await?;
    if options.migration_id.is_none() {
        leftovers(target, report).await?;
        EMPTY.run(target, &[], report).await?;
    }
    origins(target, report).await?;
    way_back(target, report).await
}

async fn writable(target: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    if target
        .value("SELECT pg_catalog.pg_is_in_recovery()", &[])
        .await?
    {
        let advice = Advice {
            why: "nothing can be written to it",
            fix: "name a primary in the URL of the target",
        };
        report.fail(Side::Target, "the server is a standby", advice);
    }
    Ok(())
}

/// What an earlier migration left on the target.
async fn leftovers(target: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    let sql =
        "SELECT 'schema ' || nspname FROM pg_catalog.pg_namespace WHERE nspname = 'pointsman'";
    let mut left = target.names(sql, &[]).await?;
    let sql = "SELECT 'replication origin ' || roname FROM pg_catalog.pg_replication_origin
               WHERE roname LIKE 'pointsman\\_%'";
    left.extend(target.names(sql, &[]).await?);
    if !left.is_empty() {
        report.fail(
            Side::Target,
            &format!("an earlier migration left {}", listed(&left)),
            LEFTOVER,
        );
    }
    Ok(())
}

const EMPTY: Rule = Rule {
    since: 0,
    sql: "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                 pg_catalog.pg_namespace n
          WHERE {relations} AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
          UNION ALL
          SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p,
                 pg_catalog.pg_namespace n
          WHERE n.oid = p.pronamespace AND n.nspname !~ '^pg_'
            AND n.nspname NOT IN ('information_schema', 'pointsman')
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.deptype = 'e'
                AND e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = p.oid)
          UNION ALL
          SELECT 'schema ' || n.nspname FROM pg_catalog.pg_namespace n
          WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pointsman', 'public')
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.deptype = 'e'
                AND e.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND e.objid = n.oid)
          ORDER BY 1",
    level: Level::Fail,
    found: "the database is not empty: {}",
    why: "the source's schema and rows would meet what is there, and pointsman deletes nothing that \
          it did not make",
    fix: "use a new database (CREATE DATABASE ... TEMPLATE template0), or drop what is there",
    none: "the database is empty",
};

/// One place is needed for the progress of the stream.
async fn origins(target: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    let name = if target.major() < 18 {
        "max_replication_slots"
    } else {
        "max_active_replication_origins"
    };
    let max = target.number(name).await?.unwrap_or(0);
    if max >= 1 {
        return Ok(());
    }
    let fix = format!("ALTER SYSTEM SET {name} = 10; then restart the target");
    let why = "the progress of the stream is written with a replication origin, and this setting \
               bounds their number";
    report.fail(
        Side::Target,
        &format!("{name} is {max}"),
        Advice { why, fix: &fix },
    );
    Ok(())
}

/// What a rollback after the switch needs of the target.
async fn way_back(target: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    let level = target.setting("wal_level").await?.unwrap_or_default();
    if level == "logical" {
        report.ok(
            Side::Target,
            "wal_level is logical, so a way back can be kept",
        );
        return way_back_slot(target, report).await;
    }
    let advice = Advice {
        why: "after the switch the changes made on the target could not be streamed back, so \
              `rollback` would not be possible",
        fix: "ALTER SYSTEM SET wal_level = 'logical'; then restart the target, before the start",
    };
    report.warn(Side::Target, &format!("wal_level is {level}"), advice);
    Ok(())
}

/// While the target serves a slot there feeds the source.
async fn way_back_slot(target: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    let why = "after the switch a slot on the target keeps the way back; without it `rollback` would \
               not be possible";
    let max = target.number("max_replication_slots").await?.unwrap_or(0);
    let sql = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots
               WHERE slot_name NOT LIKE 'pointsman\\_%'";
    let used: i64 = target.value(sql, &[]).await?;
    if used >= max {
        let fix = format!(
            "ALTER SYSTEM SET max_replication_slots = {}; then restart the target, before the start",
            used + 2
        );
        let what = format!("none of {max} replication slots is free");
        report.warn(Side::Target, &what, Advice { why, fix: &fix });
    }
    let sql = "SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles
               WHERE rolname = session_user";
    if !target.value::<bool>(sql, &[]).await? {
        let role = quote_identifier(&target.role);
        let fix = format!("ALTER ROLE {role} REPLICATION on the target");
        let what = format!("role {role} may not replicate");
        report.warn(Side::Target, &what, Advice { why, fix: &fix });
    }
    Ok(())
}

/// What a rollback after the switch needs of the source: changes are applied there.
pub(super) async fn way_back_on_source(
    source: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let role = quote_identifier(&source.role);
    let may = match source.major() {
        ..15 => source.superuser,
        15.. => {
            let sql =
                "SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')";
            source.value(sql, &[]).await?
        }
    };
    if !may {
        let fix = match source.major() {
            ..15 => {
                format!("ALTER ROLE {role} SUPERUSER on the source until the migration is done")
            }
            15.. => format!("GRANT SET ON PARAMETER session_replication_role TO {role}"),
        };
        let what = format!("role {role} may not set session_replication_role");
        let why = "after the switch changes are applied to the source without its triggers, or \
                   `rollback` would not be possible";
        report.warn(Side::Source, &what, Advice { why, fix: &fix });
    }
    NOT_WRITABLE.run(source, &[], report).await
}

const NOT_WRITABLE: Rule = Rule {
    since: 0,
    sql: "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                 pg_catalog.pg_namespace n
          WHERE {relations} AND c.relkind IN ('r', 'p')
            AND NOT (pg_catalog.has_table_privilege(c.oid, 'INSERT')
                     AND pg_catalog.has_table_privilege(c.oid, 'UPDATE')
                     AND pg_catalog.has_table_privilege(c.oid, 'DELETE')
                     AND pg_catalog.has_table_privilege(c.oid, 'TRUNCATE'))
          ORDER BY 1",
    level: Level::Warn,
    found: "the role of pointsman may not change rows of {}",
    why: "after the switch changes are applied to the source, or `rollback` would not be possible",
    fix: "GRANT INSERT, UPDATE, DELETE, TRUNCATE ON {} to it, or make it a member of the owner",
    none: "",
};

/// The extensions of the source, against those that the target offers.
pub(super) async fn extensions(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT extname::text, extversion FROM pg_catalog.pg_extension ORDER BY 1";
    let rows = source.conn.query(sql, &[]).await?;
    let pair = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
    let on_source: Vec<(String, String)> = rows
        .iter()
        .map(pair)
        .collect::<Result<_, tokio_postgres::Error>>()?;
    let sql = "SELECT name::text, default_version FROM pg_catalog.pg_available_extensions";
    let rows = target.conn.query(sql, &[]).await?;
    let offered: std::collections::HashMap<String, Option<String>> = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<_, tokio_postgres::Error>>()?;
    let (mut missing, mut other) = (Vec::new(), Vec::new());
    for (name, version) in &on_source {
        match offered.get(name) {
            None => missing.push(format!("{name} {version}")),
            Some(Some(there)) if there != version => {
                other.push(format!("{name} {version} (there: {there})"));
            }
            Some(_) => {}
        }
    }
    report_extensions(on_source.len(), &missing, &other, report);
    Ok(())
}

fn report_extensions(count: usize, missing: &[String], other: &[String], report: &mut Report) {
    if !missing.is_empty() {
        let advice = Advice {
            why: "the schema cannot be restored without them",
            fix: "install the packages of these extensions on the target's machine (managed \
                  servers: allow them), or DROP EXTENSION on the source if nothing needs it",
        };
        let what = format!("extensions are not available: {}", listed(missing));
        report.fail(Side::Target, &what, advice);
    }
    if !other.is_empty() {
        let advice = Advice {
            why: "CREATE EXTENSION takes the target's default version, whose functions and types \
                  may differ",
            fix: "read the extension's release notes; if it must be equal, install that version, \
                  or ALTER EXTENSION ... UPDATE on the source first",
        };
        let what = format!("extensions have another version: {}", listed(other));
        report.warn(Side::Target, &what, advice);
    }
    if missing.is_empty() && other.is_empty() {
        report.ok(
            Side::Target,
            &format!("all {count} extensions are available"),
        );
    }
}

/// Settings that applications notice.
const NOTICED: [&str; 19] = [
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "array_nulls",
    "bytea_output",
    "default_table_access_method",
    "default_text_search_config",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "xmloption",
];

/// Settings of which the target should have as much as the source.
const AS_MUCH: [&str; 3] = [
    "max_connections",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];

pub(super) async fn settings(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT name, reset_val FROM pg_catalog.pg_settings
               WHERE name = ANY ($1) OR name = ANY ($2) ORDER BY name";
    let mut values = Vec::new();
    for server in [source, target] {
        let rows = server
            .conn
            .query(sql, &[&NOTICED.as_slice(), &AS_MUCH.as_slice()])
            .await?;
        let read = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
        let map: std::collections::BTreeMap<String, String> = rows
            .iter()
            .map(read)
            .collect::<Result<_, tokio_postgres::Error>>()?;
        values.push(map);
    }
    let [on_source, on_target] = values.as_slice() else {
        return Ok(());
    };
    let (mut differ, mut less) = (Vec::new(), Vec::new());
    for (name, value) in on_source {
        let Some(there) = on_target.get(name) else {
            continue;
        };
        let text = format!("{name} = {value:?} (there: {there:?})");
        let is_number = AS_MUCH.contains(&name.as_str());
        match (value.parse::<i64>(), there.parse::<i64>()) {
            (Ok(value), Ok(there)) if is_number && there < value => less.push(text),
            _ if !is_number && value != there => differ.push(text),
            _ => {}
        }
    }
    if !less.is_empty() {
        let advice = Advice {
            why: "every session of the proxy has a connection to the target as well before the \
                  switch; sessions that do not get one cannot be moved",
            fix: "ALTER SYSTEM SET them on the target to at least the source's value; then restart \
                  the target",
        };
        report.warn(
            Side::Target,
            &format!("less than the source has: {}", listed(&less)),
            advice,
        );
    }
    if differ.is_empty() {
        report.ok(
            Side::Target,
            "the settings that applications notice are those of the source",
        );
        return Ok(());
    }
    let advice = Advice {
        why: "new sessions would behave otherwise after the switch",
        fix: "ALTER SYSTEM SET them on the target to the source's values; SELECT pg_reload_conf()",
    };
    let what = format!(
        "settings that applications notice differ: {}",
        listed(&differ)
    );
    report.warn(Side::Target, &what, advice);
    Ok(())
}
