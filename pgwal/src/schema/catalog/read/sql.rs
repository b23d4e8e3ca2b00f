//! The catalog queries. All run on 12 to 18, with an empty `search_path`, and need no privilege.
//!
//! Left out everywhere: the system's schemas, temporary schemas and our own.

/// `server_version_num`.
pub(super) const VERSION: &str =
    "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4";

/// Schemas.
pub(super) const SCHEMAS: &str = "
SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_namespace n
WHERE n.nspname NOT IN ('information_schema', 'pointsman') AND n.nspname !~ '^pg_' ORDER BY 1";

/// Names of all relations that anything here refers to.
pub(super) const NAMES: &str = "
SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'S')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'pointsman')
  AND n.nspname !~ '^pg_(toast_)?temp_'";

/// Tables. `pages` and `bytes` are what the files have now; the estimate is the planner's.
pub(super) const TABLES: &str = "
SELECT c.oid, n.nspname::pg_catalog.text AS nspname, c.relname::pg_catalog.text AS relname,
       c.relkind::pg_catalog.text AS relkind,
       c.relpersistence::pg_catalog.text AS relpersistence,
       c.relreplident::pg_catalog.text AS relreplident,
       (SELECT ic.relname::pg_catalog.text
          FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
         WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid LIMIT 1) AS identity_index,
       e.extname::pg_catalog.text AS extname,
       c.oid = ANY (e.extconfig) AS is_configuration,
       CASE WHEN c.relkind = 'r'
            THEN COALESCE(pg_catalog.pg_relation_size(c.oid), 0)
                 / pg_catalog.current_setting('block_size')::pg_catalog.int8
            ELSE 0 END AS pages,
       CASE WHEN c.relkind = 'r'
            THEN COALESCE(pg_catalog.pg_table_size(c.oid), 0) ELSE 0 END AS bytes,
       GREATEST(c.reltuples, 0)::pg_catalog.int8 AS rows_estimate
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d
       ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
      AND d.objsubid = 0 AND d.deptype = 'e'
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'pointsman')
  AND n.nspname !~ '^pg_(toast_)?temp_'
ORDER BY 2, 3";

/// Columns of all tables.
pub(super) const COLUMNS: &str = "
SELECT a.attrelid, a.attname::pg_catalog.text AS attname,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS type_name, a.attnotnull,
       a.attidentity::pg_catalog.text AS attidentity,
       a.attgenerated::pg_catalog.text AS attgenerated
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'pointsman')
ORDER BY a.attrelid, a.attnum";

/// Indexes by which a row can be found: unique, checked at once, over all rows, over plain NOT
/// NULL columns.
pub(super) const KEYS: &str = "
SELECT i.indrelid, ic.relname::pg_catalog.text AS relname, i.indisprimary,
       pg_catalog.array_agg(a.attname::pg_catalog.text ORDER BY k.position) AS columns
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY
     AS k (attnum, position)
LEFT JOIN pg_catalog.pg_attribute a
       ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND a.attnum > 0
WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL
  AND i.indexprs IS NULL AND k.position <= i.indnkeyatts
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'pointsman')
GROUP BY i.indrelid, ic.relname, i.indisprimary, i.indexrelid
HAVING pg_catalog.bool_and(COALESCE(a.attnotnull, false))";

/// Partitions and inheritance children with their parents.
pub(super) const PARENTS: &str = "
SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i ORDER BY i.inhrelid, i.inhseqno";

/// Sequences that belong to no extension, with the column that owns each.
pub(super) const SEQUENCES: &str = "
SELECT c.oid, n.nspname::pg_catalog.text AS nspname, c.relname::pg_catalog.text AS relname,
       d.refobjid AS owner_table, a.attname::pg_catalog.text AS owner_column,
       d.deptype::pg_catalog.text AS deptype
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_depend d
       ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE c.relkind = 'S' AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'pointsman')
  AND n.nspname !~ '^pg_(toast_)?temp_'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend x
                   WHERE x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                     AND x.objid = c.oid AND x.deptype = 'e')
ORDER BY 2, 3";

/// Which views and materialized views read from which.
pub(super) const VIEW_DEPENDENCIES: &str = "
SELECT DISTINCT r.ev_class, d.refobjid
FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_depend d
  ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
 AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.ev_class
JOIN pg_catalog.pg_class seen ON seen.oid = d.refobjid AND seen.relkind IN ('v', 'm')
JOIN pg_catalog.pg_class reader ON reader.oid = r.ev_class AND reader.relkind IN ('v', 'm')
ORDER BY 1, 2";

/// Materialized views outside extensions.
pub(super) const MATERIALIZED_VIEWS: &str = "
SELECT c.oid, c.relispopulated FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pointsman')
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend x
                   WHERE x.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                     AND x.objid = c.oid AND x.deptype = 'e')";

/// Enum types.
pub(super) const ENUMS: &str = "
SELECT n.nspname::pg_catalog.text, t.typname::pg_catalog.text,
       pg_catalog.array_agg(e.enumlabel::pg_catalog.text ORDER BY e.enumsortorder)
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
JOIN pg_catalog.pg_enum e ON e.enumtypid = t.oid
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pointsman')
  AND n.nspname !~ '^pg_(toast_)?temp_'
GROUP BY 1, 2 ORDER BY 1, 2";

/// Foreign tables.
pub(super) const FOREIGN_TABLES: &str = "
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'f' ORDER BY 1, 2";

/// Extensions.
pub(super) const EXTENSIONS: &str = "
SELECT e.extname::pg_catalog.text, e.extversion, n.nspname::pg_catalog.text
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace ORDER BY 1";

/// Foreign keys; those that partitions have from their roots are left out.
pub(super) const FOREIGN_KEYS: &str = "
SELECT k.conname::pg_catalog.text, k.conrelid, k.confrelid
FROM pg_catalog.pg_constraint k
WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 1, 2";

/// Count of large objects.
pub(super) const LARGE_OBJECTS: &str =
    "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata";
