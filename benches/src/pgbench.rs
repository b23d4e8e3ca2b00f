//! pgbench as a child process.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use integration::binaries;
use integration::server::PgServer;
use tokio::process::Command;

use crate::stage::DATABASE;

/// Fills the database with pgbench's tables.
///
/// # Errors
///
/// When pgbench fails.
pub async fn initialize(server: &PgServer, scale: u32) -> Result<()> {
    let scale = scale.to_string();
    run(server.port(), &["-i", "-q", "-s", &scale])
        .await
        .map(drop)
}

/// Runs the read-only script for some seconds; gives transactions a second.
///
/// # Errors
///
/// When pgbench fails.
pub async fn select_only(port: u16, clients: u32, seconds: u32) -> Result<f64> {
    let (clients, seconds) = (clients.to_string(), seconds.to_string());
    let arguments = ["-S", "-n", "-c", &clients, "-j", "1", "-T", &seconds];
    tps(&run(port, &arguments).await?)
}

/// Runs so many of the usual transactions with eight clients.
///
/// # Errors
///
/// When pgbench fails.
pub async fn transactions(port: u16, count: u32) -> Result<()> {
    let each = (count / 8).to_string();
    run(port, &["-n", "-c", "8", "-j", "1", "-t", &each])
        .await
        .map(drop)
}

async fn run(port: u16, arguments: &[&str]) -> Result<String> {
    let output = Command::new(binaries::client_program("pgbench")?)
        .args(arguments)
        .args([
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-p",
            &port.to_string(),
            DATABASE,
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "pgbench {arguments:?} failed: {errors}"
    );
    Ok(String::from_utf8(output.stdout)?)
}

fn tps(text: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("pgbench says no tps")?.parse()?)
}
