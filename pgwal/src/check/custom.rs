//! The names of the application's own settings (`app.tenant`), which the server lists nowhere.
//!
//! A session's custom settings are in neither `pg_settings` nor `SHOW ALL`; only one who knows the
//! name can ask for the value. So the names are gathered where the application uses them: in
//! functions, policies, views, defaults and checks, and in what roles and databases set at login.
//! Too many names do no harm: a session that does not have one answers NULL.

use tokio_postgres::Client;

/// Where names of settings stand, as text; `{body}` is the body of SQL-standard functions (14+).
const TEXTS: &str = "
SELECT p.prosrc || coalesce({body}, '')
       || coalesce(pg_catalog.pg_get_expr(p.proargdefaults, 0), '') AS text
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')
UNION ALL
SELECT coalesce(pg_catalog.pg_get_expr(polqual, polrelid), '') || ' '
       || coalesce(pg_catalog.pg_get_expr(polwithcheck, polrelid), '')
FROM pg_catalog.pg_policy
UNION ALL
SELECT pg_catalog.pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
UNION ALL
SELECT pg_catalog.pg_get_expr(adbin, adrelid) FROM pg_catalog.pg_attrdef
UNION ALL
SELECT pg_catalog.pg_get_constraintdef(oid) FROM pg_catalog.pg_constraint WHERE contype = 'c'
UNION ALL
SELECT pg_catalog.pg_get_triggerdef(oid) FROM pg_catalog.pg_trigger
WHERE NOT tgisinternal AND tgqual IS NOT NULL";

/// The names in those texts, and those that are set at login.
const NAMES: &str = r"
WITH texts AS ({texts}),
named AS (
    SELECT m[1] AS name FROM texts, pg_catalog.regexp_matches(text,
        '(?:current_setting|set_config)\s*\(\s*E?''([a-z_]\w*(?:\.[a-z_]\w*)+)''', 'gi') m
    UNION
    SELECT m[1] FROM texts, pg_catalog.regexp_matches(text,
        '\m(?:set|show)\s+(?:(?:local|session)\s+)?([a-z_]\w*(?:\.[a-z_]\w*)+)\s*(?:=|to\M|;|$)',
        'gi') m
    UNION
    SELECT pg_catalog.split_part(c, '=', 1)
    FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c
    UNION
    SELECT pg_catalog.split_part(c, '=', 1)
    FROM pg_catalog.pg_proc p, pg_catalog.unnest(p.proconfig) c)
SELECT DISTINCT pg_catalog.lower(name) FROM named
WHERE pg_catalog.strpos(name, '.') > 0 AND pg_catalog.lower(name) NOT IN (
    SELECT pg_catalog.lower(s.name) FROM pg_catalog.pg_settings s)
ORDER BY 1";

/// The names of custom settings that the database's own code speaks of, in lower case.
///
/// # Errors
/// When the server fails.
pub async fn custom_settings(client: &Client) -> Result<Vec<String>, tokio_postgres::Error> {
    let version: i32 = client
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')::int4",
            &[],
        )
        .await?
        .try_get(0)?;
    let body = match version {
        140_000.. => "pg_catalog.pg_get_function_sqlbody(p.oid)",
        _ => "NULL",
    };
    let texts = TEXTS.replace("{body}", body);
    let rows = client.query(&NAMES.replace("{texts}", &texts), &[]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}
