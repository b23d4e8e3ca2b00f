//! The data folder that a version is initialized with once; each server starts from a copy of it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, ensure};

use super::Version;
use crate::scratch;

/// Root by TCP without a password. Host names are not resolved, so `localhost` is the socket alone.
const ACCOUNTS: &str = "\
    CREATE USER 'root'@'127.0.0.1' IDENTIFIED BY '';\n\
    GRANT ALL ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;\n";

/// Where the system tables' script has made that root already, with nameless accounts beside it.
const SCRIPT_ACCOUNTS: &str = "\
    DELETE FROM mysql.user WHERE User = '' OR Host NOT IN ('localhost', '127.0.0.1');\n\
    DELETE FROM mysql.db WHERE User = '';\n\
    FLUSH PRIVILEGES;\n";

/// The template data folder of this version, made if it is not there.
pub(super) fn ready(version: Version) -> Result<PathBuf> {
    let script = match version {
        Version::MySql97 => ACCOUNTS.to_owned(),
        Version::MySql56 | Version::MariaDb1011 | Version::MariaDb118 => {
            fs::read_to_string(version.home()?.join("bootstrap.sql"))? + "\n" + SCRIPT_ACCOUNTS
        }
    };
    // Another script makes another template: one that is left from before is not taken for it.
    let mut digest = DefaultHasher::new();
    script.hash(&mut digest);
    let name = format!("template-{}-{:016x}", version.folder(), digest.finish());
    let dir = scratch::base()?.join(&name);
    let _lock = scratch::lock(&name)?;
    if dir.is_dir() {
        return Ok(dir);
    }
    // The rename at the end is atomic, so that no half-made template is ever found.
    let work = scratch::folder(&name)?;
    match version {
        Version::MySql97 => initialize(version, &work, &script)?,
        Version::MySql56 | Version::MariaDb1011 | Version::MariaDb118 => {
            bootstrap(version, &work, &script)?;
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

fn initialize(version: Version, work: &Path, script: &str) -> Result<()> {
    let accounts = work.join("accounts.sql");
    fs::write(&accounts, script)?;
    // Two servers with one folder for temporary files remove each other's.
    let temporary = work.join("tmp");
    fs::create_dir(&temporary)?;
    let output = version
        .server()?
        .arg(format!("--tmpdir={}", temporary.display()))
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

fn bootstrap(version: Version, work: &Path, script: &str) -> Result<()> {
    let data = work.join("data");
    fs::create_dir_all(data.join("mysql"))?;
    let input = work.join("bootstrap.sql");
    fs::write(&input, script)?;
    // Two servers with one folder for temporary files remove each other's.
    let temporary = work.join("tmp");
    fs::create_dir(&temporary)?;
    let output = version
        .server()?
        .arg(format!("--tmpdir={}", temporary.display()))
        .arg("--bootstrap")
        .arg("--innodb-log-file-size=8M")
        .arg(format!("--datadir={}", data.display()))
        .current_dir(work)
        .stdin(File::open(input)?)
        .output()?;
    ensure!(
        output.status.success(),
        "initializing {version} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
