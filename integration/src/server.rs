//! Real PostgreSQL servers of any fetched version, started in less than a second each.
//!
//! A server is a copy of a template data directory that `initdb` made once for its version. It
//! listens on a free port of the loopback address. It never outlives the process that started it:
//! a shell holds it and ends it when the pipe to us closes, also after a `kill -9` of the test.

mod binaries;
mod process;
mod template;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

pub use binaries::{Binaries, servers_dir};
use process::Process;

/// How long a server may take to answer after its start or to end.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Attempts at finding a port that is still free when the server binds it.
const PORT_ATTEMPTS: usize = 5;

/// How a server differs from the usual one.
#[derive(Debug, Clone)]
pub struct PgOptions {
    /// Lines for `postgresql.conf`, later ones win.
    pub settings: Vec<(String, String)>,
    /// The whole `pg_hba.conf`; `None` trusts everybody on the loopback address.
    pub hba: Option<String>,
    /// Whether commits wait for the disk.
    pub fsync: bool,
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            settings: Vec::new(),
            hba: None,
            fsync: true,
        }
    }
}

impl PgOptions {
    /// Adds a setting.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces `pg_hba.conf`.
    #[must_use]
    pub fn hba(mut self, text: &str) -> Self {
        self.hba = Some(text.to_owned());
        self
    }
}

/// A running server; dropping it ends it and removes its data.
#[derive(Debug)]
pub struct PgServer {
    major: u32,
    port: u16,
    binaries: Binaries,
    folder: TempDir,
    process: Option<Process>,
}

impl PgServer {
    /// Starts a server of this major version.
    ///
    /// # Errors
    /// When its binaries are not there (the error says what to run) or it does not start (the
    /// error holds the end of its log).
    pub async fn start(major: u32, options: PgOptions) -> anyhow::Result<Self> {
        let binaries = Binaries::find(major)?;
        let folder = template::copy(&binaries)?;
        let mut server = Self {
            major,
            port: 0,
            binaries,
            folder,
            process: None,
        };
        server.configure(&options)?;
        for _attempt in 0..PORT_ATTEMPTS {
            server.port = free_port()?;
            server.launch()?;
            match server.wait_until_ready().await {
                Ok(()) => return Ok(server),
                Err(_in_use) if server.log().contains("Address already in use") => {
                    server.process = None;
                }
                Err(error) => return Err(error),
            }
        }
        bail!("no free port for PostgreSQL {major} in {PORT_ATTEMPTS} attempts")
    }

    /// Its major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// Its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The URL of a database for a user; `user` may be `name:password`.
    #[must_use]
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// A connection as the superuser `postgres`.
    ///
    /// # Errors
    /// When the server does not let us in.
    pub async fn client(&self, database: &str) -> anyhow::Result<Client> {
        connect(&self.url("postgres", database)).await
    }

    /// Runs statements as the superuser `postgres`.
    ///
    /// # Errors
    /// When one of them fails.
    pub async fn execute(&self, database: &str, sql: &str) -> anyhow::Result<()> {
        let client = self.client(database).await?;
        client
            .batch_execute(sql)
            .await
            .with_context(|| format!("in {sql}"))
    }

    /// The server's log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Shuts it down in an orderly way (fast shutdown).
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.end("INT")
    }

    /// Kills it without warning, as a power cut would (`kill -9` of all its processes).
    ///
    /// # Errors
    /// When it does not end.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.end("KILL")
    }

    /// Starts it again on the same port and data, after [`stop`](Self::stop) or
    /// [`kill9`](Self::kill9); ends it first if it runs.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.process.is_some() {
            self.stop()?;
        }
        self.launch()?;
        self.wait_until_ready().await
    }

    /// Freezes all its processes.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process
            .as_ref()
            .context("the server does not run")?
            .signal_all("STOP")
    }

    /// Lets frozen processes go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process
            .as_ref()
            .context("the server does not run")?
            .signal_all("CONT")
    }

    fn configure(&self, options: &PgOptions) -> anyhow::Result<()> {
        let mut text = String::new();
        let fsync = if options.fsync { "on" } else { "off" };
        let usual = [
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("wal_level", "logical"),
            ("max_connections", "200"),
            ("max_wal_senders", "20"),
            ("max_replication_slots", "20"),
            ("max_prepared_transactions", "10"),
            ("shared_buffers", "64MB"),
            ("max_wal_size", "2GB"),
            ("log_line_prefix", "%m [%p] %u@%d %a "),
            ("fsync", fsync),
        ];
        let usual = usual
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        for (name, value) in usual.chain(options.settings.iter().cloned()) {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        let conf = self.data_dir().join("postgresql.auto.conf");
        std::fs::write(conf, text).context("cannot write postgresql.auto.conf")?;
        if let Some(hba) = &options.hba {
            std::fs::write(self.data_dir().join("pg_hba.conf"), hba)
                .context("cannot write pg_hba.conf")?;
        }
        Ok(())
    }

    fn launch(&mut self) -> anyhow::Result<()> {
        let process = Process::start(&self.binaries, self.folder.path(), self.port)?;
        self.process = Some(process);
        Ok(())
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let url = self.url("postgres", "postgres");
        loop {
            match tokio_postgres::connect(&url, NoTls).await {
                Ok(_ready) => return Ok(()),
                // It answers, only not to us: a pg_hba.conf of the test's own.
                Err(error)
                    if error
                        .as_db_error()
                        .is_some_and(|e| e.code().code() != "57P03") =>
                {
                    return Ok(());
                }
                Err(_not_yet) => {}
            }
            let ended = self.process.as_mut().is_none_or(Process::has_ended);
            if ended || Instant::now() > deadline {
                bail!(
                    "PostgreSQL {} did not start:\n{}",
                    self.major,
                    tail(&self.log())
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn end(&mut self, signal: &str) -> anyhow::Result<()> {
        match self.process.take() {
            Some(process) => process.end(signal, START_TIMEOUT),
            None => Ok(()),
        }
    }
}

/// A connection; its task ends with the client.
///
/// # Errors
/// When the server does not let us in.
pub async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    #[expect(clippy::disallowed_methods, reason = "the task ends with its client")]
    tokio::spawn(connection);
    Ok(client)
}

/// A port that was free a moment ago.
///
/// # Errors
/// When the loopback address has none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
