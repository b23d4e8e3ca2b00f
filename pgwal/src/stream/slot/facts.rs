//! What the server says about a slot.

use router::Lsn;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::SlotError;
use crate::name::quote_literal;
use crate::stream::copy_both::{ReplicationConn, text};
use crate::stream::error::StreamError;

/// A slot as `pg_replication_slots` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotFacts {
    /// Its name.
    pub name: String,
    /// Its output plugin; `None` for a physical slot.
    pub plugin: Option<String>,
    /// Its database.
    pub database: Option<String>,
    /// The walsender that reads from it.
    pub active_pid: Option<i32>,
    /// The oldest log that it keeps; `None` if it keeps none.
    pub restart_lsn: Option<Lsn>,
    /// Everything that committed before was given and acknowledged.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// What became of the log that it needs; the server tells it from 13 on.
    pub wal_status: Option<WalStatus>,
}

/// `pg_replication_slots.wal_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalStatus {
    /// Within `max_wal_size`.
    Reserved,
    /// More than that, but kept.
    Extended,
    /// May be removed at the next checkpoint.
    Unreserved,
    /// Removed: the slot is of no use any more.
    Lost,
}

/// The query as text, for both kinds of connection. Columns that a version lacks are NULL.
fn facts_query(name: &str) -> String {
    format!(
        "SELECT plugin, database, active_pid, restart_lsn, confirmed_flush_lsn, \
         pg_catalog.to_jsonb(s) ->> 'wal_status' \
         FROM pg_catalog.pg_replication_slots AS s WHERE slot_name = {}",
        quote_literal(name)
    )
}

impl SlotFacts {
    /// Asks for a slot; `None` if there is none of this name.
    ///
    /// # Errors
    /// The query fails or makes no sense.
    pub async fn read(client: &Client, name: &str) -> Result<Option<Self>, SlotError> {
        let answer = client.simple_query(&facts_query(name)).await;
        let slot = || name.to_owned();
        let answer = answer.map_err(|source| SlotError::Query {
            doing: "look at",
            slot: slot(),
            source,
        })?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _other => None,
        });
        let Some(row) = row else { return Ok(None) };
        let facts = Self::parse(name, |column| row.try_get(column).ok().flatten());
        facts.map(Some).ok_or_else(|| SlotError::Answer {
            slot: slot(),
            what: "strange facts",
        })
    }

    /// The same on a replication connection.
    pub(in crate::stream) async fn read_on(
        conn: &mut ReplicationConn,
        name: &str,
    ) -> Result<Option<Self>, StreamError> {
        let rows = conn
            .query("show the replication slot", &facts_query(name))
            .await?;
        Ok(rows
            .first()
            .and_then(|row| Self::parse(name, |column| text(row.get(column)?))))
    }

    fn parse<'a>(name: &str, column: impl Fn(usize) -> Option<&'a str>) -> Option<Self> {
        let lsn = |index| column(index).map(str::parse).transpose();
        let wal_status = match column(5) {
            None => None,
            Some("reserved") => Some(WalStatus::Reserved),
            Some("extended") => Some(WalStatus::Extended),
            Some("unreserved") => Some(WalStatus::Unreserved),
            Some("lost") => Some(WalStatus::Lost),
            Some(_unknown) => return None,
        };
        Some(Self {
            name: name.to_owned(),
            plugin: column(0).map(str::to_owned),
            database: column(1).map(str::to_owned),
            active_pid: column(2).map(str::parse).transpose().ok()?,
            restart_lsn: lsn(3).ok()?,
            confirmed_flush_lsn: lsn(4).ok()?,
            wal_status,
        })
    }
}
