//! Whether the source's schema is still what it was before the hold.
//!
//! The stream carries no DDL, and a table that is new is in no publication: rows in it would stay
//! behind in silence. Comparing the two catalogs before the hold does not find what a transaction
//! does that commits later, while the cutover drains. So a number is made of the catalog before that
//! comparison, and again behind the fence, where nothing can change any more.

use thiserror::Error;
use tokio_postgres::{Client, Statement};

/// A sum over tables, columns, sequences and enum labels that anybody but us made, and that stay.
///
/// Of what does not change them (VACUUM, ANALYZE, TRUNCATE, rows) nothing is in it.
const NUMBER: &str = "
WITH class AS (
    SELECT c.oid, c.relname, c.relnamespace, c.relkind FROM pg_catalog.pg_class c
    WHERE c.relkind IN ('r', 'p', 'S', 'f') AND c.relpersistence <> 't'
      AND c.relnamespace NOT IN (
          SELECT n.oid FROM pg_catalog.pg_namespace n
          WHERE n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'pointsman'))),
part AS (
    SELECT pg_catalog.format('%s %s %s %s', c.oid, c.relnamespace, c.relkind, c.relname) AS says
    FROM class c
    UNION ALL
    SELECT pg_catalog.format('%s %s %s %s %s %s', a.attrelid, a.attnum, a.atttypid, a.atttypmod,
                             a.attgenerated, a.attname)
    FROM class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT pg_catalog.format('%s %s', e.enumtypid, e.enumlabel) FROM pg_catalog.pg_enum e)
SELECT coalesce(sum(pg_catalog.hashtextextended(part.says, 0)), 0)::text FROM part";

/// Why the schema is not known to be the same.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// The server failed a statement of ours, or the connection broke.
    #[error("the serving side failed while pointsman was {step}")]
    Sql {
        /// What we were doing, in plain words.
        step: &'static str,
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
    /// It is another one.
    #[error(
        "the schema of the serving side was changed while the movement was under way (a table, \
         column, sequence or enum label); changes to the schema are not replicated"
    )]
    Changed,
}

impl SchemaError {
    fn sql(step: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { step, source }
    }
}

/// The schema as it was when this was prepared.
#[derive(Debug, Clone)]
pub struct Schema {
    statement: Statement,
    number: String,
}

impl Schema {
    /// Prepares the statement and remembers what it says now.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn prepare(client: &Client) -> Result<Self, SchemaError> {
        let step = "preparing to look at the schema";
        let statement = client
            .prepare(NUMBER)
            .await
            .map_err(SchemaError::sql(step))?;
        let number = number(client, &statement).await?;
        Ok(Self { statement, number })
    }

    /// Looks again.
    ///
    /// # Errors
    /// [`SchemaError::Changed`] when the schema is another one; or the server fails.
    pub async fn look(&self, client: &Client) -> Result<(), SchemaError> {
        if number(client, &self.statement).await? == self.number {
            Ok(())
        } else {
            Err(SchemaError::Changed)
        }
    }
}

async fn number(client: &Client, statement: &Statement) -> Result<String, SchemaError> {
    let row = client.query_one(statement, &[]).await;
    row.and_then(|row| row.try_get(0))
        .map_err(SchemaError::sql("looking at the schema"))
}
