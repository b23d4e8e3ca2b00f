//! What is in a database's tables: row counts and a sum over all rows, to compare two servers.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::server::PgClient;

/// Number of rows, and the sum of a hash over each row's text. The hash depends on nothing but the
/// text, so it is the same on every version (unlike `hashtext`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableContents {
    /// Number of rows.
    pub rows: u64,
    /// A sum over them, whatever their order.
    pub sum: String,
}

/// All tables outside of the system's schemas and ours, by name.
pub type Contents = BTreeMap<String, TableContents>;

/// Reads every permanent table of a database.
///
/// # Errors
///
/// When one cannot be read.
pub async fn read(client: &PgClient) -> Result<Contents> {
    client
        .batch_execute("SET extra_float_digits = 1; SET TimeZone = 'UTC'; SET DateStyle = 'ISO'")
        .await?;
    let mut contents = Contents::new();
    for name in table_names(client).await? {
        let table = table(client, &name)
            .await
            .with_context(|| format!("reading {name}"))?;
        contents.insert(name, table);
    }
    Ok(contents)
}

/// One sentence for each table that differs, none when all are equal.
pub fn differences(source: &Contents, target: &Contents) -> Vec<String> {
    let mut found = Vec::new();
    for (name, expected) in source {
        match target.get(name) {
            None => found.push(format!("{name} is not on the target")),
            Some(actual) if actual != expected => found.push(format!(
                "{name} differs: {} rows on the source, {} on the target{}",
                expected.rows,
                actual.rows,
                if expected.rows == actual.rows {
                    ", with other values"
                } else {
                    ""
                }
            )),
            Some(_equal) => {}
        }
    }
    let extra = target.keys().filter(|name| !source.contains_key(*name));
    found.extend(extra.map(|name| format!("{name} is only on the target")));
    found
}

async fn table_names(client: &PgClient) -> Result<Vec<String>> {
    let sql = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence = 'p'
          AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pointsman')
          AND n.nspname NOT LIKE 'pg\\_toast%'
        ORDER BY 1";
    let rows = client.query(sql, &[]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

async fn table(client: &PgClient, name: &str) -> Result<TableContents> {
    let sql = format!(
        "SELECT count(*),
                coalesce(sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint::numeric), 0)
                    ::text
         FROM ONLY {name} AS t"
    );
    let row = client.query_one(&sql, &[]).await?;
    let rows: i64 = row.try_get(0)?;
    Ok(TableContents {
        rows: rows.try_into()?,
        sum: row.try_get(1)?,
    })
}
