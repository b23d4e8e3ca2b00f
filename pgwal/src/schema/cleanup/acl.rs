//! Privileges as they were: the difference between two sets of grants, as statements.
//!
//! NULL stands for the built-in default, and the order of entries means nothing, so two lists are
//! equal when their exploded entries are.

/// Statements that make the privileges of the schemas that stood here, and of the database, what
/// `pointsman.saved_acl` says. Owners first: grants are made in the owner's name.
pub(super) const RESTORE_OWNERS: &str = "
SELECT pg_catalog.format('ALTER SCHEMA %I OWNER TO %I', s.name, s.owner_name)
FROM pointsman.saved_acl s JOIN pg_catalog.pg_namespace n ON n.nspname = s.name
WHERE s.kind = 'schema' AND pg_catalog.pg_get_userbyid(n.nspowner) <> s.owner_name
UNION ALL
SELECT pg_catalog.format('ALTER DATABASE %I OWNER TO %I', s.name, s.owner_name)
FROM pointsman.saved_acl s JOIN pg_catalog.pg_database d ON d.datname = s.name
WHERE s.kind = 'database' AND pg_catalog.pg_get_userbyid(d.datdba) <> s.owner_name";

pub(super) const RESTORE_GRANTS: &str = "
WITH entries AS (
    SELECT 'SCHEMA' AS kind, n.nspname AS name, a.grantee, a.privilege_type, a.is_grantable,
           v.wanted
    FROM pointsman.saved_acl s
    JOIN pg_catalog.pg_namespace n ON n.nspname = s.name
    CROSS JOIN LATERAL (VALUES (true, s.acl::pg_catalog.aclitem[]), (false, n.nspacl))
        AS v (wanted, acl)
    CROSS JOIN LATERAL pg_catalog.aclexplode(
        COALESCE(v.acl, pg_catalog.acldefault('n', n.nspowner))) a
    WHERE s.kind = 'schema'
    UNION ALL
    SELECT 'DATABASE', d.datname, a.grantee, a.privilege_type, a.is_grantable, v.wanted
    FROM pointsman.saved_acl s
    JOIN pg_catalog.pg_database d ON d.datname = s.name
    CROSS JOIN LATERAL (VALUES (true, s.acl::pg_catalog.aclitem[]), (false, d.datacl))
        AS v (wanted, acl)
    CROSS JOIN LATERAL pg_catalog.aclexplode(
        COALESCE(v.acl, pg_catalog.acldefault('d', d.datdba))) a
    WHERE s.kind = 'database'),
changes AS (
    SELECT kind, name, grantee, privilege_type, is_grantable, pg_catalog.bool_or(wanted) AS wanted
    FROM entries GROUP BY 1, 2, 3, 4, 5
    HAVING pg_catalog.bool_and(wanted) OR NOT pg_catalog.bool_or(wanted))
SELECT CASE WHEN wanted
            THEN pg_catalog.format('GRANT %s ON %s %I TO %s%s', privilege_type, kind, name, who,
                     CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            ELSE pg_catalog.format('REVOKE %s ON %s %I FROM %s CASCADE', privilege_type, kind,
                     name, who) END
FROM changes
CROSS JOIN LATERAL (SELECT CASE WHEN grantee = 0 THEN 'PUBLIC'
    ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)) END) AS w (who)
ORDER BY wanted, 1";

pub(super) const RESTORE_COMMENTS: &str = "
SELECT s.name, s.description FROM pointsman.saved_acl s
JOIN pg_catalog.pg_namespace n ON n.nspname = s.name
WHERE s.kind = 'schema'
  AND s.description IS DISTINCT FROM pg_catalog.obj_description(n.oid, 'pg_namespace')";

/// Default privileges that came with the schema: back to the built-in ones. Those that were there
/// before are in `pointsman.found_object` and are left alone.
pub(super) const RESTORE_DEFAULTS: &str = "
WITH entries AS (
    SELECT d.oid, a.grantee, a.privilege_type, v.wanted
    FROM pg_catalog.pg_default_acl d
    CROSS JOIN LATERAL (VALUES
        (true, CASE WHEN d.defaclnamespace = 0
                    THEN pg_catalog.acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's'::\"char\"
                             ELSE d.defaclobjtype END, d.defaclrole)
                    ELSE '{}'::pg_catalog.aclitem[] END),
        (false, d.defaclacl)) AS v (wanted, acl)
    CROSS JOIN LATERAL pg_catalog.aclexplode(v.acl) a
    WHERE NOT EXISTS (SELECT FROM pointsman.found_object f
                      WHERE f.class_name = 'pg_default_acl' AND f.object_oid = d.oid)),
changes AS (
    SELECT oid, grantee, privilege_type, pg_catalog.bool_or(wanted) AS wanted
    FROM entries GROUP BY 1, 2, 3
    HAVING pg_catalog.bool_and(wanted) OR NOT pg_catalog.bool_or(wanted))
SELECT pg_catalog.format('ALTER DEFAULT PRIVILEGES FOR ROLE %I%s %s %s ON %s %s %s',
           pg_catalog.pg_get_userbyid(d.defaclrole),
           CASE WHEN d.defaclnamespace = 0 THEN ''
                ELSE ' IN SCHEMA ' || pg_catalog.quote_ident(n.nspname) END,
           CASE WHEN c.wanted THEN 'GRANT' ELSE 'REVOKE' END, c.privilege_type,
           CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES'
                WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS'
                ELSE 'LARGE OBJECTS' END,
           CASE WHEN c.wanted THEN 'TO' ELSE 'FROM' END,
           CASE WHEN c.grantee = 0 THEN 'PUBLIC'
                ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.grantee)) END)
FROM changes c
JOIN pg_catalog.pg_default_acl d ON d.oid = c.oid
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace
ORDER BY c.wanted, 1";
