//! What many sessions cost: the longest time without a commit across a cutover with 8 and with
//! 1,000 of them, and the program's memory for each idle one.

use std::time::Duration;

use anyhow::{Result, ensure};
use integration::load::{Load, LoadOptions};
use integration::server::PgClient;

use crate::cutover::{add_steps, milliseconds};
use crate::figure::Figure;
use crate::stage::{DATABASE, Stage};

pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
pub(crate) const WARM: Duration = Duration::from_secs(2);
pub(crate) const ACROSS: Duration = Duration::from_secs(3);

/// How many sessions there are, and how many of them work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) name: &'static str,
    pub(crate) active: u32,
    pub(crate) idle: u32,
    pub(crate) think: Duration,
}

/// The two that are compared. Two hundred that do not think would only wait for each other.
pub(crate) const CROWDS: [Crowd; 2] = [
    Crowd {
        name: "8 sessions, all active",
        active: 8,
        idle: 0,
        think: Duration::ZERO,
    },
    Crowd {
        name: "1,000 sessions, 200 active",
        active: 200,
        idle: 800,
        think: Duration::from_millis(50),
    },
];

/// The figures that come of it.
#[derive(Debug)]
pub(crate) struct Figures {
    gap: Figure,
    pauses: Vec<Figure>,
    memory: Figure,
}

impl Figures {
    pub(crate) fn new(engine: &str) -> Self {
        let name = |what: &str| format!("{engine}: {what}");
        let pause = |crowd: &Crowd| Figure::new(name(&format!("pause, {}", crowd.name)), "ms");
        Self {
            gap: Figure::new(name("longest time without any commit"), "ms"),
            pauses: CROWDS.iter().map(pause).collect(),
            memory: Figure::new(name("memory of each idle session"), "KiB"),
        }
    }

    pub(crate) fn add_idle(&mut self, what: &str, before: u64, after: u64, sessions: u32) {
        let kib = u32::try_from(after.saturating_sub(before) / 1024).unwrap_or(u32::MAX);
        self.memory
            .add(what, f64::from(kib) / f64::from(sessions.max(1)));
    }

    pub(crate) fn add_gaps(&mut self, crowd: &Crowd, noise: Duration, across: Duration) {
        let series = |what: &str| format!("{}, {what}", crowd.name);
        self.gap.add(&series("no cutover"), milliseconds(noise));
        self.gap
            .add(&series("across the cutover"), milliseconds(across));
    }

    pub(crate) fn add_pause(&mut self, number: usize, said: &str) -> Result<()> {
        if let Some(pause) = self.pauses.get_mut(number) {
            add_steps(pause, &serde_json::from_str(said)?);
        }
        Ok(())
    }

    pub(crate) fn into_figures(self) -> Vec<Figure> {
        let mut all = vec![self.gap];
        all.extend(self.pauses);
        all.push(self.memory);
        all
    }
}

/// Alternates the two crowds.
///
/// # Errors
///
/// When a movement fails, or the account of one is not perfect.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let mut figures = Figures::new("PostgreSQL");
    for _ in 0..runs {
        for (number, crowd) in CROWDS.iter().enumerate() {
            run(number, crowd, &mut figures).await?;
        }
    }
    Ok(figures.into_figures())
}

async fn run(number: usize, crowd: &Crowd, figures: &mut Figures) -> Result<()> {
    let stage = Stage::new(1).await?;
    Load::prepare(&stage.source.client(DATABASE).await?).await?;
    let url = stage.proxy.url("postgres", DATABASE);
    let before = stage.proxy.memory_bytes()?;
    let mut idle = Vec::new();
    for _ in 0..crowd.idle {
        let client = PgClient::connect(&url).await?;
        client.value("SELECT 1").await?;
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
        client.value("SELECT 1").await?;
    }
    let account = report
        .account(&stage.target.client(DATABASE).await?)
        .await?;
    ensure!(
        account.is_perfect(),
        "{account:?}: {:?}",
        report.error_samples
    );
    Ok(())
}
