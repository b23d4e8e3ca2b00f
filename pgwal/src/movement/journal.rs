//! The journal on the target: one row an epoch, `pending` until it is `switched` or `aborted`.
//!
//! Both ends are reached by compare-and-set on the one row, so of a promote that comes late and a
//! recovery that gives the movement up, exactly one wins, and the other is told. A row once left
//! `pending` never changes again.

use router::cutover::standing::Entry;
use router::{Epoch, Lsn, Side};
use thiserror::Error;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};

use super::sequences::SequenceValue;

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
    /// Where the log of the side stood that serves since then, once it is switched. What that side
    /// committed before it, the other side has.
    pub position: Option<Lsn>,
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
    /// The server failed a statement of ours, or the connection broke.
    #[error("the target failed while pointsman was {step}")]
    Sql {
        /// What we were doing, in plain words.
        step: &'static str,
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
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
    ///
    /// An error of the statement itself has undone it. Everything else (the connection broke, the
    /// server goes down) says nothing about the commit.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        match self {
            Self::NotNext { .. } | Self::NotPending { .. } => true,
            Self::Unknown { .. } => false,
            Self::Sql { source, .. } => source
                .as_db_error()
                .is_some_and(|error| error.severity() == "ERROR"),
        }
    }

    fn sql(step: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { step, source }
    }
}

/// Writes `epoch` down as pending; if it is promoted, `serving` serves.
///
/// # Errors
/// When another movement is pending or the epoch is not the greatest, or the server fails.
pub async fn begin(client: &Client, epoch: Epoch, serving: Side) -> Result<(), JournalError> {
    let step = "beginning a movement in the journal";
    super::make_commits_durable(client)
        .await
        .map_err(JournalError::sql(step))?;
    let inserted = client
        .execute(
            "INSERT INTO pointsman.movement (epoch, serving, state)
             SELECT $1, $2, 'pending' WHERE NOT EXISTS (
                 SELECT FROM pointsman.movement WHERE epoch >= $1 OR state = 'pending')",
            &[&epoch.0.cast_signed(), &serving.as_str()],
        )
        .await;
    match inserted {
        Ok(1) => Ok(()),
        Ok(_none) => Err(not_next(client, epoch).await?),
        Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
            Err(not_next(client, epoch).await?)
        }
        Err(error) => Err(JournalError::sql(step)(error)),
    }
}

async fn not_next(client: &Client, epoch: Epoch) -> Result<JournalError, JournalError> {
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

/// The promotion, prepared on one connection to the target.
#[derive(Debug, Clone)]
pub struct Promote {
    statement: Statement,
}

/// One statement, so one transaction: the compare-and-set, and the sequences only if it hit.
///
/// The position is asked for inside of it where the target is to serve: everything that came through
/// the stream is committed by then, and no application's transaction is.
const PROMOTE: &str = "
WITH switched AS (
    UPDATE pointsman.movement SET state = 'switched', changed_at = pg_catalog.clock_timestamp(),
        position = coalesce($5::text::pg_lsn, pg_catalog.pg_current_wal_insert_lsn())
    WHERE epoch = $1 AND state = 'pending' RETURNING epoch)
SELECT (SELECT pg_catalog.count(*) FROM switched),
       (SELECT pg_catalog.count(pg_catalog.setval(s.oid::pg_catalog.regclass, s.value, s.called))
        FROM ROWS FROM (pg_catalog.unnest($2::oid[]), pg_catalog.unnest($3::int8[]),
                        pg_catalog.unnest($4::bool[])) AS s (oid, value, called)
        WHERE EXISTS (SELECT FROM switched))";

impl Promote {
    /// Prepares the statement and makes the connection's commits durable.
    ///
    /// # Errors
    /// When our tables are not there or the server fails.
    pub async fn prepare(client: &Client) -> Result<Self, JournalError> {
        let step = "preparing the promotion";
        super::make_commits_durable(client)
            .await
            .map_err(JournalError::sql(step))?;
        let types = [
            Type::INT8,
            Type::OID_ARRAY,
            Type::INT8_ARRAY,
            Type::BOOL_ARRAY,
            Type::TEXT,
        ];
        // Planned and run once here, for an epoch that there is not, and not again in the pause.
        client
            .batch_execute("SET plan_cache_mode = force_generic_plan")
            .await
            .map_err(JournalError::sql(step))?;
        let statement = client
            .prepare_typed(PROMOTE, &types)
            .await
            .map_err(JournalError::sql(step))?;
        let (oids, values, called) = (Vec::<u32>::new(), Vec::<i64>::new(), Vec::<bool>::new());
        let position: Option<String> = None;
        client
            .query_one(&statement, &[&-1_i64, &oids, &values, &called, &position])
            .await
            .map_err(JournalError::sql(step))?;
        Ok(Self { statement })
    }

    /// Sets the sequences of the target, which is to serve, and turns `epoch` from `pending` to
    /// `switched`, in one transaction.
    ///
    /// # Errors
    /// [`JournalError::NotPending`]: nothing was changed, and the old side serves. Any other error:
    /// it may have happened; only [`resolve`] tells.
    pub async fn run(
        &self,
        client: &Client,
        epoch: Epoch,
        sequences: &[SequenceValue],
    ) -> Result<(), JournalError> {
        self.switch(client, epoch, sequences, None).await
    }

    /// Turns `epoch` from `pending` to `switched` where the source is to serve, whose sequences are
    /// set and whose log stands at `position`.
    ///
    /// # Errors
    /// As [`Promote::run`].
    pub async fn run_for_source(
        &self,
        client: &Client,
        epoch: Epoch,
        position: Lsn,
    ) -> Result<(), JournalError> {
        self.switch(client, epoch, &[], Some(position)).await
    }

    async fn switch(
        &self,
        client: &Client,
        epoch: Epoch,
        sequences: &[SequenceValue],
        position: Option<Lsn>,
    ) -> Result<(), JournalError> {
        let position = position.map(|position| position.to_string());
        let oids: Vec<_> = sequences.iter().map(|one| one.target_oid).collect();
        let values: Vec<_> = sequences.iter().map(|one| one.last_value).collect();
        let called: Vec<_> = sequences.iter().map(|one| one.is_called).collect();
        let step = "switching the journal";
        let switched: i64 = client
            .query_one(
                &self.statement,
                &[&epoch.0.cast_signed(), &oids, &values, &called, &position],
            )
            .await
            .and_then(|row| row.try_get(0))
            .map_err(JournalError::sql(step))?;
        match switched {
            1 => Ok(()),
            _none => Err(JournalError::NotPending { epoch: epoch.0 }),
        }
    }
}

/// Sets the sequences and switches, see [`Promote::run`].
///
/// # Errors
/// As [`Promote::prepare`] and [`Promote::run`].
pub async fn promote(
    client: &Client,
    epoch: Epoch,
    sequences: &[SequenceValue],
) -> Result<(), JournalError> {
    Promote::prepare(client)
        .await?
        .run(client, epoch, sequences)
        .await
}

/// Ends a movement whose outcome is not known: gives it up if it is still pending.
///
/// An epoch that never began is written down as aborted, so that it cannot begin later. May be
/// asked again at any time and always tells the same.
///
/// # Errors
/// When the server fails; then the outcome stays unknown.
pub async fn resolve(client: &Client, epoch: Epoch) -> Result<Outcome, JournalError> {
    let step = "resolving a movement in the journal";
    super::make_commits_durable(client)
        .await
        .map_err(JournalError::sql(step))?;
    let state: String = client
        .query_one(
            "INSERT INTO pointsman.movement AS m (epoch, serving, state)
             VALUES ($1, 'target', 'aborted')
             ON CONFLICT (epoch) DO UPDATE SET changed_at = pg_catalog.clock_timestamp(),
                 state = CASE m.state WHEN 'pending' THEN 'aborted' ELSE m.state END
             RETURNING m.state",
            &[&epoch.0.cast_signed()],
        )
        .await
        .and_then(|row| row.try_get(0))
        .map_err(JournalError::sql(step))?;
    match MovementState::parse(&state)? {
        MovementState::Switched => Ok(Outcome::Switched),
        MovementState::Aborted | MovementState::Pending => Ok(Outcome::Aborted),
    }
}

/// All movements, in the order of their epochs.
///
/// # Errors
/// When our tables are not there, the server fails, or a row is not one of ours.
pub async fn movements(client: &Client) -> Result<Vec<Movement>, JournalError> {
    let step = "reading the journal";
    let rows = client
        .query(
            "SELECT epoch, serving, state, position::text FROM pointsman.movement ORDER BY epoch",
            &[],
        )
        .await
        .map_err(JournalError::sql(step))?;
    let mut movements = Vec::with_capacity(rows.len());
    for row in rows {
        let read = || -> Result<(i64, String, String, Option<String>), tokio_postgres::Error> {
            let (epoch, serving) = (row.try_get(0)?, row.try_get(1)?);
            Ok((epoch, serving, row.try_get(2)?, row.try_get(3)?))
        };
        let (epoch, serving, state, position) = read().map_err(JournalError::sql(step))?;
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
        let state = MovementState::parse(&state)?;
        let position = position.map(|text| {
            text.parse().map_err(|_not_one| JournalError::Unknown {
                column: "position",
                value: text,
            })
        });
        movements.push(Movement {
            epoch: Epoch(epoch.cast_unsigned()),
            serving,
            state,
            position: position.transpose()?,
        });
    }
    Ok(movements)
}

/// The last movement that was switched, if there was one: whose side serves.
///
/// # Errors
/// As [`movements`].
pub async fn last_switched(client: &Client) -> Result<Option<Movement>, JournalError> {
    let mut newest_first = movements(client).await?.into_iter().rev();
    Ok(newest_first.find(|movement| movement.state == MovementState::Switched))
}

/// The epoch that the next movement has: one more than any in the journal.
///
/// # Errors
/// As [`movements`].
pub async fn next_epoch(client: &Client) -> Result<Epoch, JournalError> {
    let last = movements(client).await?.pop();
    Ok(last.map_or(Epoch::FIRST, |last| last.epoch).next())
}
