//! What many sessions cost on MySQL: as for PostgreSQL.

use anyhow::{Result, ensure};
use binlog::wire::Endpoint;
use integration::load::{Load, LoadOptions};

use super::stage::{DATABASE, Stage};
use crate::figure::Figure;
use crate::sessions::{ACROSS, CROWDS, Crowd, Figures, PATIENCE, WARM};

/// Alternates the two crowds.
///
/// # Errors
///
/// When a movement fails, or the account of one is not perfect.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let mut figures = Figures::new("MySQL");
    for _ in 0..runs {
        for (number, crowd) in CROWDS.iter().enumerate() {
            run(number, crowd, &mut figures).await?;
        }
    }
    Ok(figures.into_figures())
}

async fn run(number: usize, crowd: &Crowd, figures: &mut Figures) -> Result<()> {
    let stage = Stage::new(1, 100_000).await?;
    Load::prepare_in(&stage.source.connect().await?, DATABASE).await?;
    let url = stage.proxy.url("root", DATABASE);
    let before = stage.proxy.memory_bytes()?;
    let endpoint: Endpoint = url.parse()?;
    let mut idle = Vec::new();
    for _ in 0..crowd.idle {
        let client = endpoint.connect_sql("idle").await?;
        client.query("SELECT 1").await?;
        idle.push(client);
    }
    if crowd.idle > 0 {
        let after = stage.proxy.memory_bytes()?;
        figures.add_idle("before a migration", before, after, crowd.idle);
    }
    let options = LoadOptions::new(url)
        .clients(crowd.active)
        .think(crowd.think);
    let load = Load::start(&options).await?;
    load.more_commits(1000, PATIENCE).await?;
    stage.stream().await?;
    tokio::time::sleep(WARM).await;
    load.reset_gap();
    tokio::time::sleep(ACROSS).await;
    let noise = load.longest_gap().length;

    load.reset_gap();
    let said = stage.proxy.done(&["cutover", "--json"]).await?;
    tokio::time::sleep(ACROSS).await;
    figures.add_gaps(crowd, noise, load.longest_gap().length);
    figures.add_pause(number, &said)?;
    let report = load.stop().await?;
    for client in &idle {
        client.query("SELECT 1").await?;
    }
    let target = stage.target.connect().await?;
    let account = report.account_in(&target, DATABASE).await?;
    ensure!(
        account.is_perfect(),
        "{account:?}: {:?}",
        report.error_samples
    );
    Ok(())
}
