//! What the roles of pointsman must be allowed, one by one, unless they are superusers.

use router::Side;

use super::report::{Advice, Level, Report};
use super::rule::{Rule, run_all};
use super::server::Server;
use super::{CheckOptions, Verifiers};
use crate::name::quote_identifier;

/// A privilege: a query that gives whether it is there, and what to say if it is not.
struct Privilege {
    sql: &'static str,
    level: Level,
    lacks: &'static str,
    why: &'static str,
    /// `{role}`, `{owner}` and `{database}` stand for quoted names.
    fix: &'static str,
}

const SOURCE: [Privilege; 5] = [
    Privilege {
        sql: "SELECT rolreplication FROM pg_catalog.pg_roles WHERE rolname = session_user",
        level: Level::Fail,
        lacks: "lacks REPLICATION",
        why: "without it there is no slot and no stream",
        fix: "ALTER ROLE {role} REPLICATION",
    },
    Privilege {
        sql: "SELECT pg_catalog.pg_has_role(session_user, 'pg_read_all_stats', 'USAGE')",
        level: Level::Fail,
        lacks: "cannot see other roles' sessions",
        why: "the fence could not tell whether a session is left that writes",
        fix: "GRANT pg_monitor TO {role}",
    },
    Privilege {
        sql: "SELECT pg_catalog.pg_has_role(session_user, 'pg_signal_backend', 'USAGE')",
        level: Level::Fail,
        lacks: "cannot end other roles' sessions",
        why: "sessions that go past the proxy must be ended when the source is fenced",
        fix: "GRANT pg_signal_backend TO {role}",
    },
    Privilege {
        sql: "SELECT pg_catalog.pg_has_role(session_user, d.datdba, 'USAGE')
              FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()",
        level: Level::Fail,
        lacks: "does not own the database",
        why: "only its owner (or a member of that role) may revoke CONNECT, which is the fence",
        fix: "GRANT {owner} TO {role}",
    },
    Privilege {
        sql: "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')",
        level: Level::Fail,
        lacks: "may not create in the database",
        why: "the schema `pointsman` and the publication are made in it",
        fix: "GRANT CREATE ON DATABASE {database} TO {role}",
    },
];

const TARGET: [Privilege; 2] = [
    Privilege {
        sql: "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')",
        level: Level::Fail,
        lacks: "may not create in the database",
        why: "the schemas of the source are made in it",
        fix: "GRANT CREATE ON DATABASE {database} TO {role}, or ALTER DATABASE {database} OWNER TO \
              {role}",
    },
    Privilege {
        sql: "SELECT rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = session_user",
        level: Level::Warn,
        lacks: "lacks CREATEROLE",
        why: "the application's roles cannot be made on the target",
        fix: "ALTER ROLE {role} CREATEROLE, or make the roles on the target by hand",
    },
];

/// Tables that we could not copy or publish; superusers may.
const TABLES: [Rule; 2] = [
    Rule {
        since: 0,
        sql: "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n
              WHERE {relations} AND c.relkind IN ('r', 'p', 'S', 'm')
                AND (NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
                     OR NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE'))",
        level: Level::Fail,
        found: "tables and sequences that may not be read: {}",
        why: "they could not be copied",
        fix: "GRANT SELECT ON {} (and USAGE on its schema) to the role of pointsman; from \
              PostgreSQL 14 on, GRANT pg_read_all_data covers all of them",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n
              WHERE {relations} AND c.relkind = 'r'
                AND NOT pg_catalog.pg_has_role(session_user, c.relowner, 'USAGE')",
        level: Level::Fail,
        found: "tables that the role of pointsman does not own: {}",
        why: "only a table's owner (or a member of that role) may add it to a publication or set \
              its replica identity",
        fix: "GRANT the role that owns {} to the role of pointsman",
        none: "",
    },
];

pub(super) async fn source(
    source: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    if source.superuser {
        return Ok(());
    }
    ask(&SOURCE, source, report).await?;
    verifiers(source, options, report).await?;
    run_all(&TABLES, source, report).await
}

pub(super) async fn target(
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    if target.superuser {
        return Ok(());
    }
    ask(&TARGET, target, report).await?;
    replication_role(target, report).await?;
    origins(target, report).await
}

/// Clients log in by the verifiers that are stored on the source.
async fn verifiers(
    source: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    if source.value(sql, &[]).await? {
        return Ok(());
    }
    let role = quote_identifier(&source.role);
    let what = format!("role {role} may not read pg_authid");
    match options.verifiers {
        Verifiers::Catalog => {
            let fix = format!(
                "GRANT SELECT ON pg_catalog.pg_authid TO {role}; or set [auth] query to a \
                 function that gives the verifiers or [auth] users_file to a file that has them, and make the roles on the target by hand"
            );
            let why = "no client with a password can log in through the proxy without the stored \
                       verifiers";
            report.fail(Side::Source, &what, Advice { why, fix: &fix });
        }
        Verifiers::Query | Verifiers::File => {
            let why = match options.verifiers {
                Verifiers::File => {
                    "[auth] users_file lets clients in, but passwords cannot be carried to the target"
                }
                Verifiers::Query | Verifiers::Catalog => {
                    "[auth] query lets clients in, but passwords cannot be carried to the target"
                }
            };
            let fix = "make the roles on the target by hand, with the same verifiers";
            report.add(Level::Warn, Side::Source, &what, Advice { why, fix });
        }
    }
    Ok(())
}

async fn ask(
    privileges: &[Privilege],
    server: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let role = quote_identifier(&server.role);
    let mut lacks_none = true;
    for privilege in privileges {
        if server.value(privilege.sql, &[]).await? {
            continue;
        }
        lacks_none = false;
        let fix = privilege
            .fix
            .replace("{role}", &role)
            .replace("{owner}", &quote_identifier(&server.owner))
            .replace("{database}", &quote_identifier(&server.database));
        let what = format!("role {role} {}", privilege.lacks);
        let advice = Advice {
            why: privilege.why,
            fix: &fix,
        };
        report.add(privilege.level, server.side, &what, advice);
    }
    if lacks_none {
        report.ok(
            server.side,
            &format!("role {role} has the privileges it needs"),
        );
    }
    Ok(())
}

/// Triggers must not fire when changes are applied.
async fn replication_role(
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let role = quote_identifier(&target.role);
    let why = "triggers and foreign keys of the target would act on changes that the source's have \
               acted on already";
    if target.major() < 15 {
        let fix = format!("ALTER ROLE {role} SUPERUSER on the target until the migration is done");
        let what = format!(
            "role {role} may not set session_replication_role (before 15 only \
                            superusers may)"
        );
        report.fail(Side::Target, &what, Advice { why, fix: &fix });
        return Ok(());
    }
    let sql = "SELECT pg_catalog.has_parameter_privilege('session_replication_role', 'SET')";
    if !target.value::<bool>(sql, &[]).await? {
        let fix = format!("GRANT SET ON PARAMETER session_replication_role TO {role}");
        let what = format!("role {role} may not set session_replication_role");
        report.fail(Side::Target, &what, Advice { why, fix: &fix });
    }
    Ok(())
}

/// Progress is written with a replication origin.
async fn origins(target: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    const FUNCTIONS: [&str; 5] = [
        "pg_replication_origin_create",
        "pg_replication_origin_drop",
        "pg_replication_origin_session_setup",
        "pg_replication_origin_xact_setup",
        "pg_replication_origin_oid",
    ];
    let role = quote_identifier(&target.role);
    let why = "changes that pointsman applies must be told from the application's own after a \
               switch";
    if target.major() < 14 {
        let what = format!(
            "role {role} may not use replication origins (before 14 only \
                            superusers may)"
        );
        let fix = format!("ALTER ROLE {role} SUPERUSER on the target until the migration is done");
        report.fail(Side::Target, &what, Advice { why, fix: &fix });
        return Ok(());
    }
    let sql = "SELECT p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p
               WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
                 AND p.proname = ANY ($1)
                 AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')";
    let missing = target.names(sql, &[&FUNCTIONS.as_slice()]).await?;
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("role {role} may not call {}", missing.join(", "));
    let fix = format!("GRANT EXECUTE ON FUNCTION {} TO {role}", missing.join(", "));
    report.fail(Side::Target, &what, Advice { why, fix: &fix });
    Ok(())
}
