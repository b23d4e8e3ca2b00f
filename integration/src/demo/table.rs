//! The closing table.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::data::Compared;
use crate::load::Account;

/// Everything that the table says.
pub(super) struct Closing {
    pub(super) tables: Vec<Compared>,
    pub(super) account: Account,
    pub(super) transactions: usize,
    pub(super) seconds: f64,
    pub(super) gap: Duration,
    pub(super) error_samples: Vec<String>,
    pub(super) cutover: Value,
}

impl Closing {
    pub(super) fn is_perfect(&self) -> bool {
        self.account.is_perfect() && self.tables.iter().all(Compared::is_right)
    }

    pub(super) fn render(&self) -> Result<String> {
        let mut out = String::new();
        writeln!(out, "{:<28}{:>14}{:>14}", "rows", "source", "target")?;
        for table in &self.tables {
            let remark = match (table.is_right(), table.written_after) {
                (false, _) => "DIFFERS",
                (true, true) => "(written on after the switch)",
                (true, false) => "equal",
            };
            writeln!(
                out,
                "  {:<26}{:>14}{:>14}  {remark}",
                table.name, table.source.rows, table.target.rows
            )?;
        }
        let account = &self.account;
        let rate = f64::from(u32::try_from(self.transactions)?) / self.seconds.max(0.001);
        writeln!(
            out,
            "{:<28}{:>14}   ({rate:.0} a second)",
            "transactions committed", self.transactions
        )?;
        writeln!(out, "{:<28}{:>14}", "errors", account.errors)?;
        for sample in &self.error_samples {
            writeln!(out, "    {sample}")?;
        }
        writeln!(out, "{:<28}{:>14}", "lost", account.lost)?;
        writeln!(out, "{:<28}{:>14}", "twice", account.twice)?;
        let wrong = account.wrong_totals + usize::try_from(account.wrong_answers)?;
        writeln!(out, "{:<28}{:>14}", "wrong totals or answers", wrong)?;
        let gap_ms = self.gap.as_secs_f64() * 1e3;
        writeln!(out, "{:<28}{gap_ms:>14.1} ms", "longest time, no commit")?;
        self.pause(&mut out)?;
        Ok(out)
    }

    /// The pause as the program reports it, and each step's share.
    fn pause(&self, out: &mut String) -> Result<()> {
        let pause_ms = self.cutover["pause_ms"].as_f64().unwrap_or(f64::NAN);
        writeln!(out, "{:<28}{pause_ms:>14.1} ms, of which", "pause")?;
        let none = Vec::new();
        for step in self.cutover["steps"].as_array().unwrap_or(&none) {
            let name = step["step"].as_str().unwrap_or("?");
            let ms = step["ms"].as_f64().unwrap_or(f64::NAN);
            writeln!(
                out,
                "  {name:<26}{ms:>14.1} ms{:>7.0} %",
                ms / pause_ms * 100.0
            )?;
        }
        writeln!(
            out,
            "{:<28}{:>14}, ended: {}",
            "sessions moved", self.cutover["sessions_moved"], self.cutover["sessions_ended"]
        )?;
        Ok(())
    }
}

impl Compared {
    /// Tables of the load have at least the source's rows; all others are equal.
    fn is_right(&self) -> bool {
        if self.written_after {
            self.target.rows >= self.source.rows
        } else {
            self.source == self.target
        }
    }
}
