//! The step before the hold: everything that a movement needs is prepared, and what would make it
//! fail is listed, while nobody waits yet.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use super::counters::{CounterError, Counters};
use super::error::Failed;
use super::fence::{Fence, FenceError, FenceOptions, transactions};
use super::journal::JournalError;
use super::marker::{MarkerError, MarkerWriter};
use crate::wire::{SqlConn, SqlError, TextRow};

/// All that a movement needs, prepared on the two control connections.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// On the source.
    pub fence: Fence,
    /// On the source.
    pub marker: MarkerWriter,
    /// On both.
    pub counters: Counters,
}

/// Why a movement could not be prepared.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// The fence.
    #[error("the fence cannot be prepared")]
    Fence(#[from] FenceError),
    /// The marker.
    #[error("the marker cannot be prepared")]
    Marker(#[from] MarkerError),
    /// The counters.
    #[error("the AUTO_INCREMENT counters cannot be prepared")]
    Counters(#[from] CounterError),
    /// The journal.
    #[error("the journal cannot be prepared")]
    Journal(#[from] JournalError),
    /// A setting of the session.
    #[error("the target's session cannot be prepared")]
    Failed(#[from] Failed),
}

/// Prepares everything of a movement. `wanted(schema, table)` tells which tables move.
///
/// # Errors
/// When one of them cannot be prepared; nothing was changed on either server but counters that the
/// movement would raise too.
pub async fn prepare(
    source: &SqlConn,
    target: &SqlConn,
    options: FenceOptions,
    wanted: impl Fn(&str, &str) -> bool,
) -> Result<Prepared, PrepareError> {
    // An ALTER TABLE of ours in the pause must not wait for a reader for ever.
    target
        .execute("SET SESSION lock_wait_timeout = 1")
        .await
        .map_err(Failed::sql("preparing the target's session"))?;
    Ok(Prepared {
        fence: Fence::prepare(source, options).await?,
        marker: MarkerWriter::prepare(source).await?,
        counters: Counters::prepare(source, target, wanted).await?,
    })
}

/// What the stream says about its lag; a lag that is not known is infinite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Bytes of log that are not applied, `None` if it was not measured yet.
    pub bytes: Option<u64>,
    /// More than this is too much to begin a hold with.
    pub bytes_max: u64,
}

/// Something that would make the movement fail, or hurt the application.
#[derive(Debug)]
pub enum Obstacle {
    /// Something on the source that the fence does not stop.
    Fence(FenceError),
    /// The target does not answer.
    Target(SqlError),
    /// The target would not take writes of applications.
    TargetReadOnly,
    /// The stream is too far behind, or has not told how far it is.
    Lag(Lag),
    /// The catalog is not what was copied, in the words of the drift check.
    Drift(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fence(error) => write!(f, "{error}"),
            Self::Target(error) => write!(f, "the target does not answer: {error}"),
            Self::TargetReadOnly => f.write_str(
                "the target takes no writes (read_only or super_read_only is on); SET GLOBAL \
                 super_read_only = OFF, read_only = OFF there",
            ),
            Self::Lag(Lag { bytes: None, .. }) => {
                f.write_str("the lag is not known yet; wait until the stream has applied something")
            }
            Self::Lag(Lag {
                bytes: Some(bytes),
                bytes_max,
            }) => write!(
                f,
                "the target is {bytes} bytes of log behind, more than {bytes_max}; wait until it \
                 has caught up"
            ),
            Self::Drift(what) => write!(f, "the schema has changed since the copy: {what}"),
        }
    }
}

/// A transaction on the source that the drain would wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongTransaction {
    /// The session's number on the server.
    pub id: u32,
    /// Its user.
    pub user: String,
    /// The client's address; the relay's for a session that comes through it.
    pub address: String,
    /// `Query`, `Sleep`, ...
    pub command: String,
    /// How long it has been open.
    pub age: Duration,
    /// Whether it has written something.
    pub writes: bool,
}

impl fmt::Display for LongTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            user,
            address,
            command,
            age,
            writes,
        } = self;
        let kind = if *writes { "writing" } else { "reading" };
        write!(
            f,
            "thread {id}, user {user}, from {address}: {kind} transaction open for {} s ({command})",
            age.as_secs()
        )
    }
}

/// What was found right before the hold.
#[derive(Debug)]
pub struct Findings {
    /// Each of these refuses the movement.
    pub obstacles: Vec<Obstacle>,
    /// The drain waits for these, up to its deadline.
    pub long_transactions: Vec<LongTransaction>,
}

/// What [`check`] asks with, beside the two connections.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The fence, prepared on the source's connection.
    pub fence: &'a Fence,
    /// Sessions of ours on the source.
    pub ours: &'a [u32],
    /// What the stream says.
    pub lag: Lag,
    /// What the drift check found, one sentence each.
    pub drift: &'a [String],
    /// Transactions that have been open for longer are listed.
    pub long_after: Duration,
}

/// Lists what would make a movement fail now. Changes nothing.
///
/// # Errors
/// When the source fails; a target that fails is an obstacle.
pub async fn check(
    source: &SqlConn,
    target: &SqlConn,
    asked: Asked<'_>,
) -> Result<Findings, FenceError> {
    let mut obstacles: Vec<Obstacle> = asked
        .fence
        .obstacles(source, asked.ours)
        .await?
        .into_iter()
        .map(Obstacle::Fence)
        .collect();
    match target
        .query_first("SELECT @@GLOBAL.read_only IN ('0', 'OFF')")
        .await
    {
        Ok(row) if row.as_ref().and_then(|row| row.text(0)) == Some("1") => {}
        Ok(_on) => obstacles.push(Obstacle::TargetReadOnly),
        Err(error) => obstacles.push(Obstacle::Target(error)),
    }
    if asked
        .lag
        .bytes
        .is_none_or(|bytes| bytes > asked.lag.bytes_max)
    {
        obstacles.push(Obstacle::Lag(asked.lag));
    }
    obstacles.extend(asked.drift.iter().cloned().map(Obstacle::Drift));
    let long_transactions = long_transactions(source, asked.long_after).await?;
    Ok(Findings {
        obstacles,
        long_transactions,
    })
}

/// Transactions of clients on this server that have been open for longer than `long_after`, the
/// oldest first.
///
/// # Errors
/// When the server fails.
pub async fn long_transactions(
    source: &SqlConn,
    long_after: Duration,
) -> Result<Vec<LongTransaction>, FenceError> {
    let step = "looking for long transactions";
    let sessions = match source.version().is_mysql_at_least(8, 0, 22) {
        true => "performance_schema.processlist",
        false => "information_schema.PROCESSLIST",
    };
    // trx_started is of the session's time zone, as NOW() is.
    let sql = format!(
        "SELECT p.ID, COALESCE(p.USER, ''), COALESCE(p.HOST, ''), COALESCE(p.COMMAND, ''),
                GREATEST(TIMESTAMPDIFF(SECOND, t.trx_started, NOW()), 0), t.trx_rows_modified
         FROM information_schema.INNODB_TRX t JOIN {sessions} p ON p.ID = t.trx_mysql_thread_id
         WHERE p.ID <> CONNECTION_ID()
           AND TIMESTAMPDIFF(SECOND, t.trx_started, NOW()) >= {}
         ORDER BY t.trx_started",
        long_after.as_secs()
    );
    let rows = source.query(&sql).await.map_err(Failed::sql(step))?;
    // Behind the fence the list must be a new one, and here nobody waits for us.
    tokio::time::sleep(transactions::CACHE_TIME).await;
    let read = |row: &TextRow| {
        Ok(LongTransaction {
            id: row.parse(0)?,
            user: row.parse(1)?,
            address: row.parse(2)?,
            command: row.parse(3)?,
            age: Duration::from_secs(row.parse(4)?),
            writes: row.parse::<u64>(5)? > 0,
        })
    };
    Ok(rows
        .iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(Failed::answer(step))?)
}
