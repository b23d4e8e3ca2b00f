//! Tables and other objects of the source: what is moved otherwise than expected, or not at all.

use router::Side;

use super::report::{Advice, Level, Report, listed};
use super::rule::{expand, run_all};
use super::server::Server;
use super::{CheckOptions, KeylessTables, LargeObjects};
use crate::name::QualifiedName;

mod rules;

pub(super) async fn source(
    source: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    keyless_tables(source, options, report).await?;
    large_objects(source, options.large_objects, report).await?;
    run_all(&rules::RULES, source, report).await?;
    size(source, report).await
}

/// Tables whose changed rows could not be found again on the target.
const KEYLESS: &str = "
SELECT n.nspname::text, c.relname::text, c.oid::pg_catalog.regclass::text
FROM pg_catalog.pg_class c, pg_catalog.pg_namespace n
WHERE {relations} AND c.relkind = 'r' AND c.relpersistence = 'p' AND CASE c.relreplident
    WHEN 'f' THEN false
    WHEN 'n' THEN true
    WHEN 'i' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
                              AND i.indisreplident AND i.indimmediate)
    ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid
                     AND i.indisprimary AND i.indimmediate) END
ORDER BY 1, 2";

async fn keyless_tables(
    source: &Server,
    options: &CheckOptions,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let mut tables: Vec<String> = Vec::new();
    for row in source.conn.query(&expand(KEYLESS), &[]).await? {
        let (schema, name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if options.tables.chooses(&QualifiedName::new(schema, name)) {
            tables.push(row.try_get(2)?);
        }
    }
    let Some(first) = tables.first() else {
        report.ok(Side::Source, "every table has a key or a replica identity");
        return Ok(());
    };
    let what = format!("tables without a usable key: {}", listed(&tables));
    match options.keyless_tables {
        KeylessTables::Full => report.warn(
            Side::Source,
            &what,
            Advice {
                why: "they get REPLICA IDENTITY FULL until `finish` or `abort`: their updates \
                      write the whole old row to the log, and are applied row by row",
                fix: &format!("nothing, or add a key: ALTER TABLE {first} ADD PRIMARY KEY (...)"),
            },
        ),
        KeylessTables::Refuse => report.fail(
            Side::Source,
            &what,
            Advice {
                why: "a changed row could not be found on the target, and [copy] keyless_tables \
                      is \"refuse\"",
                fix: &format!(
                    "ALTER TABLE {first} ADD PRIMARY KEY (...), or set keyless_tables = \"full\" \
                     in [copy]"
                ),
            },
        ),
    }
    Ok(())
}

async fn large_objects(
    source: &Server,
    policy: LargeObjects,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata";
    let count: i64 = source.value(sql, &[]).await?;
    if count == 0 {
        report.ok(Side::Source, "no large objects");
        return Ok(());
    }
    let what = format!("{count} large objects");
    let why = "large objects are not moved: their changes are in no stream";
    match policy {
        LargeObjects::Refuse => report.fail(
            Side::Source,
            &what,
            Advice {
                why,
                fix: "remove those that nothing refers to (vacuumlo), move them into bytea columns, \
                      or go on without them: --accept large-objects",
            },
        ),
        LargeObjects::Accept => {
            let fix = "accepted; copy them by hand if the application reads them";
            report.warn(Side::Source, &what, Advice { why, fix });
        }
    }
    Ok(())
}

/// How much there is, since nobody can ask the target for its free space.
async fn size(source: &Server, report: &mut Report) -> Result<(), tokio_postgres::Error> {
    let sql = "SELECT pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(
                      pg_catalog.current_database()))";
    let size: String = source.value(sql, &[]).await?;
    report.add(
        Level::Ok,
        Side::Source,
        &format!("the database has {size}"),
        Advice {
            why: "a server does not tell how much disk it has free",
            fix: "make sure that the target's disk has room for as much again, and twice the \
                  largest table for its indexes, and the spool's disk for its limit",
        },
    );
    Ok(())
}
