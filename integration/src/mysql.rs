//! A real MySQL or MariaDB server of a chosen version, started for one test.
//!
//! The first start of a version initializes a data folder once; each server then gets a copy of
//! it, a port, a socket and a log of its own. Root logs in without a password, over TCP from
//! 127.0.0.1 and by the socket. Dropping a [`MySqlServer`] ends it and removes its folder; a test
//! process that dies takes its servers along.

pub mod catalog;
pub mod contents;
pub mod sysbench;

mod keys;
mod options;
mod process;
mod template;
mod version;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use binlog::wire::{Endpoint, SqlConn};

pub use self::options::MySqlOptions;
use self::process::Daemon;
pub use self::version::Version;
use crate::port::Port;
use crate::scratch;

/// Databases that are the server's own, as a list for SQL.
const SYSTEM_DATABASES: &str = "'mysql', 'sys', 'performance_schema', 'information_schema'";

/// How long a start, a stop or a crash recovery may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// A running (or stopped) server.
#[derive(Debug)]
pub struct MySqlServer {
    version: Version,
    dir: PathBuf,
    port: Port,
    options: MySqlOptions,
    daemon: Option<Daemon>,
}

impl MySqlServer {
    /// Starts a fresh server: binlog in ROW format, GTIDs on, a server id of its own.
    ///
    /// # Errors
    ///
    /// When the programs are missing (the text says what to run) or the server does not come up
    /// (the text has the end of its log).
    pub async fn start(version: Version, options: MySqlOptions) -> Result<Self> {
        let template = tokio::task::spawn_blocking(move || template::ready(version)).await??;
        let dir = scratch::folder(version.folder())?;
        let mut server = Self {
            version,
            dir,
            port: Port::reserve()?,
            options,
            daemon: None,
        };
        fs::create_dir(server.tmp_dir())?;
        let data = server.data_dir();
        tokio::task::spawn_blocking(move || scratch::copy_tree(&template, &data)).await??;
        server.start_again().await?;
        Ok(server)
    }

    /// Shuts the server down in the orderly way.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else {
            return Ok(());
        };
        daemon.stop(PATIENCE).with_context(|| self.described())
    }

    /// Kills the server at once, as a crash of the machine would.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub fn kill9(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the server is not running")?;
        daemon.kill9();
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

    /// Like [`MySqlServer::restart`], with other options from now on.
    ///
    /// # Errors
    ///
    /// When it does not stop or come up.
    pub async fn restart_with(&mut self, options: MySqlOptions) -> Result<()> {
        self.options = options;
        self.restart().await
    }

    /// Freezes the server: it accepts connections and says nothing.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub fn pause(&self) -> Result<()> {
        let daemon = self.daemon.as_ref();
        daemon.context("the server is not running")?.pause();
        Ok(())
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    ///
    /// When the server does not run.
    pub fn resume(&self) -> Result<()> {
        let daemon = self.daemon.as_ref();
        daemon.context("the server is not running")?.resume();
        Ok(())
    }

    /// The server's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The server's own id among those that replicate.
    pub fn server_id(&self) -> u32 {
        u32::from(self.port())
    }

    /// The unix socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// The server's data folder, binlog files included.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The folder with the data, the log and the unix socket.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A connection URL without a password; an empty database name names none.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("mysql://{user}@127.0.0.1:{}/{database}", self.port())
    }

    /// A connection URL with a password, which must need no percent-encoding.
    pub fn url_with_password(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "mysql://{user}:{password}@127.0.0.1:{}/{database}",
            self.port()
        )
    }

    /// A connection as root.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub async fn connect(&self) -> Result<SqlConn> {
        let endpoint: Endpoint = self.url("root", "").parse()?;
        let connecting = Box::pin(endpoint.connect_sql("test"));
        connecting.await.with_context(|| self.described())
    }

    /// Runs statements as root with the version's own CLI, without a database; gives the rows, a
    /// line each with tabs between columns, without headers.
    ///
    /// # Errors
    ///
    /// When any statement fails.
    pub fn sql(&self, sql: &str) -> Result<String> {
        self.sql_in("", sql)
    }

    /// Like [`MySqlServer::sql`], in a database.
    ///
    /// # Errors
    ///
    /// When any statement fails.
    pub fn sql_in(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = self.cli()?;
        command.args(["--batch", "--raw", "--skip-column-names"]);
        if !database.is_empty() {
            command.arg(format!("--database={database}"));
        }
        let output = command.arg("-e").arg(sql).output()?;
        if !output.status.success() {
            bail!(
                "{}: the statement failed: {}",
                self.described(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end_matches('\n')
            .to_owned())
    }

    /// Runs a script as root, in which `DELIMITER` works.
    ///
    /// # Errors
    ///
    /// When any statement fails.
    pub fn script(&self, database: &str, script: &str) -> Result<()> {
        use std::io::Write as _;

        let mut command = self.cli()?;
        if !database.is_empty() {
            command.arg(format!("--database={database}"));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("the CLI has no input")?;
        // A CLI that stopped at an error reads no further; its own words are what counts.
        stdin.write_all(script.as_bytes()).unwrap_or_default();
        drop(stdin);
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "{}: the script failed: {}",
            self.described(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// Makes an account for any host that logs in with a password, all privileges on a database.
    ///
    /// # Errors
    ///
    /// When it is there already.
    pub fn create_user(&self, user: &str, password: &str, database: &str) -> Result<()> {
        self.sql(&format!(
            "CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'; \
             GRANT ALL ON `{database}`.* TO '{user}'@'%'"
        ))?;
        Ok(())
    }

    /// The version's own CLI, as root by the socket.
    ///
    /// # Errors
    ///
    /// When it was not fetched.
    pub fn cli(&self) -> Result<Command> {
        let mut command = Command::new(self.version.cli()?);
        command
            .arg("--user=root")
            .arg(format!("--socket={}", self.socket().display()))
            .arg("--default-character-set=utf8mb4")
            .env_remove("MYSQL_PWD")
            .stdin(Stdio::null());
        Ok(command)
    }

    /// The server's log.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The end of the server's log.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    async fn start_again(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "the server is running already");
        let keyed = match self.options.keys {
            options::Keys::None => None,
            options::Keys::Own => Some(keys::ready(self.version, &self.dir)?),
        };
        let program = keyed.as_ref().and_then(|keyed| keyed.program.as_deref());
        let mut command = match program {
            Some(program) => Version::server_at(program),
            None => self.version.server()?,
        };
        command
            .arg(format!("--datadir={}", self.data_dir().display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", self.dir.join("pid").display()))
            // A server that starts removes what looks like its temporary tables.
            .arg(format!("--tmpdir={}", self.tmp_dir().display()))
            .arg(format!("--port={}", self.port()))
            .arg(format!("--server-id={}", self.server_id()))
            .args(self.options.arguments(self.version))
            .args(keyed.map(|keyed| keyed.arguments).unwrap_or_default());
        let mut daemon = Daemon::spawn(command, &self.dir, &self.log_path())?;
        if let Err(error) = daemon.wait_until_ready(self.port(), PATIENCE).await {
            daemon.kill9();
            return Err(error).with_context(|| {
                format!(
                    "{}; the end of its log:\n{}",
                    self.described(),
                    self.log_tail()
                )
            });
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    fn tmp_dir(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn described(&self) -> String {
        format!("{} on port {}", self.version, self.port())
    }
}

impl Drop for MySqlServer {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill9();
        }
        fs::remove_dir_all(&self.dir).unwrap_or_default();
    }
}
