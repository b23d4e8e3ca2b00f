//! A client that ends another session, or its statement.

use bytes::Bytes;
use router::Side;
use tokio::time::timeout;

use super::super::command::code;
use super::super::fatal::Fatal;
use super::super::kill::{self, Kill, Whom};
use super::super::limits::KILL_PATIENCE;
use super::super::registry::{LegKey, Meaning};
use super::super::relay::Relay;
use super::Session;
use crate::wire::response::OK;

impl Session {
    /// Sends a `KILL` on to the server, by the id that means the same there. One that may mean
    /// somebody else is answered by us.
    pub(super) async fn kill_for_client(&mut self, payload: &Bytes) -> Result<(), Fatal> {
        if payload.first() == Some(&code::STMT_EXECUTE) {
            self.pump.statements.note_types(payload);
        }
        let kill = kill::parse(payload, &self.pump.statements)
            .ok_or_else(|| Fatal::malformed("Malformed communication packet"))?;
        match id_for(&self.relay, self.pump.side(), &kill).await {
            Ok(Some(id)) => {
                self.pump.send_query(&kill.of(id))?;
                if kill.ends_session() {
                    self.until_over(id).await;
                }
                Ok(())
            }
            Ok(None) => self.pump.send_query(&kill.as_it_is()),
            Err(refused) => {
                refused.write(1, self.pump.tell_client());
                Ok(())
            }
        }
    }
}

impl Session {
    /// Keeps the answer to a `KILL` until the session that it ends is over for its client, too. Servers
    /// close a connection before they answer, so that who is told of it may count on that; the client of
    /// that session is ours to tell. Whoever does not end in time is not waited for.
    async fn until_over(&mut self, id: u32) {
        let side = self.pump.side();
        let killed = self.relay.registry.served_by(LegKey { side, id });
        let Some(killed) = killed.filter(|entry| entry.id != self.entry.id) else {
            return;
        };
        let over = async {
            if self.pump.first_of_answer().await == Some(OK) {
                killed.over.cancelled().await;
            }
        };
        if timeout(KILL_PATIENCE, over).await.is_err() {
            tracing::debug!(session = killed.id.0, "a killed session is not over yet");
        }
    }
}

/// The id to name to the server; `None` when the statement can stay as it is.
async fn id_for(relay: &Relay, side: Side, kill: &Kill) -> Result<Option<u32>, Fatal> {
    let named = match kill.whom {
        Whom::Id(id) => id,
        Whom::Plain => return Ok(None),
        Whom::Unknown => return Err(Fatal::kills_unseen()),
        Whom::Parameter | Whom::Expression if relay.registry.any_came_to(side) => {
            return Err(Fatal::kills_unseen());
        }
        // The server refuses a parameter in a text by itself.
        Whom::Parameter | Whom::Expression => return Ok(None),
    };
    // Whoever is silent since the switch is still on its way: its twin is not the session yet.
    relay
        .bring_over(relay.registry.meant_elsewhere(named, side))
        .await;
    match relay.registry.meaning(named, side) {
        Meaning::AsItIs => Ok(Some(named)),
        Meaning::Connection(id) => Ok(Some(id)),
        Meaning::Former(id) if is_nobody(relay, side, named).await => Ok(Some(id)),
        Meaning::Former(_) | Meaning::Nobody => Err(Fatal::kills_nobody(named)),
    }
}

/// Whether the server has nobody of that id: others than our clients connect to it, too.
async fn is_nobody(relay: &Relay, side: Side, id: u32) -> bool {
    let Some(helper) = relay.servers.helper_of(relay, side).await else {
        return false;
    };
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist \
         WHERE ID = {id} AND ID <> CONNECTION_ID()"
    );
    match helper.sql.query(&sql).await {
        Ok(rows) => rows.first().and_then(|row| row.text(0)) == Some("0"),
        Err(error) => {
            tracing::warn!(%error, "a server does not list its connections");
            false
        }
    }
}
