//! How the two sides' definitions differ, as far as every version says them alike.

use std::collections::BTreeMap;

use router::verify::ObjectDifference;

use super::render::normal_charset;
use crate::schema::catalog::{
    Catalog, Column, ColumnOrigin, Index, Nullability, ReferentialAction, Table, Uniqueness,
    Visibility,
};

/// Differences that are told at most; behind them only their number is.
const DIFFERENCES_MAX: usize = 200;

/// Counters that are named at most.
const COUNTERS_MAX: usize = 20;

/// By kind and name.
type Facts = BTreeMap<(&'static str, String), String>;

/// What differs.
pub(super) fn differences(source: &Catalog, target: &Catalog) -> Vec<ObjectDifference> {
    let mut there = facts(target);
    let mut found = Vec::new();
    for ((kind, name), fact) in facts(source) {
        let other = there.remove(&(kind, name.clone()));
        if other.as_ref() != Some(&fact) {
            found.push(ObjectDifference {
                kind: kind.to_owned(),
                name,
                source: Some(fact),
                target: other,
            });
        }
    }
    for ((kind, name), fact) in there {
        found.push(ObjectDifference {
            kind: kind.to_owned(),
            name,
            source: None,
            target: Some(fact),
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

fn facts(catalog: &Catalog) -> Facts {
    let mut facts = Facts::new();
    let mut there = |kind, name: String, fact: String| {
        drop(facts.insert((kind, name), fact));
    };
    for table in &catalog.tables {
        there("table", table.name.to_string(), table.engine.clone());
        for (place, column) in table.columns.iter().enumerate() {
            let name = format!("{}.{}", table.name, column.name);
            there("column", name, column_fact(place, column));
        }
        for index in &table.indexes {
            let name = format!("{}.{}", table.name, index.name);
            there("index", name, index_fact(table, index));
        }
    }
    for view in &catalog.views {
        there("view", view.to_string(), String::new());
    }
    for sequence in &catalog.sequences {
        there("sequence", sequence.to_string(), String::new());
    }
    for routine in &catalog.routines {
        let name = format!("{} {}", routine.kind.as_str(), routine.name);
        there("routine", name, String::new());
    }
    for trigger in &catalog.triggers {
        let on = format!("on {}", trigger.table);
        there("trigger", trigger.name.to_string(), on);
    }
    for event in &catalog.events {
        there("event", event.name.to_string(), String::new());
    }
    for key in &catalog.foreign_keys {
        let action = |action| match action {
            ReferentialAction::Refuse => "refuses",
            ReferentialAction::Cascade => "cascades",
        };
        let (delete, update) = (action(key.on_delete), action(key.on_update));
        let fact = format!("to {}, delete {delete}, update {update}", key.references);
        there("foreign key", format!("{}.{}", key.table, key.name), fact);
    }
    facts
}

fn column_fact(place: usize, column: &Column) -> String {
    let nullability = match column.nullability {
        Nullability::Nullable => "",
        Nullability::NotNull => " not null",
    };
    let origin = match column.origin {
        ColumnOrigin::Stored => "",
        ColumnOrigin::AutoIncrement => " auto_increment",
        ColumnOrigin::GeneratedStored => " generated stored",
        ColumnOrigin::GeneratedVirtual => " generated virtual",
        ColumnOrigin::RowPeriod => " row period",
    };
    let visibility = match column.visibility {
        Visibility::Visible => "",
        Visibility::Invisible => " invisible",
    };
    let charset = column.charset.as_deref().map(normal_charset);
    let charset = charset.map_or(String::new(), |name| format!(" character set {name}"));
    format!(
        "{}{charset}{nullability}{origin}{visibility}, number {}",
        normal_type(column),
        place + 1
    )
}

/// The type in words of all versions: the widths of whole numbers mean nothing, and newer versions do
/// not tell them.
pub(super) fn normal_type(column: &Column) -> String {
    let whole = column.column_type.to_ascii_lowercase();
    let is_whole_number = matches!(
        column.data_type.as_str(),
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year"
    );
    let unwidened = match (
        is_whole_number,
        whole.split_once('('),
        whole.split_once(')'),
    ) {
        (true, Some((before, _)), Some((_, behind))) => format!("{before}{behind}"),
        (_, _, _) => column.column_type.clone(),
    };
    unwidened.trim().to_owned()
}

fn index_fact(table: &Table, index: &Index) -> String {
    let parts = index.parts.iter().map(|part| {
        let what = match (&part.column, &part.expression) {
            (Some(column), _) => column.clone(),
            // Versions word expressions in different ways.
            (None, _) => "(..)".to_owned(),
        };
        match part.prefix {
            Some(prefix) => format!("{what}({prefix})"),
            None => what,
        }
    });
    let parts: Vec<String> = parts.collect();
    let uniqueness = match index.uniqueness {
        Uniqueness::Unique => "unique ",
        Uniqueness::Plain => "",
    };
    let (method, table) = (&index.method, &table.name.name);
    format!("{uniqueness}{method} on {table} ({})", parts.join(", "))
}

/// Counters that are lower on the target than on the source.
pub(super) fn counters_behind(source: &Catalog, target: &Catalog) -> Vec<String> {
    let behind = source.tables.iter().filter_map(|table| {
        let here = table.auto_increment?;
        let there = target.table(&table.name)?.auto_increment?;
        let name = &table.name;
        (there < here).then(|| format!("{name} ({here} on the source, {there} on the target)"))
    });
    let mut behind: Vec<String> = behind.collect();
    let more = behind.len().saturating_sub(COUNTERS_MAX);
    behind.truncate(COUNTERS_MAX);
    if more > 0 {
        behind.push(format!("{more} more"));
    }
    behind
}
