//! Logs that real servers wrote, read through everything behind the connection.
//!
//! The files in the folder of this name are `binlog.000001` of MySQL 9.7.4 and 5.6.24, MariaDB
//! 10.11.18 and 11.8.6 after the same statements: definitions, changes of one and many rows, a
//! savepoint, a minimal image, `CREATE TABLE .. SELECT`, a temporary table, `TRUNCATE`; where the
//! server has them, XA transactions that were committed, rolled back and committed in one phase,
//! compressed events, tagged GTIDs, and an `ALTER TABLE` in two phases. All events have checksums.
//!
//! One more is of MySQL 9.7.4 with `binlog_row_value_options = PARTIAL_JSON`.

mod partial;

use bytes::Bytes;
use proptest::prelude::*;
use router::Change;

use super::contiguity::Skips;
use super::format::{Checksum, Format};
use super::queue::Pushed;
use super::*;
use crate::position::{BinlogFile, GtidSet, Gtids, MariaGtidState};

const HEADER_BYTES: usize = 19;
const FORMAT_DESCRIPTION: u8 = 15;

/// A server's log.
struct Log {
    name: &'static str,
    bytes: &'static [u8],
    gtids: fn() -> Gtids,
}

const LOGS: [Log; 4] = [
    Log {
        name: "MySQL 9.7",
        bytes: include_bytes!("captured/mysql97.binlog"),
        gtids: || Gtids::MySql(GtidSet::new()),
    },
    Log {
        name: "MySQL 5.6",
        bytes: include_bytes!("captured/mysql56.binlog"),
        gtids: || Gtids::None,
    },
    Log {
        name: "MariaDB 10.11",
        bytes: include_bytes!("captured/mariadb1011.binlog"),
        gtids: || Gtids::MariaDb(MariaGtidState::new()),
    },
    Log {
        name: "MariaDB 11.8",
        bytes: include_bytes!("captured/mariadb118.binlog"),
        gtids: || Gtids::MariaDb(MariaGtidState::new()),
    },
];

/// A transaction in few words, and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    words: String,
    end: Position,
}

impl Log {
    /// The file's events, as a server sends them.
    fn events(&self) -> Vec<Bytes> {
        let mut rest = Bytes::from_static(self.bytes).slice(4..);
        let mut events = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[9..13].try_into().unwrap());
            events.push(rest.split_to(usize::try_from(length).unwrap()));
        }
        events
    }

    /// What comes of events, and the error that they end with.
    fn read(&self, events: impl IntoIterator<Item = Bytes>) -> (Vec<Told>, Option<StreamError>) {
        let stream = self.stream(events);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(tell(stream))
    }

    /// A stream that has these events, and then its end.
    fn stream(&self, events: impl IntoIterator<Item = Bytes>) -> Stream {
        let start = BinlogFile::new("binlog.000001", BinlogFile::FIRST_OFFSET);
        let start = Position::new(start, (self.gtids)());
        let folder = std::env::temp_dir();
        let everything = Box::new(|_schema: &str, _table: &str| true);
        let format = Format::before(Checksum::None);
        let mut assembler =
            Assembler::new(start.clone(), format, Skips::Nothing, everything, folder);
        let spool = tempfile::tempdir().unwrap();
        let queue = Queue::open(QueueOptions {
            memory_bytes: usize::MAX,
            folder: spool.path().to_owned(),
            disk_bytes: 0,
        });
        let queue = queue.unwrap();
        let mut ended = None;
        for event in std::iter::once(begin_of_file()).chain(events) {
            match assembler.push(event) {
                Ok(None) => {}
                Ok(Some(output)) => {
                    let pushed = queue.push(output).unwrap();
                    assert!(matches!(pushed, Pushed::Taken));
                }
                Err(error) => {
                    ended = Some(error);
                    break;
                }
            }
        }
        queue.end(ended);
        Stream {
            queue,
            progress: Arc::new(Progress::new(&start, 1)),
            tables: HashMap::new(),
            current: None,
            ready: VecDeque::new(),
            failed: false,
            _reader: JoinSet::new(),
        }
    }

    /// The whole log.
    fn whole(&self) -> Vec<Told> {
        let (told, error) = self.read(self.events());
        assert!(error.is_none(), "{}: {error:?}", self.name);
        told
    }
}

/// What a server sends before a file's events, which is in no file.
fn begin_of_file() -> Bytes {
    const ARTIFICIAL: u8 = 0x20;
    let mut event = vec![0; HEADER_BYTES];
    event[4] = 4;
    event[17] = ARTIFICIAL;
    event.extend(BinlogFile::FIRST_OFFSET.to_le_bytes());
    event.extend(b"binlog.000001");
    event[9] = u8::try_from(event.len()).unwrap();
    Bytes::from(event)
}

/// Reads a stream to its end, which is no error.
async fn tell(mut stream: Stream) -> (Vec<Told>, Option<StreamError>) {
    let mut told = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut tables = HashMap::new();
    loop {
        match stream.next().await {
            Ok(StreamEvent::Begin { .. }) => words.clear(),
            Ok(StreamEvent::Table { id, map }) => {
                tables.insert(id, format!("{}.{}", map.schema, map.table));
            }
            Ok(StreamEvent::Change { table, change, .. }) => {
                let sign = match change {
                    Change::Insert { .. } => '+',
                    Change::Update { .. } => '*',
                    Change::Delete { .. } => '-',
                };
                words.push(format!("{sign}{}", tables[&table]));
            }
            Ok(StreamEvent::Ddl(ddl)) => {
                let first: Vec<&str> = ddl.sql.split_whitespace().take(3).collect();
                words.push(first.join(" ").to_lowercase());
            }
            Ok(StreamEvent::Commit { position: end, .. }) => told.push(Told {
                words: words.join(", "),
                end,
            }),
            Ok(StreamEvent::Idle { .. }) => {}
            Err(StreamError::Ended) => return (told, None),
            Err(error) => return (told, Some(error)),
        }
    }
}

/// What every server's log tells of the statements that all of them were given.
const COMMON: [&str; 13] = [
    "create database shop",
    "create table t",
    "+shop.t, +shop.t, +shop.t",
    "*shop.t, *shop.t, -shop.t",
    "+shop.t, +shop.t",
    "*shop.t",
    "alter table t",
    "create table c",
    "create database other",
    "create table other.t",
    "+other.t, +other.t",
    "drop temporary table",
    "truncate c",
];

#[test]
fn every_server_s_log_tells_the_same_history() {
    for log in &LOGS {
        let told: Vec<_> = log.whole().into_iter().map(|told| told.words).collect();
        // Servers differ in how they log a table that is made of a query, and whether they tell
        // the end of a temporary table.
        let made_of_query = [
            "create table `c`",
            "create table c",
            "+shop.c",
            "drop temporary",
        ];
        let differs = |words: &String| made_of_query.iter().any(|part| words.starts_with(part));
        let common: Vec<_> = told.iter().filter(|words| !differs(words)).collect();
        let expected: Vec<_> = COMMON
            .iter()
            .filter(|words| !differs(&(**words).to_owned()))
            .collect();
        assert_eq!(
            common[..expected.len()]
                .iter()
                .map(|words| words.as_str())
                .collect::<Vec<_>>(),
            expected.iter().map(|words| **words).collect::<Vec<_>>(),
            "{}",
            log.name
        );
        let rows: usize = told
            .iter()
            .map(|words| words.matches("+shop.c").count())
            .sum();
        assert_eq!(rows, 4, "{}: {told:?}", log.name);
    }
}

#[test]
fn two_phases_compression_and_tags_tell_their_rows_once() {
    let after = |log: &Log| -> Vec<String> {
        let told = log.whole().into_iter().map(|told| told.words);
        told.skip_while(|words| words != "truncate c")
            .skip(1)
            .collect()
    };
    // One was committed, one rolled back, one committed in one phase; two rows were compressed.
    let mysql = ["+shop.t", "+shop.t", "+shop.t, +shop.t", "+shop.t"];
    assert_eq!(after(&LOGS[0]), mysql);
    let maria = [
        "+shop.t",
        "+shop.t",
        "+shop.t, +shop.t",
        "*shop.t, *shop.t",
        "create table shop.long_comment",
        "alter table t",
    ];
    assert_eq!(after(&LOGS[2]), maria);
    assert_eq!(after(&LOGS[3]), maria);
}

#[test]
fn positions_grow_and_stand_between_events() {
    for log in &LOGS {
        let mut ends = vec![BinlogFile::FIRST_OFFSET];
        for event in log.events() {
            ends.push(ends.last().unwrap() + u64::try_from(event.len()).unwrap());
        }
        let told = log.whole();
        for pair in told.windows(2) {
            assert!(pair[0].end < pair[1].end, "{}: {pair:?}", log.name);
        }
        for told in &told {
            assert!(
                ends.contains(&told.end.file.offset),
                "{}: {told:?}",
                log.name
            );
        }
    }
}

#[test]
fn a_log_that_ends_early_tells_a_beginning_of_the_history() {
    for log in &LOGS {
        let (whole, events) = (log.whole(), log.events());
        for end in 0..events.len() {
            let (told, error) = log.read(events[..end].iter().cloned());
            assert!(error.is_none(), "{}: {error:?}", log.name);
            assert_eq!(told, whole[..told.len()], "{} at {end}", log.name);
        }
    }
}

#[test]
fn events_that_are_left_out_end_the_stream_where_they_were() {
    for log in LOGS.iter().chain([&partial::LOG]) {
        let (whole, events) = (log.whole(), log.events());
        for count in [1, 2, 5] {
            for place in 0..events.len() - count {
                let mut rest = events.clone();
                rest.drain(place..place + count);
                let (told, error) = log.read(rest);
                let at = format!("{}: {count} events at {place}", log.name);
                assert!(error.is_some(), "{at}");
                assert!(whole.starts_with(&told), "{at}");
                let behind = log.read(events[..place].iter().cloned()).0;
                assert_eq!(told, behind, "{at}");
            }
        }
    }
}

#[test]
fn events_that_come_twice_or_in_another_order_end_the_stream() {
    for log in &LOGS {
        let events = log.events();
        // A description of the format may be sent again.
        for place in 2..events.len() {
            let mut twice = events.clone();
            twice.insert(place, events[place - 1].clone());
            assert!(log.read(twice).1.is_some(), "{}: {place} twice", log.name);
            if [&events[place - 1], &events[place]].map(|event| event[13..17] == [0; 4])
                != [false; 2]
            {
                // Without places, nobody knows their order.
                continue;
            }
            let mut swapped = events.clone();
            swapped.swap(place - 1, place);
            let (_told, error) = log.read(swapped);
            assert!(error.is_some(), "{}: {place} swapped", log.name);
        }
    }
}

#[test]
fn a_damaged_byte_ends_the_stream_before_its_transaction() {
    for log in &LOGS {
        let (whole, events) = (log.whole(), log.events());
        for (place, event) in events.iter().enumerate() {
            if event[4] == FORMAT_DESCRIPTION {
                continue;
            }
            for byte in (0..event.len()).step_by(11) {
                let mut damaged = event.to_vec();
                damaged[byte] ^= 0x10;
                let mut all = events.clone();
                all[place] = Bytes::from(damaged);
                let (told, error) = log.read(all);
                assert!(error.is_some(), "{}: event {place}, byte {byte}", log.name);
                assert_eq!(told, whole[..told.len()]);
            }
        }
    }
}

#[test]
fn an_event_of_another_length_than_it_tells_ends_the_stream() {
    for log in &LOGS {
        for (place, event) in log.events().iter().enumerate() {
            for bytes in [0, 4, 18, 19, 22, event.len() - 1] {
                let mut all = log.events();
                all[place] = event.slice(..bytes.min(event.len() - 1));
                assert!(log.read(all).1.is_some(), "{}: event {place}", log.name);
            }
        }
    }
}

/// An event with another byte, and a checksum that fits it.
fn changed(event: &Bytes, at: usize, byte: u8) -> Bytes {
    let mut event = event.to_vec();
    let covered = event.len() - 4;
    event[HEADER_BYTES + at] = byte;
    let checksum = crc32fast::hash(&event[..covered]).to_le_bytes();
    event[covered..].copy_from_slice(&checksum);
    Bytes::from(event)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A server may lie in any byte: nothing panics, and nothing before the lie changes.
    #[test]
    fn a_server_that_lies_makes_no_panic(
        log in 0..LOGS.len(),
        place in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let log = &LOGS[log];
        let mut events = log.events();
        let place = place.index(events.len());
        let before = log.read(events[..place].iter().cloned()).0;
        if let Some(bytes @ 1..) = events[place].len().checked_sub(HEADER_BYTES + 4) {
            events[place] = changed(&events[place], at.index(bytes), byte);
        }
        let (told, _error) = log.read(events);
        prop_assert!(told.starts_with(&before));
    }

    #[test]
    fn no_bytes_make_the_assembler_panic(
        log in 0..LOGS.len(),
        code in any::<u8>(),
        body in prop::collection::vec(any::<u8>(), 1..80),
    ) {
        let log = &LOGS[log];
        let mut event = vec![0; HEADER_BYTES];
        event[4] = code;
        event.extend(body);
        event.extend([0; 4]);
        let length = u32::try_from(event.len()).unwrap();
        event[9..13].copy_from_slice(&length.to_le_bytes());
        let event = changed(&Bytes::from(event), 0, 1);
        let mut events = log.events();
        events.insert(1, event);
        drop(log.read(events));
    }
}
