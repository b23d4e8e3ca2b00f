//! Working off 20,000 write-only transactions of sysbench that piled up, against a native replica
//! with four workers.
//!
//! Both start from stopped: the program is killed and started again, the replica's threads are
//! stopped and started again. The time is from there until a row that was written last is there.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::mysql::MySqlServer;
use integration::mysql::sysbench::Until;

use super::stage::{DATABASE, Stage, server};
use crate::figure::Figure;

const TABLES: u32 = 4;
const ROWS: u32 = 50_000;
const TRANSACTIONS: u32 = 20_000;
const PATIENCE: Duration = Duration::from_secs(300);

/// Alternates both on one source.
///
/// # Errors
///
/// When something fails or takes too long.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let mut stage = Stage::new(TABLES, ROWS).await?;
    let last = "CREATE TABLE last_of_run (run int NOT NULL PRIMARY KEY)";
    stage.source.sql_in(DATABASE, last)?;
    let replica = replica(&stage).await?;
    stage.stream().await?;
    let mut figure = Figure::new("backlog of 20,000 oltp_write_only worked off", "s");
    for run in 1..=runs {
        replica.sql("STOP REPLICA")?;
        stage.proxy.kill9()?;
        let sysbench = stage.sysbench.threads(8);
        let until = Until::Transactions(TRANSACTIONS);
        sysbench.run("oltp_write_only", until).await?;
        let sql = format!("INSERT INTO last_of_run VALUES ({run})");
        stage.source.sql_in(DATABASE, &sql)?;

        let began = Instant::now();
        stage.proxy.launch().await?;
        wait_for(&stage.target, run).await?;
        figure.add(
            "pointsman (restart included)",
            began.elapsed().as_secs_f64(),
        );

        let began = Instant::now();
        replica.sql("START REPLICA")?;
        wait_for(&replica, run).await?;
        figure.add("native replica, 4 workers", began.elapsed().as_secs_f64());
    }
    Ok(vec![figure])
}

/// A replica that has everything that the source has.
async fn replica(stage: &Stage) -> Result<MySqlServer> {
    let replica = server().await?;
    replica.sql(&format!(
        "SET GLOBAL replica_parallel_workers = 4;
         CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {},
             SOURCE_USER = 'root', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1;
         START REPLICA",
        stage.source.port()
    ))?;
    let sql = "INSERT INTO last_of_run VALUES (0)";
    stage.source.sql_in(DATABASE, sql)?;
    wait_for(&replica, 0).await?;
    Ok(replica)
}

async fn wait_for(server: &MySqlServer, run: u32) -> Result<()> {
    let client = server.connect().await?;
    let sql = format!("SELECT 1 FROM {DATABASE}.last_of_run WHERE run = {run}");
    let deadline = Instant::now() + PATIENCE;
    // The table itself may not be there yet.
    while !matches!(client.query(&sql).await, Ok(rows) if !rows.is_empty()) {
        ensure!(
            Instant::now() < deadline,
            "the last row of run {run} is not there:\n{}",
            server.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
