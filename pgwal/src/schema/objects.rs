//! The objects of a target database by catalog: what stood there before us, and what is ours to
//! drop when the migration is aborted.
//!
//! What was there is remembered by OID when the target is prepared. Everything made afterwards
//! came with the restored schema, since nobody else is to use the target before the switch.

/// The smallest OID of an object that was not made by `initdb`.
const FIRST_NORMAL_OID: u32 = 16_384;

/// A catalog, a condition for the objects that are dropped by their own name (the others go with
/// something else), and in this order they are dropped.
struct ObjectClass {
    catalog: &'static str,
    condition: &'static str,
}

/// Tables first and one by one, whether partitioned or not: the columns of a partition key hang on
/// their table in the way that a table hangs on what owns it, so that no statement needs more locks than a server has.
const CLASSES: [ObjectClass; 21] = [
    ObjectClass {
        catalog: "pg_event_trigger",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_class",
        condition: "o.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend own
                WHERE own.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                  AND own.objid = o.oid AND own.objsubid = 0 AND own.deptype = 'i')",
    },
    ObjectClass {
        catalog: "pg_namespace",
        condition: "o.nspname !~ '^pg_(toast_)?temp_'",
    },
    ObjectClass {
        catalog: "pg_cast",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_proc",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_type",
        condition: "o.typtype IN ('b', 'c', 'd', 'e', 'r')
            AND (o.typrelid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_class c
                  WHERE c.oid = o.typrelid AND c.relkind = 'c'))
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = o.oid)",
    },
    ObjectClass {
        catalog: "pg_operator",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_opclass",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_opfamily",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_collation",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_conversion",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_statistic_ext",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_ts_config",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_ts_dict",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_ts_parser",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_ts_template",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_foreign_server",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_foreign_data_wrapper",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_extension",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_language",
        condition: "true",
    },
    ObjectClass {
        catalog: "pg_am",
        condition: "true",
    },
];

/// Objects of a user in the given schemas (`$1`), described, some of them.
pub(crate) const USER_OBJECTS: &str = "
SELECT pg_catalog.pg_describe_object(o.class, o.oid, 0) FROM (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AS class, c.oid,
           c.relnamespace AS namespace
    FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.pronamespace
    FROM pg_catalog.pg_proc p
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, t.typnamespace
    FROM pg_catalog.pg_type t WHERE t.typtype IN ('d', 'e', 'r')
    UNION ALL
    SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, s.oid, s.oid
    FROM pg_catalog.pg_namespace s WHERE s.nspname <> 'public'
) o
JOIN pg_catalog.pg_namespace n ON n.oid = o.namespace
WHERE n.nspname = ANY ($1::pg_catalog.text[])
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                   WHERE d.classid = o.class AND d.objid = o.oid AND d.objsubid = 0
                     AND d.deptype IN ('e', 'i'))
ORDER BY o.class, 1 LIMIT 20";

/// Statements that write down what stands in the database, and how the schemas that stand there
/// and the database itself look.
pub(crate) fn remember_found() -> String {
    let mut statements = String::new();
    for class in &CLASSES {
        let catalog = class.catalog;
        statements.push_str(&format!(
            "INSERT INTO pointsman.found_object (class_name, object_oid)
             SELECT '{catalog}', o.oid FROM pg_catalog.{catalog} o
             WHERE o.oid >= {FIRST_NORMAL_OID} ON CONFLICT DO NOTHING;\n"
        ));
    }
    statements.push_str(
        "INSERT INTO pointsman.found_object (class_name, object_oid)
         SELECT 'pg_default_acl', d.oid FROM pg_catalog.pg_default_acl d;
         INSERT INTO pointsman.saved_acl (kind, name, owner_name, acl, description)
         SELECT 'schema', n.nspname, pg_catalog.pg_get_userbyid(n.nspowner), n.nspacl::text,
                pg_catalog.obj_description(n.oid, 'pg_namespace')
         FROM pg_catalog.pg_namespace n
         WHERE n.nspname NOT IN ('information_schema', 'pointsman') AND n.nspname !~ '^pg_';
         INSERT INTO pointsman.saved_acl (kind, name, owner_name, acl, description)
         SELECT 'database', d.datname, pg_catalog.pg_get_userbyid(d.datdba), d.datacl::text, NULL
         FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database();\n",
    );
    statements
}

/// A query for the DROP statements of everything that was made since, in an order that works:
/// newest first within a catalog, so that partitions go before their roots.
pub(crate) fn drop_statements() -> String {
    let parts: Vec<String> = CLASSES
        .iter()
        .enumerate()
        .map(|(order, ObjectClass { catalog, condition })| {
            format!(
                "SELECT {order} AS class_order, o.oid AS object_oid, i.type, i.identity
                 FROM pg_catalog.{catalog} o
                 CROSS JOIN LATERAL pg_catalog.pg_identify_object(
                     'pg_catalog.{catalog}'::pg_catalog.regclass, o.oid, 0) i
                 WHERE o.oid >= {FIRST_NORMAL_OID} AND {condition}
                   AND COALESCE(i.schema, '') <> 'pointsman' AND i.identity <> 'pointsman'
                   AND COALESCE(i.schema, '') !~ '^pg_(toast|temp_|toast_temp_)'
                   AND NOT EXISTS (SELECT FROM pointsman.found_object f
                        WHERE f.class_name = '{catalog}' AND f.object_oid = o.oid)
                   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                        WHERE d.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass
                          AND d.objid = o.oid AND d.deptype = 'e')"
            )
        })
        .collect();
    format!(
        "SELECT pg_catalog.format('DROP %s IF EXISTS %s CASCADE',
            CASE x.type WHEN 'statistics object' THEN 'STATISTICS'
                        WHEN 'foreign-data wrapper' THEN 'FOREIGN DATA WRAPPER'
                        ELSE pg_catalog.upper(x.type) END, x.identity)
         FROM ({}) x ORDER BY x.class_order, x.object_oid DESC",
        parts.join(" UNION ALL ")
    )
}
