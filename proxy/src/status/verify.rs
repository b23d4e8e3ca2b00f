//! What `verify` says: for people, and as JSON that other programs build on.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use router::verify::{Report, RowDifference, TableReport, Verdict};
use serde::{Deserialize, Serialize};

use super::counted;

/// Tables that are not equal, and are told of to people, at most.
const TABLES_MAX: usize = 50;

/// Rows that are told of to people, of one table.
const ROWS_MAX: usize = 5;

/// The answer of `verify`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VerifyReport {
    /// `equal`, `differs`, or `incomplete`: nothing differs, and something cannot be compared.
    pub outcome: Outcome,
    /// When it ended, in UTC.
    pub at: String,
    /// How long it took.
    pub seconds: f64,
    /// The place in the source's log that both sides were read at.
    pub position: String,
    /// For how long the applier held still.
    pub held_ms: f64,
    /// Tables that are equal.
    pub tables_equal: usize,
    /// Their rows.
    pub rows_equal: u64,
    /// The tables.
    pub tables: Vec<VerifiedTable>,
    /// What differs in the schema.
    pub schema: Vec<VerifiedObject>,
    /// Foreign keys that do not hold on the target.
    pub orphans: Vec<VerifiedForeignKey>,
    /// Sequences that the cutover has yet to set; no difference.
    pub sequences_behind: Vec<String>,
    /// What is not moved and was not compared; no difference.
    pub left_out: Vec<String>,
}

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Everything is equal.
    Equal,
    /// Something differs.
    Differs,
    /// Nothing differs, and something cannot be compared.
    Incomplete,
}

/// One table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VerifiedTable {
    /// `schema.table`.
    pub name: String,
    /// How it compares.
    #[serde(flatten)]
    pub verdict: TableVerdict,
}

/// How a table compares.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub(crate) enum TableVerdict {
    /// Every row has its like on the other side.
    Equal {
        /// How many.
        rows: u64,
    },
    /// They differ.
    Differs {
        /// Rows on the source.
        source_rows: u64,
        /// Rows on the target.
        target_rows: u64,
        /// Differing rows that were found out.
        differing_rows: u64,
        /// Whether there are more than those.
        more: bool,
        /// The first of them.
        first: Vec<VerifiedRow>,
    },
    /// They cannot be compared.
    CannotCompare {
        /// Why.
        reason: String,
    },
}

/// One row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VerifiedRow {
    /// `changed`, `missing` (on the target) or `extra` (on the target).
    pub difference: String,
    /// Its key; where it lies on its side, if the table has no key.
    pub row: String,
}

/// One object of the schema.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VerifiedObject {
    /// What it is.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How the source has it; `null` if it has it not.
    pub source: Option<String>,
    /// How the target has it; `null` if it has it not.
    pub target: Option<String>,
}

/// One foreign key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VerifiedForeignKey {
    /// The table with the rows.
    pub table: String,
    /// The constraint.
    pub constraint: String,
    /// Rows that lead nowhere; `null` where they cannot be counted.
    pub rows: Option<u64>,
    /// Why they cannot.
    pub reason: Option<String>,
}

impl VerifyReport {
    /// The report of a comparison that has just ended.
    #[must_use]
    pub(crate) fn new(report: &Report, took: Duration) -> Self {
        let tables: Vec<VerifiedTable> = report.tables.iter().map(table).collect();
        let rows = |table: &VerifiedTable| match table.verdict {
            TableVerdict::Equal { rows } => Some(rows),
            TableVerdict::Differs { .. } | TableVerdict::CannotCompare { .. } => None,
        };
        let differs = |table: &VerifiedTable| matches!(table.verdict, TableVerdict::Differs { .. });
        let outcome = if report.is_equal() {
            Outcome::Equal
        } else if tables.iter().any(differs)
            || !report.schema.is_empty()
            || report.orphans.iter().any(|key| key.rows.is_some())
        {
            Outcome::Differs
        } else {
            Outcome::Incomplete
        };
        Self {
            outcome,
            at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            seconds: took.as_secs_f64(),
            position: report.position.clone(),
            held_ms: report.held.as_secs_f64() * 1000.0,
            tables_equal: tables.iter().filter_map(rows).count(),
            rows_equal: tables.iter().filter_map(rows).sum(),
            tables,
            schema: report
                .schema
                .iter()
                .map(|object| VerifiedObject {
                    kind: object.kind.clone(),
                    name: object.name.clone(),
                    source: object.source.clone(),
                    target: object.target.clone(),
                })
                .collect(),
            orphans: report
                .orphans
                .iter()
                .map(|key| VerifiedForeignKey {
                    table: key.table.clone(),
                    constraint: key.constraint.clone(),
                    rows: key.rows,
                    reason: key.why.clone(),
                })
                .collect(),
            sequences_behind: report.sequences_behind.clone(),
            left_out: report.left_out.clone(),
        }
    }

    /// Without the tables that are equal, of which there may be thousands.
    #[must_use]
    pub(crate) fn without_equal_tables(mut self) -> Self {
        self.tables
            .retain(|table| !matches!(table.verdict, TableVerdict::Equal { .. }));
        self
    }

    /// One line.
    #[must_use]
    pub(crate) fn summary(&self) -> String {
        let not_equal = self.tables.iter();
        let not_equal =
            not_equal.filter(|table| !matches!(table.verdict, TableVerdict::Equal { .. }));
        let equal = format!(
            "{} with {} equal",
            counted(self.tables_equal.try_into().unwrap_or(u64::MAX), "table"),
            counted(self.rows_equal, "row")
        );
        let rest = match self.outcome {
            Outcome::Equal => String::new(),
            Outcome::Differs | Outcome::Incomplete => format!(
                ", {} not, {} of the schema, {}",
                not_equal.count(),
                counted(
                    self.schema.len().try_into().unwrap_or(u64::MAX),
                    "difference"
                ),
                counted(
                    self.orphans.len().try_into().unwrap_or(u64::MAX),
                    "broken foreign key"
                ),
            ),
        };
        let outcome = match self.outcome {
            Outcome::Equal => "equal",
            Outcome::Differs => "the sides DIFFER",
            Outcome::Incomplete => "not everything can be compared",
        };
        format!(
            "{outcome}: {equal}{rest}; at {} ({}), {:.1} s",
            self.position, self.at, self.seconds
        )
    }

    /// Everything that is not equal, and what else there is to know.
    #[must_use]
    pub(crate) fn in_words(&self) -> String {
        let mut out = String::new();
        let not_equal: Vec<&VerifiedTable> = self
            .tables
            .iter()
            .filter(|table| !matches!(table.verdict, TableVerdict::Equal { .. }))
            .collect();
        for table in not_equal.iter().take(TABLES_MAX) {
            say_table(&mut out, table);
        }
        if not_equal.len() > TABLES_MAX {
            let more = not_equal.len() - TABLES_MAX;
            say(
                &mut out,
                &format!("... and {more} more tables (--json has all)"),
            );
        }
        for object in &self.schema {
            let words = |side: &Option<String>| side.clone().unwrap_or_else(|| "none".to_owned());
            say(
                &mut out,
                &format!("{} {} differs", object.kind, object.name),
            );
            say(&mut out, &format!("  source: {}", words(&object.source)));
            say(&mut out, &format!("  target: {}", words(&object.target)));
        }
        for key in &self.orphans {
            let rows = match (key.rows, &key.reason) {
                (Some(rows), _) => format!("{} on the target without it", counted(rows, "row")),
                (None, Some(why)) => format!("cannot be looked at: {why}"),
                (None, None) => "cannot be looked at".to_owned(),
            };
            let (constraint, table) = (&key.constraint, &key.table);
            say(
                &mut out,
                &format!("foreign key {constraint} of {table}: {rows}"),
            );
        }
        if !self.sequences_behind.is_empty() {
            let names = self.sequences_behind.join(", ");
            say(
                &mut out,
                &format!("note: the cutover has yet to set: {names}"),
            );
        }
        for left_out in &self.left_out {
            say(&mut out, &format!("note: not compared: {left_out}"));
        }
        say(&mut out, &self.summary());
        out
    }
}

fn say(out: &mut String, line: &str) {
    let _cannot_fail = writeln!(out, "{line}");
}

fn say_table(out: &mut String, table: &VerifiedTable) {
    match &table.verdict {
        TableVerdict::Equal { .. } => {}
        TableVerdict::CannotCompare { reason } => {
            say(out, &format!("{} cannot be compared: {reason}", table.name));
        }
        TableVerdict::Differs {
            source_rows,
            target_rows,
            differing_rows,
            more,
            first,
        } => {
            let at_least = if *more { "at least " } else { "" };
            say(
                out,
                &format!(
                    "{} differs: {source_rows} rows on the source, {target_rows} on the target; \
                     {at_least}{} found",
                    table.name,
                    counted(*differing_rows, "differing row"),
                ),
            );
            for VerifiedRow { difference, row } in first.iter().take(ROWS_MAX) {
                say(out, &format!("  {difference}: {row}"));
            }
            if first.len() > ROWS_MAX {
                say(out, "  ... (--json has more)");
            }
        }
    }
}

fn table(table: &TableReport) -> VerifiedTable {
    let verdict = match &table.verdict {
        Verdict::Equal { rows } => TableVerdict::Equal { rows: *rows },
        Verdict::CannotCompare { why } => TableVerdict::CannotCompare {
            reason: why.clone(),
        },
        Verdict::Differs {
            source_rows,
            target_rows,
            differences,
            more,
        } => TableVerdict::Differs {
            source_rows: *source_rows,
            target_rows: *target_rows,
            differing_rows: differences.found,
            more: *more,
            first: differences.first.iter().map(row).collect(),
        },
    };
    VerifiedTable {
        name: table.name.clone(),
        verdict,
    }
}

fn row(difference: &RowDifference) -> VerifiedRow {
    let (difference, row) = match difference {
        RowDifference::Changed { key } => ("changed", key),
        RowDifference::Missing { row } => ("missing", row),
        RowDifference::Extra { row } => ("extra", row),
    };
    VerifiedRow {
        difference: difference.to_owned(),
        row: row.clone(),
    }
}

#[cfg(test)]
mod tests {
    use router::verify::Differences;

    use super::*;

    fn report(verdicts: Vec<Verdict>) -> VerifyReport {
        let tables = verdicts.into_iter().map(|verdict| TableReport {
            name: "shop.orders".to_owned(),
            verdict,
        });
        let report = Report {
            position: "0/16B6C50".to_owned(),
            tables: tables.collect(),
            ..Report::default()
        };
        VerifyReport::new(&report, Duration::from_secs(2))
    }

    #[test]
    fn the_json_of_a_table_says_its_verdict() {
        let differences = Differences {
            first: vec![RowDifference::Missing {
                row: "id=7".to_owned(),
            }],
            found: 1,
        };
        let told = report(vec![Verdict::Differs {
            source_rows: 2,
            target_rows: 1,
            differences,
            more: false,
        }]);
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!(json["outcome"], "differs");
        let table = &json["tables"][0];
        assert_eq!(table["name"], "shop.orders");
        assert_eq!(table["verdict"], "differs");
        assert_eq!(table["first"][0]["difference"], "missing");
        assert_eq!(table["first"][0]["row"], "id=7");
        assert!(
            told.in_words().contains("missing: id=7"),
            "{}",
            told.in_words()
        );
    }

    #[test]
    fn what_cannot_be_compared_is_not_equal() {
        let why = "its definition differs".to_owned();
        let told = report(vec![
            Verdict::Equal { rows: 3 },
            Verdict::CannotCompare { why },
        ]);
        assert_eq!(told.outcome, Outcome::Incomplete);
        assert_eq!((told.tables_equal, told.rows_equal), (1, 3));
        assert_eq!(told.without_equal_tables().tables.len(), 1);
    }
}
