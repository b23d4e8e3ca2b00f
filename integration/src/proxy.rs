//! The real program: `pointsman run` as a child process, and its commands.
//!
//! The binary is `POINTSMAN_BIN`, else the one that `cargo build -p pointsman` makes, which is asked
//! for once a process. Each proxy has a folder with its configuration, its admin socket, its spool
//! and its log; dropping a [`Proxy`] kills it and removes the folder.

mod program;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::children;
use crate::mysql::MySqlServer;
use crate::port::Port;
use crate::server::PgServer;

pub use self::program::path as program_path;

/// How long the program may take to come up, and a command to end.
const PATIENCE: Duration = Duration::from_secs(240);

/// What the configuration file says.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    source: String,
    target: Option<String>,
    keys: Vec<String>,
    environment: Vec<(String, String)>,
}

/// A running (or ended) proxy.
#[derive(Debug)]
pub struct Proxy {
    dir: TempDir,
    port: Port,
    /// The scheme of the source's URL.
    scheme: String,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The exit code: 0 done, 1 refused, 2 usage, 3 unknown.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl ProxyOptions {
    /// Moves this database of the source to the one of the same name on the target, as superuser.
    pub fn between(source: &PgServer, target: &PgServer, database: &str) -> Self {
        let to = target.url("postgres", database);
        Self::new(source.url("postgres", database), Some(to))
    }

    /// Moves this database (or, when the name is empty, all that are not the system's) of the
    /// source, as root.
    pub fn between_mysql(source: &MySqlServer, target: &MySqlServer, database: &str) -> Self {
        let to = target.url("root", database);
        Self::new(source.url("root", database), Some(to))
    }

    /// These URLs.
    pub fn new(source: String, target: Option<String>) -> Self {
        Self {
            source,
            target,
            keys: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Other URLs, and the same keys.
    #[must_use]
    pub fn urls(self, source: String, target: String) -> Self {
        Self {
            source,
            target: Some(target),
            ..self
        }
    }

    /// One more line, a dotted key and a TOML value: `cutover.max_pause = "1s"`; of two lines for
    /// a key the later one counts.
    #[must_use]
    pub fn key(mut self, line: impl Into<String>) -> Self {
        let line = line.into();
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        self.keys.retain(|other| key(other) != key(&line));
        self.keys.push(line);
        self
    }

    /// The same URLs, and every key at its default.
    #[must_use]
    pub fn without_keys(&self) -> Self {
        Self::new(self.source.clone(), self.target.clone())
    }

    /// A variable in the environment of the proxy and its commands.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Proxy {
    /// Starts the proxy and waits until it takes connections and knows who serves.
    ///
    /// # Errors
    ///
    /// When it does not come up; the text has the end of its log.
    pub async fn start(options: ProxyOptions) -> Result<Self> {
        let mut proxy = Self::prepare(options)?;
        proxy.launch().await?;
        proxy.wait_until_serving().await?;
        Ok(proxy)
    }

    /// Writes the configuration and starts nothing.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn prepare(options: ProxyOptions) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("pointsman-").tempdir()?;
        let port = Port::reserve()?;
        let scheme = options.source.split("://").next().unwrap_or_default();
        let mut text = format!("source = {:?}\n", options.source);
        if let Some(target) = &options.target {
            text.push_str(&format!("target = {target:?}\n"));
        }
        text.push_str(&format!("listen = \"127.0.0.1:{}\"\n", port.number()));
        let mut keys = options.keys;
        for (key, file) in [("spool.dir", "spool"), ("admin.socket", "admin.sock")] {
            if !keys.iter().any(|line| line.starts_with(key)) {
                keys.push(format!("{key} = {:?}", dir.path().join(file)));
            }
        }
        text.push_str(&keys.join("\n"));
        fs::write(dir.path().join("pointsman.toml"), text)?;
        Ok(Self {
            dir,
            port,
            scheme: scheme.to_owned(),
            environment: options.environment,
            child: None,
        })
    }

    /// Starts the program and waits until it takes connections.
    ///
    /// # Errors
    ///
    /// When it ends or does not listen.
    pub async fn launch(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "the proxy is running already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig=KILL", "--"])
            .arg(program::path()?)
            .arg("run")
            .arg("-c")
            .arg(self.config_path())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(children::spawn(command)?);
        self.wait_until_listening().await
    }

    /// Waits until the servers have told the proxy who serves.
    ///
    /// # Errors
    ///
    /// When that takes too long.
    pub async fn wait_until_serving(&self) -> Result<()> {
        self.wait_for("somebody serves", PATIENCE, |status| {
            !status["serving"].is_null()
        })
        .await
        .map(drop)
    }

    /// The proxy's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A connection URL through the proxy; `user` may be `name:password`.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!(
            "{}://{user}@127.0.0.1:{}/{database}",
            self.scheme,
            self.port()
        )
    }

    /// The admin socket, unless the options named another.
    pub fn socket_path(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("pointsman.toml")
    }

    /// What the proxy logged so far, over all its runs.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Runs a command of the program against this proxy: `["status", "--json"]`.
    ///
    /// # Errors
    ///
    /// When it cannot be started or does not end.
    pub async fn cli(&self, arguments: &[&str]) -> Result<Said> {
        let mut command = tokio::process::Command::new(program::path()?);
        command
            .args(arguments)
            .arg("-c")
            .arg(self.config_path())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output())
            .await
            .with_context(|| format!("pointsman {arguments:?} did not end"))??;
        Ok(Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// Begins a command and does not wait for it; dropping it kills it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn begin(&self, arguments: &[&str]) -> Result<tokio::process::Child> {
        let mut command = tokio::process::Command::new(program::path()?);
        command
            .args(arguments)
            .arg("-c")
            .arg(self.config_path())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        Ok(command.spawn()?)
    }

    /// Runs a command that must succeed; gives its standard output.
    ///
    /// # Errors
    ///
    /// When it does not; the text has the end of the proxy's log.
    pub async fn done(&self, arguments: &[&str]) -> Result<String> {
        let said = self.cli(arguments).await?;
        if said.code != 0 {
            bail!("pointsman {arguments:?}: {said}\n{}", self.log_tail());
        }
        Ok(said.stdout)
    }

    /// What `status --json` says.
    ///
    /// # Errors
    ///
    /// When the command fails or prints no JSON.
    pub async fn status(&self) -> Result<Value> {
        let said = self.cli(&["status", "--json"]).await?;
        serde_json::from_str(&said.stdout).with_context(|| format!("no JSON: {said}"))
    }

    /// Waits until the status has a property, and gives it.
    ///
    /// # Errors
    ///
    /// When that takes longer than `patience`.
    pub async fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + patience;
        loop {
            let last = self.status().await;
            if let Ok(status) = &last
                && holds(status)
            {
                return last;
            }
            if Instant::now() > deadline {
                bail!("not yet: {what}; status: {last:?}\n{}", self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the migration is in a phase; another phase that can only fail ends the wait.
    ///
    /// # Errors
    ///
    /// When the migration failed, or it takes too long.
    pub async fn wait_for_phase(&self, phase: &str) -> Result<Value> {
        let status = self
            .wait_for(&format!("phase {phase}"), PATIENCE, |status| {
                status["phase"] == phase || status["phase"] == "failed"
            })
            .await?;
        ensure!(
            status["phase"] == phase,
            "the migration failed: {:#}\n{}",
            status["failure"],
            self.log_tail()
        );
        Ok(status)
    }

    /// The number of its process.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        let child = self.child.as_ref().context("the proxy is not running")?;
        Ok(child.id())
    }

    /// Bytes of memory that are the program's own (`RssAnon`), as the kernel counts them.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn memory_bytes(&self) -> Result<u64> {
        let child = self.child.as_ref().context("the proxy is not running")?;
        let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
        let kib = line.and_then(|text| text.trim().strip_suffix(" kB"));
        let kib: u64 = kib.context("no RssAnon")?.trim().parse()?;
        Ok(kib * 1024)
    }

    /// Kills the program without a word.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill9(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the proxy is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn terminate(&self) -> Result<()> {
        let child = self.child.as_ref().context("the proxy is not running")?;
        Ok(kill_process(children::pid(child)?, Signal::TERM)?)
    }

    /// Sends SIGHUP.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn hang_up(&self) -> Result<()> {
        let child = self.child.as_ref().context("the proxy is not running")?;
        Ok(kill_process(children::pid(child)?, Signal::HUP)?)
    }

    /// Waits for the end after [`Proxy::terminate`]; gives the exit code.
    ///
    /// # Errors
    ///
    /// When it does not run or does not end.
    pub async fn wait_until_ended(&mut self) -> Result<i32> {
        let child = self.child.as_mut().context("the proxy is not running")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return status.code().context("the proxy was ended by a signal");
            }
            if Instant::now() > deadline {
                bail!("the proxy did not end after SIGTERM\n{}", self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts the program again, after killing it if it runs.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        if self.child.is_some() {
            self.kill9()?;
        }
        self.launch().await?;
        self.wait_until_serving().await
    }

    async fn wait_until_listening(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port()))
            .await
            .is_err()
        {
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?,
                None => bail!("the proxy is not running"),
            };
            if let Some(status) = ended {
                self.child = None;
                bail!(
                    "the proxy ended at its start: {status}\n{}",
                    self.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!("the proxy does not listen\n{}", self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(40)..].join("\n");
        format!("the end of the proxy's log:\n{tail}")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill9().unwrap_or_default();
        }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}: {}{}", self.code, self.stdout, self.stderr)
    }
}
