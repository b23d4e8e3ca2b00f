//! The longest time without any commit across a cutover, under eight clients of one INSERT and one
//! UPDATE a transaction.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration::load::{Load, LoadOptions};

use super::stage::{DATABASE, Stage};
use crate::cutover::{add_steps, milliseconds};
use crate::figure::Figure;

const PATIENCE: Duration = Duration::from_secs(60);
const WARM: Duration = Duration::from_secs(2);
const ACROSS: Duration = Duration::from_secs(2);

/// Several movements, each with fresh servers; the same time without a cutover beside it.
///
/// # Errors
///
/// When a movement fails, or the account of one is not perfect.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let mut gap = Figure::new("MySQL: longest time without any commit, 8 clients", "ms");
    let mut pause = Figure::new("MySQL: the pause and its steps, as reported", "ms");
    let mut rate = Figure::new("MySQL: transactions of the load", "a second");
    for _ in 0..runs {
        let stage = Stage::new(1, 100_000).await?;
        Load::prepare_in(&stage.source.connect().await?, DATABASE).await?;
        let url = stage.proxy.url("root", DATABASE);
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
        let target = stage.target.connect().await?;
        let account = report.account_in(&target, DATABASE).await?;
        ensure!(
            account.is_perfect(),
            "{account:?}: {:?}",
            report.error_samples
        );
    }
    Ok(vec![gap, pause, rate])
}
