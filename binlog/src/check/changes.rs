//! What newer servers do otherwise with what older ones hold: it is carried as it is, and
//! applications may notice.

use router::Side;

use super::report::{Advice, Report, listed};
use super::server::Server;
use crate::movement::error::Failed;
use crate::schema::catalog::Catalog;
use crate::wire::quote;

/// Words of `sql_mode` that MySQL has not had since 8.0.
const GONE_SINCE_8_0: [&str; 11] = [
    "NO_AUTO_CREATE_USER",
    "NO_FIELD_OPTIONS",
    "NO_KEY_OPTIONS",
    "NO_TABLE_OPTIONS",
    "DB2",
    "MAXDB",
    "MSSQL",
    "MYSQL323",
    "MYSQL40",
    "ORACLE",
    "POSTGRESQL",
];

pub(super) async fn both(
    source: &Server,
    target: &Server,
    catalog: &Catalog,
    report: &mut Report,
) -> Result<(), Failed> {
    modes(source, target, report);
    three_bytes(target, catalog, report);
    zero_dates(source, target, catalog, report).await
}

fn words(server: &Server) -> Vec<&str> {
    let mode = server.variable("sql_mode").unwrap_or_default();
    mode.split(',').filter(|word| !word.is_empty()).collect()
}

fn modes(source: &Server, target: &Server, report: &mut Report) {
    if !target.version.is_mysql_at_least(8, 0, 0) {
        return;
    }
    let gone: Vec<String> = words(source)
        .into_iter()
        .filter(|word| GONE_SINCE_8_0.contains(word))
        .map(str::to_owned)
        .collect();
    if gone.is_empty() {
        return;
    }
    let advice = Advice {
        why: "an application that sets sql_mode to such a list gets an error; stored programs are \
              carried without these words",
        fix: "take them out of what applications and their drivers set, and out of the option file",
    };
    let what = format!(
        "it has no sql_mode {}, which the source uses",
        listed(&gone)
    );
    report.warn(Side::Target, &what, advice);
}

/// Character sets of at most three bytes.
fn three_bytes(target: &Server, catalog: &Catalog, report: &mut Report) {
    if !target.version.is_mysql_at_least(8, 0, 0) {
        return;
    }
    let is_old = |charset: &Option<String>| matches!(charset.as_deref(), Some("utf8" | "utf8mb3"));
    let tables: Vec<String> = catalog
        .moved_tables()
        .filter(|table| table.columns.iter().any(|column| is_old(&column.charset)))
        .map(|table| table.name.to_string())
        .collect();
    if tables.is_empty() {
        return;
    }
    let advice = Advice {
        why: "it is carried as it is, but MySQL will drop it, and it keeps no character beyond \
              U+FFFF (emoji)",
        fix: "ALTER TABLE ... CONVERT TO CHARACTER SET utf8mb4 after the switch, at your leisure",
    };
    let what = format!("columns with character set utf8mb3, in {}", listed(&tables));
    report.warn(Side::Target, &what, advice);
}

/// A target whose sessions refuse what the source's took.
async fn zero_dates(
    source: &Server,
    target: &Server,
    catalog: &Catalog,
    report: &mut Report,
) -> Result<(), Failed> {
    let refuses = |server: &Server| {
        let words = words(server);
        words.contains(&"NO_ZERO_DATE") || words.contains(&"NO_ZERO_IN_DATE")
    };
    if !refuses(target) || refuses(source) {
        return Ok(());
    }
    let is_date = |kind: &str| matches!(kind, "date" | "datetime" | "timestamp");
    let has_dates = catalog.moved_tables().any(|table| {
        table
            .columns
            .iter()
            .any(|column| is_date(&column.data_type))
    });
    if !has_dates {
        return Ok(());
    }
    let among: Vec<String> = catalog
        .databases
        .iter()
        .map(|database| quote::literal(&database.name))
        .collect();
    let sql = format!(
        "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME, '.', COLUMN_NAME)
         FROM information_schema.COLUMNS
         WHERE TABLE_SCHEMA IN ({}) AND DATA_TYPE IN ('date', 'datetime', 'timestamp')
               AND COLUMN_DEFAULT LIKE '%0000-00-00%' ORDER BY 1",
        among.join(", ")
    );
    let defaults = source.names(&sql).await?;
    let what = match defaults.as_slice() {
        [] => "its sql_mode refuses zero dates, which the source's takes".to_owned(),
        some => format!(
            "its sql_mode refuses zero dates, which the source's takes; they are the default of {}",
            listed(some)
        ),
    };
    let advice = Advice {
        why: "rows and definitions with them are carried as they are, but applications could not \
              write or compare them, nor alter these tables",
        fix: "SET GLOBAL sql_mode on the target to the source's, without NO_ZERO_DATE and \
              NO_ZERO_IN_DATE, and in its option file; or clear the zero dates up before",
    };
    report.warn(Side::Target, &what, advice);
    Ok(())
}
