//! A server's own updates of parts of documents: what each made is what the next one found.

use super::*;
use crate::json::canonical;
use crate::stream::table_map;

pub(super) const LOG: Log = Log {
    name: "MySQL 9.7 with parts of documents",
    bytes: include_bytes!("mysql97_json.binlog"),
    gtids: || Gtids::MySql(GtidSet::new()),
};

const TABLE_MAP: u8 = 19;
const PARTIAL_UPDATE: u8 = 39;

/// The documents of a row by its id, each in the one form that it has.
fn documents(row: &router::Row) -> (Bytes, Vec<Option<Vec<u8>>>) {
    let cells = row.cells();
    let router::Cell::Value(id) = &cells[0] else {
        panic!("the key has a value");
    };
    let document = |column: usize| match &cells[column] {
        router::Cell::Null => None,
        router::Cell::Value(field) => Some(canonical(&field[4..]).unwrap()),
        router::Cell::Unchanged => panic!("the image is whole"),
    };
    (id.clone(), [1, 3, 4].map(document).to_vec())
}

/// What a server writes anew has the one form.
fn is_in_that_form(row: &router::Row, values: &[Option<Vec<u8>>]) {
    for (value, column) in values.iter().zip([1, 3, 4]) {
        if let (Some(value), router::Cell::Value(field)) = (value, &row.cells()[column]) {
            assert_eq!(value[..], field[4..]);
        }
    }
}

#[tokio::test]
async fn each_update_of_parts_leaves_what_the_next_change_finds() {
    let mut stream = LOG.stream(LOG.events());
    let mut known = HashMap::new();
    let mut updates = 0;
    loop {
        let change = match stream.next().await {
            Ok(StreamEvent::Change { change, .. }) => change,
            Ok(_other) => continue,
            Err(StreamError::Ended) => break,
            Err(error) => panic!("{error:?}"),
        };
        match change {
            Change::Insert { row } => {
                let (id, values) = documents(&row);
                is_in_that_form(&row, &values);
                known.insert(id, values);
            }
            Change::Update { old, row } => {
                let (id, before) = documents(old.as_ref().unwrap().row());
                assert_eq!(known[&id], before);
                let (id, after) = documents(&row);
                known.insert(id, after);
                updates += 1;
            }
            Change::Delete { old } => {
                let (id, before) = documents(old.row());
                assert_eq!(known.remove(&id), Some(before));
            }
        }
    }
    assert_eq!(updates, 10);
    assert!(known.is_empty());
}

/// The body of the first update of parts, and the layout of its table.
fn first_update() -> (Vec<u8>, Layout) {
    let events = LOG.events();
    let place = events
        .iter()
        .position(|event| event[4] == PARTIAL_UPDATE)
        .unwrap();
    let body = |event: &Bytes| event[HEADER_BYTES..event.len() - 4].to_vec();
    assert_eq!(events[place - 1][4], TABLE_MAP);
    let map = table_map::parse(&body(&events[place - 1]), false).unwrap();
    (body(&events[place]), Layout::of(&map).unwrap())
}

fn changes(body: Vec<u8>, layout: &Layout) -> Result<Vec<Change>, EventError> {
    let Kind::Rows(kind) = Kind::of(PARTIAL_UPDATE)? else {
        panic!("it is an event of rows");
    };
    let mut rows = Rows::begin(&Bytes::from(body), kind, false, layout)?;
    let mut changes = Vec::new();
    while let Some(change) = rows.next(layout)? {
        changes.push(change);
    }
    Ok(changes)
}

#[test]
fn an_update_that_ends_anywhere_is_an_error() {
    let (body, layout) = first_update();
    let whole = changes(body.clone(), &layout).unwrap();
    let head = 10 + 1 + 2;
    for end in head + 1..body.len() {
        match changes(body[..end].to_vec(), &layout) {
            Err(_error) => {}
            // Between its rows.
            Ok(some) => assert_eq!(some, whole[..1], "{end}"),
        }
    }
}

#[test]
fn parts_of_a_value_that_is_not_logged_stop_with_the_table_and_the_setting() {
    let (mut body, layout) = first_update();
    // The first bitmap is of the image before: it has the key and a number now.
    body[11] = 0b0_0001;
    let image = [&[0][..], &1_u32.to_le_bytes()].concat();
    body.splice(13.., image);
    // Options, the three bits of JSON columns, NULL bits, the key, and diffs of `a`: none at all.
    body[12] = 0b0_0011;
    body.extend([1, 0b001, 0]);
    body.extend(1_u32.to_le_bytes());
    body.extend(0_u32.to_le_bytes());
    let error = changes(body.clone(), &layout).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("shop.j") && said.contains("binlog_row_image"),
        "{said}"
    );
    // Options that nobody knows.
    let options = 13 + 5;
    assert_eq!(body[options], 1);
    body[options] = 2;
    let error = changes(body, &layout).unwrap_err();
    assert!(error.to_string().contains("options"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_damaged_update_makes_no_panic(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (mut body, layout) = first_update();
        for (place, byte) in damages {
            let place = place.index(body.len());
            body[place] = byte;
        }
        drop(changes(body, &layout));
    }
}
