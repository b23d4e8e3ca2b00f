//! The stream: the source's binary log as whole committed transactions, in commit order.
//!
//! # Guarantees
//! * Transactions are handed on whole and in the order of their commits; an XA transaction when its
//!   second half commits.
//! * An event that is not on the list (the module `kind`) ends the stream with an error that names
//!   it. Checksums are verified, every length is checked.
//! * Events must follow each other without a hole, but for what a server is known to leave out
//!   (the module `contiguity`).
//! * A position that is handed on never includes a transaction that was not.
//! * Memory is bounded: what the consumer does not take goes to a spool on the local disk, and when
//!   that is full it is left to the source, whose log keeps it; a transaction that is larger than
//!   its share has a file of its own.
//!
//! # What it does not
//! It does not reconnect: after an error that [`StreamError::is_transient`] tells to be one, whoever
//! applies opens a new stream behind what it has written down.

mod assembler;
#[cfg(test)]
mod captured;
mod compressed;
mod contiguity;
mod dump;
mod error;
mod event;
mod format;
mod gtid;
mod handle;
mod kind;
mod limits;
mod partial;
mod query;
mod queue;
mod reader;
mod refusal;
mod rows;
mod suspicion;
mod table_map;
mod transaction;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use router::spool::SpoolError;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::assembler::{Assembler, Output};
use self::handle::Progress;
use self::kind::Kind;
use self::queue::{Held, Queue, QueueOptions, Taken};
use self::reader::Reader;
use self::rows::{Layout, Rows};
use self::transaction::{Kept, Transaction};
use crate::position::Position;
use crate::schema::identity::ServerIdentity;
use crate::wire::Endpoint;

pub use error::{EventError, StopReason, StreamError};
pub use event::{ColumnType, Ddl, StreamEvent, TableMap};
pub use handle::{Lag, StreamHandle};
pub use suspicion::Suspicions;

/// Tells by database and table whose rows are wanted.
pub type TableChoice = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// How to read a log.
#[derive(Clone)]
pub struct StreamOptions {
    /// Behind which position.
    pub start: Position,
    /// Our number as a replica; no server of the source's replication may have it.
    pub server_id: u32,
    /// Folder for what does not fit in memory.
    pub folder: PathBuf,
    /// Most bytes in that folder.
    pub spool_limit_bytes: u64,
    /// The server that it must be.
    pub source: Option<ServerIdentity>,
    /// Tables whose rows are wanted; all unless given.
    pub tables: Option<TableChoice>,
    /// Memory for transactions that wait for the consumer.
    pub memory_bytes: usize,
    /// What earlier streams of the migration found wrong.
    pub suspicions: Suspicions,
}

impl std::fmt::Debug for StreamOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamOptions")
            .field("start", &self.start)
            .field("server_id", &self.server_id)
            .field("folder", &self.folder)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl StreamOptions {
    /// All tables from a position on.
    #[must_use]
    pub fn new(start: Position, server_id: u32, folder: impl Into<PathBuf>) -> Self {
        Self {
            start,
            server_id,
            folder: folder.into(),
            spool_limit_bytes: u64::MAX,
            source: None,
            tables: None,
            memory_bytes: limits::MEMORY_BYTES,
            suspicions: Suspicions::default(),
        }
    }

    /// The same for every connection of one migration, so that a server ends the one before.
    fn replica_uuid(&self) -> String {
        let digest = Sha256::digest(format!("pointsman replica {}", self.server_id));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().to_owned();
        [
            part(0..8),
            part(8..12),
            part(12..16),
            part(16..20),
            part(20..32),
        ]
        .join("-")
    }
}

/// A log that is being read.
#[derive(Debug)]
pub struct Stream {
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    tables: HashMap<u64, Described>,
    current: Option<Current>,
    /// Decoded and not yet given.
    ready: VecDeque<StreamEvent>,
    failed: bool,
    /// Reads; aborted when this is dropped.
    _reader: JoinSet<()>,
}

/// Opens the queue. A stream that was just dropped may still hold its folder for a moment.
async fn open_queue(options: &StreamOptions) -> Result<Arc<Queue>, StreamError> {
    let begun = Instant::now();
    loop {
        let opened = Queue::open(QueueOptions {
            memory_bytes: options.memory_bytes,
            folder: options.folder.clone(),
            disk_bytes: options.spool_limit_bytes,
        });
        match opened {
            Err(SpoolError::InUse { .. }) if begun.elapsed() < limits::SPOOL_WAIT => {
                sleep(Duration::from_millis(20)).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// A table whose map came.
#[derive(Debug)]
struct Described {
    /// As it came.
    body: Bytes,
    layout: Layout,
}

/// The transaction that is being given.
#[derive(Debug)]
struct Current {
    transaction: Box<Transaction>,
    rows: Option<(u64, u16, Rows)>,
    /// Until all of it was given.
    _memory: Held,
}

impl Stream {
    /// Asks the source for its log behind a position and begins to read it.
    ///
    /// # Errors
    /// The source cannot be reached, is another, or does not have what follows the position.
    pub async fn open(endpoint: &Endpoint, options: StreamOptions) -> Result<Self, StreamError> {
        let dump = Box::pin(dump::open(endpoint, &options)).await?;
        let progress = Arc::new(Progress::new(&options.start, dump.conn.thread_id()));
        let queue = open_queue(&options).await?;
        let wanted = options.tables.clone();
        let reader = Reader {
            conn: dump.conn,
            assembler: Assembler::new(
                dump.begin,
                dump.format,
                dump.skips,
                Box::new(move |schema, table| {
                    wanted.as_ref().is_none_or(|wanted| wanted(schema, table))
                }),
                options.folder.clone(),
            ),
            progress: Arc::clone(&progress),
            queue: Arc::clone(&queue),
            server_id: options.server_id,
            suspicions: options.suspicions,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(reader.run());
        Ok(Self {
            queue,
            progress,
            tables: HashMap::new(),
            current: None,
            ready: VecDeque::new(),
            failed: false,
            _reader: tasks,
        })
    }

    /// A look at the stream.
    #[must_use]
    pub fn handle(&self) -> StreamHandle {
        StreamHandle {
            progress: Arc::clone(&self.progress),
        }
    }

    /// Whether it has ended, so that nothing will come that is not here already.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed || self.queue.has_ended()
    }

    /// The next event.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The stream has ended; every later call fails too.
    pub async fn next(&mut self) -> Result<StreamEvent, StreamError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            if self.failed {
                return Err(StreamError::Ended);
            }
            let advanced = match self.current.take() {
                Some(current) => self.advance(current),
                None => self.queue.pop().await.map(|taken| self.begin(taken)),
            };
            if let Err(error) = advanced {
                self.failed = true;
                return Err(error);
            }
        }
    }

    fn begin(&mut self, taken: Taken) {
        match taken.output {
            Output::Idle(position) => self.ready.push_back(StreamEvent::Idle { position }),
            Output::Transaction(transaction) => {
                self.progress.count_consumed();
                // Every transaction describes the tables that it changes.
                if self.tables.len() > limits::TABLES_MAX {
                    self.tables.clear();
                }
                let position = transaction.position.clone();
                self.ready.push_back(StreamEvent::Begin { position });
                self.current = Some(Current {
                    transaction,
                    rows: None,
                    _memory: taken.held,
                });
            }
        }
    }

    /// Goes one change or one event further in the transaction.
    fn advance(&mut self, mut current: Current) -> Result<(), StreamError> {
        let position = current.transaction.position.clone();
        let failed = |source: EventError| StreamError::Event {
            file: position.file.clone(),
            source,
        };
        if let Some((table, flags, rows)) = &mut current.rows {
            let (table, flags) = (*table, *flags);
            let layout = &self.described(table).map_err(failed)?.layout;
            match rows.next(layout).map_err(failed)? {
                Some(change) => self.ready.push_back(StreamEvent::Change {
                    table,
                    change,
                    flags,
                }),
                None => current.rows = None,
            }
            self.current = Some(current);
            return Ok(());
        }
        match current.transaction.next()? {
            Some(kept) => {
                let short = current.transaction.short_table_ids;
                current.rows = self.decode(&kept, short).map_err(failed)?;
                self.current = Some(current);
            }
            None => self.ready.push_back(StreamEvent::Commit {
                position,
                commit_time_us: current.transaction.commit_time_us,
            }),
        }
        Ok(())
    }

    fn described(&self, table: u64) -> Result<&Described, EventError> {
        let unknown = StopReason::OutOfOrder("a change is of a table that was not described");
        self.tables.get(&table).ok_or(unknown.into())
    }

    /// Decodes an event; rows are taken from it one by one.
    fn decode(
        &mut self,
        kept: &Kept,
        short_ids: bool,
    ) -> Result<Option<(u64, u16, Rows)>, EventError> {
        match Kind::of(kept.code)? {
            Kind::TableMap => {
                // Most are the same again.
                let id = table_map::id(&kept.body, short_ids)?;
                let same = |known: &Described| known.body == kept.body;
                if !self.tables.get(&id).is_some_and(same) {
                    let map = table_map::parse(&kept.body, short_ids)?;
                    let layout = Layout::of(&map)?;
                    let map = Arc::new(map);
                    let described = Described {
                        // A copy, since the other one is a part of something larger.
                        body: Bytes::copy_from_slice(&kept.body),
                        layout,
                    };
                    self.tables.insert(id, described);
                    self.ready.push_back(StreamEvent::Table { id, map });
                }
                Ok(None)
            }
            Kind::Rows(kind) => {
                let head = rows::head(&kept.body, short_ids)?;
                let layout = &self.described(head.table)?.layout;
                let rows = Rows::begin(&kept.body, kind, short_ids, layout)?;
                Ok(Some((head.table, head.flags, rows)))
            }
            kind @ (Kind::Query | Kind::CompressedQuery) => {
                let compressed = kind == Kind::CompressedQuery;
                let query = query::Query::parse(&kept.body, kept.timestamp, compressed)?;
                self.ready.push_back(StreamEvent::Ddl(Box::new(query.ddl)));
                Ok(None)
            }
            Kind::Rotate
            | Kind::Format
            | Kind::Xid
            | Kind::XaPrepare
            | Kind::Gtid
            | Kind::TaggedGtid
            | Kind::AnonymousGtid
            | Kind::MariaGtid
            | Kind::Payload
            | Kind::Heartbeat
            | Kind::Ignorable => Ok(None),
        }
    }
}
