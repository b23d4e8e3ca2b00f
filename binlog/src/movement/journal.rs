//! The journal on the target: one row an epoch, `pending` until it is `switched` or `aborted`.
//!
//! Both ends are reached by compare-and-set on the one row, so of a promote that comes late and a
//! recovery that gives the movement up, exactly one wins, and the other is told. A row once left
//! `pending` never changes again. Each step is one statement, so one transaction; it is made
//! durable before it is answered.

use router::cutover::standing::Entry;
use router::{Epoch, Side};
use thiserror::Error;

use super::error::Failed;
use super::{code, make_durable};
use crate::wire::SqlConn;

/// How a movement ended.
pub use router::cutover::Resolution as Outcome;

/// How a movement stands in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MovementState {
    /// It has begun. A crash here is ended by [`resolve`]: nobody has seen the new side serve.
    Pending,
    /// The side of the row serves. Final.
    Switched,
    /// It was given up; the side before it serves. Final.
    Aborted,
}

impl MovementState {
    fn parse(text: &str) -> Result<Self, JournalError> {
        match text {
            "pending" => Ok(Self::Pending),
            "switched" => Ok(Self::Switched),
            "aborted" => Ok(Self::Aborted),
            _ => Err(JournalError::Unknown {
                column: "state",
                value: text.to_owned(),
            }),
        }
    }
}

/// One row of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// Its number.
    pub epoch: Epoch,
    /// The side that serves if it is switched.
    pub serving: Side,
    /// How it stands.
    pub state: MovementState,
}

impl Movement {
    /// The row as `router` decides by it.
    #[must_use]
    pub fn to_entry(&self) -> Entry {
        let ended = match self.state {
            MovementState::Pending => None,
            MovementState::Switched => Some(Outcome::Switched),
            MovementState::Aborted => Some(Outcome::Aborted),
        };
        Entry {
            epoch: self.epoch,
            to: self.serving,
            ended,
        }
    }
}

/// Why the journal did not take an entry.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The target failed a statement of ours, or the connection broke.
    #[error("the journal on the target failed")]
    Failed(#[from] Failed),
    /// A movement is pending, or an epoch that is not smaller has been there.
    #[error("epoch {epoch} cannot begin: the journal on the target has {found}")]
    NotNext {
        /// The epoch that was to begin.
        epoch: u64,
        /// What is there.
        found: String,
    },
    /// The movement is not pending (any more): it was resolved, or never began.
    #[error("epoch {epoch} cannot be promoted: the journal on the target says it is not pending")]
    NotPending {
        /// The epoch that was to be promoted.
        epoch: u64,
    },
    /// A word in our table that this version does not know.
    #[error(
        "pointsman.movement has {value:?} as {column}, which this version does not know; use the \
         version that wrote it"
    )]
    Unknown {
        /// The column.
        column: &'static str,
        /// The word.
        value: String,
    },
}

impl JournalError {
    /// Whether the entry was certainly not made.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        match self {
            Self::NotNext { .. } | Self::NotPending { .. } => true,
            Self::Unknown { .. } => false,
            Self::Failed(failed) => failed.is_refused(),
        }
    }
}

/// Writes `epoch` down as pending; if it is promoted, `serving` serves.
///
/// # Errors
/// When another movement is pending or the epoch is not the greatest, or the server fails.
pub async fn begin(client: &SqlConn, epoch: Epoch, serving: Side) -> Result<(), JournalError> {
    let step = "beginning a movement in the journal";
    // With weaker isolation two movements that begin at once would not see each other.
    client
        .execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        .await
        .map_err(Failed::sql(step))?;
    let sql = format!(
        "INSERT INTO pointsman.movement (epoch, serving, state)
         SELECT {epoch}, '{serving}', 'pending' FROM DUAL WHERE NOT EXISTS (
             SELECT 1 FROM pointsman.movement WHERE epoch >= {epoch} OR state = 'pending')"
    );
    match client.execute(&sql).await {
        Ok(done) if done.affected_rows == 1 => Ok(make_durable(client, step).await?),
        Ok(_none) => Err(not_next(client, epoch).await?),
        Err(error) if matches!(error.code(), Some(code::DUPLICATE_ENTRY | code::DEADLOCK)) => {
            Err(not_next(client, epoch).await?)
        }
        Err(error) => Err(Failed::sql(step)(error).into()),
    }
}

async fn not_next(client: &SqlConn, epoch: Epoch) -> Result<JournalError, JournalError> {
    let last = movements(client).await?.pop();
    let found = last.map_or_else(
        || "nothing".to_owned(),
        |last| format!("epoch {} as {:?}", last.epoch, last.state),
    );
    Ok(JournalError::NotNext {
        epoch: epoch.0,
        found,
    })
}

/// Turns `epoch` from `pending` to `switched`.
///
/// # Errors
/// When the epoch is not pending, or the server fails; [`JournalError::is_refused`] tells whether
/// the entry may have been made nevertheless.
pub async fn promote(client: &SqlConn, epoch: Epoch) -> Result<(), JournalError> {
    let step = "promoting the target in the journal";
    let sql = format!(
        "UPDATE pointsman.movement SET state = 'switched' WHERE epoch = {epoch} AND state = 'pending'"
    );
    let done = client.execute(&sql).await.map_err(Failed::sql(step))?;
    if done.affected_rows != 1 {
        return Err(JournalError::NotPending { epoch: epoch.0 });
    }
    Ok(make_durable(client, step).await?)
}

/// Gives `epoch` up unless it was switched, and says how it ended. An epoch that never began is
/// written down as aborted, so that it cannot begin later. The answer never changes.
///
/// # Errors
/// When the server fails; ask again.
pub async fn resolve(client: &SqlConn, epoch: Epoch) -> Result<Outcome, JournalError> {
    let step = "resolving a movement in the journal";
    let sql = format!(
        "INSERT INTO pointsman.movement (epoch, serving, state) VALUES ({epoch}, 'target', 'aborted')
         ON DUPLICATE KEY UPDATE state = IF(state = 'pending', 'aborted', state)"
    );
    client.execute(&sql).await.map_err(Failed::sql(step))?;
    make_durable(client, step).await?;
    let sql = format!("SELECT state FROM pointsman.movement WHERE epoch = {epoch}");
    let state: String = super::one(client, &sql, step).await?;
    match MovementState::parse(&state)? {
        MovementState::Switched => Ok(Outcome::Switched),
        MovementState::Aborted | MovementState::Pending => Ok(Outcome::Aborted),
    }
}

/// All movements, in the order of their epochs.
///
/// # Errors
/// When our tables are not there, the server fails, or a row is not one of ours.
pub async fn movements(client: &SqlConn) -> Result<Vec<Movement>, JournalError> {
    let step = "reading the journal";
    let rows = client
        .query("SELECT epoch, serving, state FROM pointsman.movement ORDER BY epoch")
        .await
        .map_err(Failed::sql(step))?;
    let mut movements = Vec::with_capacity(rows.len());
    for row in rows {
        let epoch = row.parse(0).map_err(Failed::answer(step))?;
        let serving: String = row.parse(1).map_err(Failed::answer(step))?;
        let state: String = row.parse(2).map_err(Failed::answer(step))?;
        let serving = match serving.as_str() {
            "source" => Side::Source,
            "target" => Side::Target,
            _ => {
                return Err(JournalError::Unknown {
                    column: "serving",
                    value: serving,
                });
            }
        };
        movements.push(Movement {
            epoch: Epoch(epoch),
            serving,
            state: MovementState::parse(&state)?,
        });
    }
    Ok(movements)
}

/// The epoch that the next movement has: one more than any in the journal.
///
/// # Errors
/// As [`movements`].
pub async fn next_epoch(client: &SqlConn) -> Result<Epoch, JournalError> {
    let last = movements(client).await?.pop();
    Ok(last.map_or(Epoch::FIRST, |last| last.epoch).next())
}
