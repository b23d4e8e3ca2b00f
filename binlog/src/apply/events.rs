//! What the applier takes from the stream: whole committed transactions, event by event.

use std::error::Error;
use std::future::Future;

use thiserror::Error;

use super::charset;
use super::error::TableError;
use super::field::FieldType;
use crate::name::QualifiedName;
use crate::position::Position;
use router::Change;
use std::sync::Arc;

/// An event.
#[derive(Debug)]
pub enum StreamEvent {
    /// A transaction begins.
    Begin {
        /// Its end.
        position: Position,
    },
    /// A table.
    Table {
        /// Number.
        id: u64,
        /// Map.
        map: Arc<TableMap>,
    },
    /// A change.
    Change {
        /// Table's number.
        table: u64,
        /// Change.
        change: Change,
        /// Flags of the rows event.
        flags: u16,
    },
    /// A definition.
    Ddl(Box<Ddl>),
    /// A transaction ends.
    Commit {
        /// Its end.
        position: Position,
        /// When.
        commit_time_us: Option<u64>,
    },
    /// Nothing up to here.
    Idle {
        /// Where.
        position: Position,
    },
}

/// A table map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// Database.
    pub schema: String,
    /// Table.
    pub table: String,
    /// Columns.
    pub columns: Vec<ColumnType>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnType {
    /// Type byte.
    pub code: u8,
    /// Metadata.
    pub metadata: Vec<u8>,
    /// Unsigned.
    pub unsigned: Option<bool>,
    /// Collation.
    pub collation: Option<u64>,
}

/// Definition.
#[derive(Debug, Clone, Default)]
pub struct Ddl {
    /// Default database.
    pub schema: String,
    /// Text.
    pub sql: String,
    /// Session's `sql_mode`.
    pub sql_mode: Option<u64>,
    /// Flags of the session.
    pub flags2: Option<u32>,
    /// `collation_connection`.
    pub connection_collation: Option<u16>,
    /// `collation_server`.
    pub server_collation: Option<u16>,
    /// `time_zone`.
    pub time_zone: Option<String>,
    /// When, in microseconds.
    pub time_us: u64,
    /// Default.
    pub utf8mb4_collation: Option<u16>,
    /// Setting.
    pub explicit_defaults_for_timestamp: Option<bool>,
}

/// Where the applier takes its events from: whole committed transactions in commit order.
pub trait Events: Send {
    /// The next event.
    ///
    /// # Cancel safety
    /// An implementation must lose nothing when the future is dropped.
    fn next(&mut self) -> impl Future<Output = Result<StreamEvent, EventsError>> + Send;
}

/// Why no event comes any more.
#[derive(Debug, Error)]
#[error("no more events")]
pub struct EventsError {
    /// Why.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
    /// Whether opening the stream again can help.
    pub blame: Blame,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// It may: a connection was lost, a server restarted.
    Transient,
    /// It cannot.
    Definite,
}

/// A column of the source as the stream describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceColumn {
    pub(super) field: FieldType,
    /// `None` if the source's log does not tell.
    pub(super) unsigned: Option<bool>,
    /// `None` if the source's log does not tell, or the column has no text.
    pub(super) charset: Option<&'static str>,
}

impl SourceColumn {
    /// The column at `place` of a table map.
    pub(super) fn of(
        table: &QualifiedName,
        place: usize,
        column: &ColumnType,
    ) -> Result<Self, TableError> {
        let field = FieldType::decode(column.code, &column.metadata).map_err(|error| {
            TableError::SourceType {
                table: table.clone(),
                place: place + 1,
                error: error.to_string(),
            }
        })?;
        Ok(Self {
            field,
            unsigned: column.unsigned,
            charset: column.collation.and_then(charset::of_collation),
        })
    }
}
