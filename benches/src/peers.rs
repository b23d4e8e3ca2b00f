//! Other tools that the figures are compared with.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use integration::port::Port;
use integration::server::PgServer;
use integration::{binaries, children, scratch};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::stage::DATABASE;

/// A pgbouncer in session mode in front of a server.
#[derive(Debug)]
pub struct PgBouncer {
    child: Child,
    port: Port,
    _dir: TempDir,
}

impl PgBouncer {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When it is not installed or does not come up.
    pub async fn start(server: &PgServer) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("pgbouncer-").tempdir()?;
        let port = Port::reserve()?;
        let config = dir.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{DATABASE} = host=127.0.0.1 port={}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = session\nmax_client_conn = 200\ndefault_pool_size = 100\n",
            server.port(),
            port.number()
        )
        // auth_type = any logs in as the user that the database line names.
        .replace("port=", "user=postgres port=");
        std::fs::write(&config, text)?;
        scratch::give(dir.path())?;
        scratch::give(&config)?;
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=KILL");
        if let Some(user) = scratch::server_user()? {
            command.args(user.setpriv_arguments());
        }
        command.args(["--", "pgbouncer", "-q"]).arg(&config);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = children::spawn(command)?;
        let bouncer = Self {
            child,
            port,
            _dir: dir,
        };
        bouncer.wait().await?;
        Ok(bouncer)
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
            ensure!(
                Instant::now() < deadline,
                "pgbouncer does not listen; is it installed?"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// Copies the database into another one of the target with `pg_dump | psql`.
///
/// # Errors
///
/// When one of them fails.
pub async fn pg_dump_to_psql(source: &PgServer, target: &PgServer, into: &str) -> Result<()> {
    let bin = binaries::client_bin(source.major())?;
    let script = format!(
        "set -o pipefail; '{}' -d '{}' | '{}' -X -q -v ON_ERROR_STOP=1 -o /dev/null -d '{}'",
        bin.join("pg_dump").display(),
        source.url("postgres", DATABASE),
        bin.join("psql").display(),
        target.url("postgres", into),
    );
    let mut command = tokio::process::Command::new("bash");
    command
        .args(["-c", &script])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = command.output().await.context("running bash")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pg_dump | psql failed: {errors}");
    Ok(())
}
