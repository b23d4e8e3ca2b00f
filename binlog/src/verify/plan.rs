//! What is read: the tables that can be compared, and how.

use std::collections::HashMap;

use router::verify::{TableReport, Verdict, buckets_for};

use super::render;
use super::schema::normal_type;
use crate::name::{QualifiedName, some_of};
use crate::schema::catalog::{Catalog, Choice, Column, Table, TableKind};

/// A table that is compared.
pub(super) struct Work {
    pub(super) name: QualifiedName,
    pub(super) source: SideWork,
    pub(super) target: SideWork,
    pub(super) has_key: bool,
}

/// How one side of it is read.
pub(super) struct SideWork {
    /// The row's hash, in SQL.
    pub(super) row_hash: String,
    /// The bucket, in SQL.
    pub(super) bucket: String,
    /// What names a row, in SQL.
    pub(super) row_name: String,
    /// About how many bytes it has.
    pub(super) bytes: u64,
}

/// Everything that is read.
pub(super) struct Plan {
    pub(super) works: Vec<Work>,
    incomparable: Vec<TableReport>,
}

impl Plan {
    pub(super) fn new(source: &Catalog, target: &Catalog) -> Self {
        let mut plan = Self {
            works: Vec::new(),
            incomparable: Vec::new(),
        };
        let there: HashMap<&QualifiedName, &Table> = target
            .tables
            .iter()
            .map(|table| (&table.name, table))
            .collect();
        let mut moved: Vec<&Table> = source.moved_tables().collect();
        // The largest first: the last ones to be read are then small.
        moved.sort_by_key(|table| std::cmp::Reverse(table.bytes));
        for table in moved {
            let other = there.get(&table.name).copied();
            let other = other.ok_or_else(|| "the target has no such table".to_owned());
            match other.and_then(|other| comparable(table, other).map(|()| other)) {
                Ok(other) => plan.works.push(Work::new(table, other)),
                Err(why) => plan.incomparable.push(TableReport {
                    name: table.name.to_string(),
                    verdict: Verdict::CannotCompare { why },
                }),
            }
        }
        plan
    }

    /// The tables that cannot be compared.
    pub(super) fn take_incomparable(&mut self) -> Vec<TableReport> {
        std::mem::take(&mut self.incomparable)
    }

    /// Bytes of both sides.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = |work: &Work| work.source.bytes + work.target.bytes;
        self.works.iter().map(bytes).sum()
    }
}

impl Work {
    fn new(here: &Table, there: &Table) -> Self {
        let key: Vec<&str> = here
            .key()
            .map(|key| {
                key.parts
                    .iter()
                    .filter_map(|part| part.column.as_deref())
                    .collect()
            })
            .unwrap_or_default();
        let buckets = buckets_for(here.rows_estimate.max(there.rows_estimate));
        Self {
            name: here.name.clone(),
            source: SideWork::new(here, there, here, &key, buckets),
            target: SideWork::new(there, here, here, &key, buckets),
            has_key: !key.is_empty(),
        }
    }
}

impl SideWork {
    /// How `own` is read; `order` is the table whose columns' order both sides keep to.
    fn new(own: &Table, other: &Table, order: &Table, key: &[&str], buckets: u32) -> Self {
        let pair = |name: &str| Some((own.column(name)?, other.column(name)?));
        let row = order.columns.iter();
        let row = render::row_text(row.filter_map(|column| pair(&column.name)));
        let placed_by = match key.is_empty() {
            true => row.clone(),
            false => render::row_text(key.iter().filter_map(|name| pair(name))),
        };
        let columns: Vec<&Column> = key.iter().filter_map(|name| own.column(name)).collect();
        Self {
            row_hash: render::row_hash(&row),
            bucket: render::bucket(&placed_by, buckets),
            row_name: render::row_name(order, &columns),
            bytes: own.bytes,
        }
    }
}

/// Whether rows of the two can be compared.
fn comparable(here: &Table, there: &Table) -> Result<(), String> {
    if !here.engine.eq_ignore_ascii_case("InnoDB") {
        let engine = &here.engine;
        return Err(format!("its engine {engine} has no snapshots"));
    }
    if here.kind == TableKind::SystemVersioned {
        return Err("it is system-versioned, and each server dates its rows itself".to_owned());
    }
    let mut differing = Vec::new();
    for column in &here.columns {
        match there.column(&column.name) {
            None => differing.push(format!("column {} is missing", column.name)),
            Some(other) if normal_type(other) != normal_type(column) => differing.push(format!(
                "column {} is {} on the source and {} on the target",
                column.name, column.column_type, other.column_type
            )),
            Some(_) => {}
        }
    }
    for column in &there.columns {
        if here.column(&column.name).is_none() {
            differing.push(format!("column {} is only on the target", column.name));
        }
    }
    match differing.is_empty() {
        true => Ok(()),
        false => Err(format!("its definition differs: {}", some_of(&differing))),
    }
}

/// What is not moved, and so not compared.
pub(super) fn left_out(source: &Catalog) -> Vec<String> {
    let tables = source.tables.iter();
    let excluded: Vec<&QualifiedName> = tables
        .filter(|table| table.choice == Choice::Excluded)
        .map(|table| &table.name)
        .collect();
    match excluded.is_empty() {
        true => Vec::new(),
        false => vec![format!("excluded by copy.tables: {}", some_of(&excluded))],
    }
}
