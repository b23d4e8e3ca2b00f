//! The copy's bookkeeping on the target: which tables are copied, under which watermark.

use std::collections::HashSet;

use router::Side;

use super::CopyError;
use crate::name::{QualifiedName, quote_literal};
use crate::position::Position;
use crate::schema::catalog::Table;
use crate::schema::error::SchemaError;
use crate::wire::{Endpoint, SqlConn, SqlError};

/// A copied table.
#[derive(Debug, Clone)]
pub struct CopiedTable {
    /// The table.
    pub name: QualifiedName,
    /// Changes up to here are in the copy.
    pub watermark: Position,
    /// Rows copied.
    pub rows: u64,
    /// Bytes copied, as the source sent them.
    pub bytes: u64,
}

/// Rows a statement of bookkeeping may have.
const ROWS_AT_ONCE: usize = 500;

/// All tables that are copied, with their watermarks.
///
/// # Errors
/// The query failed, or a watermark is unreadable.
pub async fn copied_tables(target: &SqlConn) -> Result<Vec<CopiedTable>, SchemaError> {
    let query = "SELECT schema_name, table_name, watermark, `rows`, bytes
                 FROM pointsman.table_copy WHERE copied = 1 ORDER BY 1, 2";
    let rows = target.query(query).await.map_err(SchemaError::sql(
        Side::Target,
        "reading which tables are copied",
    ))?;
    rows.iter()
        .map(|row| {
            let word = |index| row.text(index).unwrap_or_default();
            let name = QualifiedName::new(word(0), word(1));
            match word(2).parse() {
                Ok(watermark) => Ok(CopiedTable {
                    name,
                    watermark,
                    rows: row.parse(3).unwrap_or(0),
                    bytes: row.parse(4).unwrap_or(0),
                }),
                Err(_bad) => Err(SchemaError::Unreadable {
                    side: Side::Target,
                    what: format!("the watermark of {name}"),
                }),
            }
        })
        .collect()
}

/// Records a table that the source dropped: all changes up to here are about what is no more.
///
/// # Errors
/// The target refused.
pub(crate) async fn record_dropped(
    target: &SqlConn,
    table: &QualifiedName,
    watermark: &Position,
) -> Result<(), SchemaError> {
    let replace = format!(
        "REPLACE INTO pointsman.table_copy (schema_name, table_name, copied, watermark) \
         VALUES ({}, {}, 1, {})",
        quote_literal(&table.schema),
        quote_literal(&table.name),
        quote_literal(&watermark.to_string())
    );
    let replaced = target.execute(&replace).await;
    let what = format!("recording that {table} was dropped");
    replaced
        .map(drop)
        .map_err(SchemaError::sql(Side::Target, what))
}

/// The condition that finds a table's rows in our tables.
pub(super) fn place(table: &QualifiedName) -> String {
    format!(
        "WHERE schema_name = {} AND table_name = {}",
        quote_literal(&table.schema),
        quote_literal(&table.name)
    )
}

/// Takes away what an earlier attempt wrote. Emptying a table sets its counter back to 1, so a table
/// that is empty is left alone, and another one gets the source's counter again.
pub(super) async fn empty(client: &SqlConn, table: &Table) -> Result<(), SqlError> {
    let name = table.name.quoted();
    let any = format!("SELECT 1 FROM {name} LIMIT 1");
    if client.query_first(&any).await?.is_none() {
        return Ok(());
    }
    client.execute(&format!("TRUNCATE TABLE {name}")).await?;
    if let Some(next) = table.auto_increment {
        let counter = format!("ALTER TABLE {name} AUTO_INCREMENT = {next}");
        client.execute(&counter).await?;
    }
    Ok(())
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
        for some in tables.chunks(ROWS_AT_ONCE) {
            let tuples: Vec<String> = some
                .iter()
                .map(|table| {
                    let schema = quote_literal(&table.name.schema);
                    let name = quote_literal(&table.name.name);
                    format!("({schema}, {name})")
                })
                .collect();
            let insert = format!(
                "INSERT IGNORE INTO pointsman.table_copy (schema_name, table_name) VALUES {}",
                tuples.join(", ")
            );
            let inserted = self.client.execute(&insert).await;
            inserted.map_err(SchemaError::sql(Side::Target, "listing the tables to copy"))?;
        }
        let copied = copied_tables(&self.client).await?;
        Ok(copied.into_iter().map(|table| table.name).collect())
    }

    /// Empties a table that is going to be copied in ranges, and forgets its earlier ranges: they
    /// were read under another snapshot.
    pub(super) async fn empty_split_table(&self, table: &Table) -> Result<(), CopyError> {
        let name = &table.name;
        let failed = || SchemaError::sql(Side::Target, format!("emptying {name}"));
        let unchecked = "SET SESSION foreign_key_checks = 0";
        self.client.execute(unchecked).await.map_err(failed())?;
        empty(&self.client, table).await.map_err(failed())?;
        let forget = format!("DELETE FROM pointsman.copied_range {}", place(name));
        self.client.execute(&forget).await.map_err(failed())?;
        Ok(())
    }
}
