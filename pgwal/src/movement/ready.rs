//! The step before the hold: everything that a movement needs is prepared, and what would make it
//! fail is listed, while nobody waits yet.

use std::fmt;
use std::time::Duration;

use router::Side;
use thiserror::Error;
use tokio_postgres::Client;

use super::fence::{Fence, FenceError, FenceOptions};
use super::journal::{JournalError, Promote};
use super::marker::{MarkerError, MarkerWriter};
use super::schema::{Schema, SchemaError};
use super::sequences::{SequenceError, Sequences, SetSequences};

/// All statements of a movement, prepared on the control connections.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// On the side that is left.
    pub fence: Fence,
    /// On the side that is left.
    pub marker: MarkerWriter,
    /// On the side that is left.
    pub sequences: Sequences,
    /// On the side that is left.
    pub schema: Schema,
    /// On the source, if that is the side that is arrived at: the target sets its own together with
    /// the journal.
    pub set_sequences: Option<SetSequences>,
    /// On the target, which has the journal.
    pub promote: Promote,
}

/// The connections that a movement's statements are prepared on.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'a> {
    /// To the side that is left.
    pub leave: &'a Client,
    /// To the side that is arrived at.
    pub arrive: &'a Client,
    /// To the target, which has the journal; the same as `arrive` if that is the target.
    pub journal: &'a Client,
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
    /// The sequences.
    #[error("the sequences cannot be prepared")]
    Sequences(#[from] SequenceError),
    /// The schema.
    #[error("the schema cannot be looked at")]
    Schema(#[from] SchemaError),
    /// The journal.
    #[error("the promotion cannot be prepared")]
    Journal(#[from] JournalError),
}

/// Prepares all statements of a movement. The catalogs must be compared after this: what changes
/// later is found behind the fence. `wanted(schema, name)` tells which sequences move.
///
/// # Errors
/// When one of them cannot be prepared; nothing was changed on either server.
pub async fn prepare(
    lines: Lines<'_>,
    to: Side,
    options: FenceOptions,
    wanted: impl Fn(&str, &str) -> bool,
) -> Result<Prepared, PrepareError> {
    let Lines {
        leave,
        arrive,
        journal,
    } = lines;
    Ok(Prepared {
        fence: Fence::prepare(leave, options).await?,
        marker: MarkerWriter::prepare(leave).await?,
        sequences: Sequences::prepare(leave, arrive, wanted).await?,
        schema: Schema::prepare(leave).await?,
        set_sequences: match to {
            Side::Source => Some(SetSequences::prepare(arrive).await?),
            Side::Target => None,
        },
        promote: Promote::prepare(journal).await?,
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
    /// The side that is arrived at does not answer.
    Silent(Side, tokio_postgres::Error),
    /// The side that is arrived at would not take writes: it is a standby or read-only.
    ReadOnly(Side),
    /// The stream is too far behind, or has not told how far it is.
    Lag(Lag),
    /// The catalog is not what was copied, in the words of the drift check.
    Drift(String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fence(error) => write!(f, "{error}"),
            Self::Silent(side, error) => write!(f, "the {side} does not answer: {error}"),
            Self::ReadOnly(side) => write!(
                f,
                "the {side} takes no writes (a standby, or default_transaction_read_only is on)"
            ),
            Self::Lag(Lag { bytes: None, .. }) => {
                f.write_str("the lag is not known yet; wait until the stream has applied something")
            }
            Self::Lag(Lag {
                bytes: Some(bytes),
                bytes_max,
            }) => write!(
                f,
                "the stream is {bytes} bytes of log behind, more than {bytes_max}; wait until it \
                 has caught up"
            ),
            Self::Drift(what) => write!(f, "the schema has changed since the copy: {what}"),
        }
    }
}

/// A transaction on the serving side that the drain would wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LongTransaction {
    /// The server process.
    pub pid: i32,
    /// Its role.
    pub user: String,
    /// Its `application_name`.
    pub application: String,
    /// The client's address; the relay's for a session that comes through it.
    pub address: String,
    /// `active`, `idle in transaction`, ...
    pub state: String,
    /// How long it has been open.
    pub age: Duration,
    /// Whether it has written something.
    pub writes: bool,
}

impl fmt::Display for LongTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            user,
            application,
            address,
            state,
            age,
            writes,
        } = self;
        write!(f, "pid {pid}, user {user}")?;
        for (word, value) in [("application", application), ("from", address)] {
            if !value.is_empty() {
                write!(f, ", {word} {value}")?;
            }
        }
        let kind = if *writes { "writing" } else { "reading" };
        write!(
            f,
            ": {kind} transaction open for {:.1} s ({state})",
            age.as_secs_f64()
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
    /// The side that is arrived at.
    pub to: Side,
    /// The fence, prepared on the connection to the side that is left.
    pub fence: &'a Fence,
    /// Server processes of ours on the side that is left.
    pub ours: &'a [i32],
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
/// When the side that is left fails; that the other fails is an obstacle.
pub async fn check(
    leave: &Client,
    arrive: &Client,
    asked: Asked<'_>,
) -> Result<Findings, FenceError> {
    let mut obstacles: Vec<Obstacle> = asked
        .fence
        .obstacles(leave, asked.ours)
        .await?
        .into_iter()
        .map(Obstacle::Fence)
        .collect();
    let writable = arrive
        .query_one(
            "SELECT pg_catalog.current_setting('transaction_read_only') = 'off'",
            &[],
        )
        .await
        .and_then(|row| row.try_get::<_, bool>(0));
    match writable {
        Ok(true) => {}
        Ok(false) => obstacles.push(Obstacle::ReadOnly(asked.to)),
        Err(error) => obstacles.push(Obstacle::Silent(asked.to, error)),
    }
    if asked
        .lag
        .bytes
        .is_none_or(|bytes| bytes > asked.lag.bytes_max)
    {
        obstacles.push(Obstacle::Lag(asked.lag));
    }
    obstacles.extend(asked.drift.iter().cloned().map(Obstacle::Drift));
    let long_transactions = long_transactions(leave, asked.long_after).await?;
    Ok(Findings {
        obstacles,
        long_transactions,
    })
}

/// Transactions of clients in this database that have been open for longer than `long_after`,
/// the oldest first.
///
/// # Errors
/// When the server fails.
pub async fn long_transactions(
    source: &Client,
    long_after: Duration,
) -> Result<Vec<LongTransaction>, FenceError> {
    let step = "looking for long transactions";
    let rows = source
        .query(
            "SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''),
                    coalesce(pg_catalog.host(client_addr), ''), coalesce(state, ''),
                    extract(epoch FROM pg_catalog.clock_timestamp() - xact_start)::float8,
                    backend_xid IS NOT NULL
             FROM pg_catalog.pg_stat_activity
             WHERE datname = pg_catalog.current_database() AND backend_type = 'client backend'
               AND pid <> pg_catalog.pg_backend_pid()
               AND pg_catalog.clock_timestamp() - xact_start > $1 * interval '1 second'
             ORDER BY xact_start",
            &[&long_after.as_secs_f64()],
        )
        .await
        .map_err(FenceError::sql(step))?;
    let read = |row: &tokio_postgres::Row| -> Result<_, tokio_postgres::Error> {
        let age: f64 = row.try_get(5)?;
        Ok(LongTransaction {
            pid: row.try_get(0)?,
            user: row.try_get(1)?,
            application: row.try_get(2)?,
            address: row.try_get(3)?,
            state: row.try_get(4)?,
            age: Duration::try_from_secs_f64(age).unwrap_or(Duration::ZERO),
            writes: row.try_get(6)?,
        })
    };
    rows.iter()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(FenceError::sql(step))
}
