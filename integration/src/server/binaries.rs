//! Where the servers' programs are.

use std::path::{Path, PathBuf};

use anyhow::bail;

/// Environment variable that names another folder of servers.
const SERVERS_DIR_ENV: &str = "POINTSMAN_SERVERS_DIR";

/// The programs of one version.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// Its major version.
    pub major: u32,
    /// The folder with `postgres`, `initdb`, `pg_ctl`.
    pub bin: PathBuf,
}

/// The folder that holds `pg12`, `pg14`, ... (`.servers` in the project, unless the environment
/// names another).
#[must_use]
pub fn servers_dir() -> PathBuf {
    match std::env::var_os(SERVERS_DIR_ENV) {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../.servers"),
    }
}

impl Binaries {
    /// Finds the programs of a major version.
    ///
    /// # Errors
    /// When they were not fetched.
    pub fn find(major: u32) -> anyhow::Result<Self> {
        let bin = servers_dir().join(format!("pg{major}/bin"));
        if !bin.join("postgres").exists() {
            bail!(
                "PostgreSQL {major} is not in {}; run integration/fetch.sh to get it",
                servers_dir().display()
            );
        }
        Ok(Self { major, bin })
    }
}
