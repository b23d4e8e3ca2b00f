//! Why a stream cannot be opened, or ends.

use std::io;

use router::spool::SpoolError;
use thiserror::Error;

use crate::position::BinlogFile;
use crate::schema::error::SchemaError;
use crate::wire::{ConnectError, FieldError, SqlError, WireError};

/// Something in the log that cannot be applied faithfully.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StopReason {
    /// An event type that is not on the list.
    #[error("event type {0} is not known; what it does cannot be carried over")]
    UnknownEvent(u8),
    /// The source itself says that its log has a gap.
    #[error("the source wrote an incident event: its log lacks changes. The copy must start again")]
    Incident,
    /// A part of a JSON document, whose whole is not logged.
    #[error(
        "a change of a JSON value in {table} is logged in part, and the value before it is not: \
         binlog_row_image was not FULL. SET GLOBAL binlog_row_value_options = '' or \
         binlog_row_image = 'FULL' on the source and let its sessions reconnect, then start the \
         copy again"
    )]
    PartialJson {
        /// The table, as `database.table`.
        table: String,
    },
    /// `LOAD DATA` in statement format.
    #[error(
        "LOAD DATA was logged as a statement; set binlog_format = ROW on the source (in its \
         sessions too), then start the copy again"
    )]
    LoadData,
    /// A change in statement format.
    #[error(
        "{word} was logged as a statement in database \"{schema}\"; set binlog_format = ROW on the \
         source (in its sessions too), then start the copy again"
    )]
    Statement {
        /// The statement's first word.
        word: String,
        /// Its default database.
        schema: String,
    },
    /// A transaction that was rolled back and is in the log all the same.
    #[error(
        "a transaction that was rolled back changed a table whose engine has no transactions; \
         such tables cannot be carried over"
    )]
    RolledBack,
    /// An XA transaction ends of which the beginning was not read.
    #[error(
        "an XA transaction was committed whose changes were not read; the copy must start again"
    )]
    UnknownXa,
    /// An event is missing.
    #[error(
        "the source did not send all events of its log: the next one had to begin at byte \
         {expected} of its file and begins at {found} (both by 32 bits). Nothing behind it was \
         read; resume, and if it comes again look at the source's log with mysqlbinlog"
    )]
    Hole {
        /// Where the event before it ended.
        expected: u32,
        /// Where the event begins.
        found: u32,
    },
    /// A transaction inside a transaction, a change outside of one.
    #[error("the log's events are out of order: {0}")]
    OutOfOrder(&'static str),
}

/// Why an event cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventError {
    /// Its checksum does not fit its bytes.
    #[error("the checksum does not fit the event")]
    Checksum,
    /// The same at every reading.
    #[error(
        "the checksum does not fit the event, {0} times in a row: the source's log file is damaged \
         there. Look for faults of its disk and memory; the copy must start again"
    )]
    Damaged(u32),
    /// Its length is not the one it tells.
    #[error("the event tells {told} bytes and has {has}")]
    Length {
        /// In its header.
        told: u64,
        /// In the packet.
        has: u64,
    },
    /// A field is missing or cannot be.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// It cannot be applied faithfully.
    #[error(transparent)]
    Stop(#[from] StopReason),
    /// Compressed data that cannot be read.
    #[error("the event's compressed data cannot be read: {0}")]
    Compressed(&'static str),
}

/// Why the stream ended or was not opened.
#[derive(Debug, Error)]
pub enum StreamError {
    /// No connection.
    #[error("the source cannot be reached")]
    Connect(#[from] ConnectError),
    /// A question before the stream failed.
    #[error("the source failed while {doing}")]
    Sql {
        /// What was asked.
        doing: &'static str,
        /// Why.
        #[source]
        source: SqlError,
    },
    /// The source did not tell who it is.
    #[error("the source did not tell who it is")]
    Identity(#[source] Box<SchemaError>),
    /// The connection broke, or the server stopped sending.
    #[error("the connection to the source's log broke")]
    Wire(#[from] WireError),
    /// The source told that nothing more will come, as one does that shuts down.
    #[error("the source ended the stream")]
    EndedBySource,
    /// Nothing came, not even a heartbeat.
    #[error("the source sent nothing for {0} s, not even a heartbeat")]
    Silent(u64),
    /// The source does not have the log any more.
    #[error(
        "the source has removed log that was not read yet ({0}). The copy must start again; keep \
         the log longer (binlog_expire_logs_seconds)"
    )]
    Purged(String),
    /// The source does not have what was read.
    #[error(
        "the source lacks transactions that were read from it ({0}): it was restored from a \
         backup, or its log was reset. The copy must start again"
    )]
    Rewound(String),
    /// Another server answers.
    #[error("another server than before answers: {found} instead of {expected}")]
    OtherSource {
        /// Who it was.
        expected: String,
        /// Who it is.
        found: String,
    },
    /// The source has our number.
    #[error(
        "the source has the server_id {0}, which the stream would use; give the source another"
    )]
    ServerId(u32),
    /// Another connection reads the log under our number: one of ours that broke and whose end the
    /// source has not noticed, or somebody else's.
    #[error("the source has another reader with the server_id {0} still")]
    NumberTaken(u32),
    /// Somebody else reads the log under our number.
    #[error(
        "another replica of the source has the server_id {0}, which the stream uses: the source \
         ends one when the other connects. SHOW REPLICAS (SHOW SLAVE HOSTS) on the source names its \
         replicas; give that one another server_id, or stop the other pointsman"
    )]
    Clash(u32),
    /// The source cannot read its own log.
    #[error(
        "the source cannot read its log behind {file}: {message}. Look into its error log; if the \
         file is damaged the copy must start again"
    )]
    Unreadable {
        /// Where the last event ended that came.
        file: BinlogFile,
        /// What the source says.
        message: String,
    },
    /// The source has no log.
    #[error("the source writes no binary log; start it with log_bin")]
    NoLog,
    /// An event.
    #[error("at {file} of the source's log: {source}")]
    Event {
        /// Where it ends, or the last event before it does.
        file: BinlogFile,
        /// Why.
        #[source]
        source: EventError,
    },
    /// The local disk.
    #[error("a large transaction cannot be kept on the local disk; make room for all of it")]
    Disk(#[from] io::Error),
    /// What waits for the target.
    #[error("the spool on the local disk failed")]
    Spool(#[from] SpoolError),
    /// The spool gives something else than it was given.
    #[error("the spool on the local disk was changed by somebody else")]
    Spooled,
    /// The stream has ended before.
    #[error("the stream has ended")]
    Ended,
}

impl StreamError {
    /// Whether opening the stream again after a while may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_)
            | Self::Identity(_)
            | Self::Wire(_)
            | Self::EndedBySource
            | Self::NumberTaken(_)
            | Self::Silent(_)
            | Self::Disk(_)
            | Self::Spool(_)
            | Self::Spooled
            | Self::Ended => true,
            Self::Sql { source, .. } => source.server().is_none(),
            // A bit that flipped on the way is right the next time; a log that lies is not.
            Self::Event { source, .. } => match source {
                EventError::Checksum => true,
                EventError::Length { .. }
                | EventError::Damaged(_)
                | EventError::Field(_)
                | EventError::Stop(_)
                | EventError::Compressed(_) => false,
            },
            Self::Purged(_)
            | Self::Rewound(_)
            | Self::OtherSource { .. }
            | Self::ServerId(_)
            | Self::Clash(_)
            | Self::Unreadable { .. }
            | Self::NoLog => false,
        }
    }

    /// The server did not tell who it is.
    pub(super) fn identity(source: SchemaError) -> Self {
        Self::Identity(Box::new(source))
    }

    pub(super) fn sql(doing: &'static str) -> impl FnOnce(SqlError) -> Self {
        move |source| Self::Sql { doing, source }
    }
}
