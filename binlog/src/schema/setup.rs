//! Preparing the two servers: our own database on both, and the claim on the target.
//!
//! # Resumption
//! Every step looks at what is there and does the rest, so each function may be called again
//! after a crash, with the same migration id.

use router::Side;

use super::bookkeeping::{CREATE_SCHEMA, FORMAT, SOURCE_TABLES, TARGET_TABLES};
use super::error::SchemaError;
use crate::name::quote_literal;
use crate::wire::SqlConn;

/// The id of the migration that this server takes part in.
///
/// # Errors
/// A query failed, or the bookkeeping has a form that this program does not know.
pub async fn migration_id(client: &SqlConn, side: Side) -> Result<Option<String>, SchemaError> {
    let failed = || SchemaError::sql(side, "looking for a migration");
    let there = "SELECT 1 FROM information_schema.TABLES
                 WHERE TABLE_SCHEMA = 'pointsman' AND TABLE_NAME = 'migration'";
    let there = client.query_first(there).await.map_err(failed())?;
    if there.is_none() {
        return Ok(None);
    }
    let query = "SELECT id, format FROM pointsman.migration";
    let row = client.query_first(query).await.map_err(failed())?;
    let Some(row) = row else {
        return Ok(None);
    };
    let format: i32 = row.parse(1).unwrap_or(0);
    if format == FORMAT {
        Ok(row.text(0).map(ToOwned::to_owned))
    } else {
        Err(SchemaError::UnknownFormat {
            side,
            found: format,
            known: FORMAT,
        })
    }
}

/// Refuses a server that takes part in another migration.
async fn refuse_other(client: &SqlConn, side: Side, id: &str) -> Result<(), SchemaError> {
    match migration_id(client, side).await? {
        Some(found) if found != id => Err(SchemaError::ForeignMigration {
            side,
            found,
            expected: id.to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Our database on the source.
///
/// # Errors
/// It belongs to another migration, or a statement failed.
pub async fn prepare_source(source: &SqlConn, id: &str) -> Result<(), SchemaError> {
    refuse_other(source, Side::Source, id).await?;
    make_tables(source, Side::Source, SOURCE_TABLES).await?;
    let insert = format!(
        "INSERT IGNORE INTO pointsman.migration (only_row, id, format) VALUES (1, {}, {FORMAT})",
        quote_literal(id)
    );
    let inserted = source.execute(&insert).await;
    inserted
        .map(drop)
        .map_err(SchemaError::sql(Side::Source, "recording the migration"))
}

/// Our database on the target.
///
/// # Errors
/// It belongs to another migration, or a statement failed.
pub async fn prepare_target(
    target: &SqlConn,
    id: &str,
    source_id: &str,
) -> Result<(), SchemaError> {
    refuse_other(target, Side::Target, id).await?;
    make_tables(target, Side::Target, TARGET_TABLES).await?;
    let insert = format!(
        "INSERT IGNORE INTO pointsman.migration (only_row, id, format, phase, source_id)
         VALUES (1, {}, {FORMAT}, 'copying', {})",
        quote_literal(id),
        quote_literal(source_id)
    );
    let inserted = target.execute(&insert).await;
    inserted
        .map(drop)
        .map_err(SchemaError::sql(Side::Target, "recording the migration"))
}

async fn make_tables(client: &SqlConn, side: Side, tables: &[&str]) -> Result<(), SchemaError> {
    for statement in std::iter::once(&CREATE_SCHEMA).chain(tables) {
        let made = client.execute(statement).await;
        made.map_err(SchemaError::sql(side, "making the database pointsman"))?;
    }
    Ok(())
}
