//! What a server tells others about sessions of ours: asked by our own connection, for one session
//! or, inside the hold, for all that changed at once.

use std::collections::HashMap;
use std::sync::Arc;

use router::Side;
use tokio::sync::watch;

use super::question;
use super::registry::{Entry, LegKey, SessionState};
use super::relay::Relay;
use super::servers::Known;
use crate::wire::{SqlConn, SqlError, TextRow};

/// The rows about sessions: kind, name and connection id.
#[derive(Debug, Clone)]
pub(super) struct Outside(Arc<Vec<TextRow>>);

impl Outside {
    /// Asks about connections.
    pub(super) async fn ask(helper: &SqlConn, ids: &[u32]) -> Result<Self, SqlError> {
        let rows = helper.query(&question::from_outside(ids)).await?;
        Ok(Self(Arc::new(rows)))
    }

    /// Kind and name of everything that a connection has.
    pub(super) fn of(&self, id: u32) -> impl Iterator<Item = (&str, &str)> {
        let rows = self.0.iter();
        let rows = rows.filter(move |row| row.parse::<u32>(2).is_ok_and(|found| found == id));
        rows.filter_map(|row| Some((row.text(0)?, row.text(1).unwrap_or_default())))
    }
}

/// What was told of all sessions that had changed.
#[derive(Debug)]
pub(super) struct OfAll {
    outside: Outside,
    side: Side,
    /// The commands that each connection's session had run, and it was idle then.
    ran: HashMap<u32, u64>,
}

impl OfAll {
    /// Asks a side about these sessions, if its server tells others about them.
    pub(super) async fn ask(relay: &Relay, entries: &[Arc<Entry>]) -> Option<Self> {
        let side = entries.first()?.legs.lock().current.side;
        let mut ran = HashMap::new();
        for entry in entries {
            // The count first: a command that passes changes the state before the count.
            let count = entry.ran();
            let leg = entry.legs.lock().current;
            let is_idle = matches!(entry.state(), SessionState::Idle | SessionState::Waiting);
            if is_idle && leg.side == side {
                ran.insert(leg.id, count);
            }
        }
        let helper = relay.servers.helper_of(relay, side).await?;
        if question::tells_others(helper.sql.version()) == Known::No || ran.is_empty() {
            return None;
        }
        let ids: Vec<u32> = ran.keys().copied().collect();
        let outside = Outside::ask(&helper.sql, &ids).await.ok()?;
        Some(Self { outside, side, ran })
    }

    /// What was told of a session, if it ran nothing since.
    pub(super) fn of(&self, leg: LegKey, ran: u64) -> Option<Outside> {
        let is_its = leg.side == self.side && self.ran.get(&leg.id) == Some(&ran);
        is_its.then(|| self.outside.clone())
    }
}

/// Where sessions wait for the answer about all of them.
pub(super) type OfAllSoon = watch::Receiver<Option<Arc<OfAll>>>;

/// Waits for the answer; `None` when there is none, and each has to ask for itself.
pub(super) async fn soon(mut of_all: OfAllSoon) -> Option<Arc<OfAll>> {
    let told = of_all.wait_for(Option::is_some).await.ok()?;
    told.clone()
}
