//! A server's processes: started as a user that is not root, and never left behind.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::binaries::Binaries;

/// The user that servers run as when we are root, which PostgreSQL refuses to be.
const SERVER_USER: &str = "postgres";

/// Runs "$@" until standard input closes, which it does when our process ends in any way.
const HOLD: &str = r#"exec 3<&0; log=$1; shift
"$@" >>"$log" 2>&1 </dev/null 3<&- & server=$!
{ cat <&3 >/dev/null; kill -QUIT $server 2>/dev/null; } & guard=$!
wait $server; kill $guard 2>/dev/null"#;

/// A server and the shell that holds it.
#[derive(Debug)]
pub(super) struct Process {
    holder: Child,
    data: PathBuf,
}

impl Process {
    /// Starts the server on the `data` folder within `folder`.
    pub(super) fn start(binaries: &Binaries, folder: &Path, port: u16) -> anyhow::Result<Self> {
        let data = folder.join("data");
        let log = folder.join("log");
        std::fs::write(&log, "")?;
        let server = as_server_user(binaries.bin.join("postgres"));
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(HOLD)
            .arg("sh")
            .arg(&log)
            .arg(server.get_program());
        command
            .args(server.get_args())
            .arg("-D")
            .arg(&data)
            .arg("-p")
            .arg(port.to_string());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let holder = command.spawn().context("cannot start the server")?;
        Ok(Self { holder, data })
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.holder.try_wait(), Ok(None))
    }

    /// Sends a signal to the postmaster and its children.
    pub(super) fn signal_all(&self, signal: &str) -> anyhow::Result<()> {
        let postmaster = self.postmaster()?;
        let mut pids = children(postmaster)?;
        pids.push(postmaster);
        // A child that has just ended is no failure.
        let mut kill = Command::new("kill");
        kill.arg(format!("-{signal}"))
            .args(pids.iter().map(u32::to_string));
        kill.stderr(Stdio::null())
            .status()
            .context("cannot run kill")?;
        Ok(())
    }

    /// Ends the server with a signal and waits until it is gone.
    pub(super) fn end(mut self, signal: &str, timeout: Duration) -> anyhow::Result<()> {
        if signal == "KILL" {
            self.signal_all(signal)?;
        } else {
            let postmaster = self.postmaster()?;
            Command::new("kill")
                .arg(format!("-{signal}"))
                .arg(postmaster.to_string())
                .status()?;
        }
        let deadline = Instant::now() + timeout;
        while !self.has_ended() {
            if Instant::now() > deadline {
                bail!("the server did not end after SIG{signal}");
            }
            pause();
        }
        Ok(())
    }

    fn postmaster(&self) -> anyhow::Result<u32> {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid"))
            .context("the server does not run")?;
        let line = text.lines().next().context("postmaster.pid is empty")?;
        Ok(line.trim().parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // There is nobody to tell, and nothing is left that could end it.
        let _status = self.holder.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "polls for the end of a process, with a deadline"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}

fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let output = Command::new("ps")
        .args(["-o", "pid=", "--ppid", &parent.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect())
}

fn are_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| {
        let output = Command::new("id").arg("-u").output();
        output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
    })
}

/// A command that runs as the user of the servers.
pub(super) fn as_server_user(program: impl AsRef<OsStr>) -> Command {
    if !are_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={SERVER_USER}"))
        .arg(format!("--regid={SERVER_USER}"));
    command.arg("--init-groups").arg(program);
    command
}

/// Makes a folder belong to the user of the servers.
pub(super) fn give_to_server_user(folder: &Path) -> anyhow::Result<()> {
    if are_root() {
        let owner = format!("{SERVER_USER}:");
        let status = Command::new("chown").arg(owner).arg(folder).status()?;
        if !status.success() {
            bail!("cannot give {} to the user {SERVER_USER}", folder.display());
        }
    }
    Ok(())
}
