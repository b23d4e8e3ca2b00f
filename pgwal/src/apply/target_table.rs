//! A table as the target has it: what is needed to write statements for it.
//!
//! Columns are counted in the stream's order everywhere, never in the target's: both sides may have
//! dropped columns at different places. Types, generated columns, identity columns and unique
//! indexes are the target's own, since it is the target that judges our statements.

mod catalog;
mod keys;

use router::net::{Identity, NetShape};
use tokio_postgres::Client;

use self::catalog::TableCatalog;
use super::error::{ApplyError, TableError};
use super::events::Relation;
use crate::name::{QualifiedName, quote_identifier};

/// Types below this OID are the same on every server (`FirstGenbkiObjectId` in the server).
const STABLE_TYPE_OID_MAX: u32 = 10_000;

/// A table of the stream as the target has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TargetTable {
    /// Tells this description from all others of this run; statements are kept by it.
    pub(super) id: u64,
    pub(super) name: QualifiedName,
    /// By the stream's column order.
    pub(super) columns: Vec<TargetColumn>,
    pub(super) identity: TargetIdentity,
    /// Columns of which a change makes an update a delete and an insert: some unique or exclusion
    /// index other than the key's depends on them, or no UPDATE may set them.
    pub(super) moving: Vec<usize>,
}

/// A column of the stream as the target has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetColumn {
    pub(super) name: String,
    /// The type without its modifier, schema-qualified, as SQL writes it.
    pub(super) type_sql: String,
    pub(super) writing: Writing,
    pub(super) reading: Reading,
    /// Whether values may be stored out of line, so that the stream may leave them out.
    pub(super) toastable: bool,
    /// Whether the type is an array, which `= ANY` cannot compare.
    pub(super) array: bool,
}

/// Who writes a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// We do.
    Plain,
    /// We do, on insert only and with OVERRIDING SYSTEM VALUE: GENERATED ALWAYS AS IDENTITY.
    InsertOnly,
    /// The target computes it: GENERATED ALWAYS AS (..).
    Never,
}

/// How text becomes a value of the column's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// A cast from text calls the type's input function, or is the same as it.
    Cast,
    /// There is a cast function from text that may read other things than the input function does;
    /// an array's input function calls the type's own.
    ThroughArray,
}

/// What identifies a row on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TargetIdentity {
    /// A unique index over these columns.
    Key(Vec<KeyColumn>),
    /// Only the whole row does.
    WholeRow,
}

/// A column of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyColumn {
    pub(super) column: usize,
    /// The index's own equality, as `OPERATOR(schema.=)`.
    pub(super) equality: String,
}

impl TargetTable {
    /// Reads how the target has the table of `relation`.
    ///
    /// # Errors
    /// When the target cannot be asked, or does not have what the stream tells.
    pub(super) async fn read(
        client: &Client,
        relation: &Relation,
        id: u64,
    ) -> Result<Self, ApplyError> {
        let name = QualifiedName::new(&relation.schema, &relation.name);
        let catalog = TableCatalog::read(client, &name).await?;
        Ok(Self::matched(name, relation, &catalog, id)?)
    }

    fn matched(
        name: QualifiedName,
        relation: &Relation,
        catalog: &TableCatalog,
        id: u64,
    ) -> Result<Self, TableError> {
        let columns = matched_columns(&name, relation, catalog)?;
        let (identity, key_index) = keys::identity(&name, relation, catalog)?;
        let mut moving = keys::unique_columns(catalog, key_index, relation);
        if let TargetIdentity::Key(key) = &identity {
            moving.extend((0..columns.len()).filter(|&column| {
                matches!(columns[column].writing, Writing::InsertOnly)
                    && !key.iter().any(|key| key.column == column)
            }));
        }
        moving.retain(|&column| !matches!(columns[column].writing, Writing::Never));
        moving.sort_unstable();
        moving.dedup();
        Ok(Self {
            id,
            name,
            columns,
            identity,
            moving,
        })
    }

    /// The shape for gathering net changes.
    pub(super) fn net_shape(&self) -> NetShape {
        let identity = match &self.identity {
            TargetIdentity::Key(key) => Identity::Key(key.iter().map(|key| key.column).collect()),
            TargetIdentity::WholeRow => Identity::WholeRow,
        };
        NetShape {
            columns: self.columns.len(),
            identity,
        }
    }

    /// Names of the key columns, for messages.
    pub(super) fn key_column_names(&self) -> String {
        match &self.identity {
            TargetIdentity::Key(key) => {
                let names: Vec<_> = key
                    .iter()
                    .map(|key| self.columns[key.column].name.as_str())
                    .collect();
                names.join(", ")
            }
            TargetIdentity::WholeRow => "none, whole rows are compared".to_owned(),
        }
    }

    /// The columns that an INSERT or COPY writes.
    pub(super) fn inserted(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.columns.len())
            .filter(|&column| !matches!(self.columns[column].writing, Writing::Never))
    }

    /// Whether `column` is part of the key.
    pub(super) fn in_key(&self, column: usize) -> bool {
        match &self.identity {
            TargetIdentity::Key(key) => key.iter().any(|key| key.column == column),
            TargetIdentity::WholeRow => false,
        }
    }
}

impl TargetColumn {
    /// The column's quoted name.
    pub(super) fn sql(&self) -> String {
        quote_identifier(&self.name)
    }

    /// SQL that makes a value of this column's type of `text`, an SQL expression of type text.
    pub(super) fn read_sql(&self, text: &str) -> String {
        let type_sql = &self.type_sql;
        match self.reading {
            Reading::Cast => format!("{text}::{type_sql}"),
            Reading::ThroughArray => format!(
                "(('{{\"' || pg_catalog.replace(pg_catalog.replace({text}, '\\', '\\\\'), \
                 '\"', '\\\"') || '\"}}')::{type_sql}[])[1]"
            ),
        }
    }
}

fn matched_columns(
    name: &QualifiedName,
    relation: &Relation,
    catalog: &TableCatalog,
) -> Result<Vec<TargetColumn>, TableError> {
    let mut columns = Vec::with_capacity(relation.columns.len());
    for streamed in &relation.columns {
        let Some(found) = catalog
            .columns
            .iter()
            .find(|column| column.name == *streamed.name)
        else {
            return Err(TableError::NewColumn {
                table: name.clone(),
                column: streamed.name.to_string(),
            });
        };
        let stable = streamed.type_oid < STABLE_TYPE_OID_MAX;
        let same =
            streamed.type_oid == found.type_oid && streamed.type_modifier == found.type_modifier;
        if stable && !same {
            return Err(TableError::ColumnType {
                table: name.clone(),
                column: streamed.name.to_string(),
                target_type: found.shown_type.clone(),
            });
        }
        columns.push(found.column.clone());
    }
    let gone = catalog.columns.iter().find(|column| {
        !matches!(column.column.writing, Writing::Never)
            && !relation
                .columns
                .iter()
                .any(|streamed| *streamed.name == column.name)
    });
    match gone {
        Some(gone) => Err(TableError::GoneColumn {
            table: name.clone(),
            column: gone.name.clone(),
        }),
        None => Ok(columns),
    }
}

#[cfg(test)]
mod tests;
