//! One `initdb` for each version; every server starts as a copy of its result.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use super::binaries::{Binaries, servers_dir};
use super::process::{as_server_user, give_to_server_user};

/// A fresh folder with a copy of the version's template in `data`.
pub(super) fn copy(binaries: &Binaries) -> anyhow::Result<TempDir> {
    let template = template(binaries)?;
    let folder = tempfile::Builder::new().prefix("pointsman-pg").tempdir()?;
    give_to_server_user(folder.path())?;
    let data = folder.path().join("data");
    run(as_server_user("cp")
        .arg("-a")
        .arg("--reflink=auto")
        .arg(&template)
        .arg(&data))?;
    Ok(folder)
}

/// The version's template, made if it is not there. Two processes may make it at the same time:
/// the first to rename it into place wins.
fn template(binaries: &Binaries) -> anyhow::Result<PathBuf> {
    let all = servers_dir().join("templates");
    let template = all.join(format!("pg{}", binaries.major));
    if template.exists() {
        return Ok(template);
    }
    std::fs::create_dir_all(&all).context("cannot make the folder for templates")?;
    let scratch = tempfile::Builder::new().prefix("new").tempdir_in(&all)?;
    give_to_server_user(scratch.path())?;
    let data = scratch.path().join("data");
    run(as_server_user(binaries.bin.join("initdb"))
        .args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ])
        .arg("-D")
        .arg(&data))?;
    match std::fs::rename(&data, &template) {
        Ok(()) => Ok(template),
        Err(_other_was_first) if template.exists() => Ok(template),
        Err(error) => Err(error).context("cannot keep the template"),
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
