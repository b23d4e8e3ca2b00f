//! Runs the accounted load against a server or proxy, and says what became of every transaction.
#![expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use std::time::Duration;

use anyhow::{Context as _, Result};
use binlog::wire::{Endpoint, SqlConn};
use clap::Parser;
use integration::load::{Account, Load, LoadOptions, Report};
use integration::server::PgClient;
use serde_json::json;

/// A load of which every commit is accounted for.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the clients connect.
    #[arg(long)]
    url: String,
    /// Where the rows are looked for at the end; the same unless given.
    #[arg(long)]
    account_url: Option<String>,
    /// How many clients.
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// How long, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Make the tables first.
    #[arg(long)]
    prepare: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let account_url = arguments.account_url.as_ref().unwrap_or(&arguments.url);
    if arguments.prepare {
        prepare(account_url).await?;
    }
    let load = Load::start(&LoadOptions::new(&arguments.url).clients(arguments.clients)).await?;
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(arguments.seconds)) => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    let report = load.stop().await?;
    let account = account(&report, account_url).await?;
    if arguments.json {
        println!(
            "{}",
            json!({ "load": report.to_json(), "account": account.to_json() })
        );
    } else {
        println!("{:#}\n{:#}", report.to_json(), account.to_json());
    }
    anyhow::ensure!(account.balances(), "the account does not balance");
    Ok(())
}

async fn prepare(url: &str) -> Result<()> {
    if url.starts_with("postgres") {
        return Load::prepare(&PgClient::connect(url).await?).await;
    }
    let (client, database) = connect(url).await?;
    Load::prepare_in(&client, &database).await
}

async fn account(report: &Report, url: &str) -> Result<Account> {
    if url.starts_with("postgres") {
        return report.account(&PgClient::connect(url).await?).await;
    }
    let (client, database) = connect(url).await?;
    report.account_in(&client, &database).await
}

async fn connect(url: &str) -> Result<(SqlConn, String)> {
    let endpoint: Endpoint = url.parse()?;
    let client = endpoint.connect_sql("account").await?;
    let database = endpoint.database.context("the URL names no database")?;
    Ok((client, database))
}
