//! A session's connection to the other server: opened, authenticated and brought to the session's
//! state before the switch.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use router::Side;

use super::question::bind;
use super::registry::LegKey;
use super::state::{Replay, Unmovable};
use crate::wire::{Conn, Credential, Endpoint, Message, ServerError, WireError, frontend};

/// A connection that waits for the switch.
#[derive(Debug)]
pub(super) struct Twin {
    pub(super) conn: Conn,
    pub(super) side: Side,
    /// What it was given.
    applied: Replay,
}

/// One step of a replay.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Setting(&'a Bytes, &'a Bytes),
    Statement(&'a Bytes),
    /// Runs one `PREPARE` through the unnamed statement.
    SqlPrepare(&'a Bytes),
    /// The unnamed statement that the settings used is gone afterwards.
    CloseUnnamed,
}

impl Twin {
    /// Opens a connection with the client's own startup parameters and credential.
    pub(super) async fn open(
        side: Side,
        endpoint: &Endpoint,
        parameters: &[(String, String)],
        credential: Credential,
    ) -> Result<Self, Unmovable> {
        let conn = Conn::connect(endpoint, parameters, credential)
            .await
            .map_err(|error| {
                tracing::warn!(%error, %endpoint, "a session's twin cannot be opened");
                let reason = match error.server() {
                    Some(server) => server.to_string(),
                    None => error.to_string(),
                };
                Unmovable::NotLetIn(reason)
            })?;
        Ok(Self {
            conn,
            side,
            applied: Replay::default(),
        })
    }

    /// Whether the server still holds the connection.
    pub(super) fn is_alive(&mut self) -> bool {
        self.conn.is_open()
    }

    pub(super) fn key(&self) -> LegKey {
        LegKey {
            side: self.side,
            pid: self.conn.backend_pid(),
            cancel_key: self.conn.cancel_key().clone(),
        }
    }

    /// Makes the connection like the session. What was given before and differs is taken back
    /// first.
    pub(super) async fn bring_to(&mut self, replay: &Replay) -> Result<(), Unmovable> {
        if self.applied == *replay {
            return Ok(());
        }
        let broken = |error: WireError| Unmovable::NotLetIn(error.to_string());
        if self.applied != Replay::default() {
            self.conn.query("DISCARD ALL").await.map_err(broken)?;
        }
        self.applied = Replay::default();
        let mut steps: Vec<Step<'_>> = Vec::new();
        steps.extend(
            replay
                .settings
                .iter()
                .map(|(name, value)| Step::Setting(name, value)),
        );
        steps.extend(replay.statements.iter().map(Step::Statement));
        steps.extend(replay.sql_prepares.iter().map(Step::SqlPrepare));
        steps.push(Step::CloseUnnamed);
        for step in &steps {
            step.write(self.conn.out());
        }
        self.conn.flush().await.map_err(broken)?;
        let mut failed = None;
        for step in &steps {
            if let Some(error) = read_to_ready(&mut self.conn).await.map_err(broken)? {
                tracing::warn!(%error, "a twin does not take part of its session's state");
                failed.get_or_insert_with(|| step.reason());
            }
        }
        if let Some(reason) = failed {
            return Err(reason);
        }
        self.applied = replay.clone();
        Ok(())
    }

    /// Prepares the client's unnamed statement. That it fails is no news: then it failed on the
    /// other server too, or the client will be told when it uses it.
    pub(super) async fn prepare_unnamed(&mut self, parse: &[u8]) -> Result<(), WireError> {
        put_message(b'P', parse, self.conn.out());
        frontend::sync(self.conn.out());
        self.conn.flush().await?;
        if let Some(error) = read_to_ready(&mut self.conn).await? {
            tracing::debug!(%error, "a client's unnamed statement is not prepared on its twin");
        }
        Ok(())
    }

    /// The parameters that differ from what the client knows, in a stable order.
    pub(super) fn announcements(&self, known: &HashMap<Bytes, Bytes>) -> Vec<(String, String)> {
        let mut news: Vec<_> = self
            .conn
            .parameters()
            .iter()
            .filter(|(name, value)| {
                known.get(name.as_bytes()).map(Bytes::as_ref) != Some(value.as_bytes())
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        news.sort();
        news
    }
}

impl Step<'_> {
    fn write(self, out: &mut BytesMut) {
        let fits = "invariant: a constant without zero bytes fits a message";
        match self {
            Self::Setting(name, value) => {
                let sql = "SELECT pg_catalog.set_config($1, $2, false)";
                frontend::parse("", sql, [25, 25], out).expect(fits);
                bind("", &[name, value], out);
                frontend::execute("", 0, out).expect(fits);
            }
            Self::Statement(parse) => put_message(b'P', parse, out),
            Self::SqlPrepare(parse) => {
                put_message(b'P', parse, out);
                bind("", &[], out);
                frontend::execute("", 0, out).expect(fits);
            }
            Self::CloseUnnamed => frontend::close(b'S', "", out).expect(fits),
        }
        frontend::sync(out);
    }

    fn reason(self) -> Unmovable {
        match self {
            Self::Setting(name, _) => {
                Unmovable::Setting(String::from_utf8_lossy(name).into_owned())
            }
            Self::Statement(_) | Self::SqlPrepare(_) | Self::CloseUnnamed => {
                Unmovable::PreparedStatement
            }
        }
    }
}

fn put_message(tag: u8, body: &[u8], out: &mut BytesMut) {
    out.put_u8(tag);
    out.put_i32(i32::try_from(body.len() + 4).unwrap_or(i32::MAX));
    out.put_slice(body);
}

/// Reads up to `ReadyForQuery`; the error that came before it, if one did.
async fn read_to_ready(conn: &mut Conn) -> Result<Option<ServerError>, WireError> {
    let mut failed = None;
    loop {
        let Message { tag, body } = conn.read_message().await?;
        match tag {
            b'E' => failed = Some(ServerError::parse(body)?),
            b'S' => conn.note_parameter(&body)?,
            b'Z' => return Ok(failed),
            _of_no_interest => {}
        }
    }
}
