//! Folders below the system's temporary one, and the user that servers run as.
//!
//! Data folders of processes that are gone are swept away at the first use in a process.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

/// A user other than root, for programs that refuse to run as root.
#[derive(Clone, Copy, Debug)]
pub struct ServerUser {
    uid: u32,
    gid: u32,
}

impl ServerUser {
    /// A command that runs as this user.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={}", self.uid))
            .arg(format!("--regid={}", self.gid))
            .args(["--clear-groups", "--"])
            .arg(program);
        command
    }

    /// The arguments of `setpriv` that become this user.
    pub fn setpriv_arguments(self) -> [String; 3] {
        [
            format!("--reuid={}", self.uid),
            format!("--regid={}", self.gid),
            "--clear-groups".to_owned(),
        ]
    }
}

/// Whom servers run as: nobody else when we are not root, else the user `postgres` (or `nobody`).
///
/// # Errors
///
/// When `/etc/passwd` has neither.
pub fn server_user() -> Result<Option<ServerUser>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").context("reading /etc/passwd")?;
    let find = |name: &str| {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let (uid, gid) = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
            (fields.first() == Some(&name)).then_some(ServerUser { uid, gid })
        })
    };
    let user = find("postgres").or_else(|| find("nobody"));
    Ok(Some(user.context(
        "root cannot run PostgreSQL, and there is no user postgres or nobody",
    )?))
}

/// A command that runs as the servers' user.
///
/// # Errors
///
/// When there is no such user.
pub fn as_server_user(program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
    Ok(server_user()?.map_or_else(|| Command::new(program.as_ref()), |u| u.command(&program)))
}

/// Our folder; other users of the machine have theirs.
///
/// # Errors
///
/// When it cannot be made.
pub fn base() -> Result<PathBuf> {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(base) = BASE.get() {
        return Ok(base.clone());
    }
    let uid = fs::metadata("/proc/self")?.uid();
    let base = std::env::temp_dir().join(format!("pointsman-servers-{uid}"));
    fs::create_dir_all(base.join("locks"))?;
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755))?;
    sweep(&base);
    Ok(BASE.get_or_init(|| base).clone())
}

/// A new folder that the servers' user owns.
///
/// # Errors
///
/// When it cannot be made.
pub fn folder(what: &str) -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let base = base()?;
    loop {
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let dir = base.join(format!("run-{}-{number}-{what}", std::process::id()));
        match fs::create_dir(&dir) {
            Ok(()) => {
                give(&dir)?;
                return Ok(dir);
            }
            // A process that is gone and had our number left it; nobody sweeps it while we are there.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Hands a path to the servers' user.
///
/// # Errors
///
/// When the owner cannot be changed.
pub fn give(path: &Path) -> Result<()> {
    if let Some(user) = server_user()? {
        chown(path, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

/// A lock between processes, held until the file is dropped.
///
/// # Errors
///
/// When the lock file cannot be made.
pub fn lock(name: &str) -> Result<File> {
    let file = lock_file(name)?;
    file.lock()?;
    Ok(file)
}

/// Like [`lock`], but `None` when another process or thread holds it.
///
/// # Errors
///
/// When the lock file cannot be made.
pub fn try_lock(name: &str) -> Result<Option<File>> {
    let file = lock_file(name)?;
    Ok(file.try_lock().is_ok().then_some(file))
}

fn lock_file(name: &str) -> Result<File> {
    let path = base()?.join("locks").join(name);
    File::create(&path).with_context(|| format!("making the lock file {}", path.display()))
}

/// Copies a tree as the servers' user, so that it owns the copy.
///
/// # Errors
///
/// When `cp` fails.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("cp")
        .args(["-a", "--reflink=auto", "--no-target-directory"])
        .args([from, to])
        .output()?;
    ensure!(
        output.status.success(),
        "copying {} to {} failed: {}",
        from.display(),
        to.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Removes what processes that are gone left behind. Others may sweep at the same time.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name
            .to_str()
            .and_then(|n| n.strip_prefix("run-")?.split('-').next())
        else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            fs::remove_dir_all(entry.path()).unwrap_or_default();
        }
    }
}
