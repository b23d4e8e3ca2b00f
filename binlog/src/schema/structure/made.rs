//! Which tables were made to be copied, and from what.

use std::collections::HashMap;
use std::fmt::Write as _;

use router::Side;
use sha1::{Digest, Sha1};

use super::super::create_table::CreateTable;
use super::super::error::SchemaError;
use crate::name::{QualifiedName, quote_literal};
use crate::wire::{SqlConn, SqlError};

/// Rows a statement of bookkeeping may have.
const ROWS_AT_ONCE: usize = 500;

/// The tables that were made, with a checksum of the definition that each was made from.
#[derive(Debug)]
pub(in super::super) struct Made(HashMap<QualifiedName, String>);

impl Made {
    pub(in super::super) async fn read(target: &SqlConn) -> Result<Self, SchemaError> {
        let query = "SELECT schema_name, table_name, definition FROM pointsman.made_table";
        let rows = target.query(query).await.map_err(failed())?;
        let word = |text: Option<&str>| text.unwrap_or_default().to_owned();
        Ok(Self(
            rows.iter()
                .map(|row| {
                    let name = QualifiedName::new(word(row.text(0)), word(row.text(1)));
                    (name, word(row.text(2)))
                })
                .collect(),
        ))
    }

    /// All names.
    pub(in super::super) fn names(&self) -> impl Iterator<Item = &QualifiedName> {
        self.0.keys()
    }

    pub(in super::super) fn contains(&self, table: &QualifiedName) -> bool {
        self.0.contains_key(table)
    }

    /// Whether nothing was made, or nobody wrote it down.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it was made from this definition.
    pub(in super::super) fn is_of(&self, table: &CreateTable) -> bool {
        self.0.get(&table.name) == Some(&checksum(table))
    }
}

/// Records tables as made from these definitions.
pub(super) async fn record(target: &SqlConn, tables: &[&CreateTable]) -> Result<(), SchemaError> {
    for some in tables.chunks(ROWS_AT_ONCE) {
        let tuples: Vec<String> = some
            .iter()
            .map(|table| tuple(&table.name, &checksum(table)))
            .collect();
        put(target, &tuples).await?;
    }
    Ok(())
}

/// Records that a table is being made: whatever is there may be half of it.
pub(super) async fn record_unmade(
    target: &SqlConn,
    table: &QualifiedName,
) -> Result<(), SchemaError> {
    put(target, &[tuple(table, "")]).await
}

/// Forgets all.
pub(super) async fn forget(target: &SqlConn) -> Result<(), SchemaError> {
    let forget = "DELETE FROM pointsman.made_table";
    target.execute(forget).await.map(drop).map_err(failed())
}

async fn put(target: &SqlConn, tuples: &[String]) -> Result<(), SchemaError> {
    let replace = format!(
        "REPLACE INTO pointsman.made_table (schema_name, table_name, definition) VALUES {}",
        tuples.join(", ")
    );
    target.execute(&replace).await.map(drop).map_err(failed())
}

fn tuple(table: &QualifiedName, checksum: &str) -> String {
    let (schema, name) = (quote_literal(&table.schema), quote_literal(&table.name));
    format!("({schema}, {name}, '{checksum}')")
}

fn checksum(table: &CreateTable) -> String {
    let digest = Sha1::digest(table.canonical().as_bytes());
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

fn failed() -> impl FnOnce(SqlError) -> SchemaError {
    SchemaError::sql(Side::Target, "keeping which tables were made")
}
