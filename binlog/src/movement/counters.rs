//! `AUTO_INCREMENT`: what the stream does not carry and applications count with.
//!
//! The rows that are applied raise the target's counters by themselves, up to the greatest value
//! that is there. What is left are values that were given out and are in no row any more (deleted,
//! rolled back): an application may have seen them, so they must not come again. The source's
//! counters are final behind the fence, and are read there; on the target each is raised by ALTER
//! TABLE where it is lower, and never lowered.
//!
//! An ALTER TABLE costs some milliseconds each in the pause, so most of the work is done before the
//! hold: [`Counters::prepare`] raises those that lag behind already.

use thiserror::Error;

use super::error::Failed;
use crate::wire::{SqlConn, TextRow, quote};

/// The next value of one table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CounterValue {
    /// The database.
    pub schema: String,
    /// The table.
    pub table: String,
    /// The value that the next row gets.
    pub next: u64,
}

/// Why counters were not read or set.
#[derive(Debug, Error)]
pub enum CounterError {
    /// The server failed a statement of ours, or the connection broke.
    #[error("the AUTO_INCREMENT counters failed")]
    Failed(#[from] Failed),
    /// The target has no such table, or the table there counts nothing.
    #[error(
        "these tables count on the source and not on the target: {}; compare their definitions",
        tables.join(", ")
    )]
    Missing {
        /// Their names.
        tables: Vec<String>,
    },
}

/// The tables of a migration that count, with the statements that read them.
#[derive(Debug, Clone)]
pub struct Counters {
    tables: Vec<(String, String)>,
    on_source: Vec<String>,
    on_target: Vec<String>,
}

/// Tables asked in one statement; each is opened by the server.
const TABLES_MAX: usize = 200;

const PREPARING: &str = "preparing the AUTO_INCREMENT counters";

impl Counters {
    /// Finds the tables that count, of those that `wanted(schema, table)` names, and raises the
    /// target's counters that are lower already.
    ///
    /// # Errors
    /// When a table is missing on the target, or a server fails.
    pub async fn prepare(
        source: &SqlConn,
        target: &SqlConn,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<Self, CounterError> {
        let mut tables = counting(source).await?;
        tables.retain(|(schema, table)| wanted(schema, table));
        fresh_statistics(source).await?;
        fresh_statistics(target).await?;
        let counters = Self {
            on_source: statements(source, &tables),
            on_target: statements(target, &tables),
            tables,
        };
        let values = counters.read(source).await?;
        counters.raise(target, &values).await?;
        Ok(counters)
    }

    /// Reads the counters on the source.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn read(&self, source: &SqlConn) -> Result<Vec<CounterValue>, CounterError> {
        read(source, &self.on_source).await
    }

    /// Raises on the target what is lower there. It may be repeated.
    ///
    /// # Errors
    /// When a table is missing on the target, or the server fails.
    pub async fn raise(
        &self,
        target: &SqlConn,
        values: &[CounterValue],
    ) -> Result<(), CounterError> {
        let step = "raising AUTO_INCREMENT counters on the target";
        let there = read(target, &self.on_target).await?;
        let mut missing = Vec::new();
        for value in values {
            let CounterValue {
                schema,
                table,
                next,
            } = value;
            let found = there
                .iter()
                .find(|one| one.schema == *schema && one.table == *table);
            match found {
                Some(found) if found.next >= *next => {}
                Some(_lower) => {
                    let name = quote::qualified(schema, table);
                    let sql = format!("ALTER TABLE {name} AUTO_INCREMENT = {next}");
                    target.execute(&sql).await.map_err(Failed::sql(step))?;
                }
                None => missing.push(format!("{schema}.{table}")),
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(CounterError::Missing { tables: missing }),
        }
    }

    /// The tables that count.
    #[must_use]
    pub fn tables(&self) -> &[(String, String)] {
        &self.tables
    }
}

/// Tables of the application with an AUTO_INCREMENT column.
async fn counting(client: &SqlConn) -> Result<Vec<(String, String)>, Failed> {
    let rows = client
        .query(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.COLUMNS
             WHERE EXTRA LIKE '%auto_increment%' AND TABLE_SCHEMA NOT IN
                 ('mysql', 'sys', 'performance_schema', 'information_schema', 'pointsman')",
        )
        .await
        .map_err(Failed::sql(PREPARING))?;
    let read = |row: &TextRow| Ok((row.parse(0)?, row.parse(1)?));
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(Failed::answer(PREPARING))
}

/// MySQL 8.0 and later answer with counters that may be a day old, unless told otherwise.
async fn fresh_statistics(client: &SqlConn) -> Result<(), Failed> {
    if client.version().is_mysql_at_least(8, 0, 3) {
        client
            .execute("SET SESSION information_schema_stats_expiry = 0")
            .await
            .map_err(Failed::sql(PREPARING))?;
    }
    Ok(())
}

/// One SELECT a table, since an equal schema and name is all that makes the older servers open that
/// table alone.
fn statements(client: &SqlConn, tables: &[(String, String)]) -> Vec<String> {
    // From 8.0 on the dictionary is a table itself.
    let by_list = client.version().is_mysql_at_least(8, 0, 0);
    let columns = "TABLE_SCHEMA, TABLE_NAME, COALESCE(AUTO_INCREMENT, 1)";
    let select = format!("SELECT {columns} FROM information_schema.TABLES");
    tables
        .chunks(TABLES_MAX)
        .map(|chunk| {
            let pairs = chunk
                .iter()
                .map(|(schema, table)| (quote::literal(schema), quote::literal(table)));
            if by_list {
                let list: Vec<_> = pairs.map(|(s, t)| format!("({s}, {t})")).collect();
                let list = list.join(", ");
                format!("{select} WHERE (TABLE_SCHEMA, TABLE_NAME) IN ({list})")
            } else {
                let one: Vec<_> = pairs
                    .map(|(s, t)| format!("{select} WHERE TABLE_SCHEMA = {s} AND TABLE_NAME = {t}"))
                    .collect();
                one.join(" UNION ALL ")
            }
        })
        .collect()
}

async fn read(client: &SqlConn, statements: &[String]) -> Result<Vec<CounterValue>, CounterError> {
    let step = "reading AUTO_INCREMENT counters";
    let mut values = Vec::new();
    for sql in statements {
        for row in client.query(sql).await.map_err(Failed::sql(step))? {
            values.push(CounterValue {
                schema: row.parse(0).map_err(Failed::answer(step))?,
                table: row.parse(1).map_err(Failed::answer(step))?,
                next: row.parse(2).map_err(Failed::answer(step))?,
            });
        }
    }
    Ok(values)
}
