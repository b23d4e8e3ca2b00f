//! A real PostgreSQL server of a chosen version, started for one test.
//!
//! The first start of a version runs `initdb` once; each server then gets a copy of that folder, a
//! port of its own and a log, and is up in well under a second. As root the server runs as another
//! user, since `initdb` and `postgres` refuse root. Dropping a [`PgServer`] ends it and removes its
//! folder; a test process that dies takes its servers along.

mod options;
mod process;
mod template;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

pub use self::options::PgOptions;
use self::process::Postmaster;
use crate::port::Port;
use crate::{binaries, scratch};

/// How long a start, a stop or a crash recovery may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// A running (or stopped) server.
#[derive(Debug)]
pub struct PgServer {
    major: u32,
    dir: PathBuf,
    port: Port,
    postmaster: Option<Postmaster>,
}

/// A `tokio_postgres` client with the task that drives its connection; dropping it closes both.
#[derive(Debug)]
pub struct PgClient {
    client: tokio_postgres::Client,
    _connection: JoinSet<()>,
}

impl PgServer {
    /// Starts a fresh server: superuser `postgres`, database `postgres`, everyone trusted except
    /// as `options.hba` says, `wal_level` logical.
    ///
    /// # Errors
    ///
    /// When the programs are missing (the text says what to run) or the server does not come up
    /// (the text has the end of its log).
    pub async fn start(major: u32, options: PgOptions) -> Result<Self> {
        let bin = binaries::server_bin(major)?;
        let template = template::ready(major, &bin)?;
        let dir = scratch::folder(&format!("pg{major}"))?;
        let mut server = Self {
            major,
            dir,
            port: Port::reserve()?,
            postmaster: None,
        };
        scratch::copy_tree(&template, &server.data_dir())?;
        options.write(&server.data_dir(), &server.dir, server.port.number())?;
        server.start_again().await?;
        Ok(server)
    }

    /// Stops the server the fast way (`pg_ctl stop`), its data on disk.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut postmaster) = self.postmaster.take() else {
            return Ok(());
        };
        postmaster
            .stop_fast(PATIENCE)
            .with_context(|| self.described())
    }

    /// Kills the postmaster and all its processes at once, as a crash of the machine would.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub fn kill9(&mut self) -> Result<()> {
        let mut postmaster = self
            .postmaster
            .take()
            .context("the server is not running")?;
        postmaster.kill9();
        Ok(())
    }

    /// Starts the server again on the same port and data, after stopping it if it runs.
    ///
    /// # Errors
    ///
    /// When it does not stop or come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.start_again().await
    }

    /// Freezes all processes of the server: it accepts connections and says nothing.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub fn pause(&self) -> Result<()> {
        self.postmaster
            .as_ref()
            .context("the server is not running")?
            .pause();
        Ok(())
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub fn resume(&self) -> Result<()> {
        self.postmaster
            .as_ref()
            .context("the server is not running")?
            .resume();
        Ok(())
    }

    /// Makes the server read its configuration files again.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub fn reload(&self) -> Result<()> {
        self.postmaster
            .as_ref()
            .context("the server is not running")?
            .reload();
        Ok(())
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The server's data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The folder with the data, the log and the unix socket.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A connection URL without a password.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port())
    }

    /// A connection URL with a password, which must need no percent-encoding.
    pub fn url_with_password(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/{database}",
            self.port()
        )
    }

    /// A connection as superuser.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub async fn client(&self, database: &str) -> Result<PgClient> {
        PgClient::connect(&self.url("postgres", database))
            .await
            .with_context(|| self.described())
    }

    /// Runs statements as superuser.
    ///
    /// # Errors
    ///
    /// When one of them fails.
    pub async fn execute(&self, database: &str, sql: &str) -> Result<()> {
        let client = self.client(database).await?;
        client
            .batch_execute(sql)
            .await
            .with_context(|| format!("in {sql}"))
    }

    /// Runs SQL with `psql` as superuser; gives its output, unaligned and without headers.
    ///
    /// # Errors
    ///
    /// When `psql` is missing or any statement fails.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        psql(&self.url("postgres", database), sql)
    }

    /// The server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The end of the server's log.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    async fn start_again(&mut self) -> Result<()> {
        ensure!(self.postmaster.is_none(), "the server is running already");
        let bin = binaries::server_bin(self.major)?;
        let mut postmaster =
            Postmaster::spawn(&bin.join("postgres"), &self.data_dir(), &self.log_path())?;
        let ready = postmaster
            .wait_until_ready(&self.data_dir(), PATIENCE)
            .await;
        if let Err(error) = ready {
            postmaster.kill9();
            return Err(error).with_context(|| {
                format!(
                    "{}; the end of its log:\n{}",
                    self.described(),
                    self.log_tail()
                )
            });
        }
        self.postmaster = Some(postmaster);
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn described(&self) -> String {
        format!("PostgreSQL {} on port {}", self.major, self.port())
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        if let Some(mut postmaster) = self.postmaster.take() {
            postmaster.stop_immediate();
        }
        process::remove_shared_memory(&self.data_dir());
        fs::remove_dir_all(&self.dir).unwrap_or_default();
    }
}

impl PgClient {
    /// Connects to a URL.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached or refuses.
    pub async fn connect(url: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { connection.await.unwrap_or_default() });
        Ok(Self {
            client,
            _connection: tasks,
        })
    }

    /// The first column of the only row of a query, as text (simple protocol).
    ///
    /// # Errors
    ///
    /// When the query fails or gives no row.
    pub async fn value(&self, sql: &str) -> Result<String> {
        let messages = self.client.simple_query(sql).await?;
        let row = messages.into_iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.with_context(|| format!("no row from: {sql}"))?;
        Ok(row.get(0).unwrap_or("NULL").to_owned())
    }
}

impl std::ops::Deref for PgClient {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl std::ops::DerefMut for PgClient {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.client
    }
}

/// Runs SQL with `psql` against any URL; gives its output, unaligned and without headers.
///
/// # Errors
///
/// When `psql` is missing or any statement fails.
pub fn psql(url: &str, sql: &str) -> Result<String> {
    let output = Command::new(binaries::client_program("psql")?)
        .args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            url,
            "-c",
            sql,
        ])
        .output()?;
    if !output.status.success() {
        bail!(
            "psql failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
