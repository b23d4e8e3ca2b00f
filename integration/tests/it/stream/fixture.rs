//! A source with a publication and a slot, and a stream whose events are read as short lines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use integration::server::{PgClient, PgOptions, PgServer};
use pgwal::stream::slot::{self, CreatedSlot};
use pgwal::stream::{Relation, Stream, StreamError, StreamEvent, StreamOptions};
use pgwal::wire::Endpoint;
use router::{Cell, Change, Lsn, OldImage, Row};
use tokio::time::timeout;

pub(crate) const SLOT: &str = "pointsman_0000002a";

/// How long any one event may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Source {
    pub(crate) server: PgServer,
    pub(crate) sql: PgClient,
    pub(crate) spool: tempfile::TempDir,
}

impl Source {
    /// A server with these tables, all of them published, and no slot.
    pub(crate) async fn without_slot(major: u32, options: PgOptions, tables: &str) -> Self {
        let server = PgServer::start(major, options).await.unwrap();
        let sql = server.client("postgres").await.unwrap();
        sql.batch_execute(tables).await.unwrap();
        sql.batch_execute(&format!("CREATE PUBLICATION {SLOT} FOR ALL TABLES"))
            .await
            .unwrap();
        Self {
            server,
            sql,
            spool: tempfile::tempdir().unwrap(),
        }
    }

    /// The same with a slot.
    pub(crate) async fn start(major: u32, tables: &str) -> (Self, Lsn) {
        Self::start_with(major, PgOptions::default().without_fsync(), tables).await
    }

    pub(crate) async fn start_with(major: u32, options: PgOptions, tables: &str) -> (Self, Lsn) {
        let source = Self::without_slot(major, options, tables).await;
        let slot = source.create_slot().await;
        (source, slot.consistent_point)
    }

    pub(crate) async fn create_slot(&self) -> CreatedSlot {
        slot::create(&self.endpoint(), SLOT, PATIENCE)
            .await
            .unwrap()
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.server.url("postgres", "postgres").parse().unwrap()
    }

    pub(crate) fn options(&self, start: Lsn) -> StreamOptions {
        StreamOptions::new(SLOT, SLOT, start, self.spool.path())
    }

    /// Opens the stream, again while that fails for a reason that passes: the walsender of a
    /// stream that was dropped takes a moment to go.
    pub(crate) async fn open(&self, start: Lsn) -> Lines {
        let begun = Instant::now();
        loop {
            match self.try_open(self.options(start)).await {
                Ok(lines) => return lines,
                Err(error) => {
                    assert!(
                        error.is_transient() && begun.elapsed() < PATIENCE,
                        "{error:?}"
                    );
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    pub(crate) async fn try_open(&self, options: StreamOptions) -> Result<Lines, StreamError> {
        let stream = Stream::open(&self.endpoint(), options).await?;
        Ok(Lines {
            stream,
            relations: HashMap::new(),
        })
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.sql.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn value(&self, sql: &str) -> String {
        self.sql.value(sql).await.unwrap()
    }

    /// Waits until the slot has been told this position.
    pub(crate) async fn wait_for_confirmed(&self, position: Lsn) {
        let begun = Instant::now();
        while self.confirmed_flush().await < position {
            assert!(begun.elapsed() < PATIENCE, "the slot stands still");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn confirmed_flush(&self) -> Lsn {
        let sql = format!(
            "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{SLOT}'"
        );
        self.value(&sql).await.parse().unwrap()
    }
}

/// A stream, read as text.
pub(crate) struct Lines {
    pub(crate) stream: Stream,
    relations: HashMap<u32, Arc<Relation>>,
}

/// A transaction as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) xid: u32,
    pub(crate) commit_lsn: Lsn,
    pub(crate) end_lsn: Lsn,
    pub(crate) lines: Vec<String>,
}

impl Lines {
    pub(crate) async fn event(&mut self) -> Result<StreamEvent, StreamError> {
        let event = timeout(PATIENCE, self.stream.next())
            .await
            .expect("an event comes in time")?;
        if let StreamEvent::Relation(relation) = &event {
            self.relations.insert(relation.oid, Arc::clone(relation));
        }
        Ok(event)
    }

    /// The next transaction with a change in it. (Before 15 the server sends empty ones too.)
    pub(crate) async fn transaction(&mut self) -> Transaction {
        self.try_transaction().await.unwrap()
    }

    pub(crate) async fn try_transaction(&mut self) -> Result<Transaction, StreamError> {
        loop {
            if let StreamEvent::Begin {
                xid, commit_lsn, ..
            } = self.event().await?
            {
                let transaction = self.rest_of(xid, commit_lsn).await?;
                if !transaction.lines.is_empty() {
                    return Ok(transaction);
                }
            }
        }
    }

    async fn rest_of(&mut self, xid: u32, commit_lsn: Lsn) -> Result<Transaction, StreamError> {
        let mut lines = Vec::new();
        loop {
            match self.event().await? {
                StreamEvent::Commit {
                    xid: same,
                    commit_lsn: same_lsn,
                    end_lsn,
                    ..
                } => {
                    assert_eq!((same, same_lsn), (xid, commit_lsn));
                    assert!(commit_lsn < end_lsn);
                    return Ok(Transaction {
                        xid,
                        commit_lsn,
                        end_lsn,
                        lines,
                    });
                }
                event => lines.extend(self.line(&event)),
            }
        }
    }

    fn line(&self, event: &StreamEvent) -> Option<String> {
        match event {
            StreamEvent::Change { relation, change } => {
                let name = &self.relations[relation].name;
                Some(match change {
                    Change::Insert { row } => format!("{name} +{}", text(row)),
                    Change::Update { old: None, row } => format!("{name} ={}", text(row)),
                    Change::Update {
                        old: Some(old),
                        row,
                    } => {
                        format!("{name} {}={}", old_text(old), text(row))
                    }
                    Change::Delete { old } => format!("{name} -{}", old_text(old)),
                })
            }
            StreamEvent::Truncate {
                relations,
                cascade,
                restart_identity,
            } => {
                let mut names: Vec<_> = relations
                    .iter()
                    .map(|oid| self.relations[oid].name.as_str())
                    .collect();
                names.sort_unstable();
                let cascade = if *cascade { " cascade" } else { "" };
                let restart = if *restart_identity { " restart" } else { "" };
                Some(format!("truncate {}{cascade}{restart}", names.join(",")))
            }
            StreamEvent::Origin { name } => Some(format!("origin {}", name.escape_ascii())),
            StreamEvent::Relation(_) => None,
            StreamEvent::Begin { .. } | StreamEvent::Commit { .. } | StreamEvent::Idle { .. } => {
                panic!("{event:?} inside a transaction")
            }
        }
    }
}

fn old_text(old: &OldImage) -> String {
    match old {
        OldImage::Key(row) => format!("key{}", text(row)),
        OldImage::Full(row) => format!("full{}", text(row)),
    }
}

fn text(row: &Row) -> String {
    let cells = row.cells().iter().map(|cell| match cell {
        Cell::Null => "null".to_owned(),
        Cell::Unchanged => "unchanged".to_owned(),
        Cell::Value(value) if value.len() > 40 => format!("{} bytes", value.len()),
        Cell::Value(value) => String::from_utf8(value.to_vec()).unwrap(),
    });
    format!("({})", cells.collect::<Vec<_>>().join(","))
}
