//! The postmaster as a child process, and its own children.
//!
//! The kernel is asked to end the postmaster when the thread that started it ends, so one thread
//! that lives as long as this process starts them all: whatever way a test process ends, its
//! servers end with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::children;
use crate::scratch;

/// How long killed children may take to be gone.
const CHILDREN_PATIENCE: Duration = Duration::from_secs(60);

/// A running postmaster.
#[derive(Debug)]
pub(super) struct Postmaster {
    child: Child,
    pid: Pid,
}

impl Postmaster {
    pub(super) fn spawn(program: &Path, data_dir: &Path, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new("setpriv");
        command.arg("--pdeathsig=QUIT");
        if let Some(user) = scratch::server_user()? {
            command.args(user.setpriv_arguments());
        }
        command
            .arg("--")
            .arg(program)
            .arg("-D")
            .arg(data_dir)
            .current_dir(data_dir.parent().unwrap_or(data_dir))
            .env_remove("PGDATA")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = children::spawn(command).context("starting postgres through setpriv")?;
        let pid = children::pid(&child)?;
        Ok(Self { child, pid })
    }

    /// Waits for the line that the postmaster writes when it takes connections.
    pub(super) async fn wait_until_ready(
        &mut self,
        data_dir: &Path,
        patience: Duration,
    ) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at its start: {status}");
            }
            let pid_file = fs::read_to_string(data_dir.join("postmaster.pid")).unwrap_or_default();
            let mut lines = pid_file.lines();
            let ours = lines.next().and_then(|pid| pid.parse().ok());
            if ours == Some(self.pid.as_raw_nonzero().get())
                && lines.nth(6).is_some_and(|line| line.trim() == "ready")
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the server did not come up within {} s", patience.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn stop_fast(&mut self, patience: Duration) -> Result<()> {
        self.resume();
        send(self.pid, Signal::INT);
        let deadline = Instant::now() + patience;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.kill9();
                bail!(
                    "the server did not stop within {} s and was killed",
                    patience.as_secs()
                );
            }
            pause_a_moment();
        }
        Ok(())
    }

    /// The server's own quick way out, which also removes its shared memory.
    pub(super) fn stop_immediate(&mut self) {
        self.resume();
        send(self.pid, Signal::QUIT);
        self.reap();
    }

    /// Stopped first, so that it cannot fork or notice while its children are killed. Waits for the
    /// children too: a server does not start again while one of them holds its shared memory.
    pub(super) fn kill9(&mut self) {
        send(self.pid, Signal::STOP);
        let deadline = Instant::now() + CHILDREN_PATIENCE;
        while !is_stopped(self.pid) && Instant::now() < deadline {
            pause_a_moment();
        }
        let children = self.children();
        for child in &children {
            send(*child, Signal::KILL);
        }
        send(self.pid, Signal::KILL);
        self.reap();
        let deadline = Instant::now() + CHILDREN_PATIENCE;
        while children.iter().any(|child| is_alive(*child)) && Instant::now() < deadline {
            pause_a_moment();
        }
    }

    pub(super) fn pause(&self) {
        send(self.pid, Signal::STOP);
        for child in self.children() {
            send(child, Signal::STOP);
        }
    }

    pub(super) fn resume(&self) {
        for child in self.children() {
            send(child, Signal::CONT);
        }
        send(self.pid, Signal::CONT);
    }

    pub(super) fn reload(&self) {
        send(self.pid, Signal::HUP);
    }

    fn children(&self) -> Vec<Pid> {
        let pid = self.pid.as_raw_nonzero();
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let list = list.unwrap_or_default();
        list.split_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect()
    }

    fn reap(&mut self) {
        // The only error is that it was waited for already.
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// A server that was killed leaves a segment behind, of which the machine has a few thousand.
pub(super) fn remove_shared_memory(data_dir: &Path) {
    let pid_file: PathBuf = data_dir.join("postmaster.pid");
    let text = fs::read_to_string(pid_file).unwrap_or_default();
    let segment = text
        .lines()
        .nth(6)
        .and_then(|line| line.split_whitespace().nth(1));
    if let Some(id) = segment {
        let mut command = Command::new("ipcrm");
        command
            .args(["-m", id])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().map(drop).unwrap_or_default();
    }
}

/// A signal is sent before it has its effect: until then the process may still fork.
fn is_stopped(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.map_or(true, |stat| stat.contains(") T ") || stat.contains(") Z "))
}

/// A process that has ended and that nobody has waited for yet holds nothing any more.
fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[expect(
    clippy::disallowed_methods,
    reason = "polls for the end of a process, with a deadline"
)]
fn pause_a_moment() {
    std::thread::sleep(Duration::from_millis(2));
}

fn send(pid: Pid, signal: Signal) {
    // A process that is gone already needs no signal.
    kill_process(pid, signal).unwrap_or_default();
}
