//! A session's connection to the other server: opened, authenticated and brought to the session's
//! state before the switch.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use router::Side;

use super::answer::{Answer, Collector, Rows};
use super::command::code;
use super::limits::LOCK_PATIENCE_S;
use super::pulse::EofStyle;
use super::question::{self, variable};
use super::registry::LegKey;
use super::startup::{BY_VERSION, Startup};
use super::state::{Replay, Setting, Unmovable, text};
use crate::wire::response::{EOF, ERR, OK};
use crate::wire::{
    Capabilities, Conn, ConnectOptions, Endpoint, FieldError, Fields, ServerError, WireError,
};

/// A connection that waits for the switch.
#[derive(Debug)]
pub(super) struct Twin {
    pub(super) conn: Conn,
    pub(super) side: Side,
    /// What it was given.
    applied: Replay,
    /// Ids of the session's statements here.
    pub(super) statement_ids: HashMap<u32, u32>,
    /// Which of [`RENAMED`] the server has; read when it is needed.
    names: Option<HashSet<String>>,
}

/// What failed while a twin was brought to a state.
enum Failure {
    /// The server refused something.
    Refused(Unmovable, Box<ServerError>),
    /// The connection is of no use any more.
    Broken(WireError),
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Broken(error)
    }
}

impl From<FieldError> for Failure {
    fn from(error: FieldError) -> Self {
        Self::Broken(error.into())
    }
}

impl Twin {
    /// Opens a connection as the client.
    pub(super) async fn open(
        side: Side,
        endpoint: &Endpoint,
        options: ConnectOptions,
        startup: &Startup,
    ) -> Result<Self, Unmovable> {
        let conn = Conn::connect(endpoint, options).await.map_err(|error| {
            tracing::warn!(%error, %endpoint, "a session's twin cannot be opened");
            let reason = match error.server() {
                Some(server) => server.to_string(),
                None => error.to_string(),
            };
            Unmovable::NotLetIn(reason)
        })?;
        // The client reads what the server sends by what was agreed with it.
        let has = |of: Capabilities, each: &Capabilities| of.contains(*each);
        let fits = BY_VERSION
            .iter()
            .all(|each| has(conn.capabilities(), each) == has(startup.capabilities, each));
        if !fits {
            conn.close().await;
            return Err(Unmovable::NotLetIn(
                "it is too old for what this client agreed on at its log-in; the client has to \
                 connect again"
                    .to_owned(),
            ));
        }
        Ok(Self {
            conn,
            side,
            applied: Replay::default(),
            statement_ids: HashMap::new(),
            names: None,
        })
    }

    /// Whether the server still holds the connection.
    pub(super) fn is_alive(&mut self) -> bool {
        self.conn.is_open()
    }

    pub(super) fn key(&self) -> LegKey {
        LegKey {
            side: self.side,
            id: self.conn.thread_id(),
        }
    }

    /// Makes the connection like the session, by what differs from what it was given before.
    pub(super) async fn bring_to(&mut self, replay: &Replay) -> Result<(), Unmovable> {
        if self.applied == *replay {
            return Ok(());
        }
        match self.apply(replay).await {
            Ok(()) => {
                self.conn.give_back_buffers();
                self.applied = replay.clone();
                Ok(())
            }
            Err(Failure::Refused(reason, error)) => {
                tracing::warn!(%error, %reason, "a twin does not take part of its session's state");
                Err(reason)
            }
            Err(Failure::Broken(error)) => Err(Unmovable::NotLetIn(error.to_string())),
        }
    }

    async fn apply(&mut self, replay: &Replay) -> Result<(), Failure> {
        if replay.schema != self.applied.schema
            && let Some(schema) = &replay.schema
        {
            self.conn.queue_command(&[code::INIT_DB], schema);
            self.conn.flush().await?;
            let refused = || Unmovable::Schema(String::from_utf8_lossy(schema).into_owned());
            self.ok(refused).await?;
        }
        self.set_variables(replay).await?;
        self.set_settings(replay).await?;
        self.prepare(replay).await?;
        self.take_locks(replay).await
    }

    /// Gives back and takes user-level locks. Another session's twin may still have to give one
    /// back.
    async fn take_locks(&mut self, replay: &Replay) -> Result<(), Failure> {
        for name in self.applied.locks.clone() {
            if !replay.locks.contains(&name) {
                self.lock_answer(&question::give_lock(&name)).await?;
            }
        }
        for name in &replay.locks {
            if !self.applied.locks.contains(name) {
                let sql = question::take_lock(name, LOCK_PATIENCE_S);
                self.lock_answer(&sql).await?;
            }
        }
        Ok(())
    }

    /// Takes locks that it has once more, as often as the session did.
    pub(super) async fn nest_locks(&mut self, times: &[(String, usize)]) -> Result<(), Unmovable> {
        for (name, times) in times {
            for _further in 1..*times {
                match self.lock_answer(&question::take_lock(name, 0)).await {
                    Ok(()) => {}
                    Err(Failure::Refused(reason, _)) => return Err(reason),
                    Err(Failure::Broken(error)) => {
                        return Err(Unmovable::NotLetIn(error.to_string()));
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks for a lock, or gives it back; either says 1 when it is done.
    async fn lock_answer(&mut self, sql: &str) -> Result<(), Failure> {
        let refused = |error| Failure::Refused(Unmovable::UserLock, error);
        let rows = self.query(sql).await?.map_err(refused)?;
        let row = rows.rows.first().map(Vec::as_slice).unwrap_or_default();
        if text(row, 0) == Some("1") {
            return Ok(());
        }
        let error = ServerError::new(1205, "HY000", "another session has the user-level lock");
        Err(refused(Box::new(error)))
    }

    async fn set_settings(&mut self, replay: &Replay) -> Result<(), Failure> {
        let is_news = |setting: &&Setting| !self.applied.settings.contains(*setting);
        let news: Vec<Setting> = replay.settings.iter().filter(is_news).cloned().collect();
        let known = |name: &str| replay.settings.iter().any(|setting| setting.name == name);
        let gone: Vec<String> = self
            .applied
            .settings
            .iter()
            .filter(|setting| !known(&setting.name))
            .map(|setting| setting.name.clone())
            .collect();
        if news.is_empty() && gone.is_empty() {
            return Ok(());
        }
        let names = self.variable_names().await?;
        let has = |name: &str| !RENAMED.contains(&name) || names.contains(name);
        let version = self.conn.version();
        let mut assignments: Vec<(String, String)> = gone
            .into_iter()
            .map(|name| {
                let sql = format!("@@SESSION.{} = DEFAULT", crate::wire::quote::ident(&name));
                (name, sql)
            })
            .collect();
        assignments.extend(
            news.iter()
                .map(|setting| (setting.name.clone(), setting.assignment(version, has))),
        );
        let all: Vec<&str> = assignments.iter().map(|(_, sql)| sql.as_str()).collect();
        if self
            .query(&format!("SET {}", all.join(", ")))
            .await?
            .is_ok()
        {
            return Ok(());
        }
        // One of them is refused: which?
        for (name, sql) in &assignments {
            let Err(error) = self.query(&format!("SET {sql}")).await? else {
                continue;
            };
            let value = news.iter().find(|setting| setting.name == *name);
            if !self.set_nearest(value).await? {
                return Err(Failure::Refused(Unmovable::Setting(name.clone()), error));
            }
        }
        Ok(())
    }

    /// Sets the nearest collation that this server has to one that it does not know.
    async fn set_nearest(&mut self, setting: Option<&Setting>) -> Result<bool, Failure> {
        let Some(setting) = setting.filter(|setting| setting.name.starts_with("collation_")) else {
            return Ok(false);
        };
        for value in nearest_collations(&setting.value) {
            let nearest = Setting {
                name: setting.name.clone(),
                value,
            };
            let sql = format!(
                "SET {}",
                nearest.assignment(self.conn.version(), |_name| true)
            );
            if self.query(&sql).await?.is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn variable_names(&mut self) -> Result<HashSet<String>, Failure> {
        if let Some(names) = &self.names {
            return Ok(names.clone());
        }
        let sql = "SHOW VARIABLES WHERE Variable_name IN \
                   ('transaction_isolation', 'transaction_read_only')";
        let rows: Rows = self.query(sql).await?.unwrap_or_default();
        let names: HashSet<String> = rows
            .rows
            .iter()
            .filter_map(|row| text(row, 0).map(str::to_owned))
            .collect();
        self.names = Some(names.clone());
        Ok(names)
    }

    async fn set_variables(&mut self, replay: &Replay) -> Result<(), Failure> {
        let known = |name: &String| replay.variables.iter().any(|(other, _)| other == name);
        let mut assignments: Vec<String> = Vec::new();
        for (name, _) in &self.applied.variables {
            if !known(name) {
                assignments.push(format!("{} = NULL", variable(name)));
            }
        }
        for (name, value) in &replay.variables {
            if !self
                .applied
                .variables
                .contains(&(name.clone(), value.clone()))
            {
                assignments.push(format!("{} = {value}", variable(name)));
            }
        }
        if assignments.is_empty() {
            return Ok(());
        }
        let done = self
            .query(&format!("SET {}", assignments.join(", ")))
            .await?;
        done.map(drop)
            .map_err(|error| Failure::Refused(Unmovable::UserVariable, error))
    }

    async fn prepare(&mut self, replay: &Replay) -> Result<(), Failure> {
        for (id, text, _) in self.applied.statements.clone() {
            let kept = replay
                .statements
                .iter()
                .any(|(other, same, _)| *other == id && *same == text);
            if !kept && let Some(server_id) = self.statement_ids.remove(&id) {
                self.conn
                    .queue_command(&[code::STMT_CLOSE], &server_id.to_le_bytes());
            }
        }
        for (id, text, params) in &replay.statements {
            if self.statement_ids.contains_key(id) {
                continue;
            }
            let server_id = self.prepare_one(text, *params).await?;
            self.statement_ids.insert(*id, server_id);
        }
        Ok(self.conn.flush().await?)
    }

    async fn prepare_one(&mut self, text: &Bytes, params: u16) -> Result<u32, Failure> {
        self.conn.queue_command(&[code::STMT_PREPARE], text);
        self.conn.flush().await?;
        let packet = self.conn.read_packet().await?;
        if packet.first() == Some(&ERR) {
            let error = ServerError::parse(&packet)?;
            return Err(Failure::Refused(
                Unmovable::PreparedStatement,
                Box::new(error),
            ));
        }
        let mut fields = Fields::new(&packet);
        fields.u8()?;
        let server_id = fields.u32()?;
        let columns = fields.u16()?;
        let found = fields.u16()?;
        let ends = match self.eof() {
            EofStyle::Packets => 1,
            EofStyle::Deprecated => 0,
        };
        for definitions in [found, columns].into_iter().filter(|count| *count > 0) {
            for _definition in 0..u32::from(definitions) + ends {
                self.conn.read_packet().await?;
            }
        }
        if found == params {
            return Ok(server_id);
        }
        let error = ServerError::new(1210, "HY000", "it has another number of parameters there");
        Err(Failure::Refused(
            Unmovable::PreparedStatement,
            Box::new(error),
        ))
    }

    fn eof(&self) -> EofStyle {
        if self
            .conn
            .capabilities()
            .contains(Capabilities::DEPRECATE_EOF)
        {
            EofStyle::Deprecated
        } else {
            EofStyle::Packets
        }
    }

    async fn query(&mut self, sql: &str) -> Result<Answer, WireError> {
        self.conn.queue_command(&[code::QUERY], sql.as_bytes());
        self.conn.flush().await?;
        let mut collector = Collector::new(self.eof());
        loop {
            let packet = self.conn.read_packet().await?;
            if let Some(answer) = collector.take(&packet)? {
                return Ok(answer);
            }
        }
    }

    async fn ok(&mut self, refused: impl FnOnce() -> Unmovable) -> Result<(), Failure> {
        let packet = self.conn.read_packet().await?;
        match packet.first() {
            Some(&(OK | EOF)) => Ok(()),
            Some(&ERR) => Err(Failure::Refused(
                refused(),
                Box::new(ServerError::parse(&packet)?),
            )),
            first => Err(Failure::Broken(WireError::Unexpected {
                first: first.copied().unwrap_or_default(),
                expected: "OK",
            })),
        }
    }

    /// The status flags, asked of the server: `autocommit` is among them.
    pub(super) async fn refresh_status(&mut self) -> Result<(), WireError> {
        self.conn.write_packet(&[code::PING]).await?;
        self.conn.read_ok().await.map(drop)
    }
}

/// The default collations of newer servers of one family, as the other family has them.
fn nearest_collations(collation: &str) -> Vec<String> {
    match collation.split_once('_') {
        Some((charset, "uca1400_ai_ci")) => vec![
            format!("{charset}_0900_ai_ci"),
            format!("{charset}_unicode_520_ci"),
        ],
        Some((charset, "0900_ai_ci")) => vec![
            format!("{charset}_uca1400_nopad_ai_ci"),
            format!("{charset}_unicode_520_nopad_ci"),
            format!("{charset}_unicode_520_ci"),
        ],
        Some(_) | None => Vec::new(),
    }
}

/// Variables that old servers have under other names.
const RENAMED: [&str; 2] = ["transaction_isolation", "transaction_read_only"];
