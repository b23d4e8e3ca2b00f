//! The settings of the source that logical replication needs, and what is left of others.

use router::Side;

use super::CheckOptions;
use super::report::{Advice, Level, Report, listed};
use super::rule::{Rule, run_all};
use super::server::Server;
use crate::schema::bookkeeping::OBJECT_PREFIX;

pub(super) async fn source(
    source: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    standby(source, report).await?;
    wal_level(source, report).await?;
    slots(source, options, report).await?;
    senders(source, report).await?;
    kept_wal(source, report).await?;
    leftovers(source, options, report).await?;
    let ours = own_object(options);
    FOREIGN_SLOTS.run(source, &[&ours], report).await?;
    FOREIGN_PUBLICATIONS.run(source, &[&ours], report).await?;
    run_all(&SUBSCRIPTIONS, source, report).await
}

/// The name of the running migration's slot and publication; a name nobody has if there is none.
fn own_object(options: &CheckOptions) -> String {
    let id = options.migration_id.as_deref().unwrap_or("of no migration");
    format!("{OBJECT_PREFIX}{id}")
}

async fn standby(source: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    if source
        .value("SELECT pg_catalog.pg_is_in_recovery()", &[])
        .await?
    {
        let advice = Advice {
            why: "the fence, the marker and the publication are written on the source",
            fix: "name the primary in the URL of the source",
        };
        report.fail(Side::Source, "the server is a standby", advice);
    }
    Ok(())
}

async fn wal_level(source: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    let level = source.setting("wal_level").await?.unwrap_or_default();
    if level == "logical" {
        report.ok(Side::Source, "wal_level is logical");
        return Ok(());
    }
    let advice = Advice {
        why: "the changes of rows are not in the write-ahead log, so nothing can be streamed",
        fix: "ALTER SYSTEM SET wal_level = 'logical'; then restart the source (managed servers: \
              rds.logical_replication = 1, cloudsql.logical_decoding = on, or the like)",
    };
    report.fail(
        Side::Source,
        &format!("wal_level is {level}, not logical"),
        advice,
    );
    Ok(())
}

async fn slots(
    source: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let max = source.number("max_replication_slots").await?.unwrap_or(0);
    let sql = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots \
               WHERE slot_name <> $1";
    let used: i64 = source.value(sql, &[&own_object(options)]).await?;
    let what = format!("{} of {max} replication slots are free", max - used);
    let fix = format!(
        "ALTER SYSTEM SET max_replication_slots = {}; then restart the source; or drop a slot that \
         nobody needs: SELECT pg_drop_replication_slot(...)",
        used + 2
    );
    match max - used {
        ..=0 => report.fail(
            Side::Source,
            &what,
            Advice {
                why: "the stream needs a slot of its own",
                fix: &fix,
            },
        ),
        1 => report.warn(
            Side::Source,
            &what,
            Advice {
                why: "the stream takes it; a copy that was interrupted needs a second, temporary \
                      one to go on",
                fix: &fix,
            },
        ),
        _ => report.ok(Side::Source, &what),
    }
    Ok(())
}

async fn senders(source: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    let max = source.number("max_wal_senders").await?.unwrap_or(0);
    let sql = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication \
               WHERE application_name NOT LIKE 'pointsman%'";
    let used: i64 = source.value(sql, &[]).await?;
    let what = format!("{} of {max} WAL senders are free", max - used);
    if max - used >= 2 {
        report.ok(Side::Source, &what);
        return Ok(());
    }
    let fix = format!(
        "ALTER SYSTEM SET max_wal_senders = {}; then restart the source",
        used + 2
    );
    let why = "the stream needs one, and the connection that holds the copy's snapshot another";
    report.fail(Side::Source, &what, Advice { why, fix: &fix });
    Ok(())
}

/// Settings that let the server throw away what the slot still needs, or end our connections.
async fn kept_wal(source: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    let keep_mb = source.number("max_slot_wal_keep_size").await?;
    match keep_mb {
        Some(keep_mb) if keep_mb >= 0 => report.warn(
            Side::Source,
            &format!("max_slot_wal_keep_size is {keep_mb} MB"),
            Advice {
                why: "a slot that falls further behind is thrown away, and the copy must start again",
                fix: "ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf(); or \
                      give pointsman a spool ([spool] dir, limit) that holds what the copy's time \
                      brings",
            },
        ),
        Some(_) | None => report.ok(
            Side::Source,
            "the server keeps all write-ahead log that the slot needs (watch its disk)",
        ),
    }
    if source
        .number("idle_replication_slot_timeout")
        .await?
        .is_some_and(|timeout| timeout > 0)
    {
        let advice = Advice {
            why: "a slot whose reader is away for that long is thrown away, and the copy must \
                  start again",
            fix: "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()",
        };
        report.warn(Side::Source, "idle_replication_slot_timeout is set", advice);
    }
    let timeout = source.number("wal_sender_timeout").await?.unwrap_or(0);
    if timeout > 0 && timeout < 10_000 {
        let advice = Advice {
            why: "a short stall of the network ends the stream, which then connects anew",
            fix: "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf()",
        };
        report.warn(
            Side::Source,
            &format!("wal_sender_timeout is {timeout} ms"),
            advice,
        );
    }
    Ok(())
}

/// What an earlier migration of pointsman left on the source.
async fn leftovers(
    source: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let sql = "
        SELECT 'slot ' || slot_name FROM pg_catalog.pg_replication_slots
        WHERE slot_name LIKE 'pointsman\\_%' AND slot_name <> $1
          AND database = pg_catalog.current_database()
        UNION ALL SELECT 'publication ' || pubname FROM pg_catalog.pg_publication
        WHERE pubname LIKE 'pointsman\\_%' AND pubname <> $1
        UNION ALL SELECT 'schema ' || nspname FROM pg_catalog.pg_namespace
        WHERE nspname = 'pointsman' AND NOT $2";
    let under_way = options.migration_id.is_some();
    let left = source
        .names(sql, &[&own_object(options), &under_way])
        .await?;
    if !left.is_empty() {
        let what = format!("an earlier migration left {}", listed(&left));
        report.fail(Side::Source, &what, LEFTOVER);
    }
    Ok(())
}

/// Said of what an earlier migration left, on either side.
pub(super) const LEFTOVER: Advice<'static> = Advice {
    why: "a slot that nobody reads keeps the server's write-ahead log until its disk is full, and \
          two migrations would take each other's tables",
    fix: "run `pointsman abort` (or `finish` after a switch) with the configuration of that \
          migration; or by hand: SELECT pg_drop_replication_slot(...); DROP PUBLICATION ...; DROP \
          SCHEMA pointsman CASCADE",
};

const FOREIGN_SLOTS: Rule = Rule {
    since: 0,
    sql: "SELECT slot_name::text FROM pg_catalog.pg_replication_slots
          WHERE slot_type = 'logical' AND database = pg_catalog.current_database()
            AND slot_name <> $1 AND slot_name NOT LIKE 'pointsman\\_%'",
    level: Level::Warn,
    found: "logical slots of others: {}",
    why: "slots are not moved, and their readers are ended when the source is fenced; they see no \
          change that is made after the switch",
    fix: "plan how each reader goes on: make its slot on the target behind the fence, or let it \
          copy anew; then SELECT pg_drop_replication_slot('{}') on the source",
    none: "",
};

const FOREIGN_PUBLICATIONS: Rule = Rule {
    since: 0,
    sql: "SELECT pubname || CASE WHEN puballtables THEN ' (FOR ALL TABLES)' ELSE '' END
          FROM pg_catalog.pg_publication WHERE pubname <> $1 AND pubname NOT LIKE 'pointsman\\_%'",
    level: Level::Warn,
    found: "publications of others: {}",
    why: "they come over with the schema, their subscribers do not; one FOR ALL TABLES publishes \
          the tables of pointsman as well, and makes UPDATE and DELETE fail on tables without a key",
    fix: "DROP PUBLICATION if it has no subscriber; otherwise plan how the subscribers turn to the \
          target",
    none: "",
};

const SUBSCRIPTIONS: [Rule; 2] = [
    Rule {
        since: 0,
        sql: "SELECT s.subname::text FROM pg_catalog.pg_subscription s, pg_catalog.pg_database d
              WHERE d.oid = s.subdbid AND d.datname = pg_catalog.current_database()
                AND s.subenabled",
        level: Level::Fail,
        found: "subscriptions write into this database: {}",
        why: "their workers write past every fence, on the old side after the switch",
        fix: "ALTER SUBSCRIPTION {} DISABLE before the cutover, and make it anew on the target",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT s.subname::text FROM pg_catalog.pg_subscription s, pg_catalog.pg_database d
              WHERE d.oid = s.subdbid AND d.datname = pg_catalog.current_database()
                AND NOT s.subenabled",
        level: Level::Warn,
        found: "disabled subscriptions: {}",
        why: "if one is enabled during the migration, its worker writes past the fence",
        fix: "DROP SUBSCRIPTION {} if it is not needed",
        none: "",
    },
];
