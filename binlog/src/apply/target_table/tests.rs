use bytes::Bytes;
use router::OldImage;

use super::keys::IndexColumn;
use super::*;

fn target(name: &str, field: FieldType) -> TargetColumn {
    TargetColumn {
        name: name.to_owned(),
        field: Some(field),
        shown_type: "shown".to_owned(),
        nullable: false,
        unsigned: false,
        charset: None,
        generated: Generated::No,
        dimensions: None,
    }
}

fn source(field: FieldType) -> SourceColumn {
    SourceColumn {
        field,
        unsigned: Some(false),
        charset: None,
    }
}

fn unique(index: &str, column: &str) -> IndexColumn {
    IndexColumn {
        index: index.to_owned(),
        column: Some(column.to_owned()),
        whole: true,
    }
}

fn catalog() -> TableCatalog {
    TableCatalog {
        columns: vec![
            target("id", FieldType::Int(4)),
            target("email", FieldType::Int(4)),
            target("visits", FieldType::Int(4)),
        ],
        unique: vec![unique("PRIMARY", "id"), unique("u", "email")],
        trigger: None,
        unsafe_engine: None,
    }
}

fn read(
    source: &[SourceColumn],
    catalog: &TableCatalog,
    cascades: &[ForeignKeyToUs],
    method: Method,
) -> Result<TargetTable, TableError> {
    let name = QualifiedName::new("shop", "users");
    TargetTable::of(&name, source, catalog, cascades, method, 1)
}

fn row(values: [Option<u8>; 3]) -> Row {
    let cell = |value: Option<u8>| {
        value.map_or(Cell::Unchanged, |value| {
            Cell::Value(Bytes::from(vec![value, 0, 0, 0]))
        })
    };
    Row::new(values.map(cell))
}

#[test]
fn an_update_of_a_key_or_a_unique_column_is_watched_and_others_are_not() {
    let ints = [source(FieldType::Int(4)); 3];
    let table = read(&ints, &catalog(), &[], Method::RowEvents).unwrap();
    let old = row([Some(1), Some(2), Some(3)]);
    let watched = |new| table.changes_watched(Some(&old), &row(new));
    assert!(watched([Some(9), Some(2), Some(3)]));
    assert!(watched([Some(1), Some(9), Some(3)]));
    assert!(!watched([Some(1), Some(2), Some(9)]));
    let key_only = row([Some(1), None, None]);
    let minimal = |new| table.changes_watched(Some(&key_only), &row(new));
    assert!(minimal([None, Some(2), None]));
    assert!(!minimal([None, None, Some(9)]));
}

#[test]
fn other_numbers_of_columns_and_types_without_a_way_are_refused() {
    let ints = [source(FieldType::Int(4)); 2];
    assert!(matches!(
        read(&ints, &catalog(), &[], Method::RowEvents),
        Err(TableError::ColumnCount {
            source_columns: 2,
            target_columns: 3,
            ..
        })
    ));
    let mut types = [source(FieldType::Int(4)); 3];
    types[2] = source(FieldType::Double);
    assert!(matches!(
        read(&types, &catalog(), &[], Method::RowEvents),
        Err(TableError::ColumnType { column, .. }) if column == "visits"
    ));
}

#[test]
fn a_trigger_forbids_sql_and_not_row_events() {
    let ints = [source(FieldType::Int(4)); 3];
    let mut catalog = catalog();
    catalog.trigger = Some("audit".to_owned());
    assert!(read(&ints, &catalog, &[], Method::RowEvents).is_ok());
    assert!(matches!(
        read(&ints, &catalog, &[], Method::Sql),
        Err(TableError::Trigger { trigger, .. }) if trigger == "audit"
    ));
}

#[test]
fn only_changes_that_a_rule_acts_on_cascade() {
    let ints = [source(FieldType::Int(4)); 3];
    let key = ForeignKeyToUs {
        parent: QualifiedName::new("shop", "users"),
        column: "id".to_owned(),
        child: QualifiedName::new("shop", "orders"),
        on_delete: false,
        on_update: true,
    };
    let table = read(&ints, &catalog(), &[key], Method::RowEvents).unwrap();
    let old = || OldImage::Full(row([Some(1), Some(2), Some(3)]));
    assert!(!table.cascades_from(&Change::Delete { old: old() }));
    let update = |new| Change::Update {
        old: Some(old()),
        row: row(new),
    };
    assert!(table.cascades_from(&update([Some(9), Some(2), Some(3)])));
    assert!(!table.cascades_from(&update([Some(1), Some(9), Some(3)])));
}
