//! Takes the figures that are reported, and prints them.
#![expect(
    clippy::print_stdout,
    reason = "the figures are what this program is for"
)]

use anyhow::Result;
use benches::figure::Figure;
use benches::{backlog, copy, cutover, mysql, select, sessions};
use clap::{Parser, ValueEnum};
use serde_json::json;

/// Takes figures side by side with other tools.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which ones; all unless given.
    #[arg(value_enum)]
    figures: Vec<Which>,
    /// Runs of each.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Print one JSON object at the end.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// The longest time without a commit across a cutover.
    Cutover,
    /// pgbench -S through the relay.
    Select,
    /// Copying 4 million rows.
    Copy,
    /// Working off a backlog.
    Backlog,
    /// What 1,000 sessions cost.
    Sessions,
    /// The longest time without a commit across a cutover of MySQL.
    MysqlCutover,
    /// sysbench through the relay.
    MysqlRelay,
    /// Copying 4 million sysbench rows.
    MysqlCopy,
    /// Working off a backlog of sysbench's writes.
    MysqlBacklog,
    /// What 1,000 sessions cost on MySQL.
    MysqlSessions,
    /// How long the ways to a snapshot hold writers up, on MySQL and MariaDB.
    MysqlSnapshot,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let which = if arguments.figures.is_empty() {
        Which::value_variants()
    } else {
        &arguments.figures
    };
    let mut figures: Vec<Figure> = Vec::new();
    for which in which {
        let measured = match which {
            Which::Cutover => cutover::measure(arguments.runs).await?,
            Which::Select => select::measure(arguments.runs).await?,
            Which::Copy => copy::measure(arguments.runs).await?,
            Which::Backlog => backlog::measure(arguments.runs).await?,
            Which::Sessions => sessions::measure(arguments.runs).await?,
            Which::MysqlCutover => mysql::cutover::measure(arguments.runs).await?,
            Which::MysqlRelay => mysql::relay::measure(arguments.runs).await?,
            Which::MysqlCopy => mysql::copy::measure(arguments.runs).await?,
            Which::MysqlBacklog => mysql::backlog::measure(arguments.runs).await?,
            Which::MysqlSessions => mysql::sessions::measure(arguments.runs).await?,
            Which::MysqlSnapshot => mysql::snapshot::measure(arguments.runs).await?,
        };
        if !arguments.json {
            measured
                .iter()
                .for_each(|figure| println!("{}", figure.render()));
        }
        figures.extend(measured);
    }
    if arguments.json {
        let figures: Vec<_> = figures.iter().map(Figure::to_json).collect();
        println!(
            "{:#}",
            json!({ "runs": arguments.runs, "figures": figures })
        );
    }
    Ok(())
}
