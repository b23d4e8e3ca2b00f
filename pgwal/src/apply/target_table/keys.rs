//! Which columns find a row on the target, and which make an update a delete and an insert.

use super::catalog::{CatalogIndex, TableCatalog};
use super::{KeyColumn, TargetIdentity};
use crate::apply::error::TableError;
use crate::apply::events::{Relation, ReplicaIdentity};
use crate::name::QualifiedName;

/// What identifies the rows, and the position of the index that does.
///
/// * The stream tells a key (identity DEFAULT or an index): it, by the target's unique index on
///   exactly these columns, whose operators find the rows.
/// * FULL: the whole old row is told, so any index of the target that identifies rows will do, the
///   primary key first.
/// * Else rows are known only as a whole.
pub(super) fn identity(
    name: &QualifiedName,
    relation: &Relation,
    catalog: &TableCatalog,
) -> Result<(TargetIdentity, Option<usize>), TableError> {
    let told: Vec<usize> = match relation.replica_identity {
        ReplicaIdentity::Default | ReplicaIdentity::Index => (0..relation.columns.len())
            .filter(|&column| relation.columns[column].part_of_key)
            .collect(),
        ReplicaIdentity::Full | ReplicaIdentity::Nothing => Vec::new(),
    };
    let mut candidates = catalog
        .indexes
        .iter()
        .enumerate()
        .filter_map(|(position, index)| {
            let columns = key_columns(index, relation, catalog)?;
            Some((columns, position))
        });
    let found = if told.is_empty() {
        match relation.replica_identity {
            ReplicaIdentity::Full => candidates.next(),
            ReplicaIdentity::Default | ReplicaIdentity::Index | ReplicaIdentity::Nothing => None,
        }
    } else {
        let found = candidates.find(|(columns, _)| {
            let mut sorted: Vec<_> = columns.iter().map(|key| key.column).collect();
            sorted.sort_unstable();
            sorted == told
        });
        if found.is_none() {
            let names: Vec<_> = told
                .iter()
                .map(|&column| relation.columns[column].name.as_ref())
                .collect();
            return Err(TableError::NoKeyIndex {
                table: name.clone(),
                key_columns: names.join(", "),
            });
        }
        found
    };
    Ok(match found {
        Some((columns, position)) => (TargetIdentity::Key(columns), Some(position)),
        None => (TargetIdentity::WholeRow, None),
    })
}

/// The key columns of an index that identifies rows by columns of the stream.
fn key_columns(
    index: &CatalogIndex,
    relation: &Relation,
    catalog: &TableCatalog,
) -> Option<Vec<KeyColumn>> {
    if !index.identifies || index.keys.len() != index.equalities.len() {
        return None;
    }
    let columns = index
        .keys
        .iter()
        .zip(&index.equalities)
        .map(|(&number, equality)| {
            let column = catalog
                .columns
                .iter()
                .find(|column| column.number == number)?;
            Some(KeyColumn {
                column: streamed(relation, &column.name).filter(|_| column.not_null)?,
                equality: format!("OPERATOR({equality})"),
            })
        });
    columns.collect()
}

/// The stream's columns on which unique and exclusion indexes other than the key's depend.
pub(super) fn unique_columns(
    catalog: &TableCatalog,
    key_index: Option<usize>,
    relation: &Relation,
) -> Vec<usize> {
    let mut numbers: Vec<i16> = Vec::new();
    for (position, index) in catalog.indexes.iter().enumerate() {
        if Some(position) == key_index || !index.immediate {
            continue;
        }
        let untold = index.keys.contains(&0) && index.used.is_empty();
        if index.uses_whole_row || untold {
            numbers.extend(catalog.columns.iter().map(|column| column.number));
        }
        numbers.extend(
            index
                .keys
                .iter()
                .chain(&index.used)
                .filter(|&&number| number > 0),
        );
    }
    // A generated column is computed of plain ones only, so one step is all there is.
    let computed_of = catalog
        .generated_of
        .iter()
        .filter(|(generated, _)| numbers.contains(generated))
        .map(|&(_, base)| base)
        .collect::<Vec<_>>();
    numbers.extend(computed_of);
    numbers
        .iter()
        .filter_map(|&number| streamed(relation, catalog.column_name(number)?))
        .collect()
}

fn streamed(relation: &Relation, name: &str) -> Option<usize> {
    relation
        .columns
        .iter()
        .position(|column| *column.name == *name)
}
