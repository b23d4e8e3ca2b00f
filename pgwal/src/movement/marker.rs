//! The marker: a durable transaction of ours whose coming through the stream proves that all before
//! it came through too.
//!
//! `pg_current_wal_lsn()` lags behind acknowledged commits under `synchronous_commit = off`, so a
//! position that was only asked for is never the end of the stream.

use router::Lsn;
use thiserror::Error;
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Statement};

/// A marker that is durable on the server that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The value of its `token` column, unlike any other marker's.
    pub token: String,
    /// A position behind the marker's commit.
    pub end_lsn: Lsn,
}

/// Why there is no marker.
#[derive(Debug, Error)]
pub enum MarkerError {
    /// The server failed a statement of ours, or the connection broke.
    #[error("the serving side failed while pointsman was {step}")]
    Sql {
        /// What we were doing, in plain words.
        step: &'static str,
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The system gave no random bytes for the token.
    #[error("the system gave no random bytes for a marker ({0})")]
    Random(getrandom::Error),
}

impl MarkerError {
    fn sql(step: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { step, source }
    }
}

/// The marker's statement, prepared on one connection, whose commits are made durable.
#[derive(Debug, Clone)]
pub struct MarkerWriter {
    insert: Statement,
}

impl MarkerWriter {
    /// Prepares the statement and makes the connection's commits durable.
    ///
    /// # Errors
    /// When our tables are not there or the server fails.
    pub async fn prepare(client: &Client) -> Result<Self, MarkerError> {
        let step = "preparing the marker";
        super::make_commits_durable(client)
            .await
            .map_err(MarkerError::sql(step))?;
        let insert = client
            .prepare(
                "INSERT INTO pointsman.marker (id, token)
                 SELECT coalesce(pg_catalog.max(id), 0) + 1, $1 FROM pointsman.marker",
            )
            .await
            .map_err(MarkerError::sql(step))?;
        Ok(Self { insert })
    }

    /// Writes a marker and returns once it is durable.
    ///
    /// # Errors
    /// When the server fails. Then the marker may or may not be there; the next one has another
    /// token.
    pub async fn write(&self, client: &Client) -> Result<Marker, MarkerError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(MarkerError::Random)?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        client
            .execute(&self.insert, &[&token])
            .await
            .map_err(MarkerError::sql("writing the marker"))?;
        let lsn: PgLsn = client
            .query_one("SELECT pg_catalog.pg_current_wal_lsn()", &[])
            .await
            .and_then(|row| row.try_get(0))
            .map_err(MarkerError::sql("asking for the marker's position"))?;
        Ok(Marker {
            token,
            end_lsn: Lsn(lsn.into()),
        })
    }
}

/// Writes one marker: [`MarkerWriter::prepare`] and [`MarkerWriter::write`] in one call.
///
/// # Errors
/// As those two.
pub async fn write(client: &Client) -> Result<Marker, MarkerError> {
    MarkerWriter::prepare(client).await?.write(client).await
}
