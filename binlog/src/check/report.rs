//! Findings, and the list they are gathered in.

use std::error::Error;
use std::fmt;

use router::{Side, words};
use serde::Serialize;

use super::server::Server;
use crate::movement::error::Failed;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// The migration works, but the operator should know.
    Warn,
    /// The migration would fail or lose something; it is refused.
    Fail,
}

impl Level {
    /// The word of the operator's contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found, beginning with the side it was found on.
    pub what: String,
    /// Why it matters; empty if all is well.
    pub why: String,
    /// What to do: the statement, or the line of configuration; empty if nothing.
    pub fix: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            level,
            what,
            why,
            fix,
        } = self;
        write!(f, "{:<4}  {what}", level.as_str())?;
        for (word, text) in [("why", why), ("fix", fix)] {
            if !text.is_empty() {
                write!(f, "\n        {word}: {text}")?;
            }
        }
        Ok(())
    }
}

/// Why and fix of a finding, two texts that are easily swapped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advice<'a> {
    pub(super) why: &'a str,
    pub(super) fix: &'a str,
}

/// The findings so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

impl Report {
    pub(super) fn add(&mut self, level: Level, side: Side, what: &str, advice: Advice<'_>) {
        self.findings.push(Finding {
            level,
            what: format!("{side}: {what}"),
            why: advice.why.to_owned(),
            fix: advice.fix.to_owned(),
        });
    }

    pub(super) fn ok(&mut self, side: Side, what: &str) {
        self.add(Level::Ok, side, what, Advice { why: "", fix: "" });
    }

    pub(super) fn warn(&mut self, side: Side, what: &str, advice: Advice<'_>) {
        self.add(Level::Warn, side, what, advice);
    }

    pub(super) fn fail(&mut self, side: Side, what: &str, advice: Advice<'_>) {
        self.add(Level::Fail, side, what, advice);
    }

    /// Turns a part that could not be asked to its end into a finding.
    pub(super) fn asked(&mut self, server: &Server, about: &str, done: Result<(), Failed>) {
        if let Err(error) = done {
            self.not_asked(server, about, &error);
        }
    }

    /// A part that could not be asked.
    pub(super) fn not_asked(
        &mut self,
        server: &Server,
        about: &str,
        error: &(dyn Error + 'static),
    ) {
        let cause = words(error);
        let what = format!("the server could not be asked about its {about}: {cause}");
        self.fail(
            server.side,
            &what,
            Advice {
                why: "what is not known may fail in the middle of the migration",
                fix: "grant the account of pointsman what the message names, or mend the \
                      connection, and check again",
            },
        );
    }
}

/// A list of names that stays readable when it is long.
pub(super) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        Some(_) | None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_what_why_and_fix() {
        let mut report = Report::default();
        report.fail(
            Side::Source,
            "binlog_format is MIXED",
            Advice { why: "W", fix: "F" },
        );
        let text = report.findings[0].to_string();
        assert_eq!(
            text,
            "FAIL  source: binlog_format is MIXED\n        why: W\n        fix: F"
        );
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let names: Vec<_> = (0..8).map(|n| n.to_string()).collect();
        assert_eq!(listed(&names), "0, 1, 2, 3, 4, 5 and 2 more");
        assert_eq!(listed(&names[..6]), "0, 1, 2, 3, 4, 5");
    }
}
