//! sysbench, the load that people of MySQL know.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::binaries;

/// Where and with how much sysbench works.
#[derive(Clone, Debug)]
pub struct Sysbench {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The user and the password.
    pub login: (String, String),
    /// The database.
    pub database: String,
    /// How many tables.
    pub tables: u32,
    /// How many rows each has at the start.
    pub rows: u32,
    /// How many clients.
    pub threads: u32,
}

/// When a run ends.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After some seconds.
    Seconds(u32),
    /// After so many transactions of all clients together.
    Transactions(u32),
}

/// What a run says of itself.
#[derive(Clone, Debug)]
pub struct Run {
    /// Transactions a second.
    pub tps: f64,
    /// Connections that were made anew.
    pub reconnects: u64,
    /// All that it printed.
    pub text: String,
}

impl Sysbench {
    /// The same at another port.
    #[must_use]
    pub fn at(&self, port: u16) -> Self {
        Self {
            port,
            ..self.clone()
        }
    }

    /// The same with another number of clients.
    #[must_use]
    pub fn threads(&self, threads: u32) -> Self {
        Self {
            threads,
            ..self.clone()
        }
    }

    /// Makes and fills the tables.
    ///
    /// # Errors
    ///
    /// When sysbench fails.
    pub async fn prepare(&self) -> Result<()> {
        let mut command = self.command("oltp_read_write")?;
        output(command.arg("prepare")).await.map(drop)
    }

    /// Runs a script, such as `oltp_read_write`, to its end. Deadlocks of its own making are no
    /// errors; every other error ends it.
    ///
    /// # Errors
    ///
    /// When sysbench fails, which it does at the first error.
    pub async fn run(&self, script: &str, until: Until) -> Result<Run> {
        let mut command = self.command(script)?;
        match until {
            Until::Seconds(seconds) => command.arg(format!("--time={seconds}")),
            Until::Transactions(count) => command.arg("--time=0").arg(format!("--events={count}")),
        };
        let text = output(command.arg("run")).await?;
        let number = |label: &str, at: usize| {
            let line = text.lines().find(|line| line.trim().starts_with(label));
            let word = line.and_then(|line| line.split_whitespace().nth(at));
            word.map(|word| word.trim_start_matches('(').to_owned())
                .with_context(|| format!("sysbench says no {label} {text}"))
        };
        Ok(Run {
            tps: number("transactions:", 2)?.parse()?,
            reconnects: number("reconnects:", 1)?.parse()?,
            text,
        })
    }

    fn command(&self, script: &str) -> Result<Command> {
        let home = binaries::servers_dir().join("sysbench");
        ensure!(
            home.join(".ready").is_file(),
            "there is no sysbench in {}; run integration/fetch.sh once",
            home.display()
        );
        let (user, password) = &self.login;
        let mut command = Command::new(home.join("bin/sysbench"));
        command
            .current_dir(home.join("usr/share/sysbench"))
            .arg(script)
            .args(["--db-driver=mysql", "--mysql-host=127.0.0.1"])
            .arg(format!("--mysql-port={}", self.port))
            .arg(format!("--mysql-user={user}"))
            .arg(format!("--mysql-password={password}"))
            .arg(format!("--mysql-db={}", self.database))
            .arg(format!("--tables={}", self.tables))
            .arg(format!("--table-size={}", self.rows))
            .arg(format!("--threads={}", self.threads))
            .arg("--mysql-ignore-errors=1213,1020,1205")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Ok(command)
    }
}

async fn output(command: &mut Command) -> Result<String> {
    let output = command.output().await.context("running sysbench")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !text.contains("FATAL"),
        "sysbench failed: {text}{errors}"
    );
    Ok(text)
}
