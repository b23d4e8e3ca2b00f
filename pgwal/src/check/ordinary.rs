//! What a target's role that is no superuser cannot make of what the source has.

use router::Side;

use super::report::{Advice, Level, Report, listed};
use super::rule::{Rule, run_all};
use super::server::Server;
use crate::name::quote_identifier;

/// Looks at the source's objects with the eyes of the target's role.
pub(super) async fn both(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    row_security(source, target, report).await?;
    if target.superuser {
        return Ok(());
    }
    owners(source, target, report).await?;
    extensions(source, target, report).await?;
    run_all(&SUPERUSERS_ONLY, source, report).await
}

/// Owners of what a dump has; the schema `public` may keep the owner that it has on the target.
const OWNERS: &str = "
SELECT DISTINCT pg_catalog.pg_get_userbyid(o.owner)::text FROM (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, c.relowner, c.relnamespace
        FROM pg_catalog.pg_class c WHERE c.relkind NOT IN ('i', 'I', 't', 'c')
    UNION ALL SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.proowner, p.pronamespace
        FROM pg_catalog.pg_proc p
    UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, t.typowner, t.typnamespace
        FROM pg_catalog.pg_type t
    UNION ALL SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, s.oid, s.nspowner, s.oid
        FROM pg_catalog.pg_namespace s WHERE s.nspname <> 'public'
) o (class, oid, owner, schema)
JOIN pg_catalog.pg_namespace n ON n.oid = o.schema
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pointsman')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                  WHERE e.classid = o.class AND e.objid = o.oid AND e.deptype = 'e')
ORDER BY 1";

/// Objects are handed over to their owners, which needs a membership; the start takes it where it
/// may.
async fn owners(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let owners = source.names(OWNERS, &[]).await?;
    let may_join = match target.major() {
        16.. => "pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER WITH ADMIN OPTION')",
        _ => {
            "NOT r.rolsuper AND (SELECT u.rolcreaterole FROM pg_catalog.pg_roles u
                                  WHERE u.rolname = session_user)"
        }
    };
    let acts_as = match target.major() {
        16.. => "SET",
        _ => "MEMBER",
    };
    let sql = format!(
        "SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.rolname::text = ANY ($1)
           AND NOT (pg_catalog.pg_has_role(session_user, r.oid, 'USAGE')
                    AND pg_catalog.pg_has_role(session_user, r.oid, '{acts_as}'))
           AND NOT ({may_join}) ORDER BY 1"
    );
    let beyond = target.names(&sql, &[&owners]).await?;
    let Some(first) = beyond.first() else {
        return Ok(());
    };
    let role = quote_identifier(&target.role);
    let what = format!(
        "role {role} may not hand objects over to {}",
        listed(&beyond)
    );
    let fix = format!(
        "GRANT {owner} TO {role} on the target; if {owner} is a superuser, ALTER ... OWNER of its \
         objects on the source, or log in to the target as a superuser",
        owner = quote_identifier(first)
    );
    let why = "they own objects on the source, and only a member may make objects theirs";
    report.fail(Side::Target, &what, Advice { why, fix: &fix });
    Ok(())
}

async fn extensions(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT extname::text FROM pg_catalog.pg_extension ORDER BY 1";
    let wanted = source.names(sql, &[]).await?;
    // Trusted extensions came with version 13.
    let trusted = match target.major() {
        13.. => "v.trusted",
        _ => "false",
    };
    let sql = format!(
        "SELECT a.name::text FROM pg_catalog.pg_available_extensions a
         JOIN pg_catalog.pg_available_extension_versions v
           ON v.name = a.name AND v.version = a.default_version
         WHERE a.name::text = ANY ($1) AND a.installed_version IS NULL AND v.superuser
           AND NOT {trusted} ORDER BY 1"
    );
    let beyond = target.names(&sql, &[&wanted]).await?;
    let Some(first) = beyond.first() else {
        return Ok(());
    };
    let what = format!(
        "role {} may not make extensions {}",
        quote_identifier(&target.role),
        listed(&beyond)
    );
    let fix = format!(
        "CREATE EXTENSION {} on the target as a superuser, in the schema it has on the source",
        quote_identifier(first)
    );
    let why = "only superusers may, and the structure that needs them could not be restored";
    report.fail(Side::Target, &what, Advice { why, fix: &fix });
    Ok(())
}

/// `row_security` is off in all our sessions, so a policy is an error and never a filter.
async fn row_security(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    const FORCED: &str = "
        SELECT c.oid::pg_catalog.regclass::text
        FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n
        WHERE {relations} AND c.relrowsecurity AND c.relforcerowsecurity ORDER BY 1";
    const BYPASSES: &str = "SELECT rolsuper OR rolbypassrls FROM pg_catalog.pg_roles
                            WHERE rolname = session_user";
    let tables = source.names(&super::rule::expand(FORCED), &[]).await?;
    if tables.is_empty() {
        return Ok(());
    }
    for server in [source, target] {
        if server.value(BYPASSES, &[]).await? {
            continue;
        }
        let role = quote_identifier(&server.role);
        let what = format!(
            "role {role} is subject to the row security of {}",
            listed(&tables)
        );
        let fix = format!("ALTER ROLE {role} BYPASSRLS");
        let why = "it is forced on the owner too, and a row that a policy hides would not be moved";
        report.fail(server.side, &what, Advice { why, fix: &fix });
    }
    Ok(())
}

/// Objects that no other role may make, and privileges that no other role may give.
const SUPERUSERS_ONLY: [Rule; 2] = [
    Rule {
        since: 0,
        sql: "SELECT 'event trigger ' || t.evtname::text FROM pg_catalog.pg_event_trigger t
              WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = t.oid
                  AND e.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass
                  AND e.deptype = 'e')
              UNION ALL
              SELECT 'function ' || p.oid::pg_catalog.regprocedure::text
              FROM pg_catalog.pg_proc p, pg_catalog.pg_language l
              WHERE l.oid = p.prolang AND NOT l.lanpltrusted AND p.oid >= 16384
                AND l.lanname <> 'sql'
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = p.oid
                  AND e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.deptype = 'e')
              UNION ALL
              SELECT 'foreign data wrapper ' || w.fdwname::text
              FROM pg_catalog.pg_foreign_data_wrapper w
              WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = w.oid
                  AND e.classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass
                  AND e.deptype = 'e')
              ORDER BY 1",
        level: Level::Fail,
        found: "objects that only a superuser can make on the target: {}",
        why: "the role of pointsman on the target is no superuser, so they could not be restored",
        fix: "drop {}, or log in to the target as a superuser",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT DISTINCT o.name || ' to ' || pg_catalog.pg_get_userbyid(a.grantee)::text
              FROM (SELECT c.oid::pg_catalog.regclass::text, c.relacl
                    FROM pg_catalog.pg_class c
                    WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace
                    UNION ALL SELECT p.oid::pg_catalog.regprocedure::text, p.proacl
                    FROM pg_catalog.pg_proc p
                    WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace) o (name, acl),
                   LATERAL pg_catalog.aclexplode(o.acl) a
              WHERE a.grantee >= 16384
                AND pg_catalog.pg_get_userbyid(a.grantee) <> session_user ORDER BY 1",
        level: Level::Warn,
        found: "privileges on objects of the system: {}",
        why: "only a superuser could give them on the target, and the role of pointsman there is \
              none: they are left out",
        fix: "GRANT them on the target by hand if the application needs them",
        none: "",
    },
];
