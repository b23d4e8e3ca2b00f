//! The data folder that a version is initialized with once; each server starts from a copy of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, ensure};

use super::Version;
use crate::scratch;

/// Root by TCP without a password, and nobody without a name. Host names are not resolved, so
/// `localhost` is the socket alone.
const ACCOUNTS: &str = "\
    CREATE USER 'root'@'127.0.0.1' IDENTIFIED BY '';\n\
    GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n";

/// The same where a table is the only way, and the system tables' script made nameless accounts.
const OLD_ACCOUNTS: &str = "\
    DELETE FROM mysql.user WHERE User = '' OR Host NOT IN ('localhost', '127.0.0.1');\n\
    DELETE FROM mysql.db WHERE User = '';\n\
    FLUSH PRIVILEGES;\n";

/// The template data folder of this version, made if it is not there.
pub(super) fn ready(version: Version) -> Result<PathBuf> {
    let name = format!("template-{}", version.folder());
    let dir = scratch::base()?.join(&name);
    let _lock = scratch::lock(&name)?;
    if dir.is_dir() {
        return Ok(dir);
    }
    // The rename at the end is atomic, so that no half-made template is ever found.
    let work = scratch::folder(&name)?;
    match version {
        Version::MySql97 => initialize(version, &work)?,
        Version::MySql56 | Version::MariaDb1011 | Version::MariaDb118 => {
            bootstrap(version, &work)?;
        }
    }
    let data = work.join("data");
    for name in ["auto.cnf", "ibtmp1"] {
        // A server makes both by itself; two servers must not have the same server_uuid.
        fs::remove_file(data.join(name)).unwrap_or_default();
    }
    fs::rename(data, &dir)?;
    fs::remove_dir_all(&work)?;
    Ok(dir)
}

fn initialize(version: Version, work: &Path) -> Result<()> {
    let accounts = work.join("accounts.sql");
    fs::write(&accounts, ACCOUNTS)?;
    let output = version
        .server()?
        .arg("--initialize-insecure")
        .arg("--innodb-redo-log-capacity=8M")
        .arg(format!("--datadir={}", work.join("data").display()))
        .arg(format!("--init-file={}", accounts.display()))
        .current_dir(work)
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        output.status.success(),
        "initializing {version} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn bootstrap(version: Version, work: &Path) -> Result<()> {
    let data = work.join("data");
    fs::create_dir_all(data.join("mysql"))?;
    let mut sql = fs::read_to_string(version.home()?.join("bootstrap.sql"))?;
    sql.push('\n');
    sql.push_str(OLD_ACCOUNTS);
    if version.is_mariadb() {
        sql.push_str(ACCOUNTS);
    }
    let script = work.join("bootstrap.sql");
    fs::write(&script, sql)?;
    let output = version
        .server()?
        .arg("--bootstrap")
        .arg("--innodb-log-file-size=8M")
        .arg(format!("--datadir={}", data.display()))
        .current_dir(work)
        .stdin(File::open(script)?)
        .output()?;
    ensure!(
        output.status.success(),
        "initializing {version} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
