//! Where the server and client programs are.
//!
//! `POINTSMAN_SERVERS_DIR` names the folder, else it is `.servers` in the project root. A missing
//! program is an error that says what to run; no test is skipped for it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::scratch;

/// The oldest and newest major version that we have servers of.
pub const MAJORS: [u32; 6] = [12, 14, 15, 16, 17, 18];

/// The project's root folder.
pub fn project_root() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir).to_path_buf()
}

/// The folder that `fetch.sh` fills.
pub fn servers_dir() -> PathBuf {
    env::var_os("POINTSMAN_SERVERS_DIR")
        .map_or_else(|| project_root().join(".servers"), PathBuf::from)
}

/// The `bin` folder of the server of this major version, readable by the user that runs it.
///
/// # Errors
///
/// When it was not fetched.
pub fn server_bin(major: u32) -> Result<PathBuf> {
    let dir = servers_dir().join(format!("pg{major}"));
    if !dir.join("bin/postgres").is_file() {
        bail!(
            "there is no PostgreSQL {major} server in {}; run integration/fetch.sh once \
             (or set POINTSMAN_SERVERS_DIR to the folder it filled)",
            dir.display()
        );
    }
    Ok(readable(&dir, major)?.join("bin"))
}

/// The folder with `psql`, `pg_dump` and `pg_restore` that can dump a server of this version.
///
/// The machine's own programs serve when they are new enough, else the fetched ones of version 18.
///
/// # Errors
///
/// When there are none.
pub fn client_bin(major: u32) -> Result<PathBuf> {
    for dir in installed_client_dirs() {
        if client_major(&dir.join("pg_dump")).is_some_and(|found| found >= major) {
            return Ok(dir);
        }
    }
    let fetched = servers_dir().join("client18/bin");
    if fetched.join("pg_dump").is_file() && major <= 18 {
        return Ok(fetched);
    }
    bail!(
        "there is no pg_dump of version {major} or newer; run integration/fetch.sh once, or \
         install postgresql-client-{major}"
    )
}

/// A program of the machine's own PostgreSQL client package, such as `pgbench`.
///
/// # Errors
///
/// When it is not installed.
pub fn client_program(name: &str) -> Result<PathBuf> {
    let found = installed_client_dirs()
        .into_iter()
        .map(|dir| dir.join(name))
        .find(|p| p.is_file());
    found.with_context(|| {
        format!("{name} is not installed; on Debian: apt-get install postgresql-client postgresql")
    })
}

fn installed_client_dirs() -> Vec<PathBuf> {
    let mut majors: Vec<u32> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                .collect()
        })
        .unwrap_or_default();
    majors.sort_unstable();
    let debian = majors
        .into_iter()
        .map(|m| PathBuf::from(format!("/usr/lib/postgresql/{m}/bin")));
    let path = env::var_os("PATH").unwrap_or_default();
    debian.chain(env::split_paths(&path)).collect()
}

fn client_major(program: &Path) -> Option<u32> {
    if !program.is_file() {
        return None;
    }
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace()
        .find_map(|word| word.split('.').next()?.parse().ok())
}

/// The same programs where the server's user can read them: a checkout below a private home
/// directory is closed to it, and then they are copied once.
fn readable(dir: &Path, major: u32) -> Result<PathBuf> {
    let Some(user) = scratch::server_user()? else {
        return Ok(dir.to_path_buf());
    };
    let probe = user
        .command("test")
        .arg("-x")
        .arg(dir.join("bin/postgres"))
        .status()?;
    if probe.success() {
        return Ok(dir.to_path_buf());
    }
    let copy = scratch::base()?.join(format!("programs-{major}"));
    let _lock = scratch::lock(&format!("programs-{major}"))?;
    if !copy.is_dir() {
        let partial = scratch::base()?.join(format!("programs-{major}.partial"));
        scratch::copy_tree(dir, &partial)?;
        std::fs::rename(&partial, &copy)?;
    }
    Ok(copy)
}
