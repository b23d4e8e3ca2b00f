//! The texts of statements. That servers take them is tested with real ones.

use super::*;

fn column(name: &str, type_sql: &str) -> TargetColumn {
    TargetColumn {
        name: name.to_owned(),
        type_sql: type_sql.to_owned(),
        writing: Writing::Plain,
        reading: Reading::Cast,
        toastable: type_sql == "text",
        array: type_sql.ends_with("[]"),
    }
}

fn table(key: &[usize]) -> TargetTable {
    let equality = "OPERATOR(pg_catalog.=)".to_owned();
    let key = key.iter().map(|&column| KeyColumn {
        column,
        equality: equality.clone(),
    });
    TargetTable {
        id: 0,
        name: crate::name::QualifiedName::new("shop", "o\"rders"),
        columns: vec![
            column("id", "integer"),
            column("note", "text"),
            column("tags", "text[]"),
        ],
        identity: TargetIdentity::Key(key.collect()),
        moving: vec![1],
    }
}

#[test]
fn a_key_of_one_column_is_deleted_by_any() {
    let (sql, parameters) = Shape::Delete.sql(&table(&[0]));
    assert_eq!(
        sql,
        "DELETE FROM ONLY \"shop\".\"o\"\"rders\" AS t WHERE t.\"id\" OPERATOR(pg_catalog.=) \
         ANY ($1::text[]::integer[])"
    );
    assert_eq!(parameters, 1);
}

#[test]
fn a_key_that_is_an_array_is_never_flattened() {
    let (sql, parameters) = Shape::Delete.sql(&table(&[2]));
    assert!(
        sql.contains("u.k0::text[] AS k0 FROM unnest($1::text[]) AS u(k0)"),
        "{sql}"
    );
    assert_eq!(parameters, 1);
}

#[test]
fn an_update_sets_what_is_present_and_never_the_key() {
    let shape = Shape::Update([true, false, true].into());
    let (sql, parameters) = shape.sql(&table(&[0]));
    assert!(sql.contains(" SET \"tags\" = v.c2 FROM "), "{sql}");
    assert_eq!(parameters, 2);
}

#[test]
fn identity_columns_are_inserted_with_their_value_and_never_updated() {
    let mut table = table(&[0]);
    table.columns[1].writing = Writing::InsertOnly;
    let (sql, _) = Shape::Insert.sql(&table);
    assert!(sql.contains(" OVERRIDING SYSTEM VALUE "), "{sql}");
    let presence = [true, true, true];
    assert_eq!(set_columns(&table, &presence), [2]);
    table.columns[2].writing = Writing::Never;
    let (sql, parameters) = Shape::Insert.sql(&table);
    assert!(!sql.contains("tags"), "{sql}");
    assert_eq!(parameters, 2);
}

#[test]
fn a_move_takes_left_out_values_from_the_deleted_row() {
    let (sql, parameters) = Shape::Move.sql(&table(&[0]));
    assert!(
        sql.contains(
            "CASE WHEN pg_catalog.substr(z.mask, 2, 1) = 'u' THEN z.o1 ELSE z.c1::text END"
        ),
        "{sql}"
    );
    assert!(sql.contains("(SELECT * FROM d ORDER BY d.ord)"), "{sql}");
    assert_eq!(parameters, 5);
}
