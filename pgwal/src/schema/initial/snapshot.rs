//! The slots of the initial copy, and the snapshots that their creation exports.

use std::time::Duration;

use router::Lsn;
use thiserror::Error;
use tokio_postgres::Client;

use super::super::error::SqlCause;
use super::super::name::quote_identifier;
use crate::wire::{Conn, ConnectError, Endpoint, WireError};

/// No slot or snapshot could be made.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// No replication connection.
    #[error("no replication connection to the source")]
    Connect(#[from] ConnectError),
    /// The source refused.
    #[error("the source refused the replication slot {slot}")]
    Refused {
        /// The slot.
        slot: String,
        /// Its answer.
        #[source]
        source: WireError,
    },
    /// The slot waited for other transactions for too long.
    #[error(
        "replication slot {slot} waited {timeout:?} for transactions that were running before it: \
         {blockers}; end them, or give it more time"
    )]
    Blocked {
        /// The slot.
        slot: String,
        /// How long.
        timeout: Duration,
        /// Who was in the way.
        blockers: String,
    },
    /// The answer has another form than expected.
    #[error("the source answered the creation of slot {slot} in a form we do not know")]
    Unreadable {
        /// The slot.
        slot: String,
    },
    /// A query about slots failed.
    #[error("the source's slots could not be looked at")]
    Sql(#[source] SqlCause),
}

impl SnapshotError {
    /// Whether calling again may help.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Blocked { .. } => true,
            Self::Refused { .. } | Self::Unreadable { .. } => false,
            Self::Sql(cause) => cause.is_transient(),
        }
    }
}

/// A snapshot that lives as long as this does.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) name: String,
    pub(super) consistent_point: Lsn,
    _conn: Conn,
}

/// Whether a slot outlives its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    Permanent,
    Temporary,
}

/// Makes a slot and takes its snapshot.
pub(super) async fn take(
    source: &Endpoint,
    control: &Client,
    slot: &str,
    lifetime: Lifetime,
    timeout: Duration,
) -> Result<Snapshot, SnapshotError> {
    let parameters = [
        ("replication".to_owned(), "database".to_owned()),
        ("application_name".to_owned(), slot.to_owned()),
    ];
    let mut conn = Conn::connect_own(source, &parameters).await?;
    let refused = |source| SnapshotError::Refused {
        slot: slot.to_owned(),
        source,
    };
    let lock_timeout = format!("SET lock_timeout = {}", timeout.as_millis());
    conn.query(&lock_timeout).await.map_err(refused)?;
    let temporary = match lifetime {
        Lifetime::Permanent => "",
        Lifetime::Temporary => " TEMPORARY",
    };
    let create = format!(
        "CREATE_REPLICATION_SLOT {}{temporary} LOGICAL pgoutput EXPORT_SNAPSHOT",
        quote_identifier(slot)
    );
    let rows = match conn.query(&create).await {
        Ok(rows) => rows,
        Err(error)
            if error
                .server()
                .is_some_and(|server| server.sqlstate == "55P03") =>
        {
            let blockers = blockers(control).await.map_err(SnapshotError::Sql)?;
            return Err(SnapshotError::Blocked {
                slot: slot.to_owned(),
                timeout,
                blockers,
            });
        }
        Err(error) => return Err(refused(error)),
    };
    let text = |column: usize| {
        let value = rows.first().and_then(|row| row.get(column)?.as_ref());
        value.map(|value| String::from_utf8_lossy(value).into_owned())
    };
    let unreadable = || SnapshotError::Unreadable {
        slot: slot.to_owned(),
    };
    let consistent_point = text(1)
        .and_then(|text| text.parse().ok())
        .ok_or_else(unreadable)?;
    let name = text(2).ok_or_else(unreadable)?;
    Ok(Snapshot {
        name,
        consistent_point,
        _conn: conn,
    })
}

/// The oldest transactions of the server, in words.
async fn blockers(control: &Client) -> Result<String, SqlCause> {
    let query = "
        SELECT pg_catalog.string_agg(b.words, ', ') FROM (
            SELECT pg_catalog.format('pid %s of %s in %s', a.pid, a.usename, a.datname) AS words
            FROM pg_catalog.pg_stat_activity a
            WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
            UNION ALL
            SELECT pg_catalog.format('prepared transaction %s of %s in %s', p.gid, p.owner,
                                     p.database)
            FROM pg_catalog.pg_prepared_xacts p LIMIT 10) b";
    let row = control.query_one(query, &[]).await?;
    Ok(row
        .get::<_, Option<String>>(0)
        .unwrap_or_else(|| "they have ended meanwhile".to_owned()))
}

/// Whether the slot is there.
pub(super) async fn exists(control: &Client, slot: &str) -> Result<bool, SnapshotError> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s
                                WHERE s.slot_name = $1::pg_catalog.text)";
    let row = control.query_one(query, &[&slot]).await;
    Ok(row
        .map_err(|error| SnapshotError::Sql(error.into()))?
        .get(0))
}

/// Drops the slot of a run that ended before its position was recorded.
pub(super) async fn drop_unrecorded(control: &Client, slot: &str) -> Result<(), SnapshotError> {
    let query = "SELECT pg_catalog.pg_drop_replication_slot(s.slot_name)
                 FROM pg_catalog.pg_replication_slots s
                 WHERE s.slot_name = $1::pg_catalog.text";
    let dropped = control.execute(query, &[&slot]).await;
    dropped
        .map(drop)
        .map_err(|error| SnapshotError::Sql(error.into()))
}
