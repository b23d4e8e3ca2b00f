//! Other tools that the figures are compared with.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::mysql::MySqlServer;
use integration::port::Port;
use integration::{binaries, children};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::stage::DATABASE;

/// mysql-router with one static route to a server; TLS, if any, passes through it.
#[derive(Debug)]
pub struct MySqlRouter {
    child: Child,
    port: Port,
    _dir: TempDir,
}

impl MySqlRouter {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When it was not fetched or does not come up.
    pub async fn start(server: &MySqlServer) -> Result<Self> {
        let home = binaries::servers_dir().join("router97");
        ensure!(
            home.join(".ready").is_file(),
            "there is no mysql-router in {}; run integration/fetch.sh peers",
            home.display()
        );
        let dir = tempfile::Builder::new().prefix("router-").tempdir()?;
        let port = Port::reserve()?;
        let (folder, plugins) = (dir.path().display(), home.display());
        let text = format!(
            "[DEFAULT]\nlogging_folder={folder}\nruntime_folder={folder}\ndata_folder={folder}\n\
             config_folder={folder}\n\
             plugin_folder={plugins}/usr/lib/mysqlrouter/plugin\n\
             [logger]\nlevel=WARNING\n\
             [routing:bench]\nbind_address=127.0.0.1\nbind_port={}\n\
             destinations=127.0.0.1:{}\nrouting_strategy=first-available\nprotocol=classic\n\
             client_ssl_mode=PASSTHROUGH\nserver_ssl_mode=AS_CLIENT\nmax_connections=500\n",
            port.number(),
            server.port()
        );
        let config = dir.path().join("router.conf");
        std::fs::write(&config, text)?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig=KILL", "--"])
            .arg(home.join("bin/mysqlrouter"))
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let router = Self {
            child: children::spawn(command)?,
            port,
            _dir: dir,
        };
        router.wait().await?;
        Ok(router)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    async fn wait(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port()))
            .await
            .is_err()
        {
            ensure!(Instant::now() < deadline, "mysql-router does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for MySqlRouter {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// Copies the database into another one of the target, four threads each.
///
/// # Errors
///
/// When one of them fails.
pub async fn mydumper_to_myloader(
    source: &MySqlServer,
    target: &MySqlServer,
    into: &str,
) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("mydumper-").tempdir()?;
    let folder = dir.path().join("dump").display().to_string();
    run("mydumper", source, &["-B", DATABASE, "-o", &folder]).await?;
    run("myloader", target, &["-B", into, "-d", &folder]).await
}

async fn run(program: &str, server: &MySqlServer, arguments: &[&str]) -> Result<()> {
    let bin = binaries::servers_dir().join("sysbench/bin").join(program);
    let mut command = tokio::process::Command::new(bin);
    command
        .args(["-h", "127.0.0.1", "-u", "root", "-t", "4", "-P"])
        .arg(server.port().to_string())
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command
        .output()
        .await
        .with_context(|| format!("running {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed: {errors}");
    Ok(())
}
