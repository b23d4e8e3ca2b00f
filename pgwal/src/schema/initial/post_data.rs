//! Which indexes, constraints and triggers of an archive are on the target already.
//!
//! The archive names objects by catalog and OID on the source. The source says what each is called
//! (`pg_identify_object`), the target says what it has: both in the same words.

use std::collections::HashSet;

use router::Side;
use tokio_postgres::Client;

use super::super::dump::{Archive, Section};
use super::super::error::SchemaError;
use super::InitialError;

/// Kinds of objects in the section that have an identity of their own.
const ON_TARGET: &str = "
SELECT i.type, i.identity
FROM (SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid AS class, o.oid
        FROM pg_catalog.pg_constraint o
      UNION ALL
      SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, o.oid FROM pg_catalog.pg_class o
       WHERE o.relkind IN ('i', 'I')
      UNION ALL
      SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, o.oid FROM pg_catalog.pg_trigger o
       WHERE NOT o.tgisinternal
      UNION ALL
      SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, o.oid FROM pg_catalog.pg_rewrite o
       WHERE o.rulename <> '_RETURN'
      UNION ALL
      SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, o.oid FROM pg_catalog.pg_policy o
      UNION ALL
      SELECT 'pg_catalog.pg_event_trigger'::pg_catalog.regclass, o.oid
        FROM pg_catalog.pg_event_trigger o
      UNION ALL
      SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, o.oid
        FROM pg_catalog.pg_statistic_ext o) x
CROSS JOIN LATERAL pg_catalog.pg_identify_object(x.class, x.oid, 0) i
WHERE x.oid >= 16384";

const ON_SOURCE: &str = "
SELECT u.class, u.object, i.type, i.identity
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]), pg_catalog.unnest($2::pg_catalog.oid[]))
     AS u (class, object)
CROSS JOIN LATERAL pg_catalog.pg_identify_object(u.class, u.object, 0) i
WHERE u.class IN ('pg_catalog.pg_constraint'::pg_catalog.regclass,
                  'pg_catalog.pg_class'::pg_catalog.regclass,
                  'pg_catalog.pg_trigger'::pg_catalog.regclass,
                  'pg_catalog.pg_rewrite'::pg_catalog.regclass,
                  'pg_catalog.pg_policy'::pg_catalog.regclass,
                  'pg_catalog.pg_event_trigger'::pg_catalog.regclass,
                  'pg_catalog.pg_statistic_ext'::pg_catalog.regclass)";

/// The archive's entries, by catalog and OID on the source, that the target has.
pub(super) async fn restored_before(
    source: &Client,
    target: &Client,
    archive: &Archive,
) -> Result<Vec<(u32, u32)>, InitialError> {
    let there: HashSet<(String, String)> = target
        .query(ON_TARGET, &[])
        .await
        .map_err(SchemaError::sql(
            Side::Target,
            "looking which indexes are there",
        ))?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let (classes, objects): (Vec<u32>, Vec<u32>) = archive
        .objects(Section::PostData)
        .await?
        .into_iter()
        .unzip();
    let rows = source
        .query(ON_SOURCE, &[&classes, &objects])
        .await
        .map_err(SchemaError::sql(
            Side::Source,
            "looking what its indexes are called",
        ))?;
    Ok(rows
        .iter()
        .filter(|row| there.contains(&(row.get(2), row.get(3))))
        .map(|row| (row.get(0), row.get(1)))
        .collect())
}
