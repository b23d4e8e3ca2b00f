//! Two servers with sysbench's tables, and the program in front of the source.

use std::time::Duration;

use anyhow::Result;
use integration::mysql::sysbench::Sysbench;
use integration::mysql::{MySqlOptions, MySqlServer, Version};
use integration::proxy::{Proxy, ProxyOptions};

/// The database.
pub const DATABASE: &str = "bench";

/// The version that the figures are taken on.
pub const VERSION: Version = Version::MySql97;

/// The source, the target, and the program.
#[derive(Debug)]
pub struct Stage {
    /// The source; durable commits.
    pub source: MySqlServer,
    /// The target; durable commits.
    pub target: MySqlServer,
    /// The program.
    pub proxy: Proxy,
    /// sysbench at the source itself.
    pub sysbench: Sysbench,
}

/// A server with enough memory for what is measured.
///
/// # Errors
///
/// When it does not start.
pub async fn server() -> Result<MySqlServer> {
    let options = MySqlOptions::default()
        .durable()
        .set("innodb-buffer-pool-size", "1G")
        .set("max-connections", "1500")
        .set("innodb-redo-log-capacity", "1G")
        .set("local-infile", "1");
    MySqlServer::start(VERSION, options).await
}

impl Stage {
    /// A stage with so many tables of so many rows on the source.
    ///
    /// # Errors
    ///
    /// When something does not start.
    pub async fn new(tables: u32, rows: u32) -> Result<Self> {
        let (source, target) = (server().await?, server().await?);
        source.sql(&format!("CREATE DATABASE {DATABASE}"))?;
        let sysbench = Sysbench {
            port: source.port(),
            login: ("root".to_owned(), String::new()),
            database: DATABASE.to_owned(),
            tables,
            rows,
            threads: tables.min(4),
        };
        sysbench.prepare().await?;
        // sysbench goes in clear, and mysql-router passes that on: so do we.
        let in_clear =
            |server: &MySqlServer| format!("{}?ssl-mode=DISABLED", server.url("root", DATABASE));
        let options = ProxyOptions::new(in_clear(&source), Some(in_clear(&target)));
        Ok(Self {
            proxy: Proxy::start(options).await?,
            source,
            target,
            sysbench,
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
            .wait_for("changes flow", Duration::from_secs(900), |status| {
                status["phase"] == "streaming" || status["phase"] == "failed"
            })
            .await?;
        self.proxy.wait_for_phase("streaming").await.map(drop)
    }
}
