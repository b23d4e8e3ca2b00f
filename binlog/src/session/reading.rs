//! Asking a session's server, and ours, for the session's state.

use bytes::Bytes;

use super::answer::Rows;
use super::fatal::Fatal;
use super::limits::VARIABLES_MAX;
use super::pump::Pump;
use super::question;
use super::registry::LegKey;
use super::relay::Relay;
use super::servers::Known;
use super::state::{self, Counters, Reading, Setting, Unmovable, hex, text};
use super::text::Words;
use super::variables::Names;
use crate::version::ServerVersion;
use crate::wire::TextRow;

/// Seconds by which a session's clock may differ from its server's before it was set.
const CLOCK_SLACK_S: f64 = 2.0;

/// Why the reading cannot go on.
enum Halt {
    /// The session cannot be moved now, for this SQLSTATE.
    Unreadable(String),
    /// The session is over.
    Fatal(Fatal),
}

impl From<Fatal> for Halt {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

/// Reads the state of an idle session.
pub(super) async fn read(pump: &mut Pump, relay: &Relay, leg: LegKey) -> Result<Reading, Fatal> {
    let mut reader = StateReader {
        pump,
        relay,
        leg,
        reading: Reading::default(),
    };
    match Box::pin(reader.read()).await {
        Ok(()) => Ok(reader.reading),
        Err(Halt::Unreadable(sqlstate)) => Ok(Reading::unreadable(&sqlstate)),
        Err(Halt::Fatal(fatal)) => Err(fatal),
    }
}

struct StateReader<'a> {
    pump: &'a mut Pump,
    relay: &'a Relay,
    leg: LegKey,
    reading: Reading,
}

impl StateReader<'_> {
    async fn read(&mut self) -> Result<(), Halt> {
        let unreadable = || Halt::Unreadable("08001".to_owned());
        let helper = self
            .relay
            .servers
            .helper_of(self.relay, self.leg.side)
            .await;
        let helper = helper.ok_or_else(unreadable)?;
        let version = helper.sql.version();
        let globals = self.relay.servers.globals(self.relay, self.leg.side).await;
        let globals = globals.ok_or_else(unreadable)?;
        let outside = match question::tells_others(version) {
            Known::Yes => {
                let asked = helper.sql.query(&question::from_outside(self.leg.id)).await;
                Some(asked.map_err(|error| {
                    tracing::warn!(%error, "a session's state cannot be asked from outside");
                    Halt::Unreadable("HY000".to_owned())
                })?)
            }
            Known::No => None,
        };
        let counters = Counters::read(&self.ask(question::COUNTERS).await?);
        let shown = self.ask(question::VARIABLES).await?;
        self.reading.replay.settings = state::settings(&shown, &globals);
        self.basics().await?;
        match &outside {
            Some(rows) => self.note_outside(rows),
            None => self.look_inside(version, &counters).await?,
        }
        if counters.exceeds("Com_prepare_sql", "Com_dealloc_sql") && outside.is_none() {
            self.reading.add(Unmovable::PreparedStatement);
        }
        match self.pump.statements.to_prepare() {
            Some(statements) => self.reading.replay.statements = statements,
            None => self.reading.add(Unmovable::PreparedStatement),
        }
        let names = self.variable_names(version, outside.as_deref()).await?;
        self.variables(names).await
    }

    async fn ask(&mut self, sql: &str) -> Result<Rows, Halt> {
        match self.pump.ask(sql).await? {
            Ok(rows) => Ok(rows),
            Err(error) => {
                tracing::warn!(%error, "a session does not answer for its state");
                Err(Halt::Unreadable(error.sqlstate))
            }
        }
    }

    async fn basics(&mut self) -> Result<(), Halt> {
        let rows = self.ask(question::BASICS).await?;
        let row = rows.rows.first().map(Vec::as_slice).unwrap_or_default();
        let schema = text(row, 0).and_then(hex).unwrap_or_default();
        if !self.relay.moves_database(&schema) {
            self.reading.add(Unmovable::OtherDatabase);
        }
        self.reading.replay.schema = Some(Bytes::from(schema)).filter(|name| !name.is_empty());
        let number = |at| text(row, at).and_then(|text| text.parse::<f64>().ok());
        let (own, server) = (number(2).unwrap_or(0.0), number(3).unwrap_or(0.0));
        let settings = &mut self.reading.replay.settings;
        if (own - server).abs() > CLOCK_SLACK_S {
            settings.push(Setting {
                name: "timestamp".to_owned(),
                value: text(row, 2).unwrap_or_default().to_owned(),
            });
        }
        // What LAST_INSERT_ID() says is not always what the variable says.
        settings.retain(|setting| setting.name != "last_insert_id");
        if let Some(id) = text(row, 1).filter(|id| *id != "0") {
            settings.push(Setting {
                name: "last_insert_id".to_owned(),
                value: id.to_owned(),
            });
        }
        Ok(())
    }

    fn note_outside(&mut self, rows: &[TextRow]) {
        for row in rows {
            match (row.text(0), row.text(1).unwrap_or_default()) {
                (Some("lock"), what) if what.starts_with("USER LEVEL LOCK") => {
                    self.reading.add(Unmovable::UserLock);
                }
                (Some("lock"), _) => self.reading.add(Unmovable::TableLock),
                (Some("prepared"), _) => self.reading.add(Unmovable::PreparedStatement),
                (Some("temporary"), _) => self.reading.add(Unmovable::TemporaryTable),
                (_, _) => {}
            }
        }
    }

    /// What the server does not tell others: its counters tell, and the client's own words.
    async fn look_inside(
        &mut self,
        version: ServerVersion,
        counters: &Counters,
    ) -> Result<(), Halt> {
        let words = self.pump.words;
        if words.has(Words::GET_LOCK) {
            self.reading.add(Unmovable::UserLock);
        }
        let locked = words.has(Words::LOCK);
        if locked || counters.exceeds("Com_ha_open", "Com_ha_close") {
            self.reading.add(Unmovable::TableLock);
        }
        let may_have = match counters.get("Com_create_temporary_table") {
            Some(_counted) => {
                counters.exceeds("Com_create_temporary_table", "Com_drop_temporary_table")
            }
            // A routine may have made one, or the client's own statement.
            None => {
                words.has(Words::TEMPORARY)
                    || (counters.get("Com_call_procedure").unwrap_or(0) > 0
                        && counters.get("Com_create_table").unwrap_or(0) > 0)
            }
        };
        let has = match question::lists_temporary(version) {
            Known::Yes if may_have => {
                let rows = self.ask(question::MARIADB_TEMPORARY).await?;
                let row = rows.rows.first().map(Vec::as_slice).unwrap_or_default();
                text(row, 0) != Some("0")
            }
            Known::Yes | Known::No => may_have,
        };
        if has {
            self.reading.add(Unmovable::TemporaryTable);
        }
        Ok(())
    }

    /// The names of the session's user variables; `None` when they cannot be told.
    async fn variable_names(
        &mut self,
        version: ServerVersion,
        outside: Option<&[TextRow]>,
    ) -> Result<Option<Vec<String>>, Halt> {
        let decoded = |digits: &str| String::from_utf8(hex(digits)?).ok();
        if let Some(rows) = outside {
            let variables = rows.iter().filter(|row| row.text(0) == Some("variable"));
            return Ok(variables.map(|row| row.text(1).and_then(decoded)).collect());
        }
        if question::lists_user_variables(version) == Known::Yes {
            let rows = self.ask(question::MARIADB_USER_VARIABLES).await?;
            let names = rows.rows.iter();
            return Ok(names.map(|row| text(row, 0).and_then(decoded)).collect());
        }
        Ok(match &self.pump.variables {
            Names::All(names) => Some(names.iter().cloned().collect()),
            Names::Unknown => None,
        })
    }

    async fn variables(&mut self, names: Option<Vec<String>>) -> Result<(), Halt> {
        let names = names.filter(|names| names.len() <= VARIABLES_MAX);
        let Some(names) = names.filter(|names| names.iter().all(|name| name.is_ascii())) else {
            self.reading.add(Unmovable::UserVariable);
            return Ok(());
        };
        if names.is_empty() {
            return Ok(());
        }
        let rows = self.ask(&question::user_variables(&names)).await?;
        match state::variables(&names, &rows) {
            Some(variables) => self.reading.replay.variables = variables,
            None => self.reading.add(Unmovable::UserVariable),
        }
        Ok(())
    }
}
