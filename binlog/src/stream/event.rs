//! What the stream gives: whole committed transactions, event by event, in commit order.

use std::sync::Arc;

use router::Change;

use crate::position::Position;

/// An event.
#[derive(Debug)]
pub enum StreamEvent {
    /// A transaction begins.
    Begin {
        /// Its end.
        position: Position,
    },
    /// A table as the changes that follow have it. Tables that are known already are not told again.
    Table {
        /// Its number in the changes.
        id: u64,
        /// What the log says of it.
        map: Arc<TableMap>,
    },
    /// A change of one row.
    Change {
        /// The table's number.
        table: u64,
        /// The change. Values are the fields' bytes as in a row image, length prefix included.
        change: Change,
        /// Flags of the rows event.
        flags: u16,
    },
    /// A definition statement.
    Ddl(Box<Ddl>),
    /// The transaction ends.
    Commit {
        /// Its end, which the target may write down once everything before it is applied.
        position: Position,
        /// When it committed, microseconds since 1970, as far as the log tells.
        commit_time_us: Option<u64>,
    },
    /// There is nothing more before this position.
    Idle {
        /// The position.
        position: Position,
    },
}

/// A table as an event of type `Table_map` describes it: columns by place, without names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMap {
    /// The database.
    pub schema: String,
    /// The table.
    pub table: String,
    /// Its columns.
    pub columns: Vec<ColumnType>,
}

/// A column's type in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnType {
    /// The type byte, `enum_field_types` of the server.
    pub code: u8,
    /// The type's metadata, of as many bytes as the type has.
    pub metadata: Vec<u8>,
    /// Whether a number is unsigned, if the log tells (`binlog_row_metadata`).
    pub unsigned: Option<bool>,
    /// The number of a text's collation, if the log tells.
    pub collation: Option<u64>,
}

/// A definition statement and what of its session changes its meaning.
#[derive(Debug, Clone, Default)]
pub struct Ddl {
    /// The default database; empty if there was none.
    pub schema: String,
    /// The statement.
    pub sql: String,
    /// The session's `sql_mode`.
    pub sql_mode: Option<u64>,
    /// Flags of the session (`OPTION_NO_FOREIGN_KEY_CHECKS` and others).
    pub flags2: Option<u32>,
    /// `collation_connection`.
    pub connection_collation: Option<u16>,
    /// `collation_server`.
    pub server_collation: Option<u16>,
    /// `time_zone`.
    pub time_zone: Option<String>,
    /// When the statement began, microseconds since 1970.
    pub time_us: u64,
    /// `default_collation_for_utf8mb4`.
    pub utf8mb4_collation: Option<u16>,
    /// `explicit_defaults_for_timestamp`.
    pub explicit_defaults_for_timestamp: Option<bool>,
}
