//! Encoding, collation and the two servers being two.

use router::Side;

use super::report::{Advice, Report};
use super::server::Server;

/// What decides how text is kept and sorted.
#[derive(Debug, PartialEq, Eq)]
struct Locale {
    encoding: String,
    /// `lc_collate`, `lc_ctype`, the provider and its locale, in one text.
    collation: String,
}

async fn read(server: &Server) -> Result<Locale, tokio_postgres::Error> {
    let provider = match server.major() {
        ..=14 => "'libc', ''",
        15 | 16 => {
            "CASE datlocprovider WHEN 'i' THEN 'icu' ELSE 'libc' END, coalesce(daticulocale, '')"
        }
        _ => {
            "CASE datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
             coalesce(datlocale, '')"
        }
    };
    let sql = format!(
        "SELECT pg_catalog.pg_encoding_to_char(encoding),
                pg_catalog.concat_ws(' ', 'lc_collate ' || datcollate, 'lc_ctype ' || datctype,
                                     'provider', {provider})
         FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
    );
    let row = server.conn.query_one(&sql, &[]).await?;
    let collation: String = row.try_get(1)?;
    Ok(Locale {
        encoding: row.try_get(0)?,
        collation: collation.trim_end().to_owned(),
    })
}

pub(super) async fn both(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    two_servers(source, target, report).await?;
    let (on_source, on_target) = (read(source).await?, read(target).await?);
    if on_source.encoding == on_target.encoding {
        report.ok(
            Side::Target,
            &format!("the encoding is {}, as on the source", on_target.encoding),
        );
    } else {
        let what = format!(
            "the encoding is {}, the source's {}",
            on_target.encoding, on_source.encoding
        );
        let fix = format!(
            "CREATE DATABASE ... TEMPLATE template0 ENCODING '{}' on the target",
            on_source.encoding
        );
        let why = "text would be stored as other bytes, or not at all, and lengths would differ";
        report.fail(Side::Target, &what, Advice { why, fix: &fix });
    }
    if on_source.collation == on_target.collation {
        report.ok(
            Side::Target,
            &format!("the collation is {}", on_target.collation),
        );
        return Ok(());
    }
    let what = format!(
        "the collation is {}; the source's is {}",
        on_target.collation, on_source.collation
    );
    let advice = Advice {
        why: "ORDER BY, comparisons, upper() and lower() may give other results; a unique index over \
              a collation that finds other values equal may refuse rows",
        fix: "CREATE DATABASE ... TEMPLATE template0 LC_COLLATE '...' LC_CTYPE '...' (and \
              LOCALE_PROVIDER) as on the source; go on only if the change is wanted",
    };
    report.warn(Side::Target, &what, advice);
    Ok(())
}

/// Source and target must not be the same database under two names.
///
/// A copy of a server's disk has its identifier too, but was not started at the same instant.
async fn two_servers(
    source: &Server,
    target: &Server,
    report: &mut Report,
) -> Result<(), tokio_postgres::Error> {
    let sql =
        "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::text || '/' ||
                      (SELECT oid FROM pg_catalog.pg_database
                       WHERE datname = pg_catalog.current_database())::text || '/' ||
                      pg_catalog.pg_postmaster_start_time()::text";
    let (one, other) = (
        source.value::<String>(sql, &[]),
        target.value::<String>(sql, &[]),
    );
    // Some managed servers hide the function; then it is not known, and harmless.
    let (Ok(one), Ok(other)) = futures_util::future::join(one, other).await else {
        return Ok(());
    };
    if one == other {
        let advice = Advice {
            why: "both URLs lead to the same database of the same server",
            fix: "correct the URL of the target",
        };
        report.fail(Side::Target, "the target is the source", advice);
    }
    Ok(())
}
