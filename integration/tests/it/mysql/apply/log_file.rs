//! The events of a source as its own binlog file has them, so that the applier is tried with real
//! row images and without a stream.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use binlog::apply::{ColumnType, Ddl, Events, EventsError, StreamEvent, TableMap};
use binlog::position::{BinlogFile, Gtids, Position};
use bytes::Bytes;
use integration::mysql::MySqlServer;
use router::{Cell, Change, OldImage, Row};

/// Events of a file; behind the last nothing comes any more.
pub(super) struct LogFile(VecDeque<StreamEvent>);

impl Events for LogFile {
    async fn next(&mut self) -> Result<StreamEvent, EventsError> {
        match self.0.pop_front() {
            Some(event) => Ok(event),
            None => std::future::pending().await,
        }
    }
}

/// Where the source's log ends now.
pub(super) fn end_of(source: &MySqlServer) -> Position {
    let status = source
        .sql("SHOW MASTER STATUS")
        .or_else(|_new| source.sql("SHOW BINARY LOG STATUS"))
        .unwrap();
    let mut words = status.split('\t');
    let name = words.next().unwrap().to_owned();
    let offset = words.next().unwrap().parse().unwrap();
    Position::new(BinlogFile::new(name, offset), Gtids::None)
}

/// The events of the transactions behind `from` and up to `to`, both in one file.
pub(super) fn between(source: &MySqlServer, from: &Position, to: &Position) -> LogFile {
    assert_eq!(from.file.name, to.file.name);
    let log = std::fs::read(source.data_dir().join(&*from.file.name)).unwrap();
    let mut reader = Reader {
        name: Arc::clone(&from.file.name),
        maps: HashMap::new(),
        schema: String::new(),
        transaction: Vec::new(),
        out: VecDeque::new(),
    };
    let mut at = usize::try_from(from.file.offset).unwrap();
    let end = usize::try_from(to.file.offset).unwrap();
    while at < end {
        let header = &log[at..at + 19];
        let size = usize::try_from(u32_at(header, 9)).unwrap();
        // Every version here ends its events with a checksum.
        let body = &log[at + 19..at + size - 4];
        at += size;
        reader.event(header, body, u64::try_from(at).unwrap());
    }
    LogFile(reader.out)
}

struct Reader {
    name: Arc<str>,
    maps: HashMap<u64, Arc<TableMap>>,
    schema: String,
    transaction: Vec<StreamEvent>,
    out: VecDeque<StreamEvent>,
}

impl Reader {
    fn event(&mut self, header: &[u8], body: &[u8], end: u64) {
        match header[4] {
            2 => self.query(body, u32_at(header, 0), end),
            16 => self.commit(end),
            19 => self.table_map(body),
            kind @ (20..=25 | 30..=32) => self.rows(kind, body),
            _other => {}
        }
    }

    fn query(&mut self, body: &[u8], time_s: u32, end: u64) {
        let schema_len = usize::from(body[8]);
        let status_len = usize::from(u16_at(body, 11));
        let rest = &body[13 + status_len..];
        let schema = String::from_utf8(rest[..schema_len].to_vec()).unwrap();
        let sql = String::from_utf8(rest[schema_len + 1..].to_vec()).unwrap();
        match sql.as_str() {
            "BEGIN" => {}
            "COMMIT" => self.commit(end),
            _definition => {
                self.schema.clone_from(&schema);
                let ddl = Ddl {
                    schema,
                    sql,
                    time_us: u64::from(time_s) * 1_000_000,
                    ..Ddl::default()
                };
                self.transaction.push(StreamEvent::Ddl(Box::new(ddl)));
                self.commit(end);
            }
        }
    }

    fn commit(&mut self, end: u64) {
        let position = Position::new(BinlogFile::new(Arc::clone(&self.name), end), Gtids::None);
        self.out.push_back(StreamEvent::Begin {
            position: position.clone(),
        });
        self.out.extend(self.transaction.drain(..));
        self.out.push_back(StreamEvent::Commit {
            position,
            commit_time_us: Some(1_700_000_000_000_000),
        });
    }

    fn table_map(&mut self, body: &[u8]) {
        let id = u48_at(body, 0);
        let (schema, rest) = short_text(&body[8..]);
        let (table, rest) = short_text(rest);
        let (count, rest) = packed(rest);
        let (types, rest) = rest.split_at(count);
        let (metadata_len, rest) = packed(rest);
        let mut metadata = &rest[..metadata_len];
        let columns = types
            .iter()
            .map(|code| {
                let len = match code {
                    4 | 5 | 17 | 18 | 19 | 140 | 242 | 245 | 252 | 255 => 1,
                    15 | 16 | 141 | 246 | 247 | 248 | 253 | 254 => 2,
                    _none => 0,
                };
                let (own, rest) = metadata.split_at(len);
                metadata = rest;
                ColumnType {
                    code: *code,
                    metadata: own.to_vec(),
                    unsigned: None,
                    collation: None,
                }
            })
            .collect();
        let map = Arc::new(TableMap {
            schema,
            table,
            columns,
        });
        self.maps.insert(id, Arc::clone(&map));
        self.transaction.push(StreamEvent::Table { id, map });
    }

    fn rows(&mut self, kind: u8, body: &[u8]) {
        let id = u48_at(body, 0);
        let flags = u16_at(body, 6);
        let mut at = 8;
        if kind >= 30 {
            at += usize::from(u16_at(body, 8));
        }
        let (count, rest) = packed(&body[at..]);
        let bitmap = count.div_ceil(8);
        let (first, rest) = rest.split_at(bitmap);
        let update = matches!(kind, 24 | 31);
        let (second, rest) = rest.split_at(if update { bitmap } else { 0 });
        let map = Arc::clone(&self.maps[&id]);
        let mut images = rest;
        while !images.is_empty() {
            let change = match kind {
                23 | 30 => Change::Insert {
                    row: image(&map, first, &mut images),
                },
                25 | 32 => Change::Delete {
                    old: old(image(&map, first, &mut images)),
                },
                _update => {
                    let before = image(&map, first, &mut images);
                    Change::Update {
                        old: Some(old(before)),
                        row: image(&map, second, &mut images),
                    }
                }
            };
            self.transaction.push(StreamEvent::Change {
                table: id,
                change,
                flags,
            });
        }
    }
}

fn old(row: Row) -> OldImage {
    if row.is_complete() {
        OldImage::Full(row)
    } else {
        OldImage::Key(row)
    }
}

fn image(map: &TableMap, present: &[u8], images: &mut &[u8]) -> Row {
    let is_set = |bits: &[u8], at: usize| bits[at / 8] >> (at % 8) & 1 == 1;
    let count = (0..map.columns.len())
        .filter(|at| is_set(present, *at))
        .count();
    let (nulls, rest) = images.split_at(count.div_ceil(8));
    *images = rest;
    let mut nth = 0;
    let cells: Vec<_> = map
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            if !is_set(present, at) {
                return Cell::Unchanged;
            }
            nth += 1;
            if is_set(nulls, nth - 1) {
                return Cell::Null;
            }
            let (field, rest) = images.split_at(field_bytes(column, images));
            *images = rest;
            Cell::Value(Bytes::copy_from_slice(field))
        })
        .collect();
    Row::new(cells)
}

/// Length of a field, with its own length before it.
fn field_bytes(column: &ColumnType, images: &[u8]) -> usize {
    let metadata = &column.metadata;
    let prefixed = |prefix: usize| {
        let mut length = [0; 8];
        length[..prefix].copy_from_slice(&images[..prefix]);
        prefix + usize::try_from(u64::from_le_bytes(length)).unwrap()
    };
    let fraction = |metadata: &[u8]| usize::from(metadata[0]).div_ceil(2);
    match column.code {
        1 | 13 => 1,
        2 => 2,
        9..=11 => 3,
        3 | 4 | 7 => 4,
        5 | 8 | 12 => 8,
        17 => 4 + fraction(metadata),
        18 => 5 + fraction(metadata),
        19 => 3 + fraction(metadata),
        16 => usize::from(metadata[1]) + usize::from(metadata[0] > 0),
        246 => {
            let part = |digits: u8| {
                let rest = [0, 1, 1, 2, 2, 3, 3, 4, 4][usize::from(digits % 9)];
                usize::from(digits / 9) * 4 + rest
            };
            part(metadata[0] - metadata[1]) + part(metadata[1])
        }
        15 | 141 | 253 => prefixed(if u16_at(metadata, 0) > 255 { 2 } else { 1 }),
        254 if matches!(metadata[0], 247 | 248) => usize::from(metadata[1]),
        254 => prefixed(if metadata[0] & 0x30 == 0x30 { 1 } else { 2 }),
        140 | 242 | 245 | 252 | 255 => prefixed(usize::from(metadata[0])),
        other => panic!("type {other}"),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u48_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number[..6].copy_from_slice(&bytes[at..at + 6]);
    u64::from_le_bytes(number)
}

fn short_text(bytes: &[u8]) -> (String, &[u8]) {
    let length = usize::from(bytes[0]);
    let text = String::from_utf8(bytes[1..=length].to_vec()).unwrap();
    (text, &bytes[length + 2..])
}

fn packed(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes[0] {
        252 => (usize::from(u16_at(bytes, 1)), &bytes[3..]),
        small => (usize::from(small), &bytes[1..]),
    }
}
