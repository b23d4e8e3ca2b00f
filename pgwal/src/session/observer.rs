//! What is asked about all sessions at once, by a connection of ours to each server.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use router::Side;
use tokio_postgres::types::ToSql;

use super::advisory::{Lock, LockRow};
use super::question::KNOWN_SETTINGS;
use super::relay::Relay;
use super::sequences::{self, CLOSE, INSTALL_QUESTION, REMOVE};
use super::type_names::{TypeName, TypeNames};
use super::types::catalog::{self, Kind, OfType};
use crate::wire::SqlConn;

/// The locks of all sessions in this database. Whose they are is looked up here: most servers have
/// few of them, and a list of all our processes would be longer.
const LOCKS: &str = "\
SELECT l.pid, l.classid::pg_catalog.int8, l.objid::pg_catalog.int8, l.objsubid::pg_catalog.int8, \
    l.mode \
  FROM pg_catalog.pg_lock_status() AS l \
 WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted AND l.pid IS NOT NULL \
   AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database AS d \
       WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())";

/// The processes of ours that bring changes to a server.
const APPLIERS: &str = "\
SELECT a.pid FROM pg_catalog.pg_stat_activity AS a \
 WHERE a.application_name OPERATOR(pg_catalog.~~) 'pointsman\\_% apply'";

/// Our connections, opened when they are needed first, before the hold as a rule.
#[derive(Debug, Default)]
pub(super) struct Observer {
    connections: Mutex<[Option<Arc<SqlConn>>; 2]>,
}

/// Why nothing is known; for the log and the list of sessions.
#[derive(Debug)]
pub(super) struct Unknown(String);

impl Unknown {
    pub(super) fn new(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Observer {
    /// The advisory locks of every process of a server.
    pub(super) async fn locks(
        &self,
        relay: &Relay,
        side: Side,
    ) -> Result<HashMap<i32, Vec<Lock>>, Unknown> {
        let mut locks: HashMap<i32, Vec<Lock>> = HashMap::new();
        for row in self.ask(relay, side, LOCKS).await? {
            let get = |column| row.try_get::<_, i64>(column);
            let failed = |error: tokio_postgres::Error| Unknown(error.to_string());
            let lock = Lock::from_row(LockRow {
                class: get(1).map_err(failed)?,
                object: get(2).map_err(failed)?,
                sub: get(3).map_err(failed)?,
                mode: row.try_get(4).map_err(failed)?,
            });
            let lock = lock.ok_or_else(|| Unknown("a lock of an unknown kind".to_owned()))?;
            let pid = row.try_get(0).map_err(failed)?;
            locks.entry(pid).or_default().push(lock);
        }
        for held in locks.values_mut() {
            held.sort();
        }
        Ok(locks)
    }

    /// The processes on a server that are ours and no client's.
    pub(super) async fn appliers(&self, relay: &Relay, side: Side) -> Result<Vec<i32>, Unknown> {
        let rows = self.ask(relay, side, APPLIERS).await?;
        let pids = rows.iter().map(|row| row.try_get(0));
        let pids: Result<Vec<i32>, _> = pids.collect();
        pids.map_err(|error| Unknown(error.to_string()))
    }

    /// The names of these types, of those that there are.
    pub(super) async fn type_names(
        &self,
        relay: &Relay,
        side: Side,
        types: Vec<u32>,
    ) -> Result<Vec<(u32, TypeName)>, Unknown> {
        let question = TypeNames::question();
        let rows = self.ask_with(relay, side, question, &[&types]).await?;
        let names = rows.into_iter().map(|row| {
            let failed = |error: tokio_postgres::Error| Unknown(error.to_string());
            let number: i64 = row.try_get(0).map_err(failed)?;
            let number = u32::try_from(number).map_err(|_bad| Unknown::new("a bad type"))?;
            let (schema, name) = (row.try_get(1), row.try_get(2));
            let is_array = row.try_get(3).map_err(failed)?;
            let name = TypeName::new(schema.map_err(failed)?, name.map_err(failed)?, is_array);
            Ok((number, name))
        });
        names.collect()
    }

    /// The types that a server numbers by itself.
    pub(super) async fn types(&self, relay: &Relay, side: Side) -> Result<Vec<OfType>, Unknown> {
        let failed = |error: tokio_postgres::Error| Unknown(error.to_string());
        let bad = |_bad| Unknown::new("a bad type");
        let rows = self.ask(relay, side, catalog::QUESTION).await?;
        let types = rows.into_iter().map(|row| {
            let (number, inner): (i64, i64) = (
                row.try_get(0).map_err(failed)?,
                row.try_get(3).map_err(failed)?,
            );
            let name: String = row.try_get(1).map_err(failed)?;
            let letter: &str = row.try_get(2).map_err(failed)?;
            let columns: Vec<i64> = row.try_get(4).map_err(failed)?;
            let elements: i64 = row.try_get(5).map_err(failed)?;
            let inside = columns.into_iter().chain([inner, elements]);
            let inside: Result<Vec<u32>, _> = inside.map(u32::try_from).collect();
            Ok(OfType {
                number: u32::try_from(number).map_err(bad)?,
                name: name.into(),
                kind: Kind::of(letter, u32::try_from(inner).map_err(bad)?),
                inner: catalog::numbered(inside.map_err(bad)?),
            })
        });
        types.collect()
    }

    async fn ask(
        &self,
        relay: &Relay,
        side: Side,
        sql: &str,
    ) -> Result<Vec<tokio_postgres::Row>, Unknown> {
        self.ask_with(relay, side, sql, &[]).await
    }

    async fn ask_with(
        &self,
        relay: &Relay,
        side: Side,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<tokio_postgres::Row>, Unknown> {
        let kept = self.open(side);
        if let Some(kept) = kept
            && let Ok(rows) = kept.query(sql, parameters).await
        {
            return Ok(rows);
        }
        let connection = self.connect(relay, side).await?;
        let rows = connection.query(sql, parameters).await;
        rows.map_err(|error| Unknown(error.to_string()))
    }

    /// Opens the connection to a side anew. Not while a fence may go up: it would end a log-in.
    pub(super) async fn connect(&self, relay: &Relay, side: Side) -> Result<Arc<SqlConn>, Unknown> {
        let endpoint = relay
            .endpoint(side)
            .ok_or_else(|| Unknown(format!("no {side} is configured")))?;
        let connected = endpoint.connect_sql("pointsman sessions").await;
        let connection = Arc::new(connected.map_err(|error| Unknown(error.to_string()))?);
        *self.place(side) = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Opens the connection to a side unless it is there.
    pub(super) async fn stand_ready(&self, relay: &Relay, side: Side) {
        if self.open(side).is_none()
            && let Err(error) = self.connect(relay, side).await
        {
            tracing::warn!(%error, %side, "cannot connect to ask about the clients' sessions");
        }
    }

    /// Makes what it takes to carry `currval()` and `lastval()` from the side that serves to the
    /// other; whether it is there.
    pub(super) async fn install(&self, serving: Side, token: &str) -> bool {
        let carry = sequences::install_carry(token);
        for (side, sql) in [
            (serving, INSTALL_QUESTION),
            (serving.other(), carry.as_str()),
        ] {
            let Some(connection) = self.open(side) else {
                return false;
            };
            if let Err(error) = connection.batch_execute(sql).await {
                tracing::warn!(%error, %side, "currval() and lastval() cannot be carried");
                *self.place(side) = None;
                return false;
            }
        }
        true
    }

    /// From now on nothing is carried to this side any more.
    pub(super) async fn close_carrying(&self, relay: &Relay, side: Side) -> Result<(), Unknown> {
        let connection = match self.open(side) {
            Some(connection) => connection,
            None => self.connect(relay, side).await?,
        };
        let closed = connection.batch_execute(CLOSE).await;
        closed.map_err(|error| {
            *self.place(side) = None;
            Unknown(error.to_string())
        })
    }

    /// The settings that a session may change, as the server lists them.
    pub(super) async fn known_settings(
        &self,
        relay: &Relay,
        side: Side,
    ) -> Result<Vec<String>, Unknown> {
        let rows = self.ask(relay, side, KNOWN_SETTINGS).await?;
        let names = rows.iter().map(|row| row.try_get(0));
        let names: Result<Vec<String>, _> = names.collect();
        names.map_err(|error| Unknown(error.to_string()))
    }

    /// Takes it away again.
    pub(super) async fn remove(&self, side: Side) {
        if let Some(connection) = self.open(side)
            && let Err(error) = connection.batch_execute(REMOVE).await
        {
            tracing::debug!(%error, %side, "our function stays until our schema is dropped");
        }
    }

    fn place(&self, side: Side) -> parking_lot::MappedMutexGuard<'_, Option<Arc<SqlConn>>> {
        parking_lot::MutexGuard::map(self.connections.lock(), |[source, target]| match side {
            Side::Source => source,
            Side::Target => target,
        })
    }

    fn open(&self, side: Side) -> Option<Arc<SqlConn>> {
        let place = self.place(side);
        let connection = place.as_ref()?;
        (!connection.is_closed()).then(|| Arc::clone(connection))
    }

    /// The process id of the connection to a side, if it is open.
    pub(super) fn pid(&self, side: Side) -> Option<i32> {
        self.open(side).map(|connection| connection.backend_pid())
    }

    /// Closes both connections.
    pub(super) fn forget(&self) {
        let kept = std::mem::take(&mut *self.connections.lock());
        drop(kept);
    }
}
