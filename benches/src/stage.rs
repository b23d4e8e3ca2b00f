//! Two servers with a pgbench database, and the program in front of the source.

use std::time::Duration;

use anyhow::Result;
use integration::binaries;
use integration::proxy::{Proxy, ProxyOptions};
use integration::server::{PgOptions, PgServer};

use crate::pgbench;

/// The database.
pub const DATABASE: &str = "bench";

/// Versions that the figures are taken on.
pub const FROM: u32 = 14;
/// The target's version.
pub const TO: u32 = 17;

/// The source, the target, and the program.
#[derive(Debug)]
pub struct Stage {
    /// The source; durable commits.
    pub source: PgServer,
    /// The target; durable commits.
    pub target: PgServer,
    /// The program.
    pub proxy: Proxy,
}

impl Stage {
    /// A stage with pgbench tables of this scale on the source.
    ///
    /// # Errors
    ///
    /// When something does not start.
    pub async fn new(scale: u32) -> Result<Self> {
        let options = PgOptions::default()
            .set("shared_buffers", "512MB")
            .set("max_connections", "1500")
            .set("max_wal_size", "4GB")
            .set("wal_sender_timeout", "10min");
        let source = PgServer::start(FROM, options.clone()).await?;
        let target = PgServer::start(TO, options).await?;
        for server in [&source, &target] {
            server
                .execute("postgres", &format!("CREATE DATABASE {DATABASE}"))
                .await?;
        }
        if scale > 0 {
            pgbench::initialize(&source, scale).await?;
        }
        let pg_dump = binaries::client_bin(FROM)?;
        let options = ProxyOptions::between(&source, &target, DATABASE)
            .key(format!("copy.pg_dump_dir = {pg_dump:?}"));
        let proxy = Proxy::start(options).await?;
        Ok(Self {
            source,
            target,
            proxy,
        })
    }

    /// Starts the migration and waits until changes flow.
    ///
    /// # Errors
    ///
    /// When the migration fails.
    pub async fn stream(&self) -> Result<()> {
        self.proxy.done(&["start"]).await?;
        self.proxy
            .wait_for("changes flow", Duration::from_secs(600), |status| {
                status["phase"] == "streaming" || status["phase"] == "failed"
            })
            .await?;
        self.proxy.wait_for_phase("streaming").await.map(drop)
    }
}
