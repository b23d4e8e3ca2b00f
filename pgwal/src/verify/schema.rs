//! What the two schemas consist of, as facts that can be compared between versions.
//!
//! Every fact is an object with a text that describes it: its definition as the server writes it, or
//! the properties of which it consists. Where versions write the same definition in different ways
//! only the properties are compared.

mod sql;

use std::collections::BTreeMap;

use router::verify::ObjectDifference;

use super::error::VerifyError;
use super::session::Reader;

/// Differences that are told at most; behind them only their number is.
const DIFFERENCES_MAX: usize = 200;

/// A definition longer than this is cut where it is told.
const SHOWN_CHARS: usize = 300;

/// Sequences that are named at most.
const SEQUENCES_MAX: usize = 20;

/// The facts of a side.
pub(super) struct Facts {
    major_version: i32,
    /// By kind and name: what is compared always, and what between equal versions.
    facts: BTreeMap<(String, String), Fact>,
}

/// What is said of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fact {
    /// In words that all versions share.
    properties: String,
    /// In the server's own words.
    wording: String,
}

/// Reads the facts of a side.
///
/// # Errors
/// When the server fails.
pub(super) async fn facts(reader: &mut Reader<'_>) -> Result<Facts, VerifyError> {
    let doing = "reading its definitions";
    let side = reader.side;
    let version = reader.query(sql::VERSION, &[]).await;
    let version = version.map_err(|unread| unread.fatal(side, doing))?;
    let major_version = version.first().map_or(0, |row| row.get::<_, i32>(0)) / 10_000;
    let mut facts = BTreeMap::new();
    for query in sql::FACTS {
        let rows = reader.query(&query.query(), &[]).await;
        let rows = rows.map_err(|unread| unread.fatal(side, doing))?;
        for row in rows {
            let text = |column| {
                let text = row.try_get::<_, Option<String>>(column);
                let text = text.map_err(VerifyError::sql(side, doing));
                text.map(Option::unwrap_or_default)
            };
            let fact = Fact {
                properties: text(1)?,
                wording: text(2)?,
            };
            facts.insert((query.kind.to_owned(), text(0)?), fact);
        }
    }
    Ok(Facts {
        major_version,
        facts,
    })
}

/// What differs.
pub(super) fn differences(source: Facts, target: Facts) -> Vec<ObjectDifference> {
    let same_version = source.major_version == target.major_version;
    let mut there = target.facts;
    let mut found = Vec::new();
    for ((kind, name), fact) in source.facts {
        let other = there.remove(&(kind.clone(), name.clone()));
        let equal = other.as_ref().is_some_and(|other| {
            fact.properties == other.properties && (!same_version || fact.wording == other.wording)
        });
        if !equal {
            found.push(ObjectDifference {
                kind,
                name,
                source: Some(shown(&fact)),
                target: other.as_ref().map(shown),
            });
        }
    }
    for ((kind, name), fact) in there {
        found.push(ObjectDifference {
            kind,
            name,
            source: None,
            target: Some(shown(&fact)),
        });
    }
    found.sort();
    let more = found.len().saturating_sub(DIFFERENCES_MAX);
    found.truncate(DIFFERENCES_MAX);
    if more > 0 {
        found.push(ObjectDifference {
            kind: "more".to_owned(),
            name: format!("{more} further differences"),
            source: None,
            target: None,
        });
    }
    found
}

fn shown(fact: &Fact) -> String {
    let text = match (fact.properties.is_empty(), fact.wording.is_empty()) {
        (_, true) => fact.properties.clone(),
        (true, false) => fact.wording.clone(),
        (false, false) => format!("{} {}", fact.properties, fact.wording),
    };
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => text
            .get(..end)
            .map_or_else(String::new, |cut| format!("{cut}...")),
        None if text.is_empty() => "there".to_owned(),
        None => text,
    }
}

/// Sequences whose value on the target is not the source's.
///
/// # Errors
/// When a server fails.
pub(super) async fn sequences_behind(
    here: &mut Reader<'_>,
    there: &mut Reader<'_>,
) -> Result<Vec<String>, VerifyError> {
    let (source, target) = tokio::try_join!(values(here), values(there))?;
    let behind = source.into_iter().filter_map(|(name, value)| {
        let other = target.get(&name)?;
        (*other != value).then(|| {
            let said = |value: Option<i64>| {
                value.map_or_else(|| "not used yet".to_owned(), |value| value.to_string())
            };
            format!(
                "{name} ({} on the source, {} on the target)",
                said(value),
                said(*other)
            )
        })
    });
    let mut behind: Vec<String> = behind.collect();
    let more = behind.len().saturating_sub(SEQUENCES_MAX);
    behind.truncate(SEQUENCES_MAX);
    if more > 0 {
        behind.push(format!("{more} more"));
    }
    Ok(behind)
}

async fn values(reader: &mut Reader<'_>) -> Result<BTreeMap<String, Option<i64>>, VerifyError> {
    let side = reader.side;
    let rows = reader.query(sql::SEQUENCE_VALUES, &[]).await;
    let rows = rows.map_err(|unread| unread.fatal(side, "reading its sequences"))?;
    let values = rows.iter().filter_map(|row| {
        let name: String = row.try_get(0).ok()?;
        Some((name, row.try_get(1).ok()?))
    });
    Ok(values.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(major_version: i32, facts: &[(&str, &str, &str)]) -> Facts {
        let facts = facts.iter().map(|(name, properties, wording)| {
            let fact = Fact {
                properties: (*properties).to_owned(),
                wording: (*wording).to_owned(),
            };
            (("index".to_owned(), (*name).to_owned()), fact)
        });
        Facts {
            major_version,
            facts: facts.collect(),
        }
    }

    #[test]
    fn wordings_count_between_equal_versions_only() {
        let one = || facts(17, &[("a", "valid", "USING btree (x)")]);
        let other = |version| facts(version, &[("a", "valid", "USING btree ((x))")]);
        assert_eq!(differences(one(), other(17)).len(), 1);
        assert_eq!(differences(one(), other(18)), []);
        let invalid = facts(18, &[("a", "invalid", "USING btree (x)")]);
        assert_eq!(differences(one(), invalid).len(), 1);
    }

    #[test]
    fn objects_of_one_side_are_found_on_both_sides() {
        let source = facts(17, &[("a", "", ""), ("b", "", "")]);
        let target = facts(17, &[("b", "", ""), ("c", "", "")]);
        let found = differences(source, target);
        let told: Vec<_> = found
            .iter()
            .map(|one| {
                (
                    one.name.as_str(),
                    one.source.is_some(),
                    one.target.is_some(),
                )
            })
            .collect();
        assert_eq!(told, [("a", true, false), ("c", false, true)]);
    }

    #[test]
    fn the_list_is_bounded() {
        let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), "", "")).collect();
        let found = differences(facts(17, &all), facts(17, &[]));
        assert_eq!(found.len(), DIFFERENCES_MAX + 1);
        assert_eq!(found[DIFFERENCES_MAX].name, "800 further differences");
    }
}
