//! Control queries: statements as text, with the settings that all statements of ours rely on.
//!
//! One statement at a time; several callers wait for one another. A statement that is given up in
//! the middle (its future or its [`RowStream`] or [`Load`] is dropped) closes the connection, since
//! what the server still sends could be taken for the next answer. The server notices when it writes
//! or reads next; until then, a statement that computes or waits goes on there.

use std::fmt;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

use super::capabilities::Capabilities;
use super::conn::{Conn, ConnectOptions};
use super::endpoint::Endpoint;
use super::error::{ConnectError, ServerError, WireError};
use super::limits::ANSWER_BYTES_MAX;
use super::settings::{MARIADB, MYSQL_57, SESSION_SETTINGS};
use crate::version::ServerVersion;

mod exchange;
mod load;
mod rows;
mod streamed;

pub use load::Load;
pub use rows::{Columns, ParseCellError, TextRow};
pub use streamed::RowStream;

use exchange::Answer;

/// A connection for control queries. Dropping it closes it.
pub struct SqlConn {
    /// Taken out for the time of a statement, and put back when its answer was read to the end.
    conn: Mutex<Option<Conn>>,
    server: String,
    thread_id: u32,
    version: ServerVersion,
    version_text: String,
}

/// What a statement did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// Rows changed.
    pub affected_rows: u64,
    /// The first AUTO_INCREMENT value that was made.
    pub last_insert_id: u64,
    /// Warnings.
    pub warnings: u16,
    /// What the server says in words, such as `Rows matched: 1  Changed: 0  Warnings: 0`.
    pub info: String,
    /// The GTIDs of the transaction, where `session_track_gtids` is on.
    pub gtids: Option<String>,
}

/// A statement failed.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The server refused it; the connection goes on.
    #[error("the server refused the statement")]
    Server(#[source] ServerError),
    /// The connection does not work any more.
    #[error("the connection to {server} failed")]
    Wire {
        /// The server as shown to people.
        server: String,
        /// How.
        #[source]
        source: WireError,
    },
}

impl SqlError {
    /// The server's error number, when the server refused.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.server().map(|error| error.code)
    }

    /// The server's own error, when that is what it was.
    #[must_use]
    pub fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) => Some(error),
            Self::Wire { source, .. } => source.server(),
        }
    }
}

impl Endpoint {
    /// Opens a connection for control queries, with our session settings and no default database.
    ///
    /// # Errors
    /// The server cannot be reached, refuses, or takes too long.
    pub async fn connect_sql(&self, program_name: &str) -> Result<SqlConn, ConnectError> {
        match timeout(self.connect_timeout, self.open_sql(program_name)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ConnectError::Timeout {
                endpoint: self.to_string(),
                timeout: self.connect_timeout,
            }),
        }
    }

    async fn open_sql(&self, program_name: &str) -> Result<SqlConn, ConnectError> {
        let mut options = ConnectOptions::named(program_name);
        options.capabilities = options.capabilities | Capabilities::LOCAL_FILES;
        let conn = Box::pin(Conn::connect(self, options)).await?;
        let sql = SqlConn::new(conn, self.to_string());
        let own = if sql.version.is_mariadb() {
            Some(MARIADB)
        } else if sql.version.is_mysql_at_least(5, 7, 8) {
            Some(MYSQL_57)
        } else {
            None
        };
        for setting in SESSION_SETTINGS.into_iter().chain(own) {
            sql.execute(setting).await.map_err(|error| match error {
                SqlError::Server(source) => ConnectError::Refused {
                    endpoint: self.to_string(),
                    user: self.user.clone(),
                    source: Box::new(source),
                },
                SqlError::Wire { source, .. } => ConnectError::Wire {
                    endpoint: self.to_string(),
                    source,
                },
            })?;
        }
        Ok(sql)
    }
}

impl SqlConn {
    /// A connection whose settings are its caller's.
    #[must_use]
    pub fn new(conn: Conn, server: String) -> Self {
        Self {
            server,
            thread_id: conn.thread_id(),
            version: conn.version(),
            version_text: conn.version_text().to_owned(),
            conn: Mutex::new(Some(conn)),
        }
    }

    /// Runs a statement and gives all its rows; those of its first result, if it has several.
    ///
    /// # Cancel safety
    /// Giving it up closes the connection.
    ///
    /// # Errors
    /// The server's error (the connection is usable again then), or the connection broke.
    pub async fn query(&self, sql: &str) -> Result<Vec<TextRow>, SqlError> {
        let mut stream = self.query_streamed(sql).await?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = stream.next().await? {
            bytes += row.held_bytes();
            if bytes > ANSWER_BYTES_MAX {
                return Err(self.broken(WireError::AnswerTooLarge {
                    limit_bytes: ANSWER_BYTES_MAX,
                }));
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// Runs a statement and gives its only row, or none; further rows are not looked at.
    ///
    /// # Cancel safety
    /// Giving it up closes the connection.
    ///
    /// # Errors
    /// As [`SqlConn::query`].
    pub async fn query_first(&self, sql: &str) -> Result<Option<TextRow>, SqlError> {
        Ok(self.query(sql).await?.into_iter().next())
    }

    /// Runs a statement for its effect; rows are read and thrown away.
    ///
    /// # Cancel safety
    /// Giving it up closes the connection.
    ///
    /// # Errors
    /// As [`SqlConn::query`].
    pub async fn execute(&self, sql: &str) -> Result<Done, SqlError> {
        self.execute_bytes(sql.as_bytes()).await
    }

    /// As [`SqlConn::execute`], for text that is not all UTF-8.
    ///
    /// # Cancel safety
    /// Giving it up closes the connection.
    ///
    /// # Errors
    /// As [`SqlConn::query`].
    pub async fn execute_bytes(&self, sql: &[u8]) -> Result<Done, SqlError> {
        let mut stream = RowStream::begin(self, sql).await?;
        while stream.next().await?.is_some() {}
        Ok(stream.done().clone())
    }

    /// Runs a statement and gives its rows one by one, as they come. The server waits while nobody
    /// asks. Dropping the stream before its end closes the connection.
    ///
    /// # Errors
    /// As [`SqlConn::query`].
    pub async fn query_streamed(&self, sql: &str) -> Result<RowStream<'_>, SqlError> {
        RowStream::begin(self, sql.as_bytes()).await
    }

    /// Runs a `LOAD DATA LOCAL` statement, whatever file name it has, with `chunks` as the file.
    ///
    /// LOCAL implies IGNORE: a row whose key is there already is skipped without an error, on MySQL
    /// 5.6 even without a warning. Whoever needs every row compares
    /// [`affected_rows`](Done::affected_rows) with the rows sent.
    ///
    /// # Cancel safety
    /// Giving it up closes the connection; the server then rolls the statement back.
    ///
    /// # Errors
    /// As [`SqlConn::query`].
    pub async fn load_data<S>(&self, sql: &str, chunks: S) -> Result<Done, SqlError>
    where
        S: Stream<Item = Bytes> + Send,
    {
        let mut load = self.begin_load(sql).await?;
        let mut chunks = std::pin::pin!(chunks);
        while let Some(chunk) = chunks.next().await {
            load.send(&chunk).await?;
        }
        load.finish().await
    }

    /// Begins a `LOAD DATA LOCAL` statement whose file the caller sends piece by piece.
    ///
    /// # Errors
    /// As [`SqlConn::query`].
    pub async fn begin_load(&self, sql: &str) -> Result<Load<'_>, SqlError> {
        Load::begin(self, sql).await
    }

    /// Whether the connection is known to be of no use any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self.conn.try_lock() {
            Ok(mut slot) => slot.as_mut().is_none_or(|conn| !conn.is_open()),
            // A statement is running.
            Err(_busy) => false,
        }
    }

    /// The connection's number on the server.
    #[must_use]
    pub fn thread_id(&self) -> u32 {
        self.thread_id
    }

    /// The server's flavour and version.
    #[must_use]
    pub fn version(&self) -> ServerVersion {
        self.version
    }

    /// The version as the server spells it.
    #[must_use]
    pub fn version_text(&self) -> &str {
        &self.version_text
    }

    /// The server as shown to people.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Says goodbye and closes.
    pub async fn close(self) {
        if let Some(conn) = self.conn.into_inner() {
            conn.close().await;
        }
    }

    fn broken(&self, source: WireError) -> SqlError {
        match source {
            WireError::Server(error) => SqlError::Server(*error),
            source => SqlError::Wire {
                server: self.server.clone(),
                source,
            },
        }
    }
}

impl fmt::Debug for SqlConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlConn")
            .field("server", &self.server)
            .field("thread_id", &self.thread_id)
            .finish_non_exhaustive()
    }
}

/// The connection while a statement runs on it. Unless it is given back, it is closed.
struct Running<'a> {
    sql: &'a SqlConn,
    slot: MutexGuard<'a, Option<Conn>>,
    conn: Conn,
}

impl<'a> Running<'a> {
    /// Waits for the statements before, and sends ours.
    async fn begin(sql: &'a SqlConn, statement: &[u8]) -> Result<(Self, Answer), SqlError> {
        let mut slot = sql.conn.lock().await;
        let conn = slot.take().ok_or_else(|| sql.broken(WireError::Unusable))?;
        let mut running = Self { sql, slot, conn };
        match exchange::begin(&mut running.conn, statement).await {
            Ok(answer) => Ok((running, answer)),
            Err(error) => Err(running.fail(error)),
        }
    }

    /// Ends the statement with an error. After the server's own the connection goes on.
    fn fail(self, error: WireError) -> SqlError {
        let Self {
            sql,
            mut slot,
            conn,
        } = self;
        if matches!(error, WireError::Server(_)) {
            *slot = Some(conn);
        }
        sql.broken(error)
    }

    /// Ends the statement.
    fn give_back(self) {
        let Self { mut slot, conn, .. } = self;
        *slot = Some(conn);
    }
}

#[cfg(test)]
mod tests;
