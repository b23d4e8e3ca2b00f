//! Reading stored verifiers from the serving server, by a connection of ours that is kept open.

use std::sync::Arc;

use parking_lot::Mutex;
use router::{Gate, Side};

use super::fatal::Fatal;
use super::relay::Relay;
use crate::wire::SqlConn;

/// The query when the configuration has none: it needs a superuser, or a role that may read
/// `pg_authid`.
pub(super) const DEFAULT_QUERY: &str =
    "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1";

/// Names longer than this are cut by the server.
const NAME_BYTES_MAX: usize = 63;

/// How often a lookup is tried when its connection ends.
const ATTEMPTS: u32 = 3;

/// The connection and what it belongs to.
#[derive(Debug, Default)]
pub(super) struct Verifiers {
    connection: Mutex<Option<(Side, Arc<SqlConn>)>>,
    /// Only one attempt to connect at a time.
    connecting: tokio::sync::Mutex<()>,
}

impl Verifiers {
    /// The stored password of a role; `None` when there is no such role, it has none, or nobody is to be
    /// asked.
    pub(super) async fn find(&self, relay: &Relay, user: &str) -> Result<Option<String>, Fatal> {
        let Some(query) = relay.auth_query() else {
            return Ok(None);
        };
        let user = cut(user);
        let failed = || Fatal::Error {
            sqlstate: "58000",
            message: "pointsman cannot look up the role on the database server".to_owned(),
            hint: Some("The reason is in pointsman's log."),
        };
        // A connection that was kept may have ended unnoticed, or the side may change under us.
        for attempt in 1..=ATTEMPTS {
            let (side, connection) = self.connection(relay).await.ok_or_else(failed)?;
            match connection.query(query, &[&user]).await {
                Ok(rows) => {
                    let Some(row) = rows.first() else {
                        return Ok(None);
                    };
                    let column = usize::from(row.len() > 1);
                    return row.try_get(column).map_err(|error| {
                        tracing::error!(%error, "the auth query gives no text");
                        failed()
                    });
                }
                Err(error) if attempt < ATTEMPTS && was_cut_off(&error) => {
                    tracing::debug!(%error, %side, "the connection for verifiers ended");
                    self.forget();
                }
                Err(error) => {
                    tracing::error!(%error, %side, "the auth query failed");
                    return Err(failed());
                }
            }
        }
        Err(failed())
    }

    /// The connection to the serving side. A new one is opened under a permit: a fence would end
    /// one that is still logging in, since nobody knows its process id yet. So during a hold it
    /// waits for the release, as its client would have to next, and at the start for the decision.
    async fn connection(&self, relay: &Relay) -> Option<(Side, Arc<SqlConn>)> {
        let open = || {
            let side = relay.switch().serving()?;
            Some((side, self.open(side)?))
        };
        if let Some(open) = open() {
            return Some(open);
        }
        let _turn = self.connecting.lock().await;
        if let Some(open) = open() {
            return Some(open);
        }
        let mut gate = Gate::new(relay.switch(), 0);
        let side = gate.enter().await;
        let endpoint = relay.endpoint(side)?;
        match endpoint.connect_sql("pointsman log-in").await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *self.connection.lock() = Some((side, Arc::clone(&connection)));
                Some((side, connection))
            }
            Err(error) => {
                tracing::error!(%error, %side, "cannot connect to look up verifiers");
                None
            }
        }
    }

    fn open(&self, side: Side) -> Option<Arc<SqlConn>> {
        let kept = self.connection.lock();
        let (of, connection) = kept.as_ref()?;
        (*of == side && !connection.is_closed()).then(|| Arc::clone(connection))
    }

    pub(super) fn forget(&self) {
        let kept = self.connection.lock().take();
        drop(kept);
    }

    /// The process id of the connection, if it is open to that side.
    pub(super) fn pid(&self, side: Side) -> Option<i32> {
        self.open(side).map(|connection| connection.backend_pid())
    }
}

/// Whether the connection ended, be it by the server's operator; then a new one may work.
fn was_cut_off(error: &tokio_postgres::Error) -> bool {
    error
        .code()
        .is_none_or(|code| code.code().starts_with("57P"))
}

fn cut(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or(name)
}
