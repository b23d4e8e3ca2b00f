//! Databases and tables on the target: made as they were on the source, and emptied again.

mod made;
mod make;
mod remake;

use router::Side;

pub(super) use made::Made;
pub(super) use make::{Makers, make};
pub(super) use remake::{Remaking, remake};

use super::catalog::{Database, DatabaseEncryption};
use super::error::SchemaError;
use crate::name::{QualifiedName, quote_identifier, quote_literal, some_of};
use crate::wire::SqlConn;

/// Settings under which a definition means what it meant on the source. Not every server has each,
/// or allows each to us; those that matter then fail with the server's own words.
const SETTINGS: [&str; 7] = [
    "SET SESSION foreign_key_checks = 0",
    "SET SESSION unique_checks = 0",
    "SET SESSION innodb_strict_mode = 0",
    "SET SESSION explicit_defaults_for_timestamp = 1",
    "SET SESSION sql_generate_invisible_primary_key = 0",
    "SET SESSION sql_require_primary_key = 0",
    "SET SESSION restrict_fk_on_non_standard_key = 0",
];

/// Prepares a session for definition statements.
pub(super) async fn prepare_session(client: &SqlConn) -> Result<(), SchemaError> {
    for setting in SETTINGS {
        match client.execute(setting).await {
            Ok(_) => {}
            // Unknown here, or not ours to set.
            Err(error) if error.code().is_some() => {}
            Err(error) => {
                let what = "preparing its session";
                return Err(SchemaError::sql(Side::Target, what)(error));
            }
        }
    }
    Ok(())
}

/// Records what stands on the target before us, and refuses what is not empty.
pub(super) async fn claim(target: &SqlConn, databases: &[Database]) -> Result<(), SchemaError> {
    let failed = || SchemaError::sql(Side::Target, "recording what stands there");
    let claimed = "SELECT name FROM pointsman.found_object WHERE kind = 'moved'";
    let claimed = target.query(claimed).await.map_err(failed())?;
    for database in databases {
        let name = &database.name;
        let ours = claimed.iter().any(|row| row.text(0) == Some(name));
        if ours {
            continue;
        }
        let found = database_on(target, name).await?;
        let literal = quote_literal(name);
        if let Some(found) = &found {
            let objects = objects_in(target, name).await?;
            if !objects.is_empty() {
                let objects = some_of(&objects);
                return Err(SchemaError::TargetNotEmpty { objects });
            }
            let undo = format!(
                "ALTER DATABASE {} CHARACTER SET {} COLLATE {}{}",
                quote_identifier(name),
                found.charset,
                found.collation,
                found.encryption.clause(target.version())
            );
            let insert = format!(
                "INSERT INTO pointsman.undo (statement) VALUES ({})",
                quote_literal(&undo)
            );
            target.execute(&insert).await.map_err(failed())?;
            let insert = format!(
                "INSERT IGNORE INTO pointsman.found_object (kind, name) VALUES ('found', {literal})"
            );
            target.execute(&insert).await.map_err(failed())?;
        }
        let insert = format!(
            "INSERT IGNORE INTO pointsman.found_object (kind, name) VALUES ('moved', {literal})"
        );
        target.execute(&insert).await.map_err(failed())?;
    }
    Ok(())
}

async fn database_on(target: &SqlConn, name: &str) -> Result<Option<Database>, SchemaError> {
    let query = format!(
        "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME, {}
         FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}",
        DatabaseEncryption::column(target.version()),
        quote_literal(name)
    );
    let row = target.query_first(&query).await;
    let row = row.map_err(SchemaError::sql(Side::Target, "looking at its databases"))?;
    Ok(row.map(|row| Database {
        name: name.to_owned(),
        charset: row.text(0).unwrap_or_default().to_owned(),
        collation: row.text(1).unwrap_or_default().to_owned(),
        encryption: DatabaseEncryption::of(row.text(2)),
    }))
}

/// What a database on the target holds, with what drops each.
async fn objects_in(target: &SqlConn, name: &str) -> Result<Vec<String>, SchemaError> {
    let objects = objects(target, name).await?;
    Ok(objects
        .into_iter()
        .map(|(kind, name)| format!("{} {name}", kind.to_ascii_lowercase()))
        .collect())
}

/// Kinds and names of all objects of a database; views before tables.
pub(super) async fn objects(
    target: &SqlConn,
    database: &str,
) -> Result<Vec<(String, QualifiedName)>, SchemaError> {
    let literal = quote_literal(database);
    let query = format!(
        "SELECT CASE WHEN TABLE_TYPE = 'VIEW' THEN 'VIEW' WHEN TABLE_TYPE = 'SEQUENCE'
                     THEN 'SEQUENCE' ELSE 'TABLE' END AS k, TABLE_NAME AS n
         FROM information_schema.TABLES WHERE TABLE_SCHEMA = {literal}
         UNION ALL SELECT ROUTINE_TYPE, ROUTINE_NAME
         FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = {literal}
         UNION ALL SELECT 'EVENT', EVENT_NAME
         FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {literal}
         ORDER BY k DESC, n"
    );
    let rows = target.query(&query).await;
    let rows = rows.map_err(SchemaError::sql(Side::Target, "looking what is there"))?;
    Ok(rows
        .iter()
        .map(|row| {
            let word = |index| row.text(index).unwrap_or_default().to_owned();
            (word(0), QualifiedName::new(database, word(1)))
        })
        .collect())
}

/// Drops everything that came from the source. A database that stood there stays, empty.
///
/// # Errors
/// The target refused; a later call goes on.
pub(super) async fn empty(target: &SqlConn) -> Result<Vec<String>, SchemaError> {
    let failed = || SchemaError::sql(Side::Target, "looking what to drop");
    let query = "SELECT m.name, f.name IS NOT NULL FROM pointsman.found_object m
                 LEFT JOIN pointsman.found_object f ON f.kind = 'found' AND f.name = m.name
                 WHERE m.kind = 'moved' ORDER BY m.name";
    let rows = target.query(query).await.map_err(failed())?;
    prepare_session(target).await?;
    let mut dropped = Vec::new();
    for row in &rows {
        let name = row.text(0).unwrap_or_default();
        let what = format!("dropping database {name}");
        if row.text(1) == Some("1") {
            for (kind, object) in objects(target, name).await? {
                let drop = format!("DROP {kind} IF EXISTS {}", object.quoted());
                let done = target.execute(&drop).await;
                done.map_err(SchemaError::sql(Side::Target, format!("dropping {object}")))?;
            }
        } else {
            let drop = format!("DROP DATABASE IF EXISTS {}", quote_identifier(name));
            let done = target.execute(&drop).await;
            done.map_err(SchemaError::sql(Side::Target, what))?;
        }
        dropped.push(name.to_owned());
    }
    Ok(dropped)
}
