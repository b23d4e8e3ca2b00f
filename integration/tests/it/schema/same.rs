//! Whether two databases are the same, by what the servers themselves print.

use std::collections::BTreeMap;

use integration::server::PgClient;
use pgwal::schema::initial::InitialDone;

use super::Pair;

/// Rows and everything around them, after a copy under one snapshot.
pub(super) async fn assert_same(pair: &Pair, done: &InitialDone) {
    assert_eq!(done.catalog.moved_tables().count(), 22);
    assert!(
        done.watermarks
            .values()
            .all(|watermark| *watermark == done.start.consistent_point)
    );
    assert_same_rows(pair, done).await;
    assert_same_things(pair).await;
}

async fn clients(pair: &Pair) -> (PgClient, PgClient) {
    let (source, target) = pair.clients().await;
    let text = "SET extra_float_digits = 3; SET IntervalStyle = 'postgres'; SET search_path = ''";
    source.batch_execute(text).await.unwrap();
    target.batch_execute(text).await.unwrap();
    (source, target)
}

/// Rows as text, in their own order.
pub(super) async fn assert_same_rows(pair: &Pair, done: &InitialDone) {
    let (source, target) = clients(pair).await;
    for table in done.catalog.moved_tables() {
        let name = table.name.quoted();
        let query = format!(
            "SELECT count(*), md5(string_agg(r::text, E'\\n' ORDER BY r::text COLLATE \"C\"))
             FROM ONLY {name} r"
        );
        let [there, here] = [
            row_text(&source, &query).await,
            row_text(&target, &query).await,
        ];
        assert_eq!(there, here, "{name}");
        let key = (table.name.schema.clone(), table.name.name.clone());
        assert!(done.watermarks.contains_key(&key), "{name}");
    }
}

/// Everything around the rows.
pub(super) async fn assert_same_things(pair: &Pair) {
    let (source, target) = clients(pair).await;
    for (what, query) in LISTS {
        let there = list(&source, query).await;
        let here = list(&target, query).await;
        assert!(!there.is_empty(), "{what}");
        for (name, value) in &there {
            assert_eq!(Some(value), here.get(name), "{what} {name}");
        }
        assert_eq!(there.len(), here.len(), "{what}: {there:?} {here:?}");
    }
}

async fn row_text(client: &PgClient, query: &str) -> (i64, Option<String>) {
    let row = client.query_one(query, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

async fn list(client: &PgClient, query: &str) -> BTreeMap<String, Option<String>> {
    let rows = client.query(query, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Name and definition of everything of a kind.
const LISTS: [(&str, &str); 12] = [
    (
        "columns",
        "SELECT a.attrelid::regclass || '.' || a.attname,
                concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
                          a.attgenerated, pg_get_expr(d.adbin, d.adrelid))
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE c.relnamespace IN ('shop'::regnamespace, 'public'::regnamespace)
           AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped",
    ),
    (
        "tables",
        "SELECT c.oid::regclass::text,
                concat_ws(' ', c.relkind, c.relpersistence, c.relreplident, c.relrowsecurity,
                          c.relispopulated, pg_get_userbyid(c.relowner),
                          pg_get_expr(c.relpartbound, c.oid),
                          (SELECT array_agg(i.inhparent::regclass::text) FROM pg_inherits i
                            WHERE i.inhrelid = c.oid))
         FROM pg_class c
         WHERE c.relnamespace IN ('shop'::regnamespace, 'public'::regnamespace)
           AND c.relkind <> 'c' AND c.relkind NOT IN ('i', 'I')",
    ),
    (
        "grants",
        "SELECT c.oid::regclass::text,
                (SELECT string_agg(a::text, ' ' ORDER BY a::text)
                   FROM (SELECT pg_get_userbyid(a.grantor) || pg_get_userbyid(a.grantee)
                                || a.privilege_type || a.is_grantable AS a
                           FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
                          WHERE a.privilege_type <> 'MAINTAIN') x)
         FROM pg_class c WHERE c.relnamespace = 'shop'::regnamespace AND c.relkind = 'r'",
    ),
    (
        "indexes",
        "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         WHERE c.relnamespace IN ('shop'::regnamespace, 'public'::regnamespace)",
    ),
    (
        "constraints",
        "SELECT k.conrelid::regclass || '.' || k.conname,
                concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated)
         FROM pg_constraint k
         WHERE k.connamespace IN ('shop'::regnamespace, 'public'::regnamespace)
           AND k.contype <> 'n' AND k.conrelid <> 0",
    ),
    (
        "triggers",
        "SELECT t.tgname::text, concat(pg_get_triggerdef(t.oid), t.tgenabled) FROM pg_trigger t
         WHERE NOT t.tgisinternal
         UNION ALL SELECT e.evtname::text, e.evtevent::text FROM pg_event_trigger e
         UNION ALL SELECT r.rulename::text, pg_get_ruledef(r.oid) FROM pg_rewrite r
         WHERE r.rulename = 'no_delete'
         UNION ALL SELECT p.polname::text, pg_get_expr(p.polqual, p.polrelid) FROM pg_policy p",
    ),
    (
        "functions",
        "SELECT p.oid::regprocedure::text, md5(p.prosrc) FROM pg_proc p
         WHERE (p.pronamespace = 'shop'::regnamespace AND p.proname !~ 'multirange')
            OR p.oid::regprocedure::text LIKE 'public.in_public%'",
    ),
    (
        "types",
        "SELECT t.oid::regtype::text, concat_ws(' ', t.typtype, (SELECT
                array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e
                WHERE e.enumtypid = t.oid)) FROM pg_type t
         WHERE t.typnamespace = 'shop'::regnamespace AND t.typtype <> 'm'
           AND t.typarray <> 0 AND t.typrelid = 0",
    ),
    (
        "roles",
        "SELECT r.rolname::text, concat_ws(' ', r.rolsuper, r.rolinherit, r.rolcreaterole,
                r.rolcreatedb, r.rolcanlogin, r.rolconnlimit, r.rolpassword, r.rolvaliduntil,
                shobj_description(r.oid, 'pg_authid'),
                (SELECT string_agg(pg_get_userbyid(m.roleid) || m.admin_option, ',' ORDER BY 1)
                   FROM pg_auth_members m WHERE m.member = r.oid))
         FROM pg_authid r WHERE r.rolname !~ '^pg_'",
    ),
    (
        "settings",
        "SELECT concat_ws(' ', r.rolname, s.setdatabase <> 0), s.setconfig::text
         FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole",
    ),
    (
        "database",
        "SELECT concat_ws(' ', CASE a.grantee WHEN 0 THEN 'PUBLIC'
                ELSE pg_get_userbyid(a.grantee)::text END, a.privilege_type, a.is_grantable), NULL
         FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
         WHERE d.datname = current_database()",
    ),
    (
        "views and sequences",
        "SELECT 'z_first', n::text FROM shop.z_first
         UNION ALL SELECT 'a_second', n::text FROM shop.a_second
         UNION ALL SELECT 'loose', last_value || ' ' || is_called FROM shop.loose
         UNION ALL SELECT 'descending', last_value || ' ' || is_called FROM shop.descending
         UNION ALL SELECT 'identity', last_value || ' ' || is_called FROM shop.types_id_seq
         UNION ALL SELECT 'serial', last_value || ' ' || is_called FROM shop.types_old_serial_seq
         UNION ALL SELECT 'extensions', string_agg(extname || ' ' || extnamespace::regnamespace,
                          ',' ORDER BY extname) FROM pg_extension",
    ),
];
