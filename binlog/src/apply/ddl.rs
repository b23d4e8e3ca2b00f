//! Definition statements of the source, carried out on the target at their place in the stream.
//!
//! # Resumption
//!
//! A server commits a definition statement by itself, so that it cannot be one transaction with our
//! progress. Before it, [`intent`] writes down which statement is begun and what the target's
//! definitions look like; behind it, that it is done. After a crash in between the definitions are
//! looked at again: if they changed, the statement took effect (nobody else defines anything on the
//! target), and if not, it is carried out again. What a server does in several steps may be half
//! done ([`halves`]): it is finished where that can be told. Where it cannot the migration stops
//! with the statement and its place.
//!
//! # What it does not do
//!
//! It translates nothing: a statement that the target does not understand stops the migration.

mod context;
mod fingerprint;
mod halves;
mod intent;
mod outline;
mod parse;
mod scheduled;
mod search;
mod words;

use self::parse::{Kind, Parsed, Verb};
use self::scheduled::Scheduled;
use self::words::{DoubleQuotes, Word, located_words};
use super::error::{ApplyError, DdlError, DdlWhy};
use super::events::Ddl;
use crate::name::QualifiedName;
use crate::position::Position;
use crate::schema::bookkeeping;
use crate::schema::catalog::Scope;
use crate::wire::SqlError;

pub(super) use self::intent::carry_out;
pub(crate) use self::search::Search;

/// A definition statement with its place.
#[derive(Debug)]
pub(super) struct Statement {
    ddl: Ddl,
    parsed: Parsed,
    /// How it is run here, if it is about an event of the scheduler.
    scheduled: Option<Scheduled>,
    /// The end of its transaction, and which of the transaction's statements it is.
    place: String,
    /// What of it may be shown to everybody.
    outline: Option<String>,
}

/// What a statement's disappearance in a crash leaves to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// It may be carried out again when the definitions did not change.
    Harmless,
    /// It may have had an effect that does not show, unless the tables' numbers are known.
    OnlyWithNumbers,
}

impl Statement {
    pub(super) fn new(mut ddl: Ddl, committed: &Position, nth: u32) -> Self {
        let quotes = if context::ansi_quotes(&ddl) {
            DoubleQuotes::Names
        } else {
            DoubleQuotes::Text
        };
        let parsed = parse::parse(&ddl.sql, &ddl.schema, quotes);
        if matches!(parsed.kind, Kind::Table(Verb::Create)) {
            leave_out_start_transaction(&mut ddl.sql, quotes);
        }
        Self {
            place: format!("{}#{nth}", committed.file),
            scheduled: scheduled::scheduled(&ddl.sql, &parsed, quotes),
            outline: outline::outline(&ddl.sql, &parsed, quotes),
            parsed,
            ddl,
        }
    }

    /// The statement, if it is to be carried out on the target; `None` if it is about nothing that
    /// is moved, or about tables whose copies are newer.
    ///
    /// # Errors
    /// When it cannot be repeated faithfully.
    pub(super) fn wanted(
        self,
        scope: &Scope,
        in_copy: impl Fn(&QualifiedName) -> bool,
    ) -> Result<Option<Self>, ApplyError> {
        let objects = &self.parsed.objects;
        let ours = objects
            .iter()
            .any(|object| object.schema == bookkeeping::SCHEMA);
        let held = objects
            .iter()
            .filter(|object| scope.holds(&object.schema))
            .count();
        match self.parsed.kind {
            Kind::Nothing => return Ok(None),
            Kind::Account => return Ok((!ours).then_some(self)),
            Kind::Other => {
                let elsewhere = !self.ddl.schema.is_empty() && !scope.holds(&self.ddl.schema);
                if elsewhere {
                    return Ok(None);
                }
                return Err(self.error(DdlWhy::Unfaithful, None));
            }
            Kind::Table(_) | Kind::Object | Kind::Event(_) | Kind::Database => {}
        }
        if held == 0 {
            return Ok(None);
        }
        if held < objects.len() || self.parsed.values_may_differ {
            return Err(self.error(DdlWhy::Unfaithful, None));
        }
        if matches!(self.parsed.kind, Kind::Table(_)) {
            let lasting = self.lasting();
            let copied = lasting.iter().filter(|table| in_copy(table)).count();
            if copied == lasting.len() {
                return Ok(None);
            }
            // One table's copy shows it and another's does not: whose rows are whose?
            if copied > 0 {
                return Err(self.error(DdlWhy::Unfaithful, None));
            }
        }
        Ok(Some(self))
    }

    /// The tables that it is about: those that it names, but for the names that a renaming gives
    /// and takes away again, as an exchange does.
    fn lasting(&self) -> Vec<&QualifiedName> {
        let objects = &self.parsed.objects;
        if !matches!(self.parsed.kind, Kind::Table(Verb::Rename)) {
            return objects.iter().collect();
        }
        let first = |name: &QualifiedName| objects.iter().position(|other| other == name);
        let last = |name: &QualifiedName| objects.iter().rposition(|other| other == name);
        // Old and new names follow each other.
        let is_passing = |name: &QualifiedName| {
            let given = first(name).is_some_and(|place| place % 2 == 1);
            given && last(name).is_some_and(|place| place % 2 == 0)
        };
        objects.iter().filter(|name| !is_passing(name)).collect()
    }

    /// Whether it may be carried out again.
    fn again(&self) -> Again {
        match self.parsed.kind {
            Kind::Table(Verb::Rename | Verb::Exchange) => Again::OnlyWithNumbers,
            Kind::Table(Verb::Create | Verb::Alter | Verb::Drop | Verb::Truncate)
            | Kind::Object
            | Kind::Event(_)
            | Kind::Database
            | Kind::Account
            | Kind::Nothing
            | Kind::Other => Again::Harmless,
        }
    }

    /// The outline behind a message; empty if nothing may be shown.
    fn outlined(&self) -> String {
        let outline = self.outline.as_ref();
        outline.map_or_else(String::new, |outline| format!(" [{outline}]"))
    }

    fn error(&self, why: DdlWhy, source: Option<SqlError>) -> ApplyError {
        ApplyError::Ddl(Box::new(DdlError {
            kind: self.parsed.shown.clone(),
            position: self.place.clone(),
            outline: self.outlined(),
            statement: self.ddl.sql.clone(),
            why,
            source,
        }))
    }
}

/// Takes out the option by which MySQL (8.0.21 and later) logs `CREATE TABLE .. SELECT`: with it the table
/// would be gone unless our session committed it together with the rows, and MariaDB does not know it.
/// The rows follow, in the transaction of our progress.
fn leave_out_start_transaction(sql: &mut String, quotes: DoubleQuotes) {
    let mut depth = 0_u32;
    let mut start = None;
    let mut option = None;
    for (word, place) in located_words(sql, quotes) {
        let is = |name: &str| matches!(&word, Word::Plain(word) if word.eq_ignore_ascii_case(name));
        match (start.take(), &word) {
            (Some(start), _) if is("TRANSACTION") => {
                option = Some(start..place.end);
                break;
            }
            (_, Word::Sign('(')) => depth += 1,
            (_, Word::Sign(')')) => depth = depth.saturating_sub(1),
            _other if depth == 0 && is("START") => start = Some(place.start),
            _other => {}
        }
    }
    if let Some(option) = option {
        sql.replace_range(option, "");
    }
}

#[cfg(test)]
mod tests;
