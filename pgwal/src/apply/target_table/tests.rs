//! How a stream's table is matched to the target's.

use super::catalog::{CatalogColumn, CatalogIndex};
use super::*;
use crate::apply::events::{RelationColumn, ReplicaIdentity};

fn relation(identity: ReplicaIdentity, columns: &[(&str, bool)]) -> Relation {
    Relation {
        oid: 1,
        schema: "s".to_owned(),
        name: "t".to_owned(),
        replica_identity: identity,
        columns: columns
            .iter()
            .map(|&(name, part_of_key)| RelationColumn {
                name: name.to_owned(),
                type_oid: 23,
                type_modifier: -1,
                part_of_key,
            })
            .collect(),
    }
}

/// A target whose columns stand in another order than the stream's, with these indexes.
fn catalog(columns: &[(&str, Writing)], indexes: Vec<CatalogIndex>) -> TableCatalog {
    let columns = (1..)
        .zip(columns)
        .map(|(number, &(name, writing))| CatalogColumn {
            number,
            name: name.to_owned(),
            type_oid: 23,
            type_modifier: -1,
            shown_type: "integer".to_owned(),
            not_null: true,
            column: TargetColumn {
                name: name.to_owned(),
                type_sql: "integer".to_owned(),
                writing,
                reading: Reading::Cast,
                toastable: false,
                array: false,
            },
        });
    TableCatalog {
        columns: columns.collect(),
        indexes,
        generated_of: Vec::new(),
    }
}

fn unique(keys: &[i16]) -> CatalogIndex {
    CatalogIndex {
        identifies: true,
        immediate: true,
        keys: keys.to_vec(),
        equalities: vec!["pg_catalog.=".to_owned(); keys.len()],
        used: Vec::new(),
        uses_whole_row: false,
    }
}

fn matched(relation: &Relation, catalog: &TableCatalog) -> Result<TargetTable, TableError> {
    TargetTable::matched(QualifiedName::new("s", "t"), relation, catalog, 0)
}

const ABC: [(&str, Writing); 3] = [
    ("c", Writing::Plain),
    ("a", Writing::Plain),
    ("b", Writing::Plain),
];

#[test]
fn columns_are_counted_as_in_the_stream() {
    let relation = relation(
        ReplicaIdentity::Default,
        &[("a", true), ("b", false), ("c", false)],
    );
    let table = matched(&relation, &catalog(&ABC, vec![unique(&[2]), unique(&[1])])).unwrap();
    assert_eq!(table.net_shape().identity, Identity::Key(vec![0]));
    assert_eq!(table.moving, [2]);
}

#[test]
fn under_full_an_index_that_identifies_rows_is_used_and_others_are_not() {
    let relation = relation(
        ReplicaIdentity::Full,
        &[("a", true), ("b", true), ("c", true)],
    );
    let deferrable = CatalogIndex {
        identifies: false,
        immediate: false,
        ..unique(&[2])
    };
    let indexes = vec![deferrable, unique(&[3, 1])];
    let mut target = catalog(&ABC, indexes);
    let table = matched(&relation, &target).unwrap();
    assert_eq!(table.net_shape().identity, Identity::Key(vec![1, 2]));
    target.columns[0].not_null = false;
    let table = matched(&relation, &target).unwrap();
    assert_eq!(table.net_shape().identity, Identity::WholeRow);
}

#[test]
fn a_key_without_its_index_is_refused() {
    let relation = relation(
        ReplicaIdentity::Default,
        &[("a", true), ("b", true), ("c", false)],
    );
    let error = matched(&relation, &catalog(&ABC, vec![unique(&[2])])).unwrap_err();
    assert!(matches!(error, TableError::NoKeyIndex { key_columns, .. } if key_columns == "a, b"));
}

#[test]
fn expressions_and_generated_columns_make_their_columns_move() {
    let relation = relation(ReplicaIdentity::Default, &[("a", true), ("b", false)]);
    let expression = CatalogIndex {
        identifies: false,
        keys: vec![0],
        used: vec![1],
        ..unique(&[])
    };
    let generated = [
        ("c", Writing::Never),
        ("a", Writing::Plain),
        ("b", Writing::Plain),
    ];
    let mut target = catalog(&generated, vec![unique(&[2]), expression]);
    assert!(matched(&relation, &target).unwrap().moving.is_empty());
    target.generated_of.push((1, 3));
    assert_eq!(matched(&relation, &target).unwrap().moving, [1]);
}

#[test]
fn an_index_on_the_whole_row_makes_every_column_move() {
    let relation = relation(
        ReplicaIdentity::Default,
        &[("a", true), ("b", false), ("c", false)],
    );
    let whole = CatalogIndex {
        identifies: false,
        keys: vec![0],
        uses_whole_row: true,
        ..unique(&[])
    };
    let table = matched(&relation, &catalog(&ABC, vec![unique(&[2]), whole])).unwrap();
    assert_eq!(table.moving, [0, 1, 2]);
}
