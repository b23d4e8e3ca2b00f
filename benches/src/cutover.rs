//! The longest time without any commit across a cutover, under eight clients of one INSERT and one
//! UPDATE a transaction.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration::load::{Load, LoadOptions};
use serde_json::Value;

use crate::figure::Figure;
use crate::stage::{DATABASE, Stage};

const PATIENCE: Duration = Duration::from_secs(60);
const WARM: Duration = Duration::from_secs(2);
const ACROSS: Duration = Duration::from_secs(2);

/// Several movements, each with fresh servers; the same time without a cutover beside it.
///
/// # Errors
///
/// When a movement fails, or the account of one is not perfect.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let mut gap = Figure::new("longest time without any commit, 8 clients", "ms");
    let mut pause = Figure::new("the pause and its steps, as reported", "ms");
    let mut rate = Figure::new("transactions of the load", "a second");
    for _ in 0..runs {
        let stage = Stage::new(1).await?;
        Load::prepare(&stage.source.client(DATABASE).await?).await?;
        let url = stage.proxy.url("postgres", DATABASE);
        let load = Load::start(&LoadOptions::new(url)).await?;
        load.more_commits(100, PATIENCE).await?;
        stage.stream().await?;
        tokio::time::sleep(WARM).await;

        load.reset_gap();
        tokio::time::sleep(ACROSS).await;
        gap.add(
            "no cutover (noise)",
            milliseconds(load.longest_gap().length),
        );

        load.reset_gap();
        let said = stage.proxy.done(&["cutover", "--json"]).await?;
        tokio::time::sleep(ACROSS).await;
        gap.add(
            "across the cutover",
            milliseconds(load.longest_gap().length),
        );
        add_steps(&mut pause, &serde_json::from_str(&said)?);

        let report = load.stop().await?;
        let transactions = u32::try_from(report.acknowledged.len())?;
        rate.add(
            "through pointsman",
            f64::from(transactions) / report.lasted.as_secs_f64(),
        );
        let account = report
            .account(&stage.target.client(DATABASE).await?)
            .await?;
        ensure!(
            account.is_perfect(),
            "{account:?}: {:?}",
            report.error_samples
        );
    }
    Ok(vec![gap, pause, rate])
}

/// Adds what a cutover's report says of its pause.
pub(crate) fn add_steps(pause: &mut Figure, report: &Value) {
    pause.add("pause", report["pause_ms"].as_f64().unwrap_or(f64::NAN));
    let none = Vec::new();
    let steps = report["steps"].as_array().unwrap_or(&none);
    for (number, step) in steps.iter().enumerate() {
        let name = step["step"].as_str().unwrap_or("?");
        let ms = step["ms"].as_f64().unwrap_or(f64::NAN);
        pause.add(&format!("step {} {name}", number + 1), ms);
    }
}

/// A duration in milliseconds with its fraction.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
