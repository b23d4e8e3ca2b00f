//! The source: our schema, replica identities, the publication.

use std::collections::HashSet;

use router::Side;
use tokio_postgres::Client;

use super::super::bookkeeping::{FORMAT, MARKER_TABLE, SCHEMA, SOURCE_DDL, object_name};
use super::super::catalog::{Catalog, KeyKind, ReplicaIdentity, Table};
use super::super::error::SchemaError;
use super::super::patience::LockPatience;
use super::is_prepared;
use crate::name::{QualifiedName, quote_identifier, quote_literal, some_of};

/// What to do with a table by whose rows nothing can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeylessPolicy {
    /// `REPLICA IDENTITY FULL` until the migration ends.
    #[default]
    Full,
    /// Refuse to start.
    Refuse,
}

/// How to prepare the source.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// The migration's id.
    pub id: String,
    /// What to do with keyless tables.
    pub keyless: KeylessPolicy,
    /// How to wait for locks.
    pub patience: LockPatience,
}

/// What was done to the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSetup {
    /// The publication's name.
    pub publication: String,
    /// Tables whose replica identity is another now.
    pub identities: Vec<IdentityChange>,
}

/// A table whose replica identity was changed, and what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityChange {
    /// The table.
    pub table: QualifiedName,
    /// What it was: `d`, `i`, `f` or `n`.
    pub identity: String,
    /// The index, for `i`.
    pub index_name: Option<String>,
}

/// Which server the source is, so that another one is never taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceIdentity {
    /// `system_identifier` of `pg_control_system()`.
    pub system_id: String,
    /// `timeline_id` of `pg_control_checkpoint()`.
    pub timeline: i32,
    /// The database's name.
    pub database: String,
}

/// Asks a server who it is.
///
/// # Errors
/// The query failed.
pub async fn source_identity(client: &Client) -> Result<SourceIdentity, SchemaError> {
    let query = "SELECT system_identifier::pg_catalog.text,
                        (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
                        pg_catalog.current_database()::pg_catalog.text
                 FROM pg_catalog.pg_control_system()";
    let row = client
        .query_one(query, &[])
        .await
        .map_err(SchemaError::sql(
            Side::Source,
            "reading its system identifier",
        ))?;
    Ok(SourceIdentity {
        system_id: row.get(0),
        timeline: row.get(1),
        database: row.get(2),
    })
}

/// Prepares the source; may be called again after a crash.
///
/// # Errors
/// A keyless table is to be refused, a lock was not to be had, or a statement failed. What was done
/// stays and is known to [`super::super::cleanup`].
pub async fn prepare_source(
    client: &Client,
    catalog: &Catalog,
    options: &SourceOptions,
) -> Result<SourceSetup, SchemaError> {
    refuse_unfit(catalog, options.keyless)?;
    create_schema(client, &options.id).await?;
    for table in catalog.moved_tables() {
        give_identity(client, table, options).await?;
    }
    let publication = object_name(&options.id);
    publish(
        client,
        Side::Source,
        catalog,
        &publication,
        options.patience,
    )
    .await?;
    Ok(SourceSetup {
        publication,
        identities: changed_identities(client).await?,
    })
}

/// Refuses a database that cannot be moved as configured. Looks at the catalog only.
///
/// # Errors
/// A keyless table is to be refused, or a foreign key would point to rows that are not moved.
pub fn refuse_unfit(catalog: &Catalog, policy: KeylessPolicy) -> Result<(), SchemaError> {
    let keyless: Vec<&QualifiedName> = catalog
        .keyless_tables()
        .iter()
        .map(|table| &table.name)
        .collect();
    if policy == KeylessPolicy::Refuse && !keyless.is_empty() {
        return Err(SchemaError::KeylessTables {
            tables: some_of(&keyless),
        });
    }
    if let Some(key) = catalog.foreign_keys_to_excluded().first() {
        return Err(SchemaError::ForeignKeyToExcluded {
            constraint: key.name.clone(),
            table: key.table.clone(),
            excluded: key.references.clone(),
        });
    }
    Ok(())
}

async fn create_schema(client: &Client, id: &str) -> Result<(), SchemaError> {
    if is_prepared(client, Side::Source, id).await? {
        return Ok(());
    }
    let block = format!(
        "BEGIN; {SOURCE_DDL} INSERT INTO pointsman.migration (id, format) \
         VALUES ({}, {FORMAT}); COMMIT",
        quote_literal(id)
    );
    let created = client.batch_execute(&block).await;
    created.map_err(SchemaError::sql(
        Side::Source,
        format!("creating the schema \"{SCHEMA}\""),
    ))
}

/// Makes sure that updates and deletes of this table can be published.
///
/// The strongest identity that is there is taken: the primary key, then a unique index, and the
/// whole row only for want of both. What it was is saved in the same transaction.
async fn give_identity(
    client: &Client,
    table: &Table,
    options: &SourceOptions,
) -> Result<(), SchemaError> {
    if table.has_working_identity() {
        return Ok(());
    }
    let wanted = match &table.key {
        Some(key) if key.kind == KeyKind::Primary => "DEFAULT".to_owned(),
        Some(key) => format!("USING INDEX {}", quote_identifier(&key.index_name)),
        None => "FULL".to_owned(),
    };
    let (identity, index) = match &table.identity {
        ReplicaIdentity::Default => ("d", None),
        ReplicaIdentity::Index(index) => ("i", index.as_deref()),
        ReplicaIdentity::Full => ("f", None),
        ReplicaIdentity::Nothing => ("n", None),
    };
    let statements = format!(
        "INSERT INTO pointsman.saved_identity (table_oid, table_name, identity, index_name)
         VALUES ({oid}, {name}, '{identity}', {index}) ON CONFLICT (table_oid) DO NOTHING;
         ALTER TABLE ONLY {table} REPLICA IDENTITY {wanted}",
        oid = table.oid,
        name = quote_literal(&table.name.quoted()),
        index = index.map_or_else(|| "NULL".to_owned(), quote_literal),
        table = table.name.quoted(),
    );
    let object = format!("the replica identity of {}", table.name);
    options
        .patience
        .run(client, Side::Source, &object, &statements)
        .await
}

async fn changed_identities(client: &Client) -> Result<Vec<IdentityChange>, SchemaError> {
    // The names of today: a table may have been renamed since.
    let query = "
        SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
               s.identity::pg_catalog.text, s.index_name
        FROM pointsman.saved_identity s
        JOIN pg_catalog.pg_class c ON c.oid = s.table_oid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2";
    let rows = client.query(query, &[]).await.map_err(SchemaError::sql(
        Side::Source,
        "reading the saved replica identities",
    ))?;
    Ok(rows
        .iter()
        .map(|row| IdentityChange {
            table: QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
            identity: row.get(2),
            index_name: row.get(3),
        })
        .collect())
}

/// Tables added to the publication by one statement: each is locked until it ends.
const TABLES_PER_STATEMENT: usize = 100;

/// Publishes the moved tables by name, and the marker table.
///
/// `ALTER PUBLICATION .. ADD TABLE` takes a lock that only DDL and VACUUM wait for.
pub(crate) async fn publish(
    client: &Client,
    side: Side,
    catalog: &Catalog,
    publication: &str,
    patience: LockPatience,
) -> Result<(), SchemaError> {
    let quoted = quote_identifier(publication);
    let published = published_tables(client, side, publication).await?;
    let published = match published {
        Some(published) => published,
        None => {
            let via_root = if catalog.major_version >= 13 {
                ", publish_via_partition_root = false"
            } else {
                ""
            };
            let create = format!(
                "CREATE PUBLICATION {quoted} FOR TABLE {SCHEMA}.{MARKER_TABLE} \
                 WITH (publish = 'insert, update, delete, truncate'{via_root})"
            );
            let created = client.batch_execute(&create).await;
            let what = format!("creating the publication {publication}");
            created.map_err(SchemaError::sql(side, what))?;
            HashSet::new()
        }
    };
    let missing: Vec<String> = catalog
        .moved_tables()
        .filter(|table| !published.contains(&table.oid))
        .map(|table| format!("ONLY {}", table.name.quoted()))
        .collect();
    for tables in missing.chunks(TABLES_PER_STATEMENT) {
        let statement = format!("ALTER PUBLICATION {quoted} ADD TABLE {}", tables.join(", "));
        let object = format!("the publication {publication}");
        patience.run(client, side, &object, &statement).await?;
    }
    Ok(())
}

/// The tables of the publication; `None` when there is no such publication.
async fn published_tables(
    client: &Client,
    side: Side,
    publication: &str,
) -> Result<Option<HashSet<u32>>, SchemaError> {
    let query = "
        SELECT p.oid, r.prrelid FROM pg_catalog.pg_publication p
        LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
        WHERE p.pubname = $1::pg_catalog.text::pg_catalog.name";
    let rows = client
        .query(query, &[&publication])
        .await
        .map_err(SchemaError::sql(side, "reading its publications"))?;
    if rows.is_empty() {
        return Ok(None);
    }
    Ok(Some(
        rows.iter()
            .filter_map(|row| row.get::<_, Option<u32>>(1))
            .collect(),
    ))
}
