//! A session's connection to the other server: opened, authenticated and brought to the session's
//! state before the switch.

use std::collections::HashMap;

use bytes::{BufMut, Bytes, BytesMut};
use router::Side;

use super::advisory::{self, HeldLock};
use super::cached_plan::{self, Changed};
use super::columns::{self, Described};
use super::question::bind;
use super::registry::LegKey;
use super::relay::Relay;
use super::sequences::{CARRY, CARRY_BEGIN, Current};
use super::state::{Replay, Unmovable};
use super::types::exchange::Exchange;
use super::types::numbers::Numbers;
use super::types::prior::Prior;
use crate::wire::{Conn, Credential, Endpoint, Fields, Message, ServerError, WireError, frontend};

const FITS: &str = "invariant: constants without zero bytes fit a message";

/// Most bytes of notifications that may wait for a session that goes over.
const NOTIFICATION_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection that waits for the switch.
#[derive(Debug)]
pub(super) struct Twin {
    pub(super) conn: Conn,
    pub(super) side: Side,
    /// What it was given.
    applied: Replay,
    /// What it was given inside a hold.
    completion: Option<Completion>,
    /// Only where the client knows types by other numbers than this server's.
    prior: Option<Prior>,
}

/// What a twin may have only inside a hold: before it another session of the server could be in its
/// way, or the client would hear what it already heard from the server that serves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Completion {
    pub(super) channels: Vec<Bytes>,
    pub(super) locks: Vec<HeldLock>,
}

impl Completion {
    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.locks.is_empty()
    }
}

/// One step of a replay.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Setting(&'a Bytes, &'a Bytes),
    Statement(&'a Bytes),
    /// Runs a command of ours.
    Run(&'static str),
    /// Has it remember a value of a sequence; the function's token.
    Sequence(&'a Current, &'a str),
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
            completion: None,
            prior: None,
        })
    }

    /// What it was made to remember of sequences.
    pub(super) fn sequences(&self) -> &[Current] {
        &self.applied.sequences
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
    pub(super) async fn bring_to(
        &mut self,
        replay: &Replay,
        numbers: Numbers,
        relay: &Relay,
    ) -> Result<(), Unmovable> {
        self.know_types(numbers, relay).await?;
        if self.applied != *replay {
            self.apply(replay, relay).await?;
        }
        self.note_types(replay).await
    }

    async fn apply(&mut self, replay: &Replay, relay: &Relay) -> Result<(), Unmovable> {
        let broken = |error: WireError| Unmovable::NotLetIn(error.to_string());
        let carry_token = relay.carry_token();
        let known = std::mem::take(&mut self.applied);
        let mut steps: Vec<Step<'_>> = Vec::new();
        let mut sequences = replay.sequences.as_slice();
        let further;
        let translated: Vec<Bytes>;
        let is_same_but_for_sequences = known.differs_in_sequences_alone(replay);
        if is_same_but_for_sequences {
            // Of a session that works on this is what changes all the time.
            further = replay.sequences_beyond(&known);
            match &further {
                Some(further) => sequences = further,
                None => steps.push(Step::Run("DISCARD SEQUENCES")),
            }
        } else {
            if let Some(prior) = &mut self.prior {
                prior.forget_statements();
            }
            if known != Replay::default() {
                self.conn.query("DISCARD ALL").await.map_err(broken)?;
                self.completion = None;
            }
            steps.extend(
                replay
                    .settings
                    .iter()
                    .map(|(name, value)| Step::Setting(name, value)),
            );
            let named = replay.statements.iter().map(|one| &one.parse);
            translated = match &mut self.prior {
                Some(prior) => named.map(|one| prior.translate_parse(one)).collect(),
                None => named.cloned().collect(),
            };
            steps.extend(translated.iter().map(Step::Statement));
            let by_sql = replay.sql_prepares.iter();
            steps.extend(by_sql.map(|one| Step::SqlPrepare(&one.parse)));
        }
        if !sequences.is_empty() {
            steps.push(Step::Run(CARRY_BEGIN));
            steps.extend(sequences.iter().map(|one| Step::Sequence(one, carry_token)));
            steps.push(Step::Run("ROLLBACK"));
        }
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
            if matches!(reason, Unmovable::Sequence(_)) {
                relay.doubt_carrying();
            }
            return Err(reason);
        }
        if !is_same_but_for_sequences {
            self.compare_columns(replay, relay).await?;
        }
        self.applied = replay.clone();
        Ok(())
    }

    /// Has it know which types its client calls by other numbers than its server.
    async fn know_types(&mut self, numbers: Numbers, relay: &Relay) -> Result<(), Unmovable> {
        if !numbers.has_others_than(self.side) {
            self.prior = None;
            return Ok(());
        }
        let catalog = relay.type_catalogs.get(relay).await;
        let catalog = catalog.map_err(|error| Unmovable::NotLetIn(error.to_string()))?;
        if let Some(prior) = &mut self.prior
            && prior.know(numbers.clone(), &catalog)
        {
            return Ok(());
        }
        self.prior = Some(Prior::new(self.side, numbers, catalog));
        Ok(())
    }

    /// Notes the types of all prepared statements, if they will be needed and are not known.
    async fn note_types(&mut self, replay: &Replay) -> Result<(), Unmovable> {
        if !self.prior.as_ref().is_some_and(Prior::lacks_statements) {
            return Ok(());
        }
        let names: Vec<&Bytes> = replay.prepared().map(|one| &one.name).collect();
        self.note_types_of(&names)
            .await
            .map_err(|error| Unmovable::NotLetIn(error.to_string()))
    }

    async fn note_types_of(&mut self, names: &[&Bytes]) -> Result<(), WireError> {
        let answers = self.describe(names.iter().copied()).await?;
        let described = names.iter().zip(answers);
        // Those that the server refuses have no types.
        let known =
            described.filter_map(|(name, answer)| Some((Bytes::clone(name), answer.ok()?.shape())));
        if let Some(prior) = &mut self.prior {
            prior.note_statements(known);
        }
        Ok(())
    }

    /// What has to translate for the client from now on, if its numbers of types are not this
    /// server's.
    pub(super) fn take_exchange(&mut self) -> Option<(Box<Exchange>, Numbers)> {
        self.prior.take().map(Prior::into_exchange)
    }

    /// Has the server refuse those statements that give something else here than the client was
    /// told.
    async fn compare_columns(&mut self, replay: &Replay, relay: &Relay) -> Result<(), Unmovable> {
        let broken = |error: WireError| Unmovable::NotLetIn(error.to_string());
        if replay.prepared().next().is_none() {
            return Ok(());
        }
        let names = replay.prepared().map(|one| &one.name);
        let answers = self.describe(names).await.map_err(broken)?;
        let types = answers.iter().flatten().flat_map(Described::named_types);
        let types = relay.type_names.of(relay, self.side, types.collect()).await;
        let types = types.map_err(|error| Unmovable::NotLetIn(error.to_string()))?;
        let mut changed = Vec::new();
        for (statement, answer) in replay.prepared().zip(answers) {
            let described = answer.map_err(|_refused| Unmovable::PreparedStatement)?;
            let columns = described.columns(&types);
            if columns.is_none() || columns != statement.columns {
                changed.push(Changed {
                    name: &statement.name,
                    described,
                });
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        tracing::info!(
            side = %self.side,
            count = changed.len(),
            "prepared statements of a session give other columns on this server"
        );
        cached_plan::refuse(self, &changed).await
    }

    /// What the server says of these statements, one after the other.
    pub(super) async fn describe(
        &mut self,
        names: impl Iterator<Item = &Bytes>,
    ) -> Result<Vec<Result<Described, Box<ServerError>>>, WireError> {
        let mut answers = Vec::new();
        let names: Vec<&Bytes> = names.collect();
        for names in names.chunks(columns::AT_ONCE) {
            let question = columns::question(names.iter().copied());
            self.conn.out().extend_from_slice(&question);
            self.conn.flush().await?;
            for _name in names {
                let mut answer = columns::Answer::default();
                loop {
                    let message = self.conn.read_message().await?;
                    match message.tag {
                        b'S' => self.conn.note_parameter(&message.body)?,
                        b'Z' => break,
                        _part => answer.take(message)?,
                    }
                }
                answers.push(answer.end());
            }
        }
        Ok(answers)
    }

    /// Gives it what it may have only inside a hold.
    pub(super) async fn complete(&mut self, completion: &Completion) -> Result<(), Unmovable> {
        let broken = |error: WireError| Unmovable::NotLetIn(error.to_string());
        self.relax().await.map_err(broken)?;
        if completion.is_empty() {
            return Ok(());
        }
        self.completion = Some(Completion::default());
        if !completion.locks.is_empty() {
            let taken = self.conn.query(&advisory::take(&completion.locks)).await;
            let is_taken = taken.is_ok_and(|rows| {
                let cell = rows.first().and_then(|row| row.first()).cloned();
                cell.flatten().as_deref() == Some(b"t")
            });
            if !is_taken {
                return Err(Unmovable::AdvisoryLock);
            }
        }
        for channel in &completion.channels {
            put_message(b'P', &listen(channel), self.conn.out());
            bind("", &[], self.conn.out());
            frontend::execute("", 0, self.conn.out()).expect(FITS);
            frontend::sync(self.conn.out());
        }
        self.conn.flush().await.map_err(broken)?;
        for _channel in &completion.channels {
            if let Some(error) = read_to_ready(&mut self.conn).await.map_err(broken)? {
                tracing::warn!(%error, "a twin cannot listen");
                return Err(Unmovable::Listen);
            }
        }
        self.completion = Some(completion.clone());
        Ok(())
    }

    /// Takes back what it was given inside a hold.
    pub(super) async fn relax(&mut self) -> Result<(), WireError> {
        if self.completion.is_some() {
            let back = "UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all()";
            self.conn.query(back).await?;
            self.completion = None;
        }
        Ok(())
    }

    /// What it was given inside a hold.
    pub(super) fn completion(&self) -> Option<&Completion> {
        self.completion.as_ref()
    }

    /// The notifications that it got since it listens, but none that a process of ours caused when
    /// it brought changes: the client heard of those from the other server.
    pub(super) async fn notifications(&mut self, ours: &[i32]) -> Result<Vec<Bytes>, WireError> {
        frontend::sync(self.conn.out());
        self.conn.flush().await?;
        let mut heard = Vec::new();
        let mut bytes = 0;
        loop {
            let Message { tag, body } = self.conn.read_message().await?;
            match tag {
                b'A' => {
                    bytes += body.len();
                    if bytes > NOTIFICATION_BYTES_MAX {
                        return Err(WireError::Unwritable("too many notifications at once"));
                    }
                    let by = Fields::new(&body).i32();
                    if !by.is_ok_and(|by| ours.contains(&by)) {
                        heard.push(body);
                    }
                }
                b'S' => self.conn.note_parameter(&body)?,
                b'Z' => return Ok(heard),
                _of_no_interest => {}
            }
        }
    }

    /// Prepares the client's unnamed statement. That it fails is no news: then it failed on the
    /// other server too, or the client will be told when it uses it.
    pub(super) async fn prepare_unnamed(&mut self, parse: &[u8]) -> Result<(), WireError> {
        match &mut self.prior {
            Some(prior) => put_message(b'P', &prior.translate_parse(parse), self.conn.out()),
            None => put_message(b'P', parse, self.conn.out()),
        }
        frontend::sync(self.conn.out());
        self.conn.flush().await?;
        if let Some(error) = read_to_ready(&mut self.conn).await? {
            tracing::debug!(%error, "a client's unnamed statement is not prepared on its twin");
        } else if self.prior.is_some() {
            self.note_types_of(&[&Bytes::new()]).await?;
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
        match self {
            Self::Setting(name, value) => {
                let sql = "SELECT pg_catalog.set_config($1, $2, false)";
                frontend::parse("", sql, [25, 25], out).expect(FITS);
                bind("", &[name, value], out);
                frontend::execute("", 0, out).expect(FITS);
            }
            Self::Statement(parse) => put_message(b'P', parse, out),
            Self::Run(sql) => {
                frontend::parse("", sql, [], out).expect(FITS);
                bind("", &[], out);
                frontend::execute("", 0, out).expect(FITS);
            }
            Self::Sequence((name, value), token) => {
                frontend::parse("", CARRY, [25, 20, 25], out).expect(FITS);
                bind("", &[name, value, token.as_bytes()], out);
                frontend::execute("", 0, out).expect(FITS);
            }
            Self::SqlPrepare(parse) => {
                put_message(b'P', parse, out);
                bind("", &[], out);
                frontend::execute("", 0, out).expect(FITS);
            }
            Self::CloseUnnamed => frontend::close(b'S', "", out).expect(FITS),
        }
        frontend::sync(out);
    }

    fn reason(self) -> Unmovable {
        match self {
            Self::Setting(name, _) => {
                Unmovable::Setting(String::from_utf8_lossy(name).into_owned())
            }
            Self::Sequence((name, _), _) => {
                Unmovable::Sequence(String::from_utf8_lossy(name).into_owned())
            }
            Self::Statement(_) | Self::Run(_) | Self::SqlPrepare(_) | Self::CloseUnnamed => {
                Unmovable::PreparedStatement
            }
        }
    }
}

/// The body of a Parse message that listens on a channel.
fn listen(channel: &[u8]) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_slice(b"\0LISTEN \"");
    for byte in channel {
        if *byte == b'"' {
            body.put_u8(b'"');
        }
        body.put_u8(*byte);
    }
    body.put_slice(b"\"\0\0\0");
    body
}

pub(super) fn put_message(tag: u8, body: &[u8], out: &mut BytesMut) {
    out.put_u8(tag);
    out.put_i32(i32::try_from(body.len() + 4).unwrap_or(i32::MAX));
    out.put_slice(body);
}

/// Reads up to `ReadyForQuery`; the error that came before it, if one did.
pub(super) async fn read_to_ready(conn: &mut Conn) -> Result<Option<ServerError>, WireError> {
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
