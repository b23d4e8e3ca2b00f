//! A disk that is soon full: a small file system in memory, which only root may mount.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::scratch;

/// A mounted disk, which servers and the program may write to. Dropping it unmounts it.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk of a size in MiB; `None`, and a line that says so, when we may not mount.
    ///
    /// # Errors
    ///
    /// When its folder cannot be made.
    #[expect(clippy::print_stdout, reason = "what was not tried must be told")]
    pub fn mount(mebibytes: u32) -> Result<Option<Self>> {
        let path = scratch::folder("disk")?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "small"])
            .arg(&path)
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            println!("not root: a small disk cannot be mounted, so this is not tried here");
            return Ok(None);
        }
        let disk = Self { path };
        scratch::give(&disk.path)?;
        Ok(Some(disk))
    }

    /// Gives it another size.
    ///
    /// # Errors
    ///
    /// When it cannot be mounted again.
    pub fn grow(&self, mebibytes: u32) -> Result<()> {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,size={mebibytes}m")])
            .arg(&self.path)
            .status()
            .context("running mount")?;
        ensure!(status.success(), "{} does not grow", self.path.display());
        Ok(())
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(&self.path)
            .status()
            .map(drop)
            .unwrap_or_default();
        std::fs::remove_dir(&self.path).unwrap_or_default();
    }
}
