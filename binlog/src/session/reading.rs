//! Asking a session's server, and ours, for the session's state.

use bytes::Bytes;

use super::answer::{Answer, Rows};
use super::fatal::Fatal;
use super::limits::VARIABLES_MAX;
use super::look::{self, Seen};
use super::outcome::{OUTCOME, Outcome};
use super::outside::{self, OfAllSoon, Outside};
use super::pump::Pump;
use super::question;
use super::registry::LegKey;
use super::relay::Relay;
use super::servers::{Known, Variables};
use super::state::{self, Counters, Reading, Setting, Unmovable, hex, text};
use super::text::Words;
use super::variables::Names;
use crate::version::ServerVersion;
use crate::wire::SqlConn;

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

/// Which session is read.
#[derive(Debug)]
pub(super) struct About {
    pub(super) leg: LegKey,
    /// The commands that it ran.
    pub(super) ran: u64,
    /// What its server tells about all sessions, where that is asked.
    pub(super) of_all: Option<OfAllSoon>,
}

/// Reads the state of an idle session.
pub(super) async fn read(pump: &mut Pump, relay: &Relay, about: About) -> Result<Reading, Fatal> {
    let mut reader = StateReader {
        pump,
        relay,
        about,
        reading: Reading::default(),
    };
    match Box::pin(reader.read()).await {
        Ok(()) => Ok(reader.reading),
        Err(Halt::Unreadable(sqlstate)) => Ok(Reading::unreadable(&sqlstate)),
        Err(Halt::Fatal(fatal)) => Err(fatal),
    }
}

/// The rows of an answer; without them the session cannot be moved now.
fn told(answer: Answer) -> Result<Rows, Halt> {
    answer.map_err(|error| {
        tracing::warn!(%error, "a session does not answer for its state");
        Halt::Unreadable(error.sqlstate)
    })
}

struct StateReader<'a> {
    pump: &'a mut Pump,
    relay: &'a Relay,
    about: About,
    reading: Reading,
}

impl StateReader<'_> {
    async fn read(&mut self) -> Result<(), Halt> {
        let unreadable = || Halt::Unreadable("08001".to_owned());
        let side = self.about.leg.side;
        let helper = self.relay.servers.helper_of(self.relay, side).await;
        let helper = helper.ok_or_else(unreadable)?;
        let version = helper.sql.version();
        let globals = self.relay.servers.globals(self.relay, side).await;
        let globals = globals.ok_or_else(unreadable)?;
        // First: our questions to the session take locks of their own.
        let outside = match question::tells_others(version) {
            Known::Yes => Some(self.outside(&helper.sql).await?),
            Known::No => None,
        };
        let lists = question::lists_user_variables(version);
        let look = self.relay.servers.look(side);
        let mut questions = vec![OUTCOME, question::BASICS];
        questions.extend(look.as_deref());
        if outside.is_none() {
            questions.push(question::COUNTERS);
        }
        if lists == Known::Yes {
            questions.push(question::MARIADB_USER_VARIABLES);
        }
        let mut answers = self.pump.ask(&questions).await?.into_iter();
        let mut answer = || answers.next().unwrap_or_else(|| Ok(Rows::default()));
        let outcome = Outcome::read(&told(answer())?);
        // If it is known already, nobody has run anything since but we.
        self.pump.outcome = match (self.pump.outcome, outcome) {
            (Some(known), Some(read)) => Some(known.or(read)),
            (known, read) => known.or(read),
        };
        let basics = told(answer())?;
        let digest = look.is_some().then(&mut answer).and_then(look::digest);
        let counters = match outside {
            None => Some(Counters::read(&told(answer())?)),
            Some(_) => None,
        };
        let listed = match lists {
            Known::Yes => Some(told(answer())?),
            Known::No => None,
        };
        self.settings(digest, &globals).await?;
        // A session that takes its results in UTF-16 or the like answers us so too.
        let readable = |setting: &Setting| setting.name == "autocommit";
        if !self.reading.replay.settings.iter().any(readable) {
            let name = "character_set_results".to_owned();
            self.reading.add(Unmovable::Setting(name));
            return Ok(());
        }
        self.basics(&basics);
        match (&outside, &counters) {
            (Some(outside), _) => self.note_outside(outside),
            (None, Some(counters)) => {
                self.look_inside(version, counters).await?;
                if counters.exceeds("Com_prepare_sql", "Com_dealloc_sql") {
                    self.reading.add(Unmovable::PreparedStatement);
                }
            }
            (None, None) => {}
        }
        match self.pump.statements.to_prepare() {
            Some(statements) => self.reading.replay.statements = statements,
            None => self.reading.add(Unmovable::PreparedStatement),
        }
        let names = self.variable_names(outside.as_ref(), listed.as_ref());
        self.reading.replay.locks.sort();
        self.variables(names).await
    }

    /// The variables that are carried: what they were, if a look says so.
    async fn settings(&mut self, digest: Option<Bytes>, globals: &Variables) -> Result<(), Halt> {
        let seen = self.pump.seen.take();
        let known = seen
            .as_ref()
            .and_then(|seen| seen.unless_changed(digest.as_ref()));
        let settings = match known {
            Some(settings) => settings,
            None => state::settings(&self.ask(question::VARIABLES).await?, globals),
        };
        self.pump.seen = digest.map(|digest| Seen::new(digest, settings.clone()));
        self.reading.replay.settings = settings;
        Ok(())
    }

    /// What the server tells others of this session: told of all, or asked for this one.
    async fn outside(&mut self, helper: &SqlConn) -> Result<Outside, Halt> {
        let (leg, ran) = (self.about.leg, self.about.ran);
        if let Some(soon) = self.about.of_all.take()
            && let Some(of_all) = outside::soon(soon).await
            && let Some(outside) = of_all.of(leg, ran)
        {
            return Ok(outside);
        }
        Outside::ask(helper, &[leg.id]).await.map_err(|error| {
            tracing::warn!(%error, "a session's state cannot be asked from outside");
            Halt::Unreadable("HY000".to_owned())
        })
    }

    /// Asks several questions in one round trip.
    async fn ask_all(&mut self, questions: &[&str]) -> Result<Vec<Rows>, Halt> {
        let answers = self.pump.ask(questions).await?;
        answers.into_iter().map(told).collect()
    }

    async fn ask(&mut self, sql: &str) -> Result<Rows, Halt> {
        let mut answers = self.ask_all(&[sql]).await?;
        Ok(answers.pop().unwrap_or_default())
    }

    fn basics(&mut self, rows: &Rows) {
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
    }

    fn note_outside(&mut self, outside: &Outside) {
        for found in outside.of(self.about.leg.id) {
            match found {
                ("user lock", name) => match hex(name).map(String::from_utf8) {
                    Some(Ok(name)) => self.reading.replay.locks.push(name),
                    Some(Err(_)) | None => self.reading.add(Unmovable::UserLock),
                },
                ("lock", _) => self.reading.add(Unmovable::TableLock),
                ("prepared", _) => self.reading.add(Unmovable::PreparedStatement),
                ("temporary", _) => self.reading.add(Unmovable::TemporaryTable),
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
        self.locks_by_name().await?;
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

    /// Which of the locks that the client named it holds: those that a routine took are not seen.
    async fn locks_by_name(&mut self) -> Result<(), Halt> {
        let names: Vec<String> = match &self.pump.locks {
            Names::All(names) => names.iter().cloned().collect(),
            Names::Unknown => {
                self.reading.add(Unmovable::UserLock);
                return Ok(());
            }
        };
        if names.is_empty() {
            return Ok(());
        }
        let sql = question::holds_locks(&names, self.about.leg.id);
        let rows = self.ask(&sql).await?;
        let row = rows.rows.first().map(Vec::as_slice).unwrap_or_default();
        let held = names.into_iter().enumerate();
        let held = held.filter(|(at, _)| text(row, *at) == Some("1"));
        self.reading.replay.locks = held.map(|(_, name)| name).collect();
        Ok(())
    }

    /// The names of the session's user variables; `None` when they cannot be told.
    fn variable_names(
        &self,
        outside: Option<&Outside>,
        listed: Option<&Rows>,
    ) -> Option<Vec<String>> {
        let decoded = |digits: &str| String::from_utf8(hex(digits)?).ok();
        if let Some(outside) = outside {
            let all = outside.of(self.about.leg.id);
            let variables = all.filter(|(kind, _)| *kind == "variable");
            return variables.map(|(_, name)| decoded(name)).collect();
        }
        if let Some(rows) = listed {
            let names = rows.rows.iter();
            return names.map(|row| text(row, 0).and_then(decoded)).collect();
        }
        match &self.pump.variables {
            Names::All(names) => Some(names.iter().cloned().collect()),
            Names::Unknown => None,
        }
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
