//! The demonstration that `demo.sh` runs.
//!
//! Two real servers, a database with data, pointsman in front of it, clients that write through it
//! all the time; then check, start, cutover. At the end a table says what became of every row and
//! every transaction, and what the pause consisted of.
#![expect(clippy::print_stdout, reason = "what it shows is what it is for")]

mod mysql;
mod postgres;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::table::Closing;
use crate::contents::Contents;
use crate::load::{Account, Load, LoadOptions, Report};
use crate::proxy::{Proxy, ProxyOptions};

/// The database that is moved.
const DATABASE: &str = "shop";

/// How long the copy may take.
const COPY_PATIENCE: Duration = Duration::from_secs(150);

/// How long the load runs on before and after the cutover.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(4);

/// Which kind of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemoEngine {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB, as the versions say.
    MySql,
}

/// What the demonstration is asked for.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// Which kind of servers.
    pub engine: DemoEngine,
    /// The source's version; one of each engine is usual.
    pub from: Option<String>,
    /// The target's version.
    pub to: Option<String>,
    /// Hundreds of thousands of rows.
    pub scale: u32,
    /// Clients of the load.
    pub clients: u32,
}

/// The servers of either engine.
enum Servers {
    Postgres(postgres::Servers),
    MySql(mysql::Servers),
}

/// The parts that run at the same time.
struct Stage {
    servers: Servers,
    proxy: Proxy,
}

impl Servers {
    async fn start(options: &DemoOptions) -> Result<Self> {
        Ok(match options.engine {
            DemoEngine::Postgres => Self::Postgres(postgres::Servers::start(options).await?),
            DemoEngine::MySql => Self::MySql(mysql::Servers::start(options).await?),
        })
    }

    fn described(&self) -> String {
        match self {
            Self::Postgres(servers) => servers.described(),
            Self::MySql(servers) => servers.described(),
        }
    }

    async fn fill(&self, scale: u32) -> Result<u64> {
        match self {
            Self::Postgres(servers) => servers.fill(scale).await,
            Self::MySql(servers) => servers.fill(scale).await,
        }
    }

    fn proxy(&self) -> Result<ProxyOptions> {
        match self {
            Self::Postgres(servers) => servers.proxy(),
            Self::MySql(servers) => Ok(servers.proxy()),
        }
    }

    async fn contents(&self) -> Result<(Contents, Contents)> {
        match self {
            Self::Postgres(servers) => servers.contents().await,
            Self::MySql(servers) => servers.contents().await,
        }
    }

    async fn account(&self, report: &Report) -> Result<Account> {
        match self {
            Self::Postgres(servers) => servers.account(report).await,
            Self::MySql(servers) => servers.account(report).await,
        }
    }

    async fn serving(&self, url: &str) -> Result<String> {
        match self {
            Self::Postgres(_) => postgres::serving(url).await,
            Self::MySql(_) => mysql::serving(url).await,
        }
    }
}

/// Runs it; says whether nothing was lost, nothing was twice, and no client saw an error.
///
/// # Errors
///
/// When a step fails.
pub async fn run(options: &DemoOptions) -> Result<bool> {
    let clock = Clock {
        started: Instant::now(),
    };
    let stage = set_up(&clock, options).await?;

    clock.say(&format!(
        "{} clients write through pointsman",
        options.clients
    ));
    let url = stage.proxy.url("app:secret", DATABASE);
    let load = Load::start(&LoadOptions::new(url).clients(options.clients)).await?;
    load.more_commits(100, Duration::from_secs(30)).await?;

    clock.say("pointsman check");
    print!("{}", indented(&stage.proxy.done(&["check"]).await?));
    clock.say("pointsman start");
    stage.proxy.done(&["start"]).await?;
    wait_for_streaming(&clock, &stage.proxy).await?;
    tokio::time::sleep(BEFORE).await;

    clock.say(&format!(
        "pointsman cutover, after {} transactions",
        load.commits()
    ));
    load.reset_gap();
    let said = stage.proxy.cli(&["cutover", "--json"]).await?;
    ensure!(said.code == 0, "the cutover failed: {said}");
    let cutover: Value = serde_json::from_str(&said.stdout).context("the cutover's report")?;
    tokio::time::sleep(AFTER).await;
    let report = load.stop().await?;
    clock.say("the load has ended; counting");
    close(&stage, &report, cutover).await
}

async fn set_up(clock: &Clock, options: &DemoOptions) -> Result<Stage> {
    let servers = Servers::start(options).await?;
    clock.say(&format!("two servers run: {}", servers.described()));
    let rows = servers.fill(options.scale).await?;
    clock.say(&format!("the source's database has {rows} rows"));

    let proxy = Proxy::start(servers.proxy()?).await?;
    clock.say(&format!(
        "pointsman runs on port {} in front of the source",
        proxy.port()
    ));
    Ok(Stage { servers, proxy })
}

/// Shows each step and each tenth of the copy once.
async fn wait_for_streaming(clock: &Clock, proxy: &Proxy) -> Result<()> {
    let deadline = Instant::now() + COPY_PATIENCE;
    let mut shown = String::new();
    loop {
        let status = proxy.status().await?;
        ensure!(
            status["phase"] != "failed",
            "the migration failed: {:#}",
            status["failure"]
        );
        let now = progress(&status);
        if now != shown {
            clock.say(&now);
            shown = now;
        }
        if status["phase"] == "streaming" {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the copy takes too long: {status:#}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn progress(status: &Value) -> String {
    let phase = status["phase"].as_str().unwrap_or("?");
    if phase == "streaming" {
        let lag = status["lag"]["bytes"].as_u64().unwrap_or(0);
        return format!("streaming: the target is {lag} bytes behind");
    }
    let none = Vec::new();
    let tables = status["copy"]["tables"].as_array().unwrap_or(&none);
    let sum = |name: &str| {
        tables
            .iter()
            .filter_map(|table| table[name].as_u64())
            .sum::<u64>()
    };
    let done = tables.iter().filter(|table| table["done"] == true).count();
    let tenths = (sum("bytes") * 10)
        .checked_div(sum("bytes_expected"))
        .unwrap_or(0)
        .min(10);
    let step = status["step"].as_str().unwrap_or("beginning");
    if tables.is_empty() {
        return format!("{phase}: {step}");
    }
    let percent = tenths * 10;
    format!(
        "{phase}: {step}; {done} of {} tables, about {percent} % of the bytes",
        tables.len()
    )
}

async fn close(stage: &Stage, report: &Report, cutover: Value) -> Result<bool> {
    let (source, target) = stage.servers.contents().await?;
    let closing = Closing {
        source,
        target,
        account: stage.servers.account(report).await?,
        transactions: report.acknowledged.len(),
        seconds: report.lasted.as_secs_f64(),
        gap: report.longest_gap.length,
        error_samples: report.error_samples.clone(),
        cutover,
    };
    print!("\n{}", closing.render()?);
    let url = stage.proxy.url("app:secret", DATABASE);
    let serving = stage.servers.serving(&url).await?;
    println!("\na client that connects to the same port now is served by {serving}");
    Ok(closing.is_perfect())
}

/// Says things with the time since the start.
struct Clock {
    started: Instant,
}

impl Clock {
    fn say(&self, what: &str) {
        println!("{:6.1} s  {what}", self.started.elapsed().as_secs_f64());
    }
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("          {line}\n"))
        .collect()
}
