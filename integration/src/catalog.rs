//! Everything that a server's catalogs say, to compare before and after.
//!
//! Oids, positions and statistics are left out: what remains must be equal when every trace of a
//! migration is gone. Privileges are compared as sets, since the order of an ACL's items says
//! nothing and no ACL at all means the default one.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::server::PgClient;

/// One line a fact.
pub type Facts = BTreeSet<String>;

/// Facts of one kind: a name, the oldest version that has them, and a query of one text column.
struct Kind {
    name: &'static str,
    since: u32,
    sql: &'static str,
}

/// Of the whole server.
const SHARED: [Kind; 8] = [
    Kind {
        name: "role",
        since: 12,
        sql: "SELECT concat_ws(' ', rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb,
                rolcanlogin, rolreplication, rolconnlimit, rolbypassrls, rolvaliduntil,
                md5(rolpassword)) FROM pg_authid",
    },
    Kind {
        name: "membership",
        since: 12,
        sql: "SELECT concat_ws(' ', roleid::regrole, member::regrole, admin_option)
                FROM pg_auth_members",
    },
    Kind {
        name: "database",
        since: 12,
        sql: "SELECT concat_ws(' ', datname, datdba::regrole, datallowconn, datconnlimit,
                datistemplate) FROM pg_database",
    },
    Kind {
        name: "database privilege",
        since: 12,
        sql: "SELECT concat_ws(' ', datname, a.grantee::regrole, a.privilege_type, a.is_grantable)
                FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS a",
    },
    Kind {
        name: "setting of a role or database",
        since: 12,
        sql: "SELECT concat_ws(' ', (SELECT datname FROM pg_database WHERE oid = setdatabase),
                setrole::regrole, setconfig) FROM pg_db_role_setting",
    },
    Kind {
        name: "parameter privilege",
        since: 15,
        sql: "SELECT concat_ws(' ', parname, paracl) FROM pg_parameter_acl",
    },
    Kind {
        name: "replication slot",
        since: 12,
        sql: "SELECT concat_ws(' ', slot_name, plugin, slot_type, database, temporary)
                FROM pg_replication_slots",
    },
    Kind {
        name: "replication origin",
        since: 12,
        sql: "SELECT roname FROM pg_replication_origin",
    },
];

/// Of the database.
const LOCAL: [Kind; 15] = [
    Kind {
        name: "schema",
        since: 12,
        sql: "SELECT concat_ws(' ', nspname, nspowner::regrole,
                ARRAY(SELECT concat_ws(' ', grantee::regrole, privilege_type, is_grantable)
                    FROM aclexplode(coalesce(nspacl, acldefault('n', nspowner))) ORDER BY 1))
                FROM pg_namespace
                WHERE nspname NOT LIKE 'pg\\_toast%' AND nspname NOT LIKE 'pg\\_temp%'",
    },
    Kind {
        name: "relation",
        since: 12,
        sql: "SELECT concat_ws(' ', oid::regclass, relkind, relowner::regrole, relpersistence,
                relreplident, relrowsecurity, relforcerowsecurity, relispartition, reloptions,
                (SELECT array_agg(concat_ws(' ', grantee::regrole, privilege_type, is_grantable)
                        ORDER BY grantee::regrole::text, privilege_type)
                    FROM aclexplode(coalesce(relacl, acldefault(
                        CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner)))))
                FROM pg_class WHERE relnamespace::regnamespace::text !~ '^pg_toast|^pg_temp'",
    },
    Kind {
        name: "replica identity index",
        since: 12,
        sql: "SELECT indexrelid::regclass::text FROM pg_index WHERE indisreplident",
    },
    Kind {
        name: "index",
        since: 12,
        sql: "SELECT concat_ws(' ', indexrelid::regclass, indisvalid, pg_get_indexdef(indexrelid))
                FROM pg_index WHERE indrelid >= 16384",
    },
    Kind {
        name: "column",
        since: 12,
        sql: "SELECT concat_ws(' ', attrelid::regclass, attname, format_type(atttypid, atttypmod),
                attnotnull, attidentity, attgenerated, attacl)
                FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0 AND NOT attisdropped
                  AND attrelid::regclass::text !~ '^pg_toast'",
    },
    Kind {
        name: "constraint",
        since: 12,
        sql: "SELECT concat_ws(' ', conrelid::regclass, conname, contype, convalidated,
                pg_get_constraintdef(oid)) FROM pg_constraint WHERE oid >= 16384",
    },
    Kind {
        name: "trigger",
        since: 12,
        sql: "SELECT concat_ws(' ', tgrelid::regclass, tgenabled, pg_get_triggerdef(oid))
                FROM pg_trigger WHERE NOT tgisinternal",
    },
    Kind {
        name: "event trigger",
        since: 12,
        sql: "SELECT concat_ws(' ', evtname, evtevent, evtenabled) FROM pg_event_trigger",
    },
    Kind {
        name: "publication",
        since: 12,
        sql: "SELECT concat_ws(' ', pubname, puballtables) FROM pg_publication",
    },
    Kind {
        name: "published table",
        since: 12,
        sql: "SELECT concat_ws(' ', pubname, schemaname, tablename) FROM pg_publication_tables",
    },
    Kind {
        name: "subscription",
        since: 12,
        sql: "SELECT subname::text FROM pg_subscription
                WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
    },
    Kind {
        name: "function",
        since: 12,
        sql: "SELECT concat_ws(' ', oid::regprocedure, proowner::regrole, prosecdef,
                ARRAY(SELECT concat_ws(' ', grantee::regrole, privilege_type)
                    FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) ORDER BY 1))
                FROM pg_proc",
    },
    Kind {
        name: "type",
        since: 12,
        sql:
            "SELECT concat_ws(' ', oid::regtype, typowner::regrole, typtype)
                FROM pg_type WHERE oid >= 16384 AND typnamespace::regnamespace::text !~ '^pg_toast'",
    },
    Kind {
        name: "extension",
        since: 12,
        sql: "SELECT concat_ws(' ', extname, extversion) FROM pg_extension",
    },
    Kind {
        name: "default privilege",
        since: 12,
        sql: "SELECT concat_ws(' ', defaclrole::regrole, defaclnamespace::regnamespace,
                defaclobjtype, defaclacl) FROM pg_default_acl",
    },
];

/// Reads the facts of the connection's database and its server; needs a superuser.
///
/// # Errors
///
/// When a catalog cannot be read.
pub async fn read(client: &PgClient) -> Result<Facts> {
    let version: u32 = client.value("SHOW server_version_num").await?.parse()?;
    client.batch_execute("SET search_path = ''").await?;
    let mut facts = Facts::new();
    for kind in SHARED.iter().chain(&LOCAL) {
        if version / 10_000 < kind.since {
            continue;
        }
        let rows = client.query(kind.sql, &[]).await;
        for row in rows.with_context(|| format!("reading every {}", kind.name))? {
            let fact: Option<String> = row.try_get(0)?;
            facts.insert(format!("{}: {}", kind.name, fact.unwrap_or_default()));
        }
    }
    Ok(facts)
}

/// One line for each fact that is gone or new.
pub fn differences(before: &Facts, after: &Facts) -> Vec<String> {
    let gone = before.difference(after).map(|fact| format!("- {fact}"));
    let new = after.difference(before).map(|fact| format!("+ {fact}"));
    gone.chain(new).collect()
}
