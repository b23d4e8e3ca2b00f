//! Copying 4 tables of a million sysbench rows, against mydumper and myloader.

use std::time::Instant;

use anyhow::Result;

use super::peers;
use super::stage::Stage;
use crate::figure::Figure;

const TABLES: u32 = 4;
const ROWS: u32 = 1_000_000;

/// Alternates both; pointsman's time is from `start` to the phase `streaming`, indexes included.
///
/// # Errors
///
/// When a copy fails.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let stage = Stage::new(TABLES, ROWS).await?;
    let mut figure = Figure::new("copy of 4 x 1,000,000 sysbench rows", "s");
    for _ in 0..runs {
        let began = Instant::now();
        stage.stream().await?;
        figure.add("pointsman", began.elapsed().as_secs_f64());
        stage.proxy.done(&["abort"]).await?;

        let began = Instant::now();
        peers::mydumper_to_myloader(&stage.source, &stage.target, "other").await?;
        figure.add("mydumper + myloader", began.elapsed().as_secs_f64());
        stage
            .target
            .sql("DROP DATABASE other; FLUSH BINARY LOGS; PURGE BINARY LOGS BEFORE NOW()")?;
    }
    Ok(vec![figure])
}
