//! The closing table.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::contents::Contents;
use crate::load::Account;

/// Everything that the table says.
pub(super) struct Closing {
    pub(super) source: Contents,
    pub(super) target: Contents,
    pub(super) account: Account,
    pub(super) transactions: usize,
    pub(super) seconds: f64,
    pub(super) gap: Duration,
    pub(super) error_samples: Vec<String>,
    pub(super) cutover: Value,
}

impl Closing {
    pub(super) fn is_perfect(&self) -> bool {
        let right = |name: &String| self.remark(name).is_ok();
        self.account.is_perfect() && self.target.keys().chain(self.source.keys()).all(right)
    }

    pub(super) fn render(&self) -> Result<String> {
        let mut out = String::new();
        writeln!(out, "{:<28}{:>14}{:>14}", "rows", "source", "target")?;
        for name in self.source.keys() {
            let rows = |side: &Contents| side.get(name).map_or(0, |table| table.rows);
            let (Ok(remark) | Err(remark)) = self.remark(name);
            let (source, target) = (rows(&self.source), rows(&self.target));
            writeln!(out, "  {name:<26}{source:>14}{target:>14}  {remark}")?;
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

    /// Tables of the load are written on after the switch, so there the target has more.
    fn remark(&self, name: &String) -> Result<&'static str, &'static str> {
        match (self.source.get(name), self.target.get(name)) {
            (Some(source), Some(target)) if source == target => Ok("equal"),
            (Some(source), Some(target))
                if name.contains("load_") && target.rows >= source.rows =>
            {
                Ok("(written on after the switch)")
            }
            (Some(_), Some(_)) => Err("DIFFERS"),
            (None, _) | (_, None) => Err("MISSING ON ONE SIDE"),
        }
    }
}
