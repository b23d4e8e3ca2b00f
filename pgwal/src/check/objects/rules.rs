//! The rules over the source's objects; one query and one finding each.

use crate::check::report::Level;
use crate::check::rule::Rule;

pub(super) const RULES: [Rule; 20] = [
    Rule {
        since: 0,
        sql: "SELECT i.indexrelid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n, pg_catalog.pg_index i
              WHERE {relations} AND i.indrelid = c.oid AND i.indisprimary AND NOT i.indimmediate",
        level: Level::Warn,
        found: "deferrable primary keys: {}",
        why: "a deferrable key identifies no row in the stream; the table counts as one without a \
              key",
        fix: "nothing, or make it immediate: ALTER TABLE ... DROP CONSTRAINT ..., ADD PRIMARY KEY \
              (...) NOT DEFERRABLE",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT i.indexrelid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n, pg_catalog.pg_index i
              WHERE {relations} AND i.indrelid = c.oid AND NOT i.indisprimary
                AND (i.indisunique OR i.indisexclusion) AND NOT i.indimmediate",
        level: Level::Warn,
        found: "deferrable unique or exclusion constraints: {}",
        why: "their check is a trigger, which does not fire while changes are applied: a duplicate \
              that only the target has would not be noticed",
        fix: "run `pointsman verify` before the cutover",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n, pg_catalog.pg_index i, pg_catalog.pg_attribute a
              WHERE {relations} AND i.indrelid = c.oid AND a.attrelid = c.oid
                AND a.attgenerated <> '' AND a.attnum = ANY (i.indkey::pg_catalog.int2[])
                AND (c.relreplident = 'd' AND i.indisprimary OR i.indisreplident)",
        level: Level::Fail,
        found: "tables whose key has a generated column: {}",
        why: "generated columns are not in the stream, so a changed row could not be found",
        fix: "ALTER TABLE {} REPLICA IDENTITY USING INDEX ... (an index without the generated \
              column), or REPLICA IDENTITY FULL",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n
              WHERE {relations} AND c.relkind = 'r' AND c.relpersistence = 'u'",
        level: Level::Warn,
        found: "unlogged tables: {}",
        why: "their changes are in no log: the tables come over empty",
        fix: "ALTER TABLE {} SET LOGGED before the start, if its rows matter",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n
              WHERE {relations} AND c.relkind = 'f'",
        level: Level::Warn,
        found: "foreign tables: {}",
        why: "only their definition comes over; the target must reach the foreign server itself",
        fix: "make sure that the target's network, extensions and user mappings reach what {} \
              points at",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n
              WHERE {relations} AND c.relkind = 'm'",
        level: Level::Warn,
        found: "materialized views: {}",
        why: "they are refreshed on the target after the copy, and a REFRESH on the source is not \
              in the stream: they may be newer or older than the source's",
        fix: "REFRESH MATERIALIZED VIEW {} on the target after the cutover if that matters",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT e.evtname::text FROM pg_catalog.pg_event_trigger e WHERE e.evtenabled <> 'D'
                AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                    WHERE d.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass
                      AND d.objid = e.oid AND d.deptype = 'e')",
        level: Level::Warn,
        found: "event triggers: {}",
        why: "they fire on the statements with which pointsman prepares the source (CREATE SCHEMA, \
              CREATE PUBLICATION, ALTER TABLE) and may refuse or record them",
        fix: "ALTER EVENT TRIGGER {} DISABLE during the start, or make it let the role of \
              pointsman through",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT t.tgname || ' on ' || c.oid::pg_catalog.regclass::text
              FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n, pg_catalog.pg_trigger t
              WHERE {relations} AND t.tgrelid = c.oid AND NOT t.tgisinternal
                AND t.tgenabled IN ('A', 'R')",
        level: Level::Fail,
        found: "triggers that are enabled ALWAYS or REPLICA: {}",
        why: "they fire when changes are applied on the target, and do a second time what they did \
              on the source",
        fix: "ALTER TABLE ... ENABLE TRIGGER ... (plain, so that it fires for the application \
              alone) for {}",
        none: "no trigger that would fire when changes are applied",
    },
    Rule {
        since: 0,
        sql: "SELECT r.rulename || ' on ' || c.oid::pg_catalog.regclass::text
              FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n, pg_catalog.pg_rewrite r
              WHERE {relations} AND r.ev_class = c.oid AND r.rulename <> '_RETURN'
                AND c.relkind IN ('r', 'p') AND r.ev_enabled IN ('A', 'R')",
        level: Level::Fail,
        found: "rules that are enabled ALWAYS or REPLICA: {}",
        why: "they rewrite the statements with which changes are applied on the target",
        fix: "ALTER TABLE ... ENABLE RULE ... (plain) for {}",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT r.rulename || ' on ' || c.oid::pg_catalog.regclass::text
              FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n, pg_catalog.pg_rewrite r
              WHERE {relations} AND r.ev_class = c.oid AND r.rulename <> '_RETURN'
                AND c.relkind IN ('r', 'p') AND r.ev_enabled = 'O'",
        level: Level::Warn,
        found: "rules on tables: {}",
        why: "they come over and do not act while changes are applied; their effects come through \
              the stream",
        fix: "nothing, if the rule's effects are all in tables of this database",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT DISTINCT i.inhparent::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n, pg_catalog.pg_inherits i
              WHERE {relations} AND i.inhparent = c.oid AND c.relkind = 'r' ORDER BY 1",
        level: Level::Warn,
        found: "tables with children by inheritance: {}",
        why: "parent and children are moved each on its own; a child made during the migration \
              stops it",
        fix: "make no child of {} until the cutover is done",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT DISTINCT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n, pg_catalog.pg_attribute a
              WHERE {relations} AND c.relkind = 'r' AND a.attrelid = c.oid AND a.attgenerated <> ''
                AND NOT a.attisdropped ORDER BY 1",
        level: Level::Ok,
        found: "tables with generated columns: {}",
        why: "the columns are computed on the target, not copied",
        fix: "",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT c.oid::pg_catalog.regclass::text || ' (' || m.amname || ')'
              FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n, pg_catalog.pg_am m
              WHERE {relations} AND m.oid = c.relam AND c.relkind IN ('r', 'm')
                AND m.amname <> 'heap'",
        level: Level::Fail,
        found: "tables with an access method other than heap: {}",
        why: "logical decoding reads heap tables; changes of others may not be in the stream",
        fix: "ALTER TABLE ... SET ACCESS METHOD heap (15 and newer; else copy it into a new table) \
              for {}",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT DISTINCT t.typname || ' of ' || x.extname
              FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n, pg_catalog.pg_attribute a,
                   pg_catalog.pg_type t, pg_catalog.pg_depend d, pg_catalog.pg_extension x
              WHERE {relations} AND c.relkind IN ('r', 'p') AND a.attrelid = c.oid AND a.attnum > 0
                AND NOT a.attisdropped AND t.oid = a.atttypid
                AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = t.oid
                AND d.deptype = 'e' AND x.oid = d.refobjid ORDER BY 1",
        level: Level::Ok,
        found: "columns have types of extensions: {}",
        why: "values travel as text; the extension on the target must read what the source's writes",
        fix: "keep the extension's version on the target equal or newer",
        none: "",
    },
    Rule {
        since: 0,
        sql:
            "SELECT DISTINCT s.spcname::text FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n,
                     pg_catalog.pg_tablespace s
              WHERE {relations} AND s.oid = c.reltablespace ORDER BY 1",
        level: Level::Warn,
        found: "tablespaces are used: {}",
        why: "everything comes into the target database's default tablespace",
        fix: "after the migration: ALTER TABLE ... SET TABLESPACE ... (it rewrites and locks the \
              table)",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c,
                     pg_catalog.pg_namespace n, pg_catalog.pg_index i
              WHERE {relations} AND i.indrelid = c.oid AND i.indexrelid IS NOT NULL
                AND NOT i.indisvalid AND c.relkind = 'r'",
        level: Level::Warn,
        found: "tables with an invalid index: {}",
        why: "an index whose building failed is built on the target, and fails there too if it is \
              unique and the rows are not",
        fix: "REINDEX or DROP INDEX of the invalid index on {}",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT k.conname || ' on ' || c.oid::pg_catalog.regclass::text
              FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n, pg_catalog.pg_constraint k
              WHERE {relations} AND k.conrelid = c.oid AND NOT k.convalidated",
        level: Level::Ok,
        found: "constraints that are NOT VALID: {}",
        why: "they come over as they are, not validated",
        fix: "",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT e.extname::text FROM pg_catalog.pg_extension e WHERE e.extname = 'pg_cron'",
        level: Level::Warn,
        found: "scheduled jobs: extension {} is installed",
        why: "its jobs run on whichever server has them: as plain roles they are stopped by the \
              fence, as superusers in background workers they are not, and on the target they \
              would run before the switch",
        fix: "UPDATE cron.job SET active = false before the cutover, and schedule the jobs on the \
              target after it",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT e.extname::text FROM pg_catalog.pg_extension e
              WHERE e.extname IN ('timescaledb', 'citus', 'pglogical', 'pg_partman_bgw', 'bdr',
                                  'age', 'orioledb')",
        level: Level::Fail,
        found: "extensions that keep tables of their own beside the SQL catalog: {}",
        why: "a schema dump and the stream of rows do not carry what {} keeps for itself",
        fix: "move this database with the tools of {}",
        none: "",
    },
    Rule {
        since: 0,
        sql: "SELECT datname::text FROM pg_catalog.pg_database
              WHERE datallowconn AND NOT datistemplate AND datname NOT IN ('postgres',
                    pg_catalog.current_database()) ORDER BY 1",
        level: Level::Ok,
        found: "other databases of the server stay where they are: {}",
        why: "a migration moves one database; what reads across (postgres_fdw, dblink, a pooler's \
              list) keeps pointing at the old server",
        fix: "look for foreign servers that point here: SELECT srvname, srvoptions FROM \
              pg_foreign_server in each of them",
        none: "",
    },
];
