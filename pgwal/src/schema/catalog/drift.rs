//! What changed in a schema between two looks at it.
//!
//! The stream does not carry DDL, so a table, column or enum label that appears on the source while
//! changes are streamed must be noticed by looking. Comparing the source with the target works as
//! well as comparing the source with itself earlier: names of types are the same on all versions.

use std::collections::HashMap;
use std::fmt;

use sha2::{Digest, Sha256};

use super::{Catalog, ColumnOrigin, Table};
use crate::name::QualifiedName;

/// One difference between an earlier and a later catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// A table that was not there.
    TableAppeared(QualifiedName),
    /// A table that is gone.
    TableVanished(QualifiedName),
    /// A column that was not there.
    ColumnAppeared(QualifiedName, String),
    /// A column that is gone.
    ColumnVanished(QualifiedName, String),
    /// A column whose type or way of being filled is another.
    ColumnChanged {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
        /// How it was.
        earlier: String,
        /// How it is.
        later: String,
    },
    /// An enum label that was not there.
    EnumLabelAppeared(QualifiedName, String),
    /// An enum type that was not there.
    EnumAppeared(QualifiedName),
    /// A sequence that was not there.
    SequenceAppeared(QualifiedName),
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableAppeared(table) => write!(f, "table {table} is new"),
            Self::TableVanished(table) => write!(f, "table {table} was dropped or renamed"),
            Self::ColumnAppeared(table, column) => {
                write!(f, "column {column} of table {table} is new")
            }
            Self::ColumnVanished(table, column) => {
                write!(f, "column {column} of table {table} was dropped or renamed")
            }
            Self::ColumnChanged {
                table,
                column,
                earlier,
                later,
            } => {
                write!(
                    f,
                    "column {column} of table {table} was {earlier} and is now {later}"
                )
            }
            Self::EnumLabelAppeared(name, label) => {
                write!(f, "enum type {name} has a new label {label}")
            }
            Self::EnumAppeared(name) => write!(f, "enum type {name} is new"),
            Self::SequenceAppeared(name) => write!(f, "sequence {name} is new"),
        }
    }
}

impl Catalog {
    /// What a later catalog has that this one has not, and the other way round.
    ///
    /// Row counts, sizes, keys and replica identities are not compared; neither are tables that
    /// the later catalog's filter excludes.
    #[must_use]
    pub fn drift(&self, later: &Self) -> Vec<Drift> {
        let mut found = Vec::new();
        let before: HashMap<&QualifiedName, &Table> = self
            .tables
            .iter()
            .map(|table| (&table.name, table))
            .collect();
        let after: HashMap<&QualifiedName, &Table> = later
            .tables
            .iter()
            .map(|table| (&table.name, table))
            .collect();
        for table in &later.tables {
            match before.get(&table.name) {
                Some(earlier) if earlier.fingerprint() == table.fingerprint() => {}
                Some(earlier) => drift_of_columns(earlier, table, &mut found),
                None if is_ours_to_watch(table) => {
                    found.push(Drift::TableAppeared(table.name.clone()));
                }
                None => {}
            }
        }
        for table in self.tables.iter().filter(|table| is_ours_to_watch(table)) {
            if !after.contains_key(&table.name) {
                found.push(Drift::TableVanished(table.name.clone()));
            }
        }
        drift_of_enums(self, later, &mut found);
        for sequence in &later.sequences {
            if !self
                .sequences
                .iter()
                .any(|earlier| earlier.name == sequence.name)
            {
                found.push(Drift::SequenceAppeared(sequence.name.clone()));
            }
        }
        found
    }
}

impl Table {
    /// A number that changes when a column is added, dropped, renamed, retyped or reordered. It is
    /// the same on every server and in every version of this program.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Sha256::new();
        for part in [&self.name.schema, &self.name.name] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        for column in &self.columns {
            hash.update(column.name.as_bytes());
            hash.update([0]);
            hash.update(describe(&column.type_name, column.origin).as_bytes());
            hash.update([0]);
        }
        let digest = hash.finalize();
        digest
            .iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

fn is_ours_to_watch(table: &Table) -> bool {
    table.extension.is_none() && table.choice == super::Choice::Chosen
}

fn drift_of_columns(earlier: &Table, later: &Table, found: &mut Vec<Drift>) {
    for column in &later.columns {
        let Some(before) = earlier
            .columns
            .iter()
            .find(|before| before.name == column.name)
        else {
            found.push(Drift::ColumnAppeared(
                later.name.clone(),
                column.name.clone(),
            ));
            continue;
        };
        let was = describe(&before.type_name, before.origin);
        let is = describe(&column.type_name, column.origin);
        if was != is {
            found.push(Drift::ColumnChanged {
                table: later.name.clone(),
                column: column.name.clone(),
                earlier: was,
                later: is,
            });
        }
    }
    for column in &earlier.columns {
        if !later.columns.iter().any(|after| after.name == column.name) {
            found.push(Drift::ColumnVanished(
                later.name.clone(),
                column.name.clone(),
            ));
        }
    }
}

fn drift_of_enums(earlier: &Catalog, later: &Catalog, found: &mut Vec<Drift>) {
    for kind in &later.enums {
        match earlier.enums.iter().find(|before| before.name == kind.name) {
            Some(before) => found.extend(
                kind.labels
                    .iter()
                    .filter(|label| !before.labels.contains(label))
                    .map(|label| Drift::EnumLabelAppeared(kind.name.clone(), label.clone())),
            ),
            None => found.push(Drift::EnumAppeared(kind.name.clone())),
        }
    }
}

/// Whether a column is an identity column says nothing about the values that arrive, and differs
/// between servers: from 17 on partitions have it from their table, before they do not.
fn describe(type_name: &str, origin: ColumnOrigin) -> String {
    match origin {
        ColumnOrigin::Stored | ColumnOrigin::IdentityAlways | ColumnOrigin::IdentityByDefault => {
            type_name.to_owned()
        }
        ColumnOrigin::GeneratedStored => format!("{type_name} generated stored"),
        ColumnOrigin::GeneratedVirtual => format!("{type_name} generated virtual"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    fn table(name: &str, columns: &[(&str, &str)]) -> Table {
        let columns = columns
            .iter()
            .map(|(name, kind)| Column {
                name: (*name).to_owned(),
                type_name: (*kind).to_owned(),
                nullability: Nullability::Nullable,
                origin: ColumnOrigin::Stored,
            })
            .collect();
        Table {
            oid: 1,
            name: QualifiedName::new("public", name),
            kind: TableKind::Ordinary,
            persistence: Persistence::Permanent,
            columns,
            key: None,
            identity: ReplicaIdentity::Default,
            parents: Vec::new(),
            extension: None,
            choice: Choice::Chosen,
            pages: 0,
            bytes: 0,
            rows_estimate: 0,
        }
    }

    fn catalog(tables: Vec<Table>) -> Catalog {
        Catalog {
            tables,
            ..Catalog::default()
        }
    }

    #[test]
    fn equal_catalogs_have_no_drift_whatever_their_sizes() {
        let mut grown = table("a", &[("id", "bigint")]);
        grown.bytes = 99;
        grown.oid = 77;
        let drift = catalog(vec![table("a", &[("id", "bigint")])]).drift(&catalog(vec![grown]));
        assert!(drift.is_empty(), "{drift:?}");
    }

    #[test]
    fn new_gone_and_changed_things_are_named() {
        let before = catalog(vec![
            table("a", &[("id", "bigint"), ("gone", "text"), ("n", "integer")]),
            table("old", &[]),
        ]);
        let after = catalog(vec![
            table("a", &[("id", "bigint"), ("n", "bigint"), ("fresh", "date")]),
            table("new", &[]),
        ]);
        let words: Vec<String> = before
            .drift(&after)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            words,
            [
                "column n of table public.a was integer and is now bigint",
                "column fresh of table public.a is new",
                "column gone of table public.a was dropped or renamed",
                "table public.new is new",
                "table public.old was dropped or renamed",
            ]
        );
    }

    #[test]
    fn partitions_that_have_an_identity_from_their_table_are_no_drift() {
        let before = catalog(vec![table("a", &[("id", "bigint")])]);
        let mut after = before.clone();
        after.tables[0].columns[0].origin = ColumnOrigin::IdentityByDefault;
        assert_eq!(before.drift(&after), []);
    }

    #[test]
    fn a_fingerprint_is_the_same_in_every_version_of_the_program() {
        assert_eq!(
            table("a", &[("id", "bigint")]).fingerprint(),
            9_728_757_025_195_257_106
        );
    }
}
