//! Roles: who passes the fence, and who could not log in on the target.

use router::Side;

use super::CheckOptions;
use super::report::{Advice, Level, Report, listed};
use super::rule::Rule;
use super::server::Server;
use crate::name::quote_identifier;

pub(super) async fn source(
    source: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let provided: Vec<&str> = options
        .nologin
        .iter()
        .chain(&options.trusted_roles)
        .map(String::as_str)
        .collect();
    SUPERUSERS.run(source, &[&provided], report).await?;
    nologin_needs_superuser(source, options, report);
    members_of_ours(source, report).await?;
    LANGUAGE_HANDLERS.run(source, &[], report).await?;
    let sql = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    if source.value(sql, &[]).await? {
        NO_PASSWORD.run(source, &[], report).await?;
    }
    Ok(())
}

/// Superusers that could log in and write on the fenced source.
const SUPERUSERS: Rule = Rule {
    since: 0,
    sql: "SELECT rolname::text FROM pg_catalog.pg_roles
          WHERE rolsuper AND rolcanlogin AND rolname <> session_user AND rolname::text <> ALL ($1)
          ORDER BY 1",
    level: Level::Warn,
    found: "superusers that can log in: {}",
    why: "no privilege stops a superuser: one that is used by an application would write on the old \
          side after the switch; its open sessions refuse the cutover",
    fix: "ALTER ROLE {} NOSUPERUSER if it is an application's; or name it in [fence] nologin (it \
          gets NOLOGIN behind the fence) or in [fence] trusted_roles (an administrator's, trusted \
          not to write)",
    none: "no superuser but the role of pointsman can log in",
};

/// Kept apart from [`SUPERUSERS`]: it reads what only some may read.
const NO_PASSWORD: Rule = Rule {
    since: 0,
    sql: "SELECT a.rolname::text FROM pg_catalog.pg_authid a
          WHERE a.rolcanlogin AND a.rolpassword IS NULL AND NOT a.rolsuper
            AND a.rolname <> session_user
            AND pg_catalog.has_database_privilege(a.oid, pg_catalog.current_database(), 'CONNECT')
          ORDER BY 1",
    level: Level::Warn,
    found: "roles without a password: {}",
    why: "they log in by trust, peer, a certificate or a directory, which the target's pg_hba.conf \
          decides anew, and which sees the proxy's address and not the client's",
    fix: "set pg_hba.conf on the target so that {} may come from the proxy's address, or give it a \
          password",
    none: "",
};

/// Languages whose functions run as the server's user: their state is not carried by SQL.
const LANGUAGE_HANDLERS: Rule = Rule {
    since: 0,
    sql: "SELECT DISTINCT l.lanname::text FROM pg_catalog.pg_language l, pg_catalog.pg_proc p
          WHERE p.prolang = l.oid AND NOT l.lanpltrusted
            AND l.lanname NOT IN ('internal', 'c', 'sql') ORDER BY 1",
    level: Level::Warn,
    found: "functions in untrusted languages: {}",
    why: "they may keep state in the session or in files of the server, which is not moved",
    fix: "look through the functions: SELECT oid::regprocedure FROM pg_proc p JOIN pg_language l ON \
          l.oid = p.prolang WHERE l.lanname = '{}'",
    none: "",
};

fn nologin_needs_superuser(source: &Server, options: &CheckOptions, report: &mut Report) {
    if options.nologin.is_empty() || source.superuser {
        return;
    }
    let what = format!(
        "role {} may not set {} to NOLOGIN",
        quote_identifier(&source.role),
        listed(&options.nologin)
    );
    let advice = Advice {
        why: "only a superuser may alter a superuser, so the fence could not be raised",
        fix: "log in to the source as a superuser, or take the role out of [fence] nologin",
    };
    report.fail(Side::Source, &what, advice);
}

/// Roles that would keep CONNECT because they inherit it from ours.
async fn members_of_ours(
    source: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT r.rolname::text FROM pg_catalog.pg_roles r
               WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> session_user
                 AND pg_catalog.pg_has_role(r.oid, session_user, 'USAGE') ORDER BY 1";
    let members = source.names(sql, &[]).await?;
    let Some(first) = members.first() else {
        return Ok(());
    };
    let role = quote_identifier(&source.role);
    let what = format!(
        "roles that inherit from {role}, the role of pointsman: {}",
        listed(&members)
    );
    let fix = format!("REVOKE {role} FROM {}", quote_identifier(first));
    let why = "behind the fence only the role of pointsman may connect, and they inherit it";
    report.fail(Side::Source, &what, Advice { why, fix: &fix });
    Ok(())
}

/// Roles that the application uses on the source, against those of the target.
pub(super) async fn both(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    md5(source, target, report).await?;
    missing(source, target, report).await
}

async fn md5(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let readable = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    if target.major() < 18 || !source.value::<bool>(readable, &[]).await? {
        return Ok(());
    }
    let sql = "SELECT rolname::text FROM pg_catalog.pg_authid
               WHERE rolcanlogin AND rolpassword LIKE 'md5%' ORDER BY 1";
    let roles = source.names(sql, &[]).await?;
    let Some(first) = roles.first() else {
        return Ok(());
    };
    let fix = format!(
        "SET password_encryption = 'scram-sha-256'; ALTER ROLE {} PASSWORD '...' on the source",
        quote_identifier(first)
    );
    let why = "version 18 warns about md5 passwords and a later one drops them; a pg_hba.conf that \
               asks for scram-sha-256 refuses them";
    let what = format!("roles of the source have md5 passwords: {}", listed(&roles));
    report.warn(Side::Target, &what, Advice { why, fix: &fix });
    Ok(())
}

/// Roles that may connect on the source and are not on the target; the start makes them.
async fn missing(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT r.rolname::text FROM pg_catalog.pg_roles r
               WHERE r.rolname !~ '^pg_' AND r.rolname <> session_user AND (r.rolcanlogin
                  AND pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(),
                                                        'CONNECT')
                  AND NOT r.rolsuper
                  OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relowner = r.oid))
               ORDER BY 1";
    let roles = source.names(sql, &[]).await?;
    let sql = "SELECT n FROM pg_catalog.unnest($1::text[]) n WHERE NOT EXISTS (
               SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = n)";
    let missing = target.names(sql, &[&roles]).await?;
    if missing.is_empty() {
        report.ok(Side::Target, "all roles of the application are there");
        return Ok(());
    }
    let may_make = "SELECT rolsuper OR rolcreaterole FROM pg_catalog.pg_roles
                    WHERE rolname = session_user";
    let readable = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    let may_copy =
        target.value::<bool>(may_make, &[]).await? && source.value::<bool>(readable, &[]).await?;
    let what = format!("roles that are not there yet: {}", listed(&missing));
    if may_copy {
        let advice = Advice {
            why: "the start makes them, with their passwords",
            fix: "",
        };
        report.add(Level::Ok, Side::Target, &what, advice);
        return Ok(());
    }
    let fix = format!(
        "make them with the passwords of the source (pg_dumpall --roles-only shows them): CREATE \
         ROLE {} LOGIN PASSWORD 'SCRAM-SHA-256$...'",
        missing
            .first()
            .map(|name| quote_identifier(name))
            .unwrap_or_default()
    );
    let why = "their clients could not log in after the switch, and what they own cannot be \
               restored; pointsman may not copy them with its present privileges";
    report.fail(Side::Target, &what, Advice { why, fix: &fix });
    Ok(())
}
