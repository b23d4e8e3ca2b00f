//! What is in a server's tables: row counts and a sum over all rows, to compare two servers of any
//! version and flavour.

use anyhow::{Context as _, Result};
use binlog::wire::{SqlConn, quote};

use super::SYSTEM_DATABASES;
use crate::contents::{Contents, TableContents};

/// Reads every table of every database but the system's and ours.
///
/// # Errors
///
/// When one cannot be read.
pub async fn read(client: &SqlConn) -> Result<Contents> {
    let sql = format!(
        "SELECT table_schema, table_name FROM information_schema.tables \
         WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ({SYSTEM_DATABASES}, 'pointsman') \
         ORDER BY 1, 2"
    );
    let mut contents = Contents::new();
    for row in client.query(&sql).await? {
        let name = |index| row.text(index).context("a name is text");
        let (database, table) = (name(0)?, name(1)?);
        let name = format!("{database}.{table}");
        let read = self::table(client, database, table).await;
        contents.insert(
            name.clone(),
            read.with_context(|| format!("reading {name}"))?,
        );
    }
    Ok(contents)
}

async fn table(client: &SqlConn, database: &str, table: &str) -> Result<TableContents> {
    let sql = format!(
        "SELECT column_name, data_type FROM information_schema.columns \
         WHERE table_schema = {} AND table_name = {} ORDER BY ordinal_position",
        quote::literal(database),
        quote::literal(table)
    );
    let mut columns = Vec::new();
    for row in client.query(&sql).await? {
        let name = row.text(0).context("a column has a name")?;
        let kind = row.text(1).context("a column has a type")?;
        columns.push(text_of(&quote::ident(name), kind));
    }
    // The newest MySQL has no MD5 any more.
    let sql = format!(
        "SELECT count(*), IFNULL(SUM(CAST(CONV(LEFT(SHA2(CONCAT_WS('|', {}), 256), 15), 16, 10) \
         AS DECIMAL(20))), 0) FROM {}.{}",
        columns.join(", "),
        quote::ident(database),
        quote::ident(table)
    );
    let row = client.query_first(&sql).await?;
    let row = row.context("a sum is one row")?;
    Ok(TableContents {
        rows: row.parse(0)?,
        sum: row.text(1).context("the sum is text")?.to_owned(),
    })
}

/// A column's value as text that is the same on every server, whatever its charset; `~` is NULL.
fn text_of(column: &str, kind: &str) -> String {
    let text = match kind {
        "float" => format!("{column} + 0e0"),
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "json" => {
            format!("SHA2(CONVERT({column} USING utf8mb4), 256)")
        }
        "enum" | "set" => format!("SHA2(CONVERT({column} USING utf8mb4), 256)"),
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            format!("SHA2({column}, 256)")
        }
        "bit" => format!("{column} + 0"),
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => format!("HEX({column})"),
        _ => format!("CONVERT({column}, CHAR)"),
    };
    format!("IFNULL({text}, '~')")
}
