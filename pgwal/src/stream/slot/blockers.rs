//! Who is in the way of a slot that is being made.

use std::fmt;

use crate::wire::{Endpoint, SqlConn};

/// A transaction that a new slot waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocker {
    /// A session's transaction. What the user may not see is `None`.
    Session {
        /// Its process id.
        pid: i32,
        /// Its user.
        user: Option<String>,
        /// Its `application_name`.
        application: Option<String>,
        /// Its database, which need not be the one that moves.
        database: Option<String>,
        /// Its state, such as `idle in transaction`.
        state: Option<String>,
        /// For how long the transaction has been open, in seconds.
        age_s: Option<i64>,
    },
    /// A prepared transaction; it belongs to no session.
    Prepared {
        /// Its name, for `COMMIT PREPARED` or `ROLLBACK PREPARED`.
        gid: String,
        /// Who prepared it.
        owner: Option<String>,
        /// Its database.
        database: Option<String>,
        /// How long ago it was prepared, in seconds.
        age_s: Option<i64>,
    },
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn field(f: &mut fmt::Formatter<'_>, name: &str, value: Option<&String>) -> fmt::Result {
            match value.filter(|value| !value.is_empty()) {
                Some(value) => write!(f, ", {name} {value}"),
                None => Ok(()),
            }
        }
        let (database, age_s) = match self {
            Self::Session {
                pid,
                user,
                application,
                database,
                state,
                age_s,
            } => {
                write!(f, "pid {pid}")?;
                field(f, "user", user.as_ref())?;
                field(f, "application", application.as_ref())?;
                field(f, "state", state.as_ref())?;
                (database, age_s)
            }
            Self::Prepared {
                gid,
                owner,
                database,
                age_s,
            } => {
                write!(f, "prepared transaction '{gid}'")?;
                field(f, "owner", owner.as_ref())?;
                (database, age_s)
            }
        };
        field(f, "database", database.as_ref())?;
        match age_s {
            Some(age_s) => write!(f, ", open for {age_s} s"),
            None => Ok(()),
        }
    }
}

/// The tail of an error message that names the blockers, empty if none was seen.
pub(crate) fn list(blockers: &[Blocker]) -> String {
    if blockers.is_empty() {
        return String::new();
    }
    let names: Vec<_> = blockers
        .iter()
        .map(|blocker| format!("({blocker})"))
        .collect();
    format!(": {}", names.join(", "))
}

/// Asks from a second connection while the walsender waits.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None` if there was no second connection to be had; then nobody is named.
    conn: Option<SqlConn>,
    walsender: i32,
    seen: Vec<Blocker>,
}

/// Sessions by `pg_blocking_pids`, where a prepared transaction is only a 0; that one by the xid
/// the walsender waits for.
const BLOCKERS: &str = "
    SELECT b.pid, a.usename::text, a.application_name, a.datname::text, a.state,
           extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, NULL::text
      FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS b(pid)
      LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid
     WHERE b.pid <> 0
    UNION ALL
    SELECT 0, p.owner::text, NULL, p.database::text, NULL,
           extract(epoch FROM clock_timestamp() - p.prepared)::bigint, p.gid
      FROM pg_catalog.pg_locks AS l
      JOIN pg_catalog.pg_prepared_xacts AS p ON p.transaction = l.transactionid
     WHERE l.pid = $1 AND NOT l.granted";

/// Writing transactions, of any database, that have been open for more than a second: a slot that
/// is made now would wait for them.
const OLD_WRITERS: &str = "
    SELECT a.pid, a.usename::text, a.application_name, a.datname::text, a.state,
           extract(epoch FROM clock_timestamp() - a.xact_start)::bigint, NULL::text
      FROM pg_catalog.pg_stat_activity AS a
     WHERE a.backend_xid IS NOT NULL AND a.xact_start < clock_timestamp() - interval '1 second'
    UNION ALL
    SELECT 0, p.owner::text, NULL, p.database::text, NULL,
           extract(epoch FROM clock_timestamp() - p.prepared)::bigint, p.gid
      FROM pg_catalog.pg_prepared_xacts AS p";

/// Who would be in the way of a slot that is made now.
///
/// # Errors
/// When the server fails.
pub async fn old_writers(
    client: &tokio_postgres::Client,
) -> Result<Vec<Blocker>, tokio_postgres::Error> {
    let rows = client.query(OLD_WRITERS, &[]).await?;
    Ok(rows.iter().filter_map(blocker).collect())
}

impl Watch {
    pub(super) async fn open(endpoint: &Endpoint, walsender: i32) -> Self {
        let conn = match endpoint.connect_sql("pointsman slot watch").await {
            Ok(conn) => Some(conn),
            Err(error) => {
                tracing::warn!(%error, "cannot watch what the new replication slot waits for");
                None
            }
        };
        Self {
            conn,
            walsender,
            seen: Vec::new(),
        }
    }

    /// Notes who is in the way now; nobody seen leaves the last ones seen.
    pub(super) async fn look(&mut self) {
        let Some(conn) = &self.conn else { return };
        match conn.query(BLOCKERS, &[&self.walsender]).await {
            Ok(rows) => {
                let seen: Vec<_> = rows.iter().filter_map(blocker).collect();
                if !seen.is_empty() {
                    self.seen = seen;
                }
            }
            Err(error) => tracing::debug!(%error, "cannot see what the new slot waits for"),
        }
    }

    /// Ends the walsender, which also drops the unfinished slot.
    pub(super) async fn terminate(&mut self) {
        let Some(conn) = &self.conn else { return };
        let ended = conn
            .query(
                "SELECT pg_catalog.pg_terminate_backend($1)",
                &[&self.walsender],
            )
            .await;
        if let Err(error) = ended {
            tracing::warn!(%error, "cannot end the walsender that makes the new slot");
        }
    }

    pub(super) fn into_seen(self) -> Vec<Blocker> {
        self.seen
    }
}

fn blocker(row: &tokio_postgres::Row) -> Option<Blocker> {
    let text = |column| row.try_get::<_, Option<String>>(column).ok().flatten();
    let age_s = row.try_get::<_, Option<i64>>(5).ok().flatten();
    let (user, database) = (text(1), text(3));
    if let Some(gid) = text(6) {
        return Some(Blocker::Prepared {
            gid,
            owner: user,
            database,
            age_s,
        });
    }
    let pid = row.try_get(0).ok()?;
    let (application, state) = (text(2), text(4));
    Some(Blocker::Session {
        pid,
        user,
        application,
        database,
        state,
        age_s,
    })
}
