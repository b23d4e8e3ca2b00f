//! One `initdb` a version; every server starts from a copy of it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::scratch;

/// The template data folder of this version, made if it is not there.
pub(super) fn ready(major: u32, bin: &Path) -> Result<PathBuf> {
    let name = format!("template-{major}");
    let dir = scratch::base()?.join(&name);
    let _lock = scratch::lock(&name)?;
    if dir.join("PG_VERSION").is_file() {
        return Ok(dir);
    }
    // `initdb` makes its folder below one that its user owns; the rename at the end is atomic, so
    // that no half-made template is ever found.
    let work = scratch::folder(&name)?;
    let output = scratch::as_server_user(bin.join("initdb"))?
        .args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ])
        .arg("--no-sync")
        .arg("-D")
        .arg(work.join("data"))
        .current_dir("/")
        .output()?;
    ensure!(
        output.status.success(),
        "initdb {major} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::rename(work.join("data"), &dir)?;
    std::fs::remove_dir_all(&work)?;
    Ok(dir)
}
