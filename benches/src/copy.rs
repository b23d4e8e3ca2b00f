//! Copying a pgbench database of scale 40 (4 million rows), against `pg_dump | psql`.

use std::time::Instant;

use anyhow::Result;

use crate::figure::Figure;
use crate::peers;
use crate::stage::Stage;

const SCALE: u32 = 40;

/// Alternates both; pointsman's time is from `start` to the phase `streaming`, indexes, constraints
/// and statistics included.
///
/// # Errors
///
/// When a copy fails.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let stage = Stage::new(SCALE).await?;
    let mut figure = Figure::new("copy of pgbench scale 40", "s");
    for _ in 0..runs {
        let began = Instant::now();
        stage.stream().await?;
        figure.add("pointsman", began.elapsed().as_secs_f64());
        stage.proxy.done(&["abort"]).await?;

        stage
            .target
            .execute("postgres", "CREATE DATABASE other")
            .await?;
        let began = Instant::now();
        peers::pg_dump_to_psql(&stage.source, &stage.target, "other").await?;
        figure.add("pg_dump | psql", began.elapsed().as_secs_f64());
        stage
            .target
            .execute("postgres", "DROP DATABASE other")
            .await?;
        stage.target.execute("postgres", "CHECKPOINT").await?;
    }
    Ok(vec![figure])
}
