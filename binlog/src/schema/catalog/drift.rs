//! What differs in tables between two looks at them.

use std::fmt;

use super::{Catalog, Table};
use crate::name::QualifiedName;

/// One difference between an earlier and a later catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// A table that is gone.
    TableVanished(QualifiedName),
    /// A table whose columns are others.
    ColumnsChanged(QualifiedName),
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableVanished(table) => write!(f, "table {table} was dropped or renamed"),
            Self::ColumnsChanged(table) => write!(f, "the columns of table {table} changed"),
        }
    }
}

impl Catalog {
    /// Tables of this catalog whose columns have other names, or another order, in one of another
    /// server of the same family.
    #[must_use]
    pub fn renamed(&self, other: &Self, is_of_interest: impl Fn(&Table) -> bool) -> Vec<Drift> {
        let names = |table: &Table| -> Vec<String> {
            let columns = table.columns.iter();
            columns.map(|column| column.name.clone()).collect()
        };
        self.moved_tables()
            .filter(|table| is_of_interest(table))
            .filter_map(|table| match other.table(&table.name) {
                None => Some(Drift::TableVanished(table.name.clone())),
                Some(now) if names(now) == names(table) => None,
                Some(_) => Some(Drift::ColumnsChanged(table.name.clone())),
            })
            .collect()
    }
}
