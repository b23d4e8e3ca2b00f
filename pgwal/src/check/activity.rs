//! What is going on in the source right now that a migration would have to wait for or could not
//! stop.

use super::CheckOptions;
use super::report::{Level, Report};
use super::rule::Rule;
use super::server::Server;

pub(super) async fn source(
    source: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    PREPARED.run(source, &[], report).await?;
    prepared_elsewhere(source, report).await?;
    LONG.run(source, &[&options.ours], report).await?;
    let provided: Vec<&str> = options
        .nologin
        .iter()
        .chain(&options.trusted_roles)
        .map(String::as_str)
        .collect();
    SUPERUSER_SESSIONS
        .run(source, &[&options.ours, &provided], report)
        .await?;
    WORKERS
        .run(source, &[&options.trusted_workers], report)
        .await?;
    ASYNCHRONOUS.run(source, &[], report).await
}

const PREPARED: Rule = Rule {
    since: 0,
    sql: "SELECT gid || ' of ' || owner || ', ' || date_trunc('second', prepared)::text
          FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()
          ORDER BY prepared",
    level: Level::Fail,
    found: "prepared transactions: {}",
    why: "the slot cannot be made while they stand, and COMMIT PREPARED passes every fence",
    fix: "COMMIT PREPARED or ROLLBACK PREPARED each, in this database as its owner or a superuser",
    none: "no prepared transactions",
};

/// A transaction of another database holds up the slot as well.
async fn prepared_elsewhere(
    source: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    const ELSEWHERE: Rule = Rule {
        since: 0,
        sql: "SELECT gid || ' in ' || database FROM pg_catalog.pg_prepared_xacts
              WHERE database <> pg_catalog.current_database() ORDER BY prepared",
        level: Level::Warn,
        found: "prepared transactions in other databases of the server: {}",
        why: "the slot's creation waits for the transactions of the whole server",
        fix: "COMMIT PREPARED or ROLLBACK PREPARED each in its database before the start",
        none: "",
    };
    ELSEWHERE.run(source, &[], report).await
}

/// Transactions that hold up the slot's creation, in whatever database.
const LONG: Rule = Rule {
    since: 0,
    sql: "SELECT pg_catalog.format('pid %s of %s in %s%s, open for %s (%s)', pid,
                 coalesce(usename, '?'), coalesce(datname, '?'),
                 coalesce(' from ' || pg_catalog.host(client_addr), ''),
                 date_trunc('second', pg_catalog.clock_timestamp() - xact_start),
                 coalesce(state, '?'))
          FROM pg_catalog.pg_stat_activity
          WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
            AND pid <> ALL ($1)
            AND pg_catalog.clock_timestamp() - xact_start > interval '5 seconds'
          ORDER BY xact_start",
    level: Level::Warn,
    found: "long writing transactions: {}",
    why: "the slot is made once all transactions older than it have ended, in all databases; and \
          the drain of a cutover waits for those of this one",
    fix: "let them end, or end them: SELECT pg_terminate_backend(pid)",
    none: "no long writing transaction",
};

const SUPERUSER_SESSIONS: Rule = Rule {
    since: 0,
    sql: "SELECT pg_catalog.format('%s (pid %s%s%s)', a.usename, a.pid,
                 coalesce(' from ' || pg_catalog.host(a.client_addr), ''),
                 CASE WHEN a.application_name <> '' THEN ', ' || a.application_name ELSE '' END)
          FROM pg_catalog.pg_stat_activity a
          JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid AND r.rolsuper
          WHERE a.datname = pg_catalog.current_database()
            AND a.backend_type IN ('client backend', 'walsender')
            AND a.pid <> ALL ($1) AND r.rolname <> session_user
            AND r.rolname::text <> ALL ($2) ORDER BY 1",
    level: Level::Fail,
    found: "superusers are connected: {}",
    why: "no privilege stops a superuser, so the fence would not hold against these sessions",
    fix: "end them; let applications log in as plain roles; or name their roles in [fence] nologin \
          or [fence] trusted_roles",
    none: "",
};

const WORKERS: Rule = Rule {
    since: 0,
    sql: "SELECT a.backend_type || ' (pid ' || a.pid || ')' FROM pg_catalog.pg_stat_activity a
          WHERE a.datname = pg_catalog.current_database() AND a.backend_type <> ALL ($1)
            AND a.backend_type NOT IN ('client backend', 'parallel worker', 'walsender',
                                       'autovacuum worker', 'startup', 'slotsync worker')
            AND a.backend_type NOT LIKE 'logical replication%'",
    level: Level::Fail,
    found: "background workers run in the database: {}",
    why: "they are no sessions that a privilege stops; what they write behind the fence is lost",
    fix: "stop them for the cutover (the extension's own setting), or name them in [fence] \
          trusted_workers if they write no rows",
    none: "",
};

/// Where commits are acknowledged before they are on disk.
const ASYNCHRONOUS: Rule = Rule {
    since: 0,
    sql: "SELECT 'the server' WHERE EXISTS (SELECT FROM pg_catalog.pg_settings
              WHERE name = 'synchronous_commit' AND reset_val = 'off')
          UNION ALL
          SELECT coalesce('role ' || r.rolname, 'database ' || d.datname, 'all')
          FROM pg_catalog.pg_db_role_setting s
          LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
          LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
          WHERE 'synchronous_commit=off' = ANY (s.setconfig)
            AND (d.datname IS NULL OR d.datname = pg_catalog.current_database())",
    level: Level::Warn,
    found: "synchronous_commit is off for: {}",
    why: "a commit is acknowledged before it is on disk: a crash of the source loses it, with or \
          without a migration; a cutover loses none, since its marker flushes them all",
    fix: "nothing for the migration's sake",
    none: "",
};
