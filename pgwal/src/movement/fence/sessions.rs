//! Ends the sessions that are not ours, those that are still logging in included.
//!
//! A backend that has passed the privilege check but has not finished its start is in no list of
//! sessions (before 18) or has no database there (18), and comes in after the list was found empty.
//! It holds a `RowExclusiveLock` on the database's row in `pg_database` until its start ends, so
//! the locks are asked first, then the list; a backend moves from the first to the second only.

use std::fmt;
use std::time::Duration;

use futures_util::future::join;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row, Statement};

use super::FenceError;

/// Backends that hold their place in the database but are not (yet) listed in it.
///
/// Ours may be thousands, so they are looked up in a hash, which `<> ALL` is not before 15.
///
/// Sessions of other databases that hold this lock (an open GRANT, CREATE DATABASE .. TEMPLATE)
/// are listed there and are left alone.
const STARTING: &str = "
SELECT l.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
       coalesce(pg_catalog.host(a.client_addr), ''), 'logging in',
       CASE WHEN $3 THEN pg_catalog.pg_terminate_backend(l.pid) END
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'object' AND l.classid = 'pg_catalog.pg_database'::pg_catalog.regclass
  AND l.objid = $1 AND l.mode = 'RowExclusiveLock'
  AND l.pid <> pg_catalog.pg_backend_pid() AND l.pid NOT IN (SELECT pg_catalog.unnest($2))
  AND (a.datid IS NULL OR a.datid = 0 OR a.datid = $1)";

/// Sessions of the database that could write: clients, and walsenders, which take SQL as well.
///
/// Parallel workers end with their leader; autovacuum writes no rows of anybody.
const LISTED: &str = "
SELECT a.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''),
       coalesce(pg_catalog.host(a.client_addr), ''), coalesce(a.backend_type, 'unknown'),
       CASE WHEN $3 THEN pg_catalog.pg_terminate_backend(a.pid) END
FROM pg_catalog.pg_stat_activity a
WHERE a.datid = $1 AND a.pid <> pg_catalog.pg_backend_pid() AND a.pid NOT IN (SELECT pg_catalog.unnest($2))
  AND (a.backend_type IN ('client backend', 'walsender')
       OR a.backend_type IS NULL AND a.usesysid IS NOT NULL)
  AND coalesce(a.usename::text, '') <> ALL ($4)";

/// Time between two looks at the lists while they are not empty.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// A session that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignSession {
    /// The server process.
    pub pid: i32,
    /// Its role; empty if the session is still logging in.
    pub user: String,
    /// Its `application_name`.
    pub application: String,
    /// The client's address; empty for a unix socket.
    pub address: String,
    /// The server's word for what it is (`client backend`, `walsender`).
    pub kind: String,
}

impl fmt::Display for ForeignSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            user,
            application,
            address,
            kind,
        } = self;
        write!(f, "pid {pid} ({kind}")?;
        for (word, value) in [
            ("user", user),
            ("application", application),
            ("from", address),
        ] {
            if !value.is_empty() {
                write!(f, ", {word} {value}")?;
            }
        }
        f.write_str(")")
    }
}

impl ForeignSession {
    /// Reads the first five columns of a row: pid, user, application, address, kind.
    pub(super) fn from_row(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            pid: row.try_get(0)?,
            user: row.try_get(1)?,
            application: row.try_get(2)?,
            address: row.try_get(3)?,
            kind: row.try_get(4)?,
        })
    }
}

/// The two statements, prepared.
#[derive(Debug, Clone)]
pub(super) struct EndStatements {
    starting: Statement,
    listed: Statement,
}

/// Whose sessions stay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spared<'a> {
    pub(super) database: u32,
    /// Server processes of ours.
    pub(super) pids: &'a [i32],
    /// Roles that the operator trusts not to write.
    pub(super) roles: &'a [String],
}

impl EndStatements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, tokio_postgres::Error> {
        let (starting, listed) = tokio::try_join!(
            client.prepare_typed(STARTING, &[Type::OID, Type::INT4_ARRAY, Type::BOOL]),
            client.prepare_typed(
                LISTED,
                &[Type::OID, Type::INT4_ARRAY, Type::BOOL, Type::TEXT_ARRAY]
            ),
        )?;
        Ok(Self { starting, listed })
    }

    /// Ends sessions until both lists were empty in two looks one after the other.
    ///
    /// Returns what was ended, each once.
    pub(super) async fn end_all(
        &self,
        client: &Client,
        spared: Spared<'_>,
        deadline: Instant,
    ) -> Result<Vec<ForeignSession>, FenceError> {
        let mut ended: Vec<ForeignSession> = Vec::new();
        let mut empty_looks = 0;
        loop {
            let found = self.look_and_end(client, spared).await?;
            if found.is_empty() {
                empty_looks += 1;
                if empty_looks == 2 {
                    return Ok(ended);
                }
                continue;
            }
            empty_looks = 0;
            if Instant::now() >= deadline {
                return Err(FenceError::Deadline { sessions: found });
            }
            for session in found {
                match ended.iter_mut().find(|known| known.pid == session.pid) {
                    Some(known) if known.user.is_empty() => *known = session,
                    Some(_) => {}
                    None => ended.push(session),
                }
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// One look at both lists, in their order, in one round trip; what is found is asked to end.
    ///
    /// A session that we may not end (a superuser's, if we are none) fails the statement; then the
    /// lists are read alone, so that the session is named when the deadline passes.
    async fn look_and_end(
        &self,
        client: &Client,
        spared: Spared<'_>,
    ) -> Result<Vec<ForeignSession>, FenceError> {
        match self.look(client, spared, true).await {
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                self.look(client, spared, false).await
            }
            other => other,
        }
        .map_err(FenceError::sql("ending foreign sessions"))
    }

    /// One look at both lists; `end` tells whether what is found is asked to end.
    pub(super) async fn look(
        &self,
        client: &Client,
        spared: Spared<'_>,
        end: bool,
    ) -> Result<Vec<ForeignSession>, tokio_postgres::Error> {
        let Spared {
            database,
            pids,
            roles,
        } = spared;
        let starting: [&(dyn ToSql + Sync); 3] = [&database, &pids, &end];
        let listed: [&(dyn ToSql + Sync); 4] = [&database, &pids, &end, &roles];
        // A request is queued when its future is first polled, and `join` polls in order. Each is
        // a statement of its own with its own snapshot.
        let (starting, listed) = join(
            client.query(&self.starting, &starting),
            client.query(&self.listed, &listed),
        )
        .await;
        let rows = starting?.into_iter().chain(listed?);
        rows.map(|row| ForeignSession::from_row(&row)).collect()
    }
}
