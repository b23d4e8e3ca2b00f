//! Working off 40,000 pgbench transactions that piled up, against a native subscription.
//!
//! Both start from stopped: the program is killed and started again, the subscription is disabled
//! and enabled again. The time is from there until the target's history has every row.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::server::{PgClient, PgOptions, PgServer};

use crate::figure::Figure;
use crate::pgbench;
use crate::stage::{DATABASE, Stage, TO};

const SCALE: u32 = 10;
const TRANSACTIONS: u32 = 40_000;
const PATIENCE: Duration = Duration::from_secs(300);

/// Alternates both on one source.
///
/// # Errors
///
/// When something fails or takes too long.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let mut stage = Stage::new(SCALE).await?;
    let subscriber = subscribe(&stage).await?;
    stage.stream().await?;
    let ours = stage.target.client(DATABASE).await?;
    let native = subscriber.client(DATABASE).await?;
    let mut figure = Figure::new("backlog of 40,000 pgbench transactions worked off", "s");
    let mut rows = 0;
    for _ in 0..runs {
        native
            .batch_execute("ALTER SUBSCRIPTION peer DISABLE")
            .await?;
        stage.proxy.kill9()?;
        pgbench::transactions(stage.source.port(), TRANSACTIONS).await?;
        rows += TRANSACTIONS;

        let began = Instant::now();
        stage.proxy.launch().await?;
        wait_for_history(&ours, rows).await?;
        figure.add(
            "pointsman (restart included)",
            began.elapsed().as_secs_f64(),
        );

        let began = Instant::now();
        native
            .batch_execute("ALTER SUBSCRIPTION peer ENABLE")
            .await?;
        wait_for_history(&native, rows).await?;
        figure.add("native subscription", began.elapsed().as_secs_f64());
    }
    Ok(vec![figure])
}

async fn subscribe(stage: &Stage) -> Result<PgServer> {
    let options = PgOptions::default()
        .set("shared_buffers", "512MB")
        .set("max_wal_size", "4GB");
    let subscriber = PgServer::start(TO, options).await?;
    subscriber
        .execute("postgres", &format!("CREATE DATABASE {DATABASE}"))
        .await?;
    pgbench::initialize(&subscriber, SCALE).await?;
    let sql = "CREATE PUBLICATION peer FOR TABLE
        pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history";
    stage.source.execute(DATABASE, sql).await?;
    let connection = format!(
        "host=127.0.0.1 port={} user=postgres dbname={DATABASE}",
        stage.source.port()
    );
    let sql = format!(
        "CREATE SUBSCRIPTION peer CONNECTION '{connection}' PUBLICATION peer
         WITH (copy_data = false)"
    );
    subscriber.execute(DATABASE, &sql).await?;
    Ok(subscriber)
}

async fn wait_for_history(client: &PgClient, rows: u32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = client.value("SELECT count(*) FROM pgbench_history").await?;
        if count == rows.to_string() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "{count} of {rows} rows of history"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
