//! The copy's bookkeeping on the target: which tables are copied, under which watermark.

use std::collections::HashSet;

use router::{Lsn, Side};
use tokio_postgres::Client;

use super::CopyError;
use crate::name::{QualifiedName, quote_literal};
use crate::schema::catalog::Table;
use crate::schema::error::SchemaError;
use crate::wire::{Endpoint, SqlConn};

/// A copied table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedTable {
    /// The table.
    pub name: QualifiedName,
    /// Changes up to here are in the copy.
    pub watermark: Lsn,
    /// Rows copied.
    pub rows: u64,
    /// Bytes copied, in the servers' text form.
    pub bytes: u64,
}

/// All tables that are copied, with their watermarks.
///
/// # Errors
/// The query failed, or a watermark is unreadable.
pub async fn copied_tables(target: &Client) -> Result<Vec<CopiedTable>, SchemaError> {
    let query = "SELECT schema_name, table_name, watermark::pg_catalog.text, rows, bytes
                 FROM pointsman.table_copy WHERE copied ORDER BY 1, 2";
    let rows = target.query(query, &[]).await.map_err(SchemaError::sql(
        Side::Target,
        "reading which tables are copied",
    ))?;
    rows.iter()
        .map(|row| {
            let name = QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            let watermark = row
                .get::<_, Option<&str>>(2)
                .and_then(|text| text.parse().ok());
            let number = |index| u64::try_from(row.get::<_, i64>(index)).unwrap_or(0);
            match watermark {
                Some(watermark) => Ok(CopiedTable {
                    name,
                    watermark,
                    rows: number(3),
                    bytes: number(4),
                }),
                None => Err(SchemaError::Unreadable {
                    side: Side::Target,
                    what: format!("the watermark of {name}"),
                }),
            }
        })
        .collect()
}

pub(super) struct Records {
    client: SqlConn,
}

impl Records {
    pub(super) async fn open(target: &Endpoint, name: &str) -> Result<Self, CopyError> {
        let client = target
            .connect_sql(name)
            .await
            .map_err(|source| CopyError::Connect {
                side: Side::Target,
                source,
            })?;
        Ok(Self { client })
    }

    /// Makes a row for each table that has none; gives the names of the copied ones.
    pub(super) async fn register(
        &self,
        tables: &[Table],
    ) -> Result<HashSet<QualifiedName>, CopyError> {
        let schemas: Vec<&str> = tables
            .iter()
            .map(|table| table.name.schema.as_str())
            .collect();
        let names: Vec<&str> = tables
            .iter()
            .map(|table| table.name.name.as_str())
            .collect();
        let insert = "
            INSERT INTO pointsman.table_copy (schema_name, table_name)
            SELECT s, t FROM ROWS FROM (
                pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS u (s, t)
            ON CONFLICT (schema_name, table_name) DO NOTHING";
        let inserted = self.client.execute(insert, &[&schemas, &names]).await;
        inserted.map_err(SchemaError::sql(Side::Target, "listing the tables to copy"))?;
        let copied = copied_tables(&self.client).await?;
        Ok(copied.into_iter().map(|table| table.name).collect())
    }

    /// Empties a table that is going to be copied in ranges, and forgets its earlier ranges.
    pub(super) async fn empty_split_table(&self, table: &Table) -> Result<(), CopyError> {
        let schema = quote_literal(&table.name.schema);
        let name = quote_literal(&table.name.name);
        let block = format!(
            "BEGIN; TRUNCATE ONLY {};
             DELETE FROM pointsman.copied_range WHERE schema_name = {schema} AND table_name = {name};
             COMMIT",
            table.name.quoted()
        );
        let emptied = self.client.batch_execute(&block).await;
        emptied.map_err(SchemaError::sql(
            Side::Target,
            format!("emptying {}", table.name),
        ))?;
        Ok(())
    }
}
