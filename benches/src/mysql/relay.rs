//! sysbench through the relay, against direct and against mysql-router.

use anyhow::Result;
use integration::mysql::sysbench::Until;

use super::peers::MySqlRouter;
use super::stage::Stage;
use crate::figure::Figure;

const SECONDS: u32 = 5;

/// Alternates the three ways, with one and with eight clients.
///
/// # Errors
///
/// When something does not start or fails.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let stage = Stage::new(4, 50_000).await?;
    let router = MySqlRouter::start(&stage.source).await?;
    let ways = [
        ("direct", stage.source.port()),
        ("pointsman", stage.proxy.port()),
        ("mysql-router", router.port()),
    ];
    let mut figures = Vec::new();
    for script in ["oltp_point_select", "oltp_read_write"] {
        for clients in [1, 8] {
            let name = format!("sysbench {script}, {clients} client(s)");
            let mut figure = Figure::new(name, "tps");
            let sysbench = stage.sysbench.threads(clients);
            for (_, port) in ways {
                sysbench.at(port).run(script, Until::Seconds(1)).await?;
            }
            for _ in 0..runs {
                for (name, port) in ways {
                    let sysbench = sysbench.at(port);
                    let run = sysbench.run(script, Until::Seconds(SECONDS)).await?;
                    figure.add(name, run.tps);
                }
            }
            figures.push(figure);
        }
    }
    Ok(figures)
}
