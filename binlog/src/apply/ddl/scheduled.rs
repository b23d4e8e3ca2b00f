//! Events of the scheduler: on the target they are defined disabled, and `pointsman.saved_event`
//! tells which of them the switch enables.
//!
//! An event that is enabled for a moment may run in it; so the statement itself is changed.

use super::parse::{Kind, Parsed, Verb};
use super::words::{DoubleQuotes, Word, located_words};
use crate::name::{QualifiedName, quote_literal};

/// What a statement means for the events that the switch enables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scheduled {
    /// The statement to run.
    pub(super) sql: String,
    /// The statements that keep `pointsman.saved_event` right.
    pub(super) keep: Vec<String>,
}

/// How the statement is run here; `None` if it is about no event.
pub(super) fn scheduled(
    sql: &str,
    parsed: &Parsed,
    double_quotes: DoubleQuotes,
) -> Option<Scheduled> {
    let Kind::Event(verb) = parsed.kind else {
        return None;
    };
    let event = parsed.objects.first()?;
    let last = parsed.objects.last().unwrap_or(event);
    let words = located_words(sql, double_quotes);
    let mut keep = Vec::new();
    if event != last {
        keep.push(format!(
            "UPDATE pointsman.saved_event SET schema_name = {}, event_name = {} WHERE {}",
            quote_literal(&last.schema),
            quote_literal(&last.name),
            is(event)
        ));
    }
    let mark = |(word, _): &&(Word, _)| {
        ["ENABLE", "DISABLE", "COMMENT", "DO"]
            .iter()
            .any(|keyword| word.is(keyword))
    };
    // The name, which may be spelt like a keyword, stands behind `EVENT`.
    let named = words.iter().position(|(word, _)| word.is("EVENT"))?;
    let found = words.iter().skip(named + 2).find(mark);
    let sql = match (verb, found) {
        (Verb::Drop, _) => {
            keep.push(forget(last));
            sql.to_owned()
        }
        (_, Some((word, _))) if word.is("DISABLE") => {
            keep.push(forget(last));
            sql.to_owned()
        }
        (_, Some((word, place))) if word.is("ENABLE") => {
            keep.push(save(last));
            spliced(sql, place.start, place.end, "DISABLE")
        }
        (Verb::Create, Some((_, place))) => {
            keep.push(save(last));
            spliced(sql, place.start, place.start, "DISABLE ")
        }
        (
            Verb::Create | Verb::Alter | Verb::Exchange | Verb::Rename | Verb::Truncate,
            Some(_) | None,
        ) => sql.to_owned(),
    };
    Some(Scheduled { sql, keep })
}

fn spliced(sql: &str, from: usize, to: usize, text: &str) -> String {
    let (head, rest) = sql.split_at_checked(from).unwrap_or((sql, ""));
    let tail = rest.get(to - from..).unwrap_or("");
    format!("{head}{text}{tail}")
}

fn is(event: &QualifiedName) -> String {
    format!(
        "schema_name = {} AND event_name = {}",
        quote_literal(&event.schema),
        quote_literal(&event.name)
    )
}

fn forget(event: &QualifiedName) -> String {
    format!("DELETE FROM pointsman.saved_event WHERE {}", is(event))
}

fn save(event: &QualifiedName) -> String {
    format!(
        "REPLACE INTO pointsman.saved_event (schema_name, event_name) VALUES ({}, {})",
        quote_literal(&event.schema),
        quote_literal(&event.name)
    )
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn of(sql: &str) -> (String, String) {
        let parsed = parse(sql, "d", DoubleQuotes::Text);
        let scheduled = scheduled(sql, &parsed, DoubleQuotes::Text).unwrap();
        let kept: Vec<_> = scheduled
            .keep
            .iter()
            .filter_map(|sql| sql.split_once(' '))
            .map(|(verb, _)| verb)
            .collect();
        (scheduled.sql, kept.join(" "))
    }

    #[test]
    fn events_are_made_disabled_and_remembered() {
        assert_eq!(
            of("CREATE DEFINER=`a`@`%` EVENT `do` ON SCHEDULE EVERY 1 DAY COMMENT 'é DO' DO SELECT 1"),
            (
                "CREATE DEFINER=`a`@`%` EVENT `do` ON SCHEDULE EVERY 1 DAY DISABLE COMMENT 'é DO' DO SELECT 1".to_owned(),
                "REPLACE".to_owned()
            )
        );
        assert_eq!(
            of("CREATE EVENT e ON SCHEDULE AT NOW() ENABLE DO SELECT 1").0,
            "CREATE EVENT e ON SCHEDULE AT NOW() DISABLE DO SELECT 1"
        );
        let disabled = "CREATE EVENT e ON SCHEDULE AT NOW() DISABLE DO SELECT 1";
        assert_eq!(of(disabled), (disabled.to_owned(), "DELETE".to_owned()));
    }

    #[test]
    fn alterations_change_what_is_remembered_only_where_they_say_so() {
        assert_eq!(
            of("ALTER EVENT e ENABLE"),
            ("ALTER EVENT e DISABLE".to_owned(), "REPLACE".to_owned())
        );
        assert_eq!(of("ALTER EVENT e COMMENT 'x'").1, "");
        assert_eq!(of("ALTER EVENT e RENAME TO f").1, "UPDATE");
        assert_eq!(of("DROP EVENT IF EXISTS e").1, "DELETE");
    }
}
