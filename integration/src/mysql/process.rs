//! The server as a child process.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::children;

/// The fifth byte that a server sends: the protocol's version. An error packet has 0xff there.
const PROTOCOL_VERSION: u8 = 10;

/// A running server.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    pid: Pid,
}

impl Daemon {
    pub(super) fn spawn(mut command: Command, dir: &Path, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        command
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = children::spawn(command).context("starting mysqld through setpriv")?;
        let pid = children::pid(&child)?;
        Ok(Self { child, pid })
    }

    /// Waits until the server greets a connection.
    pub(super) async fn wait_until_ready(&mut self, port: u16, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended at its start: {status}");
            }
            let greeting = tokio::time::timeout(Duration::from_secs(2), greeting(port)).await;
            if matches!(greeting, Ok(Ok(PROTOCOL_VERSION))) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the server did not come up within {} s", patience.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn stop(&mut self, patience: Duration) -> Result<()> {
        self.resume();
        send(self.pid, Signal::TERM);
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

    pub(super) fn kill9(&mut self) {
        send(self.pid, Signal::KILL);
        // The only error is that it was waited for already.
        self.child.wait().map(drop).unwrap_or_default();
    }

    pub(super) fn pause(&self) {
        send(self.pid, Signal::STOP);
    }

    pub(super) fn resume(&self) {
        send(self.pid, Signal::CONT);
    }
}

async fn greeting(port: u16) -> Result<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut start = [0_u8; 5];
    stream.read_exact(&mut start).await?;
    Ok(start[4])
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
