//! Tests of the net change: each pair of changes of a row, and histories that cannot be.

use bytes::Bytes;

use super::*;
use crate::Cell;

mod histories;

fn value(text: &str) -> Cell {
    Cell::Value(Bytes::copy_from_slice(text.as_bytes()))
}

/// A row of text values; `-` is NULL and `*` a value that the stream left out.
fn row(cells: &[&str]) -> Row {
    let cells = cells.iter().map(|cell| match *cell {
        "-" => Cell::Null,
        "*" => Cell::Unchanged,
        text => value(text),
    });
    Row::new(cells.collect::<Vec<_>>())
}

fn key(text: &str) -> Key {
    Key::of(&row(&[text]), &[0]).unwrap()
}

fn insert(cells: &[&str]) -> Change {
    Change::Insert { row: row(cells) }
}

fn update(cells: &[&str]) -> Change {
    Change::Update {
        old: None,
        row: row(cells),
    }
}

fn update_from(old: &[&str], cells: &[&str]) -> Change {
    Change::Update {
        old: Some(OldImage::Key(row(old))),
        row: row(cells),
    }
}

fn delete(old: &[&str]) -> Change {
    Change::Delete {
        old: OldImage::Key(row(old)),
    }
}

fn keyed() -> NetTable {
    NetTable::new(NetShape {
        columns: 3,
        identity: Identity::Key(vec![0]),
    })
}

fn whole_row() -> NetTable {
    NetTable::new(NetShape {
        columns: 2,
        identity: Identity::WholeRow,
    })
}

fn net_of(changes: impl IntoIterator<Item = Change>) -> NetChange {
    let mut table = keyed();
    for change in changes {
        table.push(change).unwrap();
    }
    table.take()
}

fn error_of(changes: impl IntoIterator<Item = Change>) -> NetError {
    let mut table = keyed();
    let mut pushed = changes.into_iter().map(|change| table.push(change));
    pushed.find_map(Result::err).unwrap()
}

#[test]
fn an_insert_and_its_updates_are_one_insert() {
    let net = net_of([
        insert(&["1", "a", "b"]),
        update(&["1", "c", "*"]),
        update(&["1", "*", "d"]),
    ]);
    assert_eq!(
        net,
        NetChange {
            inserts: vec![row(&["1", "c", "d"])],
            ..NetChange::default()
        }
    );
}

#[test]
fn updates_are_merged_and_keep_what_no_one_told() {
    let net = net_of([update(&["1", "a", "*"]), update(&["1", "b", "*"])]);
    let updates = vec![Updated {
        key: key("1"),
        row: row(&["1", "b", "*"]),
    }];
    assert_eq!(
        net,
        NetChange {
            updates,
            ..NetChange::default()
        }
    );
}

#[test]
fn an_inserted_and_deleted_row_leaves_nothing() {
    assert!(net_of([insert(&["1", "a", "b"]), delete(&["1", "-", "-"])]).is_empty());
    let moved_between = [
        insert(&["1", "a", "b"]),
        update_from(&["1", "-", "-"], &["2", "a", "b"]),
        delete(&["2", "-", "-"]),
    ];
    assert!(net_of(moved_between).is_empty());
}

#[test]
fn a_chain_of_key_changes_is_one_move_with_merged_values() {
    let net = net_of([
        update(&["1", "a", "*"]),
        update_from(&["1", "-", "-"], &["2", "*", "*"]),
        update_from(&["2", "-", "-"], &["3", "*", "*"]),
    ]);
    let moves = vec![Moved {
        from: key("1"),
        row: row(&["3", "a", "*"]),
    }];
    assert_eq!(
        net,
        NetChange {
            moves,
            ..NetChange::default()
        }
    );
}

#[test]
fn a_row_that_comes_back_to_its_key_is_updated_in_place() {
    let net = net_of([
        update_from(&["1", "-", "-"], &["2", "a", "*"]),
        insert(&["1", "x", "y"]),
        delete(&["1", "-", "-"]),
        update_from(&["2", "-", "-"], &["1", "b", "*"]),
    ]);
    let updates = vec![Updated {
        key: key("1"),
        row: row(&["1", "b", "*"]),
    }];
    assert_eq!(
        net,
        NetChange {
            updates,
            ..NetChange::default()
        }
    );
}

#[test]
fn a_key_deleted_and_inserted_again_is_a_move_to_itself() {
    let net = net_of([delete(&["1", "-", "-"]), insert(&["1", "a", "b"])]);
    let moves = vec![Moved {
        from: key("1"),
        row: row(&["1", "a", "b"]),
    }];
    assert_eq!(
        net,
        NetChange {
            moves,
            ..NetChange::default()
        }
    );
}

#[test]
fn a_moved_row_that_is_deleted_is_deleted_under_its_first_key() {
    let net = net_of([
        update_from(&["1", "-", "-"], &["2", "a", "b"]),
        delete(&["2", "-", "-"]),
        insert(&["2", "c", "d"]),
    ]);
    assert_eq!(net.deletes, [key("1")]);
    assert_eq!(net.inserts, [row(&["2", "c", "d"])]);
    assert_eq!(net.rows(), 2);
}

#[test]
fn two_rows_that_swap_their_keys_are_two_moves() {
    let net = net_of([
        update_from(&["1", "-", "-"], &["0", "a", "*"]),
        update_from(&["2", "-", "-"], &["1", "b", "*"]),
        update_from(&["0", "-", "-"], &["2", "a", "*"]),
    ]);
    let moves = vec![
        Moved {
            from: key("2"),
            row: row(&["1", "b", "*"]),
        },
        Moved {
            from: key("1"),
            row: row(&["2", "a", "*"]),
        },
    ];
    assert_eq!(
        net,
        NetChange {
            moves,
            ..NetChange::default()
        }
    );
}

#[test]
fn a_key_value_left_out_is_taken_from_the_old_key() {
    let net = net_of([update_from(&["1", "-", "-"], &["*", "a", "*"])]);
    let updates = vec![Updated {
        key: key("1"),
        row: row(&["1", "a", "*"]),
    }];
    assert_eq!(
        net,
        NetChange {
            updates,
            ..NetChange::default()
        }
    );
}

#[test]
fn a_full_old_image_fills_what_was_left_out() {
    let old = OldImage::Full(row(&["1", "a", "b"]));
    let net = net_of([Change::Update {
        old: Some(old),
        row: row(&["2", "c", "*"]),
    }]);
    let moves = vec![Moved {
        from: key("1"),
        row: row(&["2", "c", "b"]),
    }];
    assert_eq!(
        net,
        NetChange {
            moves,
            ..NetChange::default()
        }
    );
}

#[test]
fn rows_come_out_in_the_order_they_came_in() {
    let keys: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let net = net_of(keys.iter().map(|key| insert(&[key, "-", "-"])));
    let expected: Vec<Row> = keys.iter().map(|key| row(&[key, "-", "-"])).collect();
    assert_eq!(net.inserts, expected);
}

#[test]
fn histories_that_no_source_has_are_errors() {
    let gone = [delete(&["1", "-", "-"]), update(&["1", "a", "b"])];
    assert_eq!(error_of(gone), NetError::UpdateOfGoneRow { key: key("1") });
    let twice = [delete(&["1", "-", "-"]), delete(&["1", "-", "-"])];
    assert_eq!(error_of(twice), NetError::DeleteOfGoneRow { key: key("1") });
    let over = [update(&["1", "a", "b"]), insert(&["1", "a", "b"])];
    assert_eq!(
        error_of(over),
        NetError::InsertOverLiveRow { key: key("1") }
    );
    let onto = [
        update(&["2", "a", "b"]),
        update_from(&["1", "-", "-"], &["2", "a", "b"]),
    ];
    assert_eq!(error_of(onto), NetError::MoveOntoLiveRow { key: key("2") });
    let away = [
        update_from(&["1", "-", "-"], &["2", "a", "b"]),
        update_from(&["1", "-", "-"], &["3", "a", "b"]),
    ];
    assert_eq!(error_of(away).key(), Some(&key("1")));
}

#[test]
fn images_that_do_not_fit_the_table_are_errors() {
    assert_eq!(
        error_of([insert(&["1"])]),
        NetError::Columns {
            expected: 3,
            got: 1
        }
    );
    assert_eq!(
        error_of([insert(&["1", "*", "a"])]),
        NetError::Incomplete { column: 1 }
    );
    let null = NetError::Key(KeyError::Null { column: 0 });
    assert_eq!(error_of([insert(&["-", "a", "a"])]), null);
    let mut bag = whole_row();
    let update = Change::Update {
        old: None,
        row: row(&["1", "a"]),
    };
    assert_eq!(bag.push(update), Err(NetError::OldRowMissing));
}

#[test]
fn duplicates_of_a_whole_row_are_counted() {
    let mut bag = whole_row();
    let full = |cells: &[&str]| OldImage::Full(row(cells));
    bag.push(insert(&["a", "-"])).unwrap();
    bag.push(insert(&["a", "-"])).unwrap();
    bag.push(Change::Delete {
        old: full(&["b", "x"]),
    })
    .unwrap();
    bag.push(Change::Update {
        old: Some(full(&["c", "x"])),
        row: row(&["d", "*"]),
    })
    .unwrap();
    bag.push(Change::Delete {
        old: full(&["d", "x"]),
    })
    .unwrap();
    bag.push(Change::Update {
        old: Some(full(&["e", "x"])),
        row: row(&["e", "*"]),
    })
    .unwrap();
    assert_eq!(
        bag.take().bag,
        [
            (row(&["a", "-"]), 2),
            (row(&["b", "x"]), -1),
            (row(&["c", "x"]), -1)
        ]
    );
    assert!(bag.is_empty());
}

#[test]
fn memory_is_counted_and_given_back() {
    let mut table = keyed();
    let long = "x".repeat(1000);
    for number in 0..100 {
        let number = number.to_string();
        table.push(insert(&[&number, &long, "-"])).unwrap();
    }
    let full = table.memory_bytes();
    assert!((100_000..150_000).contains(&full), "{full}");
    for _ in 0..100 {
        table.push(update(&["7", "*", "short"])).unwrap();
    }
    assert!(
        table.memory_bytes() < full + 100,
        "updates of one row do not add up"
    );
    for number in 0..100 {
        let number = number.to_string();
        table.push(delete(&[&number, "-", "-"])).unwrap();
    }
    assert!(
        table.memory_bytes() < 30_000,
        "only the touched keys are left"
    );
    assert!(table.take().is_empty());
    assert_eq!((table.memory_bytes(), table.rows()), (0, 0));
}
