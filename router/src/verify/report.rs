//! What a comparison has found, the same for both engines.

use std::time::Duration;

use super::Differences;

/// Everything that was compared.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The place in the source's log that both sides were read at.
    pub position: String,
    /// For how long the applier held still until the target's snapshot was open.
    pub held: Duration,
    /// The tables whose rows are moved, by name.
    pub tables: Vec<TableReport>,
    /// What differs in the schema.
    pub schema: Vec<ObjectDifference>,
    /// Rows on the target whose foreign keys lead nowhere.
    pub orphans: Vec<OrphanedRows>,
    /// Sequences (or counters) that are behind the source's on the target, as they are before a
    /// movement sets them. No difference.
    pub sequences_behind: Vec<String>,
    /// What was left out, and why, a sentence each. No difference.
    pub left_out: Vec<String>,
}

impl Report {
    /// Whether everything was compared and is equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.schema.is_empty()
            && self.orphans.is_empty()
            && self
                .tables
                .iter()
                .all(|table| matches!(table.verdict, Verdict::Equal { .. }))
    }
}

/// One table.
#[derive(Debug, Clone)]
pub struct TableReport {
    /// Its name with its schema.
    pub name: String,
    /// How it compares.
    pub verdict: Verdict,
}

/// How a table compares.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Every row has its like on the other side.
    Equal {
        /// How many there are.
        rows: u64,
    },
    /// They differ.
    Differs {
        /// Rows on the source.
        source_rows: u64,
        /// Rows on the target.
        target_rows: u64,
        /// The rows that were found out.
        differences: Differences,
        /// Whether there is more that was not read again.
        more: bool,
    },
    /// They cannot be compared, for this reason.
    CannotCompare {
        /// A sentence.
        why: String,
    },
}

/// A difference in the schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectDifference {
    /// What it is: `index`, `trigger`, `column`, ...
    pub kind: String,
    /// Its name, with what it belongs to.
    pub name: String,
    /// How the source has it; nothing if it has it not.
    pub source: Option<String>,
    /// How the target has it.
    pub target: Option<String>,
}

/// A foreign key that does not hold on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanedRows {
    /// The table with the rows.
    pub table: String,
    /// The constraint.
    pub constraint: String,
    /// How many rows; nothing where it could not be found out.
    pub rows: Option<u64>,
    /// Why it could not.
    pub why: Option<String>,
}
