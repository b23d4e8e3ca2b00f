//! Preparing the two servers: our own schema on both, replica identities and the publication on
//! the source, and the proof that the target is empty.
//!
//! # Order on the source
//! Our schema, then identities, then the publication, then (by the stream) the slot. A keyless
//! table that is published before it has an identity would make the application's next UPDATE
//! fail, and a slot older than the publication would not know it.
//!
//! # Resumption
//! Every step looks at what is there and does the rest, so each function may be called again
//! after a crash, with the same migration id.

mod source;
mod target;

pub(crate) use source::publish;
pub use source::{
    IdentityChange, KeylessPolicy, SourceIdentity, SourceOptions, SourceSetup, prepare_source,
    refuse_unfit, source_identity,
};
pub(crate) use target::save_identities;
pub use target::{TargetOptions, TargetState, prepare_target};

use router::Side;
use tokio_postgres::Client;

use super::bookkeeping::FORMAT;
use super::error::SchemaError;

/// The id of the migration that this server takes part in.
///
/// # Errors
/// A query failed, or the bookkeeping has a form that this program does not know.
pub async fn migration_id(client: &Client, side: Side) -> Result<Option<String>, SchemaError> {
    let what = "looking for a migration";
    let there = client
        .query_one(
            "SELECT pg_catalog.to_regclass('pointsman.migration') IS NOT NULL",
            &[],
        )
        .await
        .map_err(SchemaError::sql(side, what))?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client
        .query_opt("SELECT id, format FROM pointsman.migration", &[])
        .await
        .map_err(SchemaError::sql(side, what))?;
    match row {
        Some(row) if row.get::<_, i32>(1) == FORMAT => Ok(Some(row.get(0))),
        Some(row) => Err(SchemaError::UnknownFormat {
            side,
            found: row.get(1),
            known: FORMAT,
        }),
        None => Ok(None),
    }
}

/// Whether our schema with this id is there already; another id is an error.
async fn is_prepared(client: &Client, side: Side, id: &str) -> Result<bool, SchemaError> {
    match migration_id(client, side).await? {
        None => Ok(false),
        Some(found) if found == id => Ok(true),
        Some(found) => Err(SchemaError::ForeignMigration {
            side,
            found,
            expected: id.to_owned(),
        }),
    }
}
