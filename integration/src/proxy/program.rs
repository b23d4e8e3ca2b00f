//! The `pointsman` program itself.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;

use crate::binaries::project_root;

/// The program: `POINTSMAN_BIN`, else the one beside the running test, brought up to date first.
///
/// # Errors
///
/// When it cannot be built.
pub fn path() -> Result<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    if let Some(path) = std::env::var_os("POINTSMAN_BIN") {
        return Ok(PathBuf::from(path));
    }
    let _building = ONE_AT_A_TIME.lock();
    if let Some(path) = BUILT.get() {
        return Ok(path.clone());
    }
    let path = build()?;
    Ok(BUILT.get_or_init(|| path).clone())
}

fn build() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let folder = executable
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"))
        .context("a program is in a folder")?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "-p", "pointsman", "--bin", "pointsman"]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let output = command
        .current_dir(project_root())
        .output()
        .context("running cargo")?;
    ensure!(
        output.status.success(),
        "pointsman does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let path = folder.join("pointsman");
    if !path.is_file() {
        bail!(
            "{} is not there; set POINTSMAN_BIN to the program",
            path.display()
        );
    }
    Ok(path)
}
