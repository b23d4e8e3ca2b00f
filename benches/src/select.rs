//! pgbench -S through the relay, against direct and against pgbouncer.

use anyhow::Result;

use crate::figure::Figure;
use crate::peers::PgBouncer;
use crate::pgbench;
use crate::stage::Stage;

const SECONDS: u32 = 5;

/// Alternates the three ways, with one and with eight clients.
///
/// # Errors
///
/// When something does not start or fails.
pub async fn measure(runs: u32) -> Result<Vec<Figure>> {
    let stage = Stage::new(10).await?;
    let bouncer = PgBouncer::start(&stage.source).await?;
    let ways = [
        ("direct", stage.source.port()),
        ("pointsman", stage.proxy.port()),
        ("pgbouncer", bouncer.port()),
    ];
    let mut figures = Vec::new();
    for clients in [1, 8] {
        let mut figure = Figure::new(format!("pgbench -S, {clients} client(s)"), "tps");
        for (_, port) in ways {
            pgbench::select_only(port, clients, 1).await?;
        }
        for _ in 0..runs {
            for (name, port) in ways {
                figure.add(name, pgbench::select_only(port, clients, SECONDS).await?);
            }
        }
        figures.push(figure);
    }
    Ok(figures)
}
