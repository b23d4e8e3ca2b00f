//! What we must know of the servers before a client may come: what they are, which accounts they
//! have. Asked by connections of ours that are kept open.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use router::{Gate, Side};
use tokio::time::{Instant, timeout};

use super::fatal::Fatal;
use super::look;
use super::relay::Relay;
use crate::version::ServerVersion;
use crate::wire::SqlConn;

/// How often a question is tried when its connection ends.
const ATTEMPTS: u32 = 3;

/// How long the side that does not serve may take to say what it is.
const OTHER_PATIENCE: Duration = Duration::from_secs(2);

/// How long the global variables of a server are taken for what they were.
const GLOBALS_AGE_MAX: Duration = Duration::from_secs(5);

/// After how long a silent other side is asked again.
const OTHER_AGAIN: Duration = Duration::from_secs(30);

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Yes,
    No,
}

/// A server, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) version: ServerVersion,
    /// As in its greeting.
    pub(super) version_text: String,
    /// The id of its default collation, if it fits the greeting.
    pub(super) collation: u8,
    /// Our own host, as the server sees it: by it the server chooses accounts.
    pub(super) our_host: String,
}

/// What clients may be offered, by what both servers can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Common {
    /// Of the serving side.
    pub(super) version: ServerVersion,
    pub(super) version_text: String,
    pub(super) collation: u8,
    pub(super) our_host: String,
    /// The other server, if it is known.
    pub(super) other: Option<ServerVersion>,
    pub(super) deprecate_eof: Known,
    pub(super) session_track: Known,
}

/// A connection of ours.
#[derive(Debug, Clone)]
pub(super) struct Helper {
    pub(super) side: Side,
    pub(super) sql: Arc<SqlConn>,
}

/// The connections and what they told.
#[derive(Debug, Default)]
pub(super) struct Servers {
    helper: Mutex<Option<Helper>>,
    /// Only one attempt to connect at a time.
    connecting: tokio::sync::Mutex<()>,
    facts: Mutex<[Option<Facts>; 2]>,
    /// When the other side was asked in vain.
    other_failed: Mutex<Option<Instant>>,
    globals: Mutex<Option<Globals>>,
    /// The SQL of a look at a session of this side.
    look: Mutex<Option<(Side, Arc<str>)>>,
    /// Only one question for them at a time.
    asking_globals: tokio::sync::Mutex<()>,
}

/// Names and values of global variables.
pub(super) type Variables = Arc<std::collections::HashMap<String, String>>;

#[derive(Debug, Clone)]
struct Globals {
    side: Side,
    read: Instant,
    values: Variables,
}

fn index(side: Side) -> usize {
    match side {
        Side::Source => 0,
        Side::Target => 1,
    }
}

/// A failure that the client learns of without its details.
pub(super) fn failed() -> Fatal {
    Fatal::other("pointsman cannot ask the database server; the reason is in pointsman's log")
}

impl Servers {
    /// What the serving side is and what it has in common with the other.
    pub(super) async fn common(&self, relay: &Relay) -> Result<Common, Fatal> {
        let serving = match relay.switch().serving() {
            Some(side) => side,
            None => self.helper(relay).await.ok_or_else(failed)?.side,
        };
        let facts = self.facts(relay, serving).await?;
        let other = self.other_version(relay, serving.other()).await;
        let newer = |mysql: [u16; 3], mariadb: [u16; 3]| {
            let [major, minor, patch] = mysql;
            let [m_major, m_minor, m_patch] = mariadb;
            let has = |version: ServerVersion| {
                version.is_mysql_at_least(major, minor, patch)
                    || version.is_mariadb_at_least(m_major, m_minor, m_patch)
            };
            if has(facts.version) && other.is_none_or(has) {
                Known::Yes
            } else {
                Known::No
            }
        };
        Ok(Common {
            version: facts.version,
            version_text: facts.version_text.clone(),
            collation: facts.collation,
            our_host: facts.our_host.clone(),
            other,
            deprecate_eof: newer([5, 7, 5], [10, 2, 0]),
            session_track: newer([5, 7, 4], [10, 2, 0]),
        })
    }

    async fn facts(&self, relay: &Relay, side: Side) -> Result<Facts, Fatal> {
        if let Some(facts) = self.known(side) {
            return Ok(facts);
        }
        let helper = self.helper(relay).await.ok_or_else(failed)?;
        let facts = read_facts(&helper.sql).await.map_err(|error| {
            tracing::error!(%error, side = %helper.side, "a server does not say what it is");
            failed()
        })?;
        self.remember(helper.side, facts.clone());
        Ok(facts)
    }

    fn known(&self, side: Side) -> Option<Facts> {
        self.facts.lock().get(index(side)).cloned().flatten()
    }

    fn remember(&self, side: Side, facts: Facts) {
        if let Some(slot) = self.facts.lock().get_mut(index(side)) {
            *slot = Some(facts);
        }
    }

    /// The version of the side that does not serve, if it says so soon.
    async fn other_version(&self, relay: &Relay, side: Side) -> Option<ServerVersion> {
        if let Some(facts) = self.known(side) {
            return Some(facts.version);
        }
        let endpoint = relay.endpoint(side)?;
        if self
            .other_failed
            .lock()
            .is_some_and(|when| when.elapsed() < OTHER_AGAIN)
        {
            return None;
        }
        let asked = async {
            let sql = endpoint.connect_sql("pointsman log-in").await.ok()?;
            let facts = read_facts(&sql).await.ok()?;
            sql.close().await;
            Some(facts)
        };
        if let Ok(Some(facts)) = timeout(OTHER_PATIENCE, asked).await {
            let version = facts.version;
            self.remember(side, facts);
            return Some(version);
        }
        tracing::warn!(%side, server = %endpoint, "a server does not say what it is");
        *self.other_failed.lock() = Some(Instant::now());
        None
    }

    /// Asks the serving side; tries again when the connection that was kept has ended unnoticed.
    pub(super) async fn ask(
        &self,
        relay: &Relay,
        sql: &str,
    ) -> Result<Vec<crate::wire::TextRow>, Fatal> {
        for attempt in 1..=ATTEMPTS {
            let helper = self.helper(relay).await.ok_or_else(failed)?;
            match helper.sql.query(sql).await {
                Ok(rows) => return Ok(rows),
                Err(error) if attempt < ATTEMPTS && error.code().is_none() => {
                    tracing::debug!(%error, side = %helper.side, "a connection of ours ended");
                    self.forget();
                }
                Err(error) => {
                    tracing::error!(%error, side = %helper.side, "a question to a server failed");
                    return Err(failed());
                }
            }
        }
        Err(failed())
    }

    /// The global variables of a side, if it serves.
    pub(super) async fn globals(&self, relay: &Relay, side: Side) -> Option<Variables> {
        let fresh = || {
            let kept = self.globals.lock().clone()?;
            let is_fresh = kept.side == side && kept.read.elapsed() < GLOBALS_AGE_MAX;
            is_fresh.then_some(kept.values)
        };
        if let Some(values) = fresh() {
            return Some(values);
        }
        // Many sessions want them at once; one asks.
        let _turn = self.asking_globals.lock().await;
        if let Some(values) = fresh() {
            return Some(values);
        }
        let helper = self.helper_of(relay, side).await?;
        let rows = helper.sql.query("SHOW GLOBAL VARIABLES").await.ok()?;
        let text = |row: &crate::wire::TextRow, at| row.text(at).unwrap_or_default().to_owned();
        let values = rows.iter().map(|row| (text(row, 0), text(row, 1)));
        let values = Arc::new(values.collect());
        *self.globals.lock() = Some(Globals {
            side,
            read: Instant::now(),
            values: Arc::clone(&values),
        });
        Some(values)
    }

    /// The SQL of a look at a session of this side, if it is known.
    pub(super) fn look(&self, side: Side) -> Option<Arc<str>> {
        let known = self.look.lock().clone();
        known.filter(|(of, _)| *of == side).map(|(_, sql)| sql)
    }

    /// Finds out what a look at sessions of the serving side has to ask for, unless it is known.
    pub(super) async fn learn_look(&self, relay: &Relay, serving: Side) {
        if self.look(serving).is_some() {
            return;
        }
        let Some(helper) = self.helper_of(relay, serving).await else {
            return;
        };
        let Some(globals) = self.globals(relay, serving).await else {
            return;
        };
        match look::learn(&helper.sql, globals.keys().map(String::as_str)).await {
            Ok(sql) => *self.look.lock() = Some((serving, sql.into())),
            Err(error) => tracing::warn!(%error, "sessions are asked for all of their variables"),
        }
    }

    /// The kept connection, if it is to this side, else a new one that is not kept.
    pub(super) async fn helper_of(&self, relay: &Relay, side: Side) -> Option<Helper> {
        if let Some(helper) = self.open().filter(|helper| helper.side == side) {
            return Some(helper);
        }
        let endpoint = relay.endpoint(side)?;
        match endpoint.connect_sql("pointsman log-in").await {
            Ok(sql) => Some(Helper {
                side,
                sql: Arc::new(sql),
            }),
            Err(error) => {
                tracing::error!(%error, %side, "cannot connect to ask about sessions");
                None
            }
        }
    }

    /// The connection to the serving side. A new one is opened under a permit: a fence would end
    /// one that is still logging in, since nobody knows its id yet. So during a hold it waits for
    /// the release, as its client would have to next, and at the start for the decision.
    pub(super) async fn helper(&self, relay: &Relay) -> Option<Helper> {
        let open = || {
            let side = relay.switch().serving()?;
            self.open().filter(|helper| helper.side == side)
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
            Ok(sql) => {
                let helper = Helper {
                    side,
                    sql: Arc::new(sql),
                };
                *self.helper.lock() = Some(helper.clone());
                Some(helper)
            }
            Err(error) => {
                tracing::error!(%error, %side, "cannot connect to ask for accounts");
                None
            }
        }
    }

    fn open(&self) -> Option<Helper> {
        let helper = self.helper.lock().clone()?;
        (!helper.sql.is_closed()).then_some(helper)
    }

    /// Closes the kept connection.
    pub(super) fn forget(&self) {
        let kept = self.helper.lock().take();
        drop(kept);
    }

    /// The id of the kept connection, if it is open to that side.
    pub(super) fn id(&self, side: Side) -> Option<u32> {
        let helper = self.open().filter(|helper| helper.side == side)?;
        Some(helper.sql.thread_id())
    }
}

async fn read_facts(sql: &SqlConn) -> Result<Facts, crate::wire::SqlError> {
    let row = sql
        .query_first(
            "SELECT SUBSTRING_INDEX(USER(), '@', -1), \
             (SELECT id FROM information_schema.collations \
              WHERE collation_name = @@global.collation_server)",
        )
        .await?;
    let text = |at| row.as_ref().and_then(|row| row.text(at));
    Ok(Facts {
        version: sql.version(),
        version_text: sql.version_text().to_owned(),
        // utf8mb4_general_ci where the id does not fit.
        collation: text(1).and_then(|id| id.parse().ok()).unwrap_or(45),
        our_host: text(0).unwrap_or_default().to_owned(),
    })
}
