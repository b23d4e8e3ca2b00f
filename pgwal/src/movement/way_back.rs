//! The way back: what a movement prepares on the side that it leads to, so that another one may lead
//! back and lose nothing.
//!
//! While a side serves, a slot on it feeds the other. The slot is made before the switch, so that
//! from the first write of an application on nothing can be missing from it; where the stream begins
//! is the position that the journal has for the movement ([`super::journal`]). What came to a side
//! before that position came from the other one: it is left out by its position, which needs no
//! privilege and is the same on every version. Transactions of ours carry a replication origin too,
//! where the server permits it, and are left out by that as well.
//!
//! # Proof
//!
//! [`prepare`] writes a marker on the side that is to serve and finds it again in what its slot
//! decodes for the publication; and it makes sure that the role may apply on the side that is left:
//! the setting, and every table.
//!
//! # Crashes
//!
//! A slot of a movement that was given up, or of the side that no longer serves, keeps log that
//! nobody needs: [`forget`] drops it, and may be asked any number of times. [`prepare`] makes the
//! slot anew.

use std::time::Duration;

use router::Side;
use thiserror::Error;
use tokio_postgres::Client;

use super::marker::{self, MarkerError};
use crate::name::some_of;
use crate::schema::bookkeeping::stream_name;
use crate::schema::catalog::{Catalog, Table, TableFilter};
use crate::schema::error::SchemaError;
use crate::schema::patience::LockPatience;
use crate::schema::setup::publish;
use crate::stream::slot::{self, SlotError};
use crate::wire::{ConnectError, Endpoint};

/// How long the slot may wait for one transaction that writes. The applier's are short.
const SLOT_TIMEOUT: Duration = Duration::from_secs(10);

/// The `application_name` of the connections that are tried.
const PURPOSE: &str = "pointsman way back";

/// The two sides of a movement that is to have a way back.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// The migration's id.
    pub id: &'a str,
    /// The side that is to serve.
    pub to: Side,
    /// Its server.
    pub arrival: &'a Endpoint,
    /// The server that is left, which gets the changes afterwards.
    pub departure: &'a Endpoint,
    /// Whose rows move.
    pub filter: &'a TableFilter,
}

/// Why there is no way back.
#[derive(Debug, Error)]
pub enum WayBackError {
    /// A server cannot be reached.
    #[error("the {side} cannot be reached")]
    Connect {
        /// Which.
        side: Side,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// The catalog or the publication.
    #[error("the publication cannot be made")]
    Schema(#[from] SchemaError),
    /// The slot.
    #[error("the slot cannot be made")]
    Slot(#[from] SlotError),
    /// The marker.
    #[error("no marker can be written there")]
    Marker(#[from] MarkerError),
    /// A statement failed.
    #[error("the {side} failed while pointsman was {step}")]
    Sql {
        /// Which.
        side: Side,
        /// What we were doing, in plain words.
        step: &'static str,
        /// The cause.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server writes no log that can be streamed.
    #[error(
        "wal_level of the {side} is {wal_level}; ALTER SYSTEM SET wal_level = 'logical' there, and \
         restart it"
    )]
    WalLevel {
        /// Which.
        side: Side,
        /// What it is.
        wal_level: String,
    },
    /// `max_replication_slots` is reached.
    #[error(
        "all replication slots of the {side} are in use; raise max_replication_slots (needs a \
         restart), or drop one that nobody needs"
    )]
    NoFreeSlot {
        /// Which.
        side: Side,
    },
    /// Rows of a table cannot be found again by the stream.
    #[error(
        "tables of the {side} have no replica identity: {tables}; ALTER TABLE ... REPLICA IDENTITY \
         FULL"
    )]
    NoIdentity {
        /// Which.
        side: Side,
        /// The tables.
        tables: String,
    },
    /// Triggers would act on what is applied.
    #[error(
        "the role of pointsman may not set session_replication_role on the {side}; GRANT SET ON \
         PARAMETER session_replication_role (15 and later), or a superuser"
    )]
    ReplicationRole {
        /// Which.
        side: Side,
        /// The server's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Rows could not be changed.
    #[error(
        "the role of pointsman may not change rows of tables on the {side}: {tables}; GRANT \
         SELECT, INSERT, UPDATE, DELETE, TRUNCATE on them, or make it a member of their owner"
    )]
    NotPermitted {
        /// Which.
        side: Side,
        /// The tables.
        tables: String,
    },
    /// The marker did not come through the slot.
    #[error(
        "a marker that was written on the {side} is not in what its slot \"{slot}\" decodes: what \
         is written there would not be streamed"
    )]
    NotProven {
        /// Which.
        side: Side,
        /// The slot.
        slot: String,
    },
}

impl WayBackError {
    /// Whether there may be a way back after all, if it is tried again: nothing about the servers
    /// rules it out.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Marker(_) | Self::Sql { .. } | Self::NotProven { .. } => {
                true
            }
            Self::Schema(error) => matches!(
                error,
                SchemaError::Connect { .. } | SchemaError::StayedLocked { .. }
            ),
            Self::Slot(error) => match error {
                SlotError::Connect { .. }
                | SlotError::Blocked { .. }
                | SlotError::Busy { .. }
                | SlotError::Stream { .. } => true,
                SlotError::NoFreeSlot { .. }
                | SlotError::WalLevel { .. }
                | SlotError::Exists { .. }
                | SlotError::Privilege { .. }
                | SlotError::Query { .. }
                | SlotError::Answer { .. } => false,
            },
            Self::WalLevel { .. }
            | Self::NoFreeSlot { .. }
            | Self::NoIdentity { .. }
            | Self::ReplicationRole { .. }
            | Self::NotPermitted { .. } => false,
        }
    }
}

/// Why there would be no way back, as far as it can be seen without changing anything.
///
/// # Errors
/// Why.
pub async fn look(ends: Ends<'_>) -> Result<(), WayBackError> {
    let to = ends.to;
    may_apply(ends).await?;
    let client = connect(ends.arrival, to).await?;
    has_slot_free(&client, to, &stream_name(ends.id, to)).await?;
    publishable(&client, ends).await.map(drop)
}

/// Makes the way back of a movement to `ends.to`, before it begins, and proves it.
///
/// # Errors
/// Why there is none. What was made then is dropped by [`forget`] and by `cleanup`.
pub async fn prepare(ends: Ends<'_>) -> Result<(), WayBackError> {
    let Ends { id, to, .. } = ends;
    may_apply(ends).await?;
    let client = connect(ends.arrival, to).await?;
    let name = stream_name(id, to);
    has_slot_free(&client, to, &name).await?;
    let catalog = publishable(&client, ends).await?;
    publish(&client, to, &catalog, &name, LockPatience::default()).await?;
    slot::drop_slot(&client, &name).await?;
    let created = slot::create(ends.arrival, &name, SLOT_TIMEOUT).await?;
    // Its snapshot is not needed.
    drop(created);
    prove(&client, to, &name).await
}

/// Drops the slot of this side, which does not serve (any more); says whether there was one.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub async fn forget(endpoint: &Endpoint, side: Side, id: &str) -> Result<bool, WayBackError> {
    let client = connect(endpoint, side).await?;
    Ok(slot::drop_slot(&client, &stream_name(id, side)).await?)
}

/// How much log the target keeps for the slot of this name; nothing if there is none.
///
/// # Errors
/// The server cannot be reached, or the query fails.
pub async fn kept_bytes(target: &Endpoint, slot: &str) -> Result<u64, WayBackError> {
    let side = Side::Target;
    let client = connect(target, side).await?;
    let sql = "SELECT coalesce(pg_catalog.max(pg_catalog.pg_wal_lsn_diff(
                   pg_catalog.pg_current_wal_lsn(), restart_lsn)), 0)::int8
               FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::text::name";
    let step = "asking for the log that it keeps";
    let failed = |source| WayBackError::Sql { side, step, source };
    let row = client.query_one(sql, &[&slot]).await.map_err(failed)?;
    let kept: i64 = row.try_get(0).map_err(failed)?;
    Ok(u64::try_from(kept).unwrap_or(0))
}

async fn connect(endpoint: &Endpoint, side: Side) -> Result<crate::wire::SqlConn, WayBackError> {
    let connected = endpoint.connect_sql(PURPOSE).await;
    connected.map_err(|source| WayBackError::Connect { side, source })
}

/// Whether the role may apply changes on the side that is left.
async fn may_apply(ends: Ends<'_>) -> Result<(), WayBackError> {
    let side = ends.to.other();
    let client = connect(ends.departure, side).await?;
    client
        .batch_execute("SET session_replication_role = replica")
        .await
        .map_err(|source| WayBackError::ReplicationRole { side, source })?;
    let catalog = Catalog::read(&client, side, ends.filter).await?;
    let oids: Vec<u32> = catalog
        .moved_tables()
        .map(|table: &Table| table.oid)
        .collect();
    let sql = "SELECT o::pg_catalog.regclass::text FROM pg_catalog.unnest($1::oid[]) o
               WHERE NOT (pg_catalog.has_table_privilege(o, 'SELECT')
                      AND pg_catalog.has_table_privilege(o, 'INSERT')
                      AND pg_catalog.has_table_privilege(o, 'UPDATE')
                      AND pg_catalog.has_table_privilege(o, 'DELETE')
                      AND pg_catalog.has_table_privilege(o, 'TRUNCATE'))
                  OR pg_catalog.row_security_active(o)";
    let step = "asking for privileges on its tables";
    let failed = |source| WayBackError::Sql { side, step, source };
    let rows = client.query(sql, &[&oids]).await.map_err(failed)?;
    let tables: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    let tables = tables.map_err(failed)?;
    match tables.is_empty() {
        true => Ok(()),
        false => Err(WayBackError::NotPermitted {
            side,
            tables: some_of(&tables),
        }),
    }
}

/// Before anything is made: a publication without a slot would be of no use.
async fn has_slot_free(client: &Client, side: Side, slot: &str) -> Result<(), WayBackError> {
    let sql = "SELECT pg_catalog.current_setting('wal_level'),
                      pg_catalog.current_setting('max_replication_slots')::int8
                      - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots
                         WHERE slot_name <> $1::text::name)";
    let step = "asking for its replication slots";
    let failed = |source| WayBackError::Sql { side, step, source };
    let row = client.query_one(sql, &[&slot]).await.map_err(failed)?;
    let wal_level: String = row.try_get(0).map_err(failed)?;
    let free: i64 = row.try_get(1).map_err(failed)?;
    if wal_level != "logical" {
        return Err(WayBackError::WalLevel { side, wal_level });
    }
    match free {
        ..=0 => Err(WayBackError::NoFreeSlot { side }),
        _ => Ok(()),
    }
}

/// The catalog, of which every table that moves has what its rows are found by.
async fn publishable(client: &Client, ends: Ends<'_>) -> Result<Catalog, WayBackError> {
    let catalog = Catalog::read(client, ends.to, ends.filter).await?;
    let lacking: Vec<_> = catalog
        .moved_tables()
        .filter(|table| !table.has_working_identity())
        .map(|table| &table.name)
        .collect();
    match lacking.is_empty() {
        true => Ok(catalog),
        false => Err(WayBackError::NoIdentity {
            side: ends.to,
            tables: some_of(&lacking),
        }),
    }
}

/// Writes a marker and looks for it in what the slot decodes, without taking it out.
async fn prove(client: &Client, side: Side, slot: &str) -> Result<(), WayBackError> {
    let marker = marker::write(client).await?;
    let sql = "SELECT EXISTS (
        SELECT FROM pg_catalog.pg_logical_slot_peek_binary_changes(
            $1::text::name, NULL, NULL, 'proto_version', '1', 'publication_names',
            pg_catalog.quote_ident($1)) AS change
        WHERE pg_catalog.\"position\"(change.data, pg_catalog.convert_to($2, 'UTF8')) > 0)";
    let step = "looking for a marker in its slot";
    let found = client
        .query_one(sql, &[&slot, &marker.token])
        .await
        .and_then(|row| row.try_get(0))
        .map_err(|source| WayBackError::Sql { side, step, source })?;
    match found {
        true => Ok(()),
        false => Err(WayBackError::NotProven {
            side,
            slot: slot.to_owned(),
        }),
    }
}
