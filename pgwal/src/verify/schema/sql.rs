//! The queries of what a schema consists of: an object's name, its properties in words that all
//! versions share, and the server's own wording.
//!
//! Left out everywhere: the system's schemas, temporary ones, our own, and members of extensions.
//! Replica identities are left out too, since we change them on the source.

/// The version.
pub(super) const VERSION: &str =
    "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4";

/// What `pg_sequences` says; a sequence that was never used has no value.
pub(super) const SEQUENCE_VALUES: &str = "
SELECT pg_catalog.format('%I.%I', schemaname, sequencename), last_value
FROM pg_catalog.pg_sequences WHERE schemaname <> 'pointsman' ORDER BY 1";

/// Stands in a query for the condition that an object is the application's; see [`Facts::query`].
const OURS: &str = "@ours";

/// One kind of object.
pub(super) struct Facts {
    /// Its name for people.
    pub(super) kind: &'static str,
    /// The catalog, and the expression of the object id in it, by which members of extensions are
    /// known.
    member: (&'static str, &'static str),
    sql: &'static str,
}

impl Facts {
    /// The query.
    pub(super) fn query(&self) -> String {
        let (catalog, oid) = self.member;
        let ours = format!(
            "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'pointsman')
             AND n.nspname !~ '^pg_(toast_)?temp_'
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend x
                  WHERE x.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass
                    AND x.objid = {oid} AND x.deptype = 'e')"
        );
        self.sql.replace(OURS, &ours)
    }
}

const fn facts(
    kind: &'static str,
    member: (&'static str, &'static str),
    sql: &'static str,
) -> Facts {
    Facts { kind, member, sql }
}

/// Everything that is compared.
pub(super) const FACTS: &[Facts] = &[
    facts(
        "relation",
        ("pg_class", "c.oid"),
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
               pg_catalog.concat_ws(' ',
                 CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
                   WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
                   WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'composite type' END,
                 CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
                 CASE WHEN c.relrowsecurity THEN 'row security' END,
                 CASE WHEN c.relforcerowsecurity THEN 'forced row security' END,
                 pg_catalog.pg_get_partkeydef(c.oid),
                 pg_catalog.pg_get_expr(c.relpartbound, c.oid),
                 pg_catalog.array_to_string(c.reloptions, ' ')),
               CASE WHEN c.relkind IN ('v', 'm') THEN pg_catalog.pg_get_viewdef(c.oid) END
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND @ours",
    ),
    // Identity is left out for partitions: from 17 on they have it from their table.
    facts(
        "column",
        ("pg_class", "c.oid"),
        "SELECT pg_catalog.format('%I.%I.%I', n.nspname, c.relname, a.attname),
               pg_catalog.concat_ws(' ', pg_catalog.format_type(a.atttypid, a.atttypmod),
                 'number ' || pg_catalog.row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum),
                 CASE WHEN a.attnotnull THEN 'not null' END,
                 CASE WHEN a.attidentity <> '' AND NOT c.relispartition
                   THEN 'identity ' || a.attidentity::pg_catalog.text END,
                 CASE WHEN a.attgenerated <> '' THEN 'generated ' || a.attgenerated::pg_catalog.text END,
                 CASE WHEN a.atthasdef AND a.attgenerated = '' THEN 'default' END,
                 CASE WHEN a.attcollation <> t.typcollation
                   THEN 'collate ' || (SELECT pg_catalog.quote_ident(l.collname)
                     FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation) END),
               pg_catalog.pg_get_expr(d.adbin, d.adrelid)
             FROM pg_catalog.pg_attribute a
             JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
             LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND a.attnum > 0
               AND NOT a.attisdropped AND @ours",
    ),
    facts(
        "index",
        ("pg_class", "t.oid"),
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
               pg_catalog.concat_ws(' ', pg_catalog.format('on %I', t.relname),
                 CASE WHEN i.indisunique THEN 'unique' END,
                 CASE WHEN i.indisprimary THEN 'primary' END,
                 CASE WHEN NOT i.indisvalid THEN 'not valid' END,
                 CASE WHEN NOT i.indimmediate THEN 'deferrable' END,
                 'using ' || m.amname, i.indnkeyatts || ' of ' || i.indnatts,
                 (SELECT pg_catalog.string_agg(coalesce(pg_catalog.quote_ident(a.attname), '(..)'),
                           ', ' ORDER BY k.at)
                    FROM pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (num, at)
                    LEFT JOIN pg_catalog.pg_attribute a
                      ON a.attrelid = i.indrelid AND a.attnum = k.num AND k.num > 0),
                 CASE WHEN i.indpred IS NOT NULL THEN 'where ..' END),
               pg_catalog.pg_get_indexdef(i.indexrelid)
             FROM pg_catalog.pg_index i
             JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
             JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
             JOIN pg_catalog.pg_am m ON m.oid = c.relam
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE @ours",
    ),
    // NOT NULL has been a constraint since 18, and is a property of columns here.
    facts(
        "constraint",
        ("pg_class", "c.oid"),
        "SELECT pg_catalog.format('%I.%I.%I', n.nspname, c.relname, k.conname),
               pg_catalog.concat_ws(' ',
                 CASE k.contype WHEN 'c' THEN 'check' WHEN 'f' THEN 'foreign key'
                   WHEN 'p' THEN 'primary key' WHEN 'u' THEN 'unique' WHEN 'x' THEN 'exclude' END,
                 CASE WHEN k.contype = 'f' THEN pg_catalog.pg_get_constraintdef(k.oid) END,
                 CASE WHEN NOT k.convalidated AND pg_catalog.pg_get_constraintdef(k.oid)
                   NOT LIKE '% NOT VALID' THEN 'NOT VALID' END,
                 CASE WHEN k.condeferrable THEN 'deferrable' END,
                 CASE WHEN k.condeferred THEN 'deferred' END),
               pg_catalog.pg_get_constraintdef(k.oid)
             FROM pg_catalog.pg_constraint k
             JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.conparentid = 0 AND @ours",
    ),
    facts(
        "foreign key's check",
        ("pg_class", "c.oid"),
        "SELECT pg_catalog.format('%I.%I.%I', n.nspname, c.relname, k.conname),
               pg_catalog.string_agg(DISTINCT CASE g.tgenabled WHEN 'O' THEN 'enabled'
                 WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas' ELSE 'always' END, ', '), ''
             FROM pg_catalog.pg_trigger g
             JOIN pg_catalog.pg_constraint k ON k.oid = g.tgconstraint
             JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE k.contype = 'f' AND k.conparentid = 0 AND @ours GROUP BY 1",
    ),
    // Clones of a partitioned table's triggers are marked in other ways by each version; whether
    // they are enabled is what counts.
    facts(
        "trigger",
        ("pg_class", "c.oid"),
        "SELECT pg_catalog.format('%I.%I.%I', n.nspname, c.relname, g.tgname),
               pg_catalog.concat_ws(' ', CASE g.tgenabled WHEN 'O' THEN 'enabled'
                 WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas' ELSE 'always' END,
                 'calls ' || g.tgfoid::pg_catalog.regprocedure::pg_catalog.text,
                 'of type ' || g.tgtype),
               pg_catalog.pg_get_triggerdef(g.oid)
             FROM pg_catalog.pg_trigger g
             JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE g.tgconstraint = 0 AND @ours",
    ),
    facts(
        "event trigger",
        ("pg_class", "0"),
        "SELECT pg_catalog.quote_ident(evtname),
           pg_catalog.concat_ws(' ', evtevent, CASE evtenabled WHEN 'O' THEN 'enabled'
             WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'on replicas' ELSE 'always' END,
             pg_catalog.array_to_string(evttags, ' ')), ''
         FROM pg_catalog.pg_event_trigger WHERE evtname !~ '^pointsman'",
    ),
    facts(
        "rule",
        ("pg_class", "c.oid"),
        "SELECT pg_catalog.format('%I.%I.%I', n.nspname, c.relname, r.rulename),
               CASE r.ev_enabled WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled'
                 WHEN 'R' THEN 'on replicas' ELSE 'always' END,
               pg_catalog.pg_get_ruledef(r.oid)
             FROM pg_catalog.pg_rewrite r
             JOIN pg_catalog.pg_class c ON c.oid = r.ev_class
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
             WHERE r.rulename <> '_RETURN' AND @ours",
    ),
    facts(
        "policy",
        ("pg_class", "c.oid"),
        "SELECT pg_catalog.format('%I.%I.%I', n.nspname, c.relname, p.polname),
               pg_catalog.concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' END, 'for',
                 p.polcmd),
               pg_catalog.concat_ws(' ', pg_catalog.pg_get_expr(p.polqual, p.polrelid),
                 pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid))
             FROM pg_catalog.pg_policy p
             JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE @ours",
    ),
    facts(
        "sequence",
        ("pg_class", "c.oid"),
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),
               pg_catalog.format('%s by %s from %s to %s start %s cache %s cycle %s',
                 pg_catalog.format_type(s.seqtypid, NULL), s.seqincrement, s.seqmin, s.seqmax,
                 s.seqstart, s.seqcache, s.seqcycle), ''
             FROM pg_catalog.pg_sequence s
             JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE @ours",
    ),
    facts(
        "function",
        ("pg_proc", "p.oid"),
        "SELECT pg_catalog.format('%I.%I(%s)', n.nspname, p.proname,
                 pg_catalog.pg_get_function_identity_arguments(p.oid)),
               pg_catalog.concat_ws(' ', p.prokind, l.lanname,
                 pg_catalog.pg_get_function_result(p.oid), p.provolatile,
                 CASE WHEN p.proisstrict THEN 'strict' END,
                 CASE WHEN p.prosecdef THEN 'security definer' END,
                 CASE WHEN p.proleakproof THEN 'leakproof' END, p.proparallel,
                 pg_catalog.array_to_string(p.proconfig, ' '), 'source ' || pg_catalog.md5(p.prosrc)),
               ''
             FROM pg_catalog.pg_proc p
             JOIN pg_catalog.pg_language l ON l.oid = p.prolang
             JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE @ours",
    ),
    facts(
        "enum type",
        ("pg_type", "t.oid"),
        "SELECT pg_catalog.format('%I.%I', n.nspname, t.typname),
               pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', '
                 ORDER BY e.enumsortorder), ''
             FROM pg_catalog.pg_type t
             JOIN pg_catalog.pg_enum e ON e.enumtypid = t.oid
             JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE @ours GROUP BY 1",
    ),
    facts(
        "domain",
        ("pg_type", "t.oid"),
        "SELECT pg_catalog.format('%I.%I', n.nspname, t.typname),
               pg_catalog.concat_ws(' ', pg_catalog.format_type(t.typbasetype, t.typtypmod),
                 CASE WHEN t.typnotnull THEN 'not null' END, t.typdefault,
                 (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(k.conname), ' '
                     ORDER BY k.conname)
                    FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')),
               (SELECT pg_catalog.string_agg(pg_catalog.pg_get_constraintdef(k.oid), ' '
                   ORDER BY k.conname)
                  FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')
             FROM pg_catalog.pg_type t
             JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
             WHERE t.typtype = 'd' AND @ours",
    ),
    facts(
        "statistics object",
        ("pg_statistic_ext", "s.oid"),
        "SELECT pg_catalog.format('%I.%I', n.nspname, s.stxname), '',
               pg_catalog.pg_get_statisticsobjdef(s.oid)
             FROM pg_catalog.pg_statistic_ext s
             JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace WHERE @ours",
    ),
    facts(
        "extension",
        ("pg_class", "0"),
        "SELECT pg_catalog.quote_ident(e.extname), '', e.extversion FROM pg_catalog.pg_extension e",
    ),
];
