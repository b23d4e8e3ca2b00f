use proptest::prelude::*;

use super::super::format::Checksum;
use super::*;

const HEADER_BYTES: usize = 19;

/// An event that ends at this place, by 32 bits.
fn event(code: u8, end: u32, flags: u16, body: &[u8]) -> Bytes {
    let mut event = Vec::new();
    event.extend(7_u32.to_le_bytes());
    event.push(code);
    event.extend(1_u32.to_le_bytes());
    let bytes = u32::try_from(HEADER_BYTES + body.len()).unwrap();
    event.extend(bytes.to_le_bytes());
    event.extend(end.to_le_bytes());
    event.extend(flags.to_le_bytes());
    event.extend(body);
    Bytes::from(event)
}

fn query(end: u32, sql: &str) -> Bytes {
    let mut body = vec![0; 13];
    body.push(0);
    body.extend(sql.as_bytes());
    event(2, end, 0, &body)
}

fn xid(end: u32) -> Bytes {
    event(16, end, 0, &[1; 8])
}

fn table_map(end: u32) -> Bytes {
    let mut body = vec![9, 0, 0, 0, 0, 0, 1, 0];
    body.extend(b"\x01d\x00\x01t\x00");
    body.extend([1, 3, 0, 0]);
    event(19, end, 0, &body)
}

fn insert(end: u32) -> Bytes {
    let body = [9, 0, 0, 0, 0, 0, 1, 0, 2, 0, 1, 0xff, 0, 5, 0, 0, 0];
    event(30, end, 0, &body)
}

fn format(created: u32) -> Bytes {
    let mut body = vec![4, 0];
    body.extend([0; 50]);
    body.extend(created.to_le_bytes());
    body.push(19);
    body.extend([8; 40]);
    body.extend([0; 5]);
    event(15, 0, 0, &body)
}

fn rotate(name: &str) -> Bytes {
    let mut body = 4_u64.to_le_bytes().to_vec();
    body.extend(name.as_bytes());
    event(4, 0, 0x20, &body)
}

fn heartbeat(name: &str, end: u32) -> Bytes {
    event(27, end, 0, name.as_bytes())
}

fn assembler(offset: u64) -> Assembler {
    let position = Position::new(BinlogFile::new("b.000001", offset), Gtids::None);
    let wanted = Box::new(|_: &str, _: &str| true);
    Assembler::new(
        position,
        Format::before(Checksum::None),
        Skips::Nothing,
        wanted,
        PathBuf::new(),
    )
}

/// Pushes an event whose place is made up: nobody compares it with the one before.
fn push(assembler: &mut Assembler, bytes: Bytes) -> Result<Option<Output>, StreamError> {
    assembler.contiguity = Contiguity::new(Skips::Nothing);
    assembler.push(bytes)
}

fn place(output: Option<Output>) -> String {
    match output {
        None => "nothing".to_owned(),
        Some(Output::Idle(position)) => format!("idle {position}"),
        Some(Output::Transaction(transaction)) => transaction.position.to_string(),
    }
}

#[test]
fn places_beyond_4_gib_go_on_growing() {
    let mut assembler = assembler(0xffff_ff00);
    for bytes in [query(0xffff_ff80, "BEGIN"), table_map(0x10), insert(0x100)] {
        assert_eq!(place(push(&mut assembler, bytes).unwrap()), "nothing");
    }
    let end = push(&mut assembler, xid(0x200)).unwrap();
    assert_eq!(place(end), format!("b.000001:{}", 0x1_0000_0200_u64));
    for round in 1..=3_u64 {
        // Events of at most 1 GiB, as all are.
        push(&mut assembler, query(0x3000_0000, "BEGIN")).unwrap();
        for end in [0x6000_0000, 0x9000_0000, 0xc000_0000, 0x10] {
            push(&mut assembler, query(end, "SAVEPOINT a")).unwrap();
        }
        let end = push(&mut assembler, xid(0x200)).unwrap();
        let expected = ((1 + round) << 32) + 0x200;
        let Some(Output::Idle(position)) = end else {
            panic!("nothing was changed");
        };
        assert_eq!(position.file.offset, expected);
    }
}

#[test]
fn events_without_a_place_are_counted_by_their_length() {
    let mut assembler = assembler(1000);
    push(&mut assembler, query(1100, "BEGIN")).unwrap();
    let map = table_map(0);
    let length = u64::try_from(map.len()).unwrap();
    push(&mut assembler, map).unwrap();
    assert_eq!(assembler.position.file.offset, 1100 + length);
}

#[test]
fn what_a_crash_of_the_source_cut_off_is_forgotten() {
    for (created, kept) in [(0, true), (1_700_000_000, false)] {
        let mut assembler = assembler(4);
        for bytes in [query(100, "BEGIN"), table_map(200), insert(300)] {
            push(&mut assembler, bytes).unwrap();
        }
        push(&mut assembler, rotate("b.000002")).unwrap();
        push(&mut assembler, format(created)).unwrap();
        assert_eq!(assembler.group.is_some(), kept);
        if !kept {
            for bytes in [query(300, "BEGIN"), table_map(400), insert(500)] {
                push(&mut assembler, bytes).unwrap();
            }
            let mut output = push(&mut assembler, xid(600)).unwrap();
            let Some(Output::Transaction(transaction)) = &mut output else {
                panic!("a transaction is whole");
            };
            assert_eq!(transaction.in_memory().unwrap().len(), 2);
            assert_eq!(place(output), "b.000002:600");
        }
    }
}

#[test]
fn a_heartbeat_tells_how_far_an_idle_source_is() {
    let mut assembler = assembler(4);
    let mut beat = |name: &str, end| place(push(&mut assembler, heartbeat(name, end)).unwrap());
    assert_eq!(beat("b.000001", 700), "idle b.000001:700");
    assert_eq!(beat("b.000001", 700), "nothing");
    assert_eq!(beat("b.000001", 600), "nothing");
    assert_eq!(beat("b.000002", 157), "idle b.000002:157");
    assert_eq!(beat("c.000003", 157), "nothing");
    push(&mut assembler, query(800, "BEGIN")).unwrap();
    assert_eq!(
        place(push(&mut assembler, heartbeat("b.000003", 4)).unwrap()),
        "nothing"
    );
}

#[test]
fn a_transaction_without_an_end_is_noticed_at_the_next() {
    let mut assembler = assembler(4);
    for bytes in [query(100, "BEGIN"), table_map(200), insert(300)] {
        push(&mut assembler, bytes).unwrap();
    }
    let error = push(&mut assembler, query(400, "BEGIN")).unwrap_err();
    assert!(error.to_string().contains("inside another"), "{error}");
}

#[test]
fn an_xa_transaction_that_was_not_read_ends_the_stream() {
    let mut assembler = assembler(4);
    let error = push(&mut assembler, query(100, "XA COMMIT X'61',X'',1")).unwrap_err();
    assert!(error.to_string().contains("XA"), "{error}");
    assert!(!error.is_transient());
}

/// A log with the forms of all servers.
fn log() -> Vec<Bytes> {
    let mut gtid = vec![1];
    gtid.extend([3; 16]);
    gtid.extend(5_u64.to_le_bytes());
    let mut maria = 6_u64.to_le_bytes().to_vec();
    maria.extend([0; 4]);
    let with = |flags: &[u8]| [&maria, flags].concat();
    let mut payload = vec![2, 3, 0xfc, 255, 0, 0];
    for bytes in [query(1, "BEGIN"), table_map(1), insert(1), xid(1)] {
        payload.extend(bytes);
    }
    vec![
        rotate("b.000001"),
        format(0),
        event(33, 100, 0, &gtid),
        query(200, "BEGIN"),
        table_map(300),
        insert(400),
        xid(500),
        event(33, 550, 0, &gtid),
        event(40, 600, 0, &payload),
        event(162, 700, 0, &with(&[1, 2])),
        query(800, "ALTER TABLE t ADD a INT"),
        event(162, 900, 0, &with(&[0])),
        query(1000, "XA START X'61',X'',1"),
        table_map(1100),
        insert(1200),
        event(38, 1300, 0, &[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x61]),
        query(1400, "XA COMMIT X'61',X'',1"),
        heartbeat("b.000001", 1500),
        query(1600, "DROP TABLE t"),
    ]
}

#[test]
fn a_log_with_all_forms_is_read() {
    let mut assembler = assembler(4);
    let came = log()
        .into_iter()
        .map(|bytes| place(push(&mut assembler, bytes).unwrap()));
    let came: Vec<_> = came.filter(|place| place != "nothing").collect();
    let expected = [
        "b.000001:500",
        "b.000001:600",
        "idle b.000001:800",
        "idle b.000001:1300 reread b.000001:800",
        "b.000001:1400",
        "idle b.000001:1500",
        "b.000001:1600",
    ];
    assert_eq!(came, expected);
}

proptest! {
    #[test]
    fn a_damaged_log_never_makes_a_panic_and_places_only_grow(
        damages in prop::collection::vec((0..19_usize, 0..200_usize, any::<u8>()), 1..4),
        dropped in prop::option::of(0..19_usize),
    ) {
        let mut log: Vec<Vec<u8>> = log().into_iter().map(|bytes| bytes.to_vec()).collect();
        for (index, place, byte) in damages {
            let place = place % log[index].len();
            log[index][place] = byte;
        }
        if let Some(dropped) = dropped {
            log.remove(dropped);
        }
        let mut assembler = assembler(4);
        for bytes in log {
            if push(&mut assembler, Bytes::from(bytes)).is_err() {
                break;
            }
        }
    }
}
