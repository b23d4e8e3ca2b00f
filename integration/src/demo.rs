//! The demonstration that `demo.sh` runs.
//!
//! Two real servers, a database with data, pointsman in front of it, clients that write through it
//! all the time; then check, start, cutover. At the end a table says what became of every row and
//! every transaction, and what the pause consisted of.
#![expect(clippy::print_stdout, reason = "what it shows is what it is for")]

mod data;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::table::Closing;
use crate::load::{Load, LoadOptions, Report};
use crate::proxy::{Proxy, ProxyOptions};
use crate::server::{PgClient, PgOptions, PgServer};
use crate::{binaries, contents};

/// How long the copy may take.
const COPY_PATIENCE: Duration = Duration::from_secs(150);

/// How long the load runs on before and after the cutover.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(4);

/// What the demonstration is asked for.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The source's major version.
    pub from: u32,
    /// The target's major version.
    pub to: u32,
    /// Hundreds of thousands of rows.
    pub scale: u32,
    /// Clients of the load.
    pub clients: u32,
}

/// The parts that run at the same time.
struct Stage {
    source: PgServer,
    target: PgServer,
    proxy: Proxy,
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
    let url = stage.proxy.url("app:secret", data::DATABASE);
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
    let servers = || {
        PgOptions::default()
            .with_scram()
            .set("shared_buffers", "256MB")
    };
    let source = PgServer::start(options.from, servers()).await?;
    let target = PgServer::start(options.to, servers()).await?;
    clock.say(&format!(
        "two servers run: source PostgreSQL {} on port {}, target PostgreSQL {} on port {}",
        options.from,
        source.port(),
        options.to,
        target.port()
    ));
    let rows = data::fill_source(&source, options.scale).await?;
    data::prepare_target(&target).await?;
    clock.say(&format!("the source's database has {rows} rows"));

    let pg_dump = binaries::client_bin(options.from)?;
    let proxy = ProxyOptions::between(&source, &target, data::DATABASE)
        .key(format!("copy.pg_dump_dir = {pg_dump:?}"));
    let proxy = Proxy::start(proxy).await?;
    clock.say(&format!(
        "pointsman runs on port {} in front of the source",
        proxy.port()
    ));
    Ok(Stage {
        source,
        target,
        proxy,
    })
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
    let source = stage.source.client(data::DATABASE).await?;
    let target = stage.target.client(data::DATABASE).await?;
    let closing = Closing {
        source: contents::read(&source).await?,
        target: contents::read(&target).await?,
        account: report.account(&target).await?,
        transactions: report.acknowledged.len(),
        seconds: report.lasted.as_secs_f64(),
        gap: report.longest_gap.length,
        error_samples: report.error_samples.clone(),
        cutover,
    };
    print!("\n{}", closing.render()?);
    let clients = PgClient::connect(&stage.proxy.url("app:secret", data::DATABASE)).await?;
    let serving = clients.value("SHOW server_version").await?;
    println!("\na client that connects to the same port now is served by PostgreSQL {serving}");
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
