//! The target: the proof that it is empty, our schema, and the note of what stood there before.

use router::Side;
use tokio_postgres::Client;

use super::super::bookkeeping::{FORMAT, SCHEMA, TARGET_DDL, object_name};
use super::super::catalog::Extension;
use super::super::error::SchemaError;
use super::super::objects;
use super::is_prepared;
use super::source::{IdentityChange, SourceIdentity};
use crate::name::{quote_literal, some_of};

/// How to prepare the target.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// The migration's id.
    pub id: String,
    /// The source that it is bound to.
    pub source: SourceIdentity,
    /// The source's schemas: in these the target must have nothing.
    pub schemas: Vec<String>,
    /// The source's extensions: the target must be able to have them in the same schemas.
    pub extensions: Vec<Extension>,
}

/// What was found on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetState {
    /// It was empty; our schema is new.
    Fresh,
    /// A copy of this migration was begun before.
    Begun,
}

/// Prepares the target; may be called again after a crash.
///
/// # Errors
/// The target is not empty, belongs to another migration, or a statement failed.
pub async fn prepare_target(
    client: &Client,
    options: &TargetOptions,
) -> Result<TargetState, SchemaError> {
    if is_prepared(client, Side::Target, &options.id).await? {
        return Ok(TargetState::Begun);
    }
    refuse_unless_empty(client, &options.schemas).await?;
    refuse_other_extensions(client, &options.extensions).await?;
    let name = object_name(&options.id);
    let block = format!(
        "BEGIN; {TARGET_DDL}
         INSERT INTO pointsman.migration (id, format, phase, source_system_id, source_timeline,
                source_database, slot_name, publication_name)
         VALUES ({id}, {FORMAT}, 'copying', {system}, {timeline}, {database}, {name}, {name});
         {remember}
         COMMIT",
        id = quote_literal(&options.id),
        system = quote_literal(&options.source.system_id),
        timeline = options.source.timeline,
        database = quote_literal(&options.source.database),
        name = quote_literal(&name),
        remember = objects::remember_found(),
    );
    let created = client.batch_execute(&block).await;
    let what = format!("creating the schema \"{SCHEMA}\"");
    created.map_err(SchemaError::sql(Side::Target, what))?;
    Ok(TargetState::Fresh)
}

/// Writes down on the target which tables have an identity of ours, for `finish` and `abort`.
///
/// # Errors
/// A statement failed.
pub(crate) async fn save_identities(
    client: &Client,
    identities: &[IdentityChange],
) -> Result<(), SchemaError> {
    let insert = "
        INSERT INTO pointsman.saved_identity (schema_name, table_name, identity, index_name)
        VALUES ($1, $2, $3::pg_catalog.text::\"char\", $4)
        ON CONFLICT (schema_name, table_name) DO NOTHING";
    for change in identities {
        let saved = client
            .execute(
                insert,
                &[
                    &change.table.schema,
                    &change.table.name,
                    &change.identity,
                    &change.index_name,
                ],
            )
            .await;
        saved.map_err(SchemaError::sql(
            Side::Target,
            "saving the replica identities",
        ))?;
    }
    Ok(())
}

/// An extension that the target does not offer, or has in another schema, would make the restore
/// fail half way.
async fn refuse_other_extensions(
    client: &Client,
    extensions: &[Extension],
) -> Result<(), SchemaError> {
    let query = "
        SELECT a.name::pg_catalog.text, n.nspname::pg_catalog.text
        FROM pg_catalog.pg_available_extensions a
        LEFT JOIN pg_catalog.pg_extension e ON e.extname = a.name
        LEFT JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace";
    let rows = client.query(query, &[]).await.map_err(SchemaError::sql(
        Side::Target,
        "looking which extensions it has",
    ))?;
    for wanted in extensions {
        let offered = rows.iter().find(|row| row.get::<_, &str>(0) == wanted.name);
        let Some(row) = offered else {
            return Err(SchemaError::ExtensionMissing {
                extension: wanted.name.clone(),
            });
        };
        match row.get::<_, Option<&str>>(1) {
            Some(found) if found != wanted.schema => {
                return Err(SchemaError::ExtensionElsewhere {
                    extension: wanted.name.clone(),
                    found: found.to_owned(),
                    wanted: wanted.schema.clone(),
                });
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

async fn refuse_unless_empty(client: &Client, schemas: &[String]) -> Result<(), SchemaError> {
    let rows = client
        .query(objects::USER_OBJECTS, &[&schemas])
        .await
        .map_err(SchemaError::sql(
            Side::Target,
            "looking whether it is empty",
        ))?;
    if rows.is_empty() {
        return Ok(());
    }
    let objects: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Err(SchemaError::TargetNotEmpty {
        objects: some_of(&objects),
    })
}
