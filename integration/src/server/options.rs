//! How a server differs from the usual one.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::scratch;

const TRUSTING: &str =
    "host all,replication all 127.0.0.1/32 trust\nlocal all,replication all trust\n";

/// Settings of a server; the default is what most tests want.
#[derive(Clone, Debug)]
pub struct PgOptions {
    /// Lines for `postgresql.conf`, after ours; later ones win.
    pub settings: Vec<(String, String)>,
    /// The whole `pg_hba.conf`; `None` trusts everybody on the loopback interface.
    pub hba: Option<String>,
    /// Whether commits are durable. Off only where a test does not crash the server.
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
    /// Commits are not durable: faster, for tests that do not crash the server.
    #[must_use]
    pub fn without_fsync(mut self) -> Self {
        self.fsync = false;
        self
    }

    /// One more setting.
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

    /// Everybody but the superuser logs in with SCRAM-SHA-256.
    #[must_use]
    pub fn with_scram(self) -> Self {
        self.hba(
            "host all,replication postgres 127.0.0.1/32 trust\n\
             host all,replication all 127.0.0.1/32 scram-sha-256\n",
        )
        .set("password_encryption", "scram-sha-256")
    }

    pub(super) fn write(&self, data_dir: &Path, socket_dir: &Path, port: u16) -> Result<()> {
        let socket_dir = socket_dir.display().to_string();
        let port = port.to_string();
        let fsync = if self.fsync { "on" } else { "off" };
        let usual: [(&str, &str); 15] = [
            ("listen_addresses", "127.0.0.1"),
            ("port", &port),
            ("unix_socket_directories", &socket_dir),
            ("wal_level", "logical"),
            ("max_replication_slots", "20"),
            ("max_wal_senders", "20"),
            ("max_connections", "200"),
            ("max_prepared_transactions", "10"),
            ("shared_buffers", "64MB"),
            ("min_wal_size", "32MB"),
            ("fsync", fsync),
            ("full_page_writes", fsync),
            ("logging_collector", "off"),
            ("log_line_prefix", "%m [%p] %u@%d "),
            ("timezone", "UTC"),
        ];
        let asked = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut text = String::from("\n# Of the test harness.\n");
        for (name, value) in usual.into_iter().chain(asked) {
            writeln!(text, "{name} = '{}'", value.replace('\'', "''"))?;
        }
        append(&data_dir.join("postgresql.conf"), &text)?;

        let path = data_dir.join("pg_hba.conf");
        fs::write(&path, self.hba.as_deref().unwrap_or(TRUSTING))?;
        scratch::give(&path)
    }
}

fn append(path: &Path, text: &str) -> Result<()> {
    let mut all = fs::read_to_string(path)?;
    all.push_str(text);
    fs::write(path, all)?;
    Ok(())
}
