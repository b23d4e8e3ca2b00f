//! The source's state that is copied: connections that each hold a snapshot of it, and the position
//! in the binary log that each snapshot stands for.
//!
//! # Ways to it
//! In order of preference, by what the source is and grants:
//! * MariaDB tells in each snapshot's own transaction where it stands (`binlog_snapshot_%`): no
//!   lock at all. Large tables can only be read by several at once if the positions are equal, so
//!   on a busy server the next way is taken where it is granted.
//! * `FLUSH TABLES WITH READ LOCK` for some milliseconds: all snapshots are one.
//! * `LOCK TABLES .. READ` on the moved tables: the same, for accounts without RELOAD.
//!
//! Each attempt at a lock waits a short time only and is then taken back (a session that waits for
//! such a lock stops every later writer), and what stood in the way is named in the end.
//!
//! # Definition statements
//! Where `LOCK INSTANCE FOR BACKUP` is granted (MySQL 8.0 and later) it is held as long as the
//! snapshot: rows may change meanwhile, definitions and accounts wait.

mod locks;
mod place;

use std::time::Duration;

use router::Side;

use crate::name::QualifiedName;
use crate::position::Position;
use crate::schema::error::SchemaError;
use crate::schema::patience::LockPatience;
use crate::wire::{Endpoint, SqlConn};

pub use place::{current as source_position, position_of};

/// How to take a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// How many connections hold it.
    pub readers: usize,
    /// How to wait for locks.
    pub patience: LockPatience,
    /// The tables that will be read.
    pub tables: Vec<QualifiedName>,
    /// Our name on the source.
    pub program_name: String,
}

/// A state of the source, as long as its connections live.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) readers: Vec<Reader>,
    /// How it was taken.
    pub method: SnapshotMethod,
    /// Whether definitions and accounts wait as long as it lives.
    pub definitions: Definitions,
    /// Holds the backup lock.
    keeper: Option<SqlConn>,
}

/// One connection in its snapshot's transaction.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) client: SqlConn,
    pub(super) position: Position,
}

impl Reader {
    /// Gives the tables that were read free for definition statements, which else wait for the end
    /// of the copy, and everything on the table behind them. (MariaDB gives nothing back.) What
    /// fails here shows at the next table.
    pub(crate) async fn release(&self) {
        let back = self.client.execute("ROLLBACK TO SAVEPOINT pointsman").await;
        back.map(drop).unwrap_or_default();
    }
}

/// How a snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotMethod {
    /// Each snapshot told its own position.
    LockFree,
    /// `FLUSH TABLES WITH READ LOCK`, for this long.
    GlobalLock(Duration),
    /// `LOCK TABLES .. READ`, for this long.
    TableLocks(Duration),
}

impl std::fmt::Display for SnapshotMethod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LockFree => f.write_str("without a lock"),
            Self::GlobalLock(held) => {
                let ms = held.as_millis();
                write!(f, "under FLUSH TABLES WITH READ LOCK, held for {ms} ms")
            }
            Self::TableLocks(held) => {
                let ms = held.as_millis();
                write!(f, "under LOCK TABLES .. READ, held for {ms} ms")
            }
        }
    }
}

/// Whether definition statements can come in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Definitions {
    /// They wait (`LOCK INSTANCE FOR BACKUP`).
    Locked,
    /// They do not wait; what they break is noticed.
    Free,
}

impl Snapshot {
    /// Takes a snapshot.
    ///
    /// # Cancel safety
    /// Dropping it closes its connections, and the server takes its locks back.
    ///
    /// # Errors
    /// No way is granted, or the source stayed busy.
    pub async fn take(source: &Endpoint, options: &SnapshotOptions) -> Result<Self, SchemaError> {
        locks::Taker::connect(source, options).await?.take().await
    }

    /// The earliest of the readers' positions: where the stream begins.
    #[must_use]
    pub fn start(&self) -> Option<Position> {
        let mut positions = self.readers.iter().map(|reader| &reader.position);
        let first = positions.next()?;
        let earliest = positions.fold(
            first,
            |least, position| {
                if position < least { position } else { least }
            },
        );
        Some(earliest.clone())
    }

    /// Whether definitions stand still since before the snapshot, up to now.
    pub async fn holds_definitions(&self) -> bool {
        match &self.keeper {
            Some(keeper) => keeper.execute("DO 0").await.is_ok(),
            None => false,
        }
    }

    /// Whether all readers see the same state, so that a table may be read by several.
    #[must_use]
    pub fn is_common(&self) -> bool {
        match self.method {
            SnapshotMethod::GlobalLock(_) | SnapshotMethod::TableLocks(_) => true,
            SnapshotMethod::LockFree => {
                let first = self.readers.first().map(|reader| &reader.position);
                let same = |reader: &Reader| first == Some(&reader.position);
                self.readers.iter().all(same)
            }
        }
    }
}

/// Text comes as it is stored; lists of the types in a document come whole; a bound of a range may be
/// a date that no calendar has.
const READER_SETTINGS: &str = "SET SESSION character_set_results = NULL, \
     SESSION group_concat_max_len = 4294967295, \
     SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";

/// Prepares a connection for reading rows as bytes, in one snapshot.
async fn prepare_reader(source: &Endpoint, name: &str) -> Result<SqlConn, SchemaError> {
    let opened = source.connect_sql(name).await;
    let client = opened.map_err(|source| SchemaError::Connect {
        side: Side::Source,
        source,
    })?;
    let raw = client.execute(READER_SETTINGS).await;
    raw.map_err(SchemaError::sql(Side::Source, "asking for text as it is"))?;
    Ok(client)
}
