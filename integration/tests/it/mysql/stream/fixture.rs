//! A source with a database `d`, and its stream read as short lines.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use binlog::copy::snapshot::source_position;
use binlog::position::{Gtids, Position};
use binlog::stream::{Stream, StreamError, StreamEvent, StreamOptions, TableMap};
use binlog::wire::{Endpoint, SqlConn};
use integration::mysql::{MySqlOptions, MySqlServer, Version};
use router::{Cell, Change, OldImage, Row};
use tokio::time::timeout;

/// How long any one event may take on a starved machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Our number as a replica: no port, and so no server's.
const SERVER_ID: u32 = 1_000_001;

/// A version, with GTIDs or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gtids(Version),
    Files(Version),
}

impl Kind {
    pub(super) const ALL: [Self; 6] = [
        Self::Gtids(Version::MySql97),
        Self::Files(Version::MySql97),
        Self::Gtids(Version::MySql56),
        Self::Files(Version::MySql56),
        Self::Gtids(Version::MariaDb1011),
        Self::Gtids(Version::MariaDb118),
    ];

    pub(super) fn version(self) -> Version {
        match self {
            Self::Gtids(version) | Self::Files(version) => version,
        }
    }

    fn options(self) -> MySqlOptions {
        let options = MySqlOptions::default();
        match self {
            Self::Gtids(_) => options,
            // 9.7 has them on unless told otherwise.
            Self::Files(Version::MySql97) => options.without_gtids().set("gtid-mode", "OFF"),
            Self::Files(_) => options.without_gtids(),
        }
    }
}

pub(super) struct Source {
    pub(super) kind: Kind,
    pub(super) server: MySqlServer,
    pub(super) sql: SqlConn,
    folder: tempfile::TempDir,
    /// How many folders streams have had.
    streams: AtomicU32,
}

impl Source {
    pub(super) async fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[]).await
    }

    /// A server with these settings beside the usual ones.
    pub(super) async fn start_with(kind: Kind, settings: &[(&str, &str)]) -> Self {
        let options = kind.options();
        let options = settings
            .iter()
            .fold(options, |options, (name, value)| options.set(name, value));
        let server = MySqlServer::start(kind.version(), options).await.unwrap();
        let sql = server.connect().await.unwrap();
        let source = Self {
            kind,
            server,
            sql,
            folder: tempfile::tempdir().unwrap(),
            streams: AtomicU32::new(0),
        };
        source.run("CREATE DATABASE d").await;
        source.run("USE d").await;
        source
            .run("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(40)) ENGINE=InnoDB")
            .await;
        source
    }

    pub(super) async fn run(&self, sql: &str) {
        if let Err(error) = self.sql.execute(sql).await {
            panic!("{:?}: {sql}: {error:?}", self.kind);
        }
    }

    pub(super) async fn one(&self, sql: &str) -> String {
        let row = self.sql.query_first(sql).await.unwrap().unwrap();
        row.text(0).unwrap_or("NULL").to_owned()
    }

    /// Ends the server and starts it again.
    pub(super) async fn restart(&mut self) {
        self.server.restart().await.unwrap();
        self.reconnect().await;
    }

    /// The same, with the end of a crash.
    pub(super) async fn crash(&mut self) {
        self.server.kill9().unwrap();
        self.server.restart().await.unwrap();
        self.reconnect().await;
    }

    pub(super) async fn reconnect(&mut self) {
        self.sql = self.server.connect().await.unwrap();
        self.run("USE d").await;
    }

    /// Everything that is committed now.
    pub(super) async fn position(&self) -> Position {
        let position = source_position(&self.sql).await.unwrap();
        let gtids = matches!(self.kind, Kind::Gtids(_));
        assert_eq!(
            !matches!(position.gtids, Gtids::None),
            gtids,
            "{:?}",
            self.kind
        );
        position
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        self.server.url("root", "").parse().unwrap()
    }

    pub(super) fn options(&self, start: Position) -> StreamOptions {
        let stream = self.streams.fetch_add(1, Ordering::SeqCst);
        StreamOptions {
            tables: Some(Arc::new(|schema, _table| schema == "d")),
            ..StreamOptions::new(
                start,
                SERVER_ID,
                self.folder.path().join(stream.to_string()),
            )
        }
    }

    pub(super) async fn open(&self, start: &Position) -> Lines {
        self.try_open(self.options(start.clone())).await.unwrap()
    }

    pub(super) async fn try_open(&self, options: StreamOptions) -> Result<Lines, StreamError> {
        let stream = Box::pin(Stream::open(&self.endpoint(), options)).await?;
        Ok(Lines {
            stream,
            maps: HashMap::new(),
        })
    }

    /// The lines of all transactions from a position to the present end of the log.
    pub(super) async fn since(&self, start: &Position) -> Vec<Vec<String>> {
        let end = self.position().await;
        if *start >= end {
            return Vec::new();
        }
        let mut lines = self.open(start).await;
        let transactions = lines.until(&end).await;
        transactions.into_iter().map(|one| one.lines).collect()
    }
}

/// A stream, read as text.
pub(super) struct Lines {
    pub(super) stream: Stream,
    maps: HashMap<u64, Arc<TableMap>>,
}

/// A transaction as it came.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub(super) position: Position,
    pub(super) lines: Vec<String>,
}

impl Lines {
    pub(super) async fn event(&mut self) -> Result<StreamEvent, StreamError> {
        let event = timeout(PATIENCE, self.stream.next())
            .await
            .expect("an event comes in time")?;
        if let StreamEvent::Table { id, map } = &event {
            self.maps.insert(*id, Arc::clone(map));
        }
        Ok(event)
    }

    /// The next transaction.
    pub(super) async fn transaction(&mut self) -> Transaction {
        self.try_transaction().await.unwrap()
    }

    pub(super) async fn try_transaction(&mut self) -> Result<Transaction, StreamError> {
        loop {
            if let Step::Transaction(transaction) = self.step().await? {
                return Ok(transaction);
            }
        }
    }

    /// All transactions up to a position.
    pub(super) async fn until(&mut self, end: &Position) -> Vec<Transaction> {
        let mut transactions = Vec::new();
        loop {
            let reached = match self.step().await.unwrap() {
                Step::Transaction(transaction) => {
                    let position = transaction.position.clone();
                    transactions.push(transaction);
                    position
                }
                Step::Idle(position) => position,
            };
            if reached >= *end {
                assert_eq!(reached, *end);
                return transactions;
            }
        }
    }

    /// The next transaction or position.
    pub(super) async fn step(&mut self) -> Result<Step, StreamError> {
        let begin = match self.event().await? {
            StreamEvent::Begin { position } => position,
            StreamEvent::Idle { position } => return Ok(Step::Idle(position)),
            other => panic!("no transaction begins with {other:?}"),
        };
        let mut lines = Vec::new();
        loop {
            match self.event().await? {
                StreamEvent::Commit { position, .. } => {
                    assert_eq!(position, begin);
                    assert_eq!(position.to_string(), begin.to_string());
                    return Ok(Step::Transaction(Transaction { position, lines }));
                }
                StreamEvent::Table { .. } => {}
                StreamEvent::Ddl(ddl) => lines.push(format!("{}: {}", ddl.schema, ddl.sql)),
                StreamEvent::Change { table, change, .. } => {
                    lines.push(line(&self.maps[&table], &change));
                }
                other => panic!("no transaction has {other:?}"),
            }
        }
    }
}

/// What a stream gives.
#[derive(Debug)]
pub(super) enum Step {
    Transaction(Transaction),
    Idle(Position),
}

fn line(map: &TableMap, change: &Change) -> String {
    let name = &map.table;
    match change {
        Change::Insert { row } => format!("+ {name} {}", text(map, row)),
        Change::Update { old, row } => {
            let old = old.as_ref().expect("the log has before images");
            format!("~ {name} {} -> {}", old_text(map, old), text(map, row))
        }
        Change::Delete { old } => format!("- {name} {}", old_text(map, old)),
    }
}

fn old_text(map: &TableMap, old: &OldImage) -> String {
    match old {
        OldImage::Full(row) | OldImage::Key(row) => text(map, row),
    }
}

/// `INT` and text columns as text; `?` for what is not in the image.
fn text(map: &TableMap, row: &Row) -> String {
    assert_eq!(map.columns.len(), row.cells().len());
    let cells = map.columns.iter().zip(row.cells());
    let shown: Vec<String> = cells
        .map(|(column, cell)| match cell {
            Cell::Null => "NULL".to_owned(),
            Cell::Unchanged => "?".to_owned(),
            Cell::Value(bytes) if column.code == 3 => {
                i32::from_le_bytes(bytes[..].try_into().unwrap()).to_string()
            }
            Cell::Value(bytes) if column.code == 8 => {
                i64::from_le_bytes(bytes[..].try_into().unwrap()).to_string()
            }
            Cell::Value(bytes) => {
                let prefix = match column.code {
                    15 if u16::from_le_bytes([column.metadata[0], column.metadata[1]]) < 256 => 1,
                    15 => 2,
                    252 => usize::from(column.metadata[0]),
                    code => panic!("a column of type {code}"),
                };
                String::from_utf8(bytes[prefix..].to_vec()).unwrap()
            }
        })
        .collect();
    shown.join(",")
}
