//! Reading roles and what hangs on them. Works on both servers, for comparison.

use std::fmt;

use router::Side;
use tokio_postgres::{Client, Row};

use super::super::error::{SchemaError, SqlCause};
use crate::wire::Secret;

/// The roles of a server, and what one database says about them.
#[derive(Debug, Clone, Default)]
pub struct RoleSet {
    /// All roles but the predefined ones.
    pub(super) roles: Vec<Role>,
    /// Who is a member of what.
    pub(super) memberships: Vec<Membership>,
    /// `ALTER ROLE .. SET`, everywhere and in this database, and `ALTER DATABASE .. SET`.
    pub(super) settings: Vec<RoleSetting>,
    /// Privileges on the database.
    pub(super) grants: Vec<DatabaseGrant>,
    /// Privileges on the schema `public`, which a dump may not have: its defaults changed in 15.
    pub(super) public_grants: Vec<DatabaseGrant>,
    /// Roles that own something in the database.
    pub(super) owners: Vec<String>,
    /// The database's owner.
    pub(super) database_owner: String,
    /// Whether verifiers could be read.
    pub(super) verifiers: VerifierAccess,
}

/// Whether verifiers could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum VerifierAccess {
    /// From `pg_authid`.
    Readable,
    /// The server lets only superusers read them, and we are none.
    #[default]
    Hidden,
}

/// A role.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) name: String,
    /// The attributes as words of `CREATE ROLE`, without SUPERUSER.
    pub(super) attributes: String,
    pub(super) rank: Rank,
    pub(super) verifier: Option<Secret>,
    pub(super) comment: Option<String>,
}

/// Whether a role is a superuser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    Superuser,
    Ordinary,
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Role({} {} {:?})", self.name, self.attributes, self.rank)
    }
}

/// A membership; the options are words behind `WITH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Membership {
    pub(super) role: String,
    pub(super) member: String,
    pub(super) admin: bool,
    pub(super) inherit: Option<bool>,
    pub(super) set: Option<bool>,
}

/// A setting of a role, of a database, or of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RoleSetting {
    /// `None` for all roles.
    pub(super) role: Option<String>,
    pub(super) scope: SettingScope,
    pub(super) name: String,
    pub(super) value: String,
}

/// Where a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SettingScope {
    AllDatabases,
    ThisDatabase,
}

/// A privilege on the database, or on a schema in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DatabaseGrant {
    /// `None` for PUBLIC.
    pub(super) grantee: Option<String>,
    pub(super) privilege: String,
    pub(super) with_grant_option: bool,
}

impl RoleSet {
    /// Reads everything about roles from one server.
    ///
    /// # Errors
    /// A query failed; that verifiers cannot be read is no error.
    pub async fn read(client: &Client, side: Side) -> Result<Self, SchemaError> {
        let (roles, verifiers) = read_roles(client, side).await?;
        let failed = |what: &str| SchemaError::sql(side, format!("reading {what}"));
        let version: i32 = client
            .query_one(
                "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4",
                &[],
            )
            .await
            .map_err(failed("its version"))?
            .get(0);
        let memberships = if version >= 160_000 {
            MEMBERSHIPS_WITH_OPTIONS
        } else {
            MEMBERSHIPS
        };
        let memberships = client
            .query(memberships, &[])
            .await
            .map_err(failed("role memberships"))?;
        let settings = client
            .query(SETTINGS, &[])
            .await
            .map_err(failed("role settings"))?;
        let grants = client
            .query(GRANTS, &[])
            .await
            .map_err(failed("database privileges"))?;
        let public_grants = client
            .query(PUBLIC_GRANTS, &[])
            .await
            .map_err(failed("the privileges on the schema public"))?;
        let owners = client
            .query(OWNERS, &[])
            .await
            .map_err(failed("the owners of objects"))?;
        let owner = client
            .query_one(OWNER, &[])
            .await
            .map_err(failed("the database owner"))?;
        Ok(Self {
            roles,
            memberships: memberships.iter().map(membership).collect(),
            settings: settings.iter().filter_map(setting).collect(),
            grants: grants.iter().map(grant).collect(),
            public_grants: public_grants.iter().map(grant).collect(),
            owners: owners.iter().map(|row| row.get(0)).collect(),
            database_owner: owner.get(0),
            verifiers,
        })
    }

    pub(super) fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }
}

async fn read_roles(
    client: &Client,
    side: Side,
) -> Result<(Vec<Role>, VerifierAccess), SchemaError> {
    let query = |catalog: &str, verifier: &str| {
        ROLES
            .replace("{catalog}", catalog)
            .replace("{verifier}", verifier)
    };
    let readable = client.query(&query("pg_authid", "rolpassword"), &[]).await;
    let (rows, access) = match readable.map_err(SqlCause::from) {
        Ok(rows) => (rows, VerifierAccess::Readable),
        Err(cause) if cause.sqlstate() == Some("42501") => {
            let rows = client
                .query(&query("pg_roles", "NULL::pg_catalog.text"), &[])
                .await;
            let rows = rows.map_err(SchemaError::sql(side, "reading its roles"))?;
            (rows, VerifierAccess::Hidden)
        }
        Err(cause) => {
            return Err(SchemaError::Sql {
                side,
                what: "reading its roles".to_owned(),
                cause,
            });
        }
    };
    let roles = rows
        .iter()
        .map(|row| Role {
            name: row.get(0),
            attributes: row.get(1),
            rank: if row.get(2) {
                Rank::Superuser
            } else {
                Rank::Ordinary
            },
            verifier: row.get::<_, Option<String>>(3).map(Secret::new),
            comment: row.get(4),
        })
        .collect();
    Ok((roles, access))
}

fn grant(row: &Row) -> DatabaseGrant {
    DatabaseGrant {
        grantee: row.get(0),
        privilege: row.get(1),
        with_grant_option: row.get(2),
    }
}

fn membership(row: &Row) -> Membership {
    Membership {
        role: row.get(0),
        member: row.get(1),
        admin: row.get(2),
        inherit: row.get(3),
        set: row.get(4),
    }
}

fn setting(row: &Row) -> Option<RoleSetting> {
    let scope = if row.get(1) {
        SettingScope::ThisDatabase
    } else {
        SettingScope::AllDatabases
    };
    let (name, value) = row.get::<_, &str>(2).split_once('=')?;
    Some(RoleSetting {
        role: row.get(0),
        scope,
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

const ROLES: &str = "
SELECT r.rolname::pg_catalog.text,
       pg_catalog.concat_ws(' ',
           CASE WHEN r.rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
           CASE WHEN r.rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
           CASE WHEN r.rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
           CASE WHEN r.rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
           CASE WHEN r.rolreplication THEN 'REPLICATION' END,
           CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END,
           CASE WHEN r.rolconnlimit >= 0 THEN 'CONNECTION LIMIT ' || r.rolconnlimit END,
           CASE WHEN r.rolvaliduntil IS NOT NULL
                THEN pg_catalog.format('VALID UNTIL %L', r.rolvaliduntil) END),
       r.rolsuper, {verifier},
       pg_catalog.shobj_description(r.oid, 'pg_authid')
FROM pg_catalog.{catalog} r WHERE r.rolname !~ '^pg_' ORDER BY 1";

const MEMBERSHIPS: &str = "
SELECT pg_catalog.pg_get_userbyid(m.roleid)::pg_catalog.text,
       pg_catalog.pg_get_userbyid(m.member)::pg_catalog.text, m.admin_option,
       NULL::pg_catalog.bool, NULL::pg_catalog.bool
FROM pg_catalog.pg_auth_members m ORDER BY 1, 2";

const MEMBERSHIPS_WITH_OPTIONS: &str = "
SELECT pg_catalog.pg_get_userbyid(m.roleid)::pg_catalog.text,
       pg_catalog.pg_get_userbyid(m.member)::pg_catalog.text,
       pg_catalog.bool_or(m.admin_option), pg_catalog.bool_or(m.inherit_option),
       pg_catalog.bool_or(m.set_option)
FROM pg_catalog.pg_auth_members m GROUP BY 1, 2 ORDER BY 1, 2";

const SETTINGS: &str = "
SELECT r.rolname::pg_catalog.text, s.setdatabase <> 0, c.item
FROM pg_catalog.pg_db_role_setting s
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c (item)
WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d
                            WHERE d.datname = pg_catalog.current_database()))
ORDER BY 1, 2, 3";

const GRANTS: &str = "
SELECT CASE WHEN a.grantee = 0 THEN NULL
            ELSE pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text END,
       a.privilege_type, pg_catalog.bool_or(a.is_grantable)
FROM pg_catalog.pg_database d
CROSS JOIN LATERAL pg_catalog.aclexplode(
    COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
WHERE d.datname = pg_catalog.current_database() AND a.grantee <> d.datdba
GROUP BY 1, 2 ORDER BY 1, 2";

const PUBLIC_GRANTS: &str = "
SELECT CASE WHEN a.grantee = 0 THEN NULL
            ELSE pg_catalog.pg_get_userbyid(a.grantee)::pg_catalog.text END,
       a.privilege_type, pg_catalog.bool_or(a.is_grantable)
FROM pg_catalog.pg_namespace n
CROSS JOIN LATERAL pg_catalog.aclexplode(
    COALESCE(n.nspacl, pg_catalog.acldefault('n', n.nspowner))) a
WHERE n.nspname = 'public' AND a.grantee <> n.nspowner
GROUP BY 1, 2 ORDER BY 1, 2";

const OWNERS: &str = "
SELECT DISTINCT r.rolname::pg_catalog.text
FROM pg_catalog.pg_shdepend d
JOIN pg_catalog.pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND d.deptype = 'o'
  AND d.dbid = (SELECT b.oid FROM pg_catalog.pg_database b
                WHERE b.datname = pg_catalog.current_database())
  AND r.rolname !~ '^pg_'
ORDER BY 1";

const OWNER: &str = "
SELECT pg_catalog.pg_get_userbyid(d.datdba)::pg_catalog.text FROM pg_catalog.pg_database d
WHERE d.datname = pg_catalog.current_database()";
