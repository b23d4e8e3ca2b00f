//! The proxy's side of the admin socket.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::protocol::{LINE_BYTES_MAX, Request, Response};
use crate::engine::Engine;
use crate::exit::Exit;
use crate::migration::Handle;

/// Admin connections at the same time at most; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 64;

/// How long a peer may take for its next line; a half one must not hold its place for ever.
const LINE_PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether the peer still waits for its answer.
const GONE_PERIOD: Duration = Duration::from_millis(100);

/// A socket that cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum ListenError {
    /// Another proxy answers there.
    #[error("another pointsman already answers at {}", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The file cannot be made.
    #[error("cannot listen at {}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The listening socket; its file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: std::os::unix::net::UnixListener,
    path: PathBuf,
}

impl AdminSocket {
    /// Opens the socket with mode 0600. A file that a dead proxy left behind is replaced.
    ///
    /// # Errors
    /// When a living proxy listens there, or the file cannot be made.
    pub(crate) fn open(path: &Path) -> Result<Self, ListenError> {
        let io = |source| ListenError::Io {
            path: path.to_owned(),
            source,
        };
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(ListenError::InUse {
                path: path.to_owned(),
            });
        }
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(io)?;
        }
        let listener = bind(path).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves until `shutdown`, on a thread with a runtime of its own.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub(crate) fn serve<E: Engine>(
        self,
        migration: Handle<E>,
        shutdown: CancellationToken,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(accept_loop(self, migration, shutdown)))
    }
}

/// Binds the socket where nobody else can reach it, and puts it in its place when its mode is right:
/// there is no moment at which another user could connect.
fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    // Short: a socket's path has little room.
    let private = path.with_file_name(format!(".{}", std::process::id()));
    match std::fs::remove_dir_all(&private) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) | Ok(()) => {}
    }
    DirBuilder::new().mode(0o700).create(&private)?;
    let inside = private.join("s");
    let bound = std::os::unix::net::UnixListener::bind(&inside).and_then(|listener| {
        std::fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        std::fs::rename(&inside, path)?;
        Ok(listener)
    });
    std::fs::remove_dir_all(&private)?;
    bound
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), %error, "cannot remove the admin socket");
        }
    }
}

async fn accept_loop<E: Engine>(
    socket: AdminSocket,
    migration: Handle<E>,
    shutdown: CancellationToken,
) {
    let listener = match socket.listener.try_clone().and_then(UnixListener::from_std) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the admin socket cannot be served");
            return;
        }
    };
    let tasks = TaskTracker::new();
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let migration = migration.clone();
                tasks.spawn(async move {
                    if let Err(error) = serve_connection(stream, migration).await {
                        info!(%error, "an admin connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept an admin connection");
                tokio::task::yield_now().await;
            }
        }
    }
    drop(socket);
}

async fn serve_connection<E: Engine>(stream: UnixStream, migration: Handle<E>) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (read, mut write) = stream.into_split();
    let line_max = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut read).take(line_max);
        let reading = limited.read_until(b'\n', &mut line);
        // Dropping the read is fine: the connection ends with it.
        let count = tokio::time::timeout(LINE_PATIENCE, reading).await??;
        if count == 0 {
            return Ok(());
        }
        let whole = line.last() == Some(&b'\n');
        let response = match serde_json::from_slice::<Request>(&line) {
            Ok(request) => {
                match request {
                    Request::Status {} => {}
                    Request::Check { .. }
                    | Request::Start { .. }
                    | Request::Verify {}
                    | Request::Cutover { .. }
                    | Request::Rollback { .. }
                    | Request::Finish { .. }
                    | Request::Abort {} => {
                        let command = request.name();
                        info!(target: "pointsman::audit", uid, command, "admin command");
                    }
                }
                tokio::select! {
                    response = migration.ask(request) => response,
                    () = gone(&write) => {
                        info!("an admin connection was closed before its answer");
                        return Ok(());
                    }
                }
            }
            Err(error) => Response {
                exit: Exit::Usage,
                text: format!("not a command: {error}"),
                result: serde_json::Value::Null,
            },
        };
        let mut answer = serde_json::to_vec(&response)?;
        answer.push(b'\n');
        write.write_all(&answer).await?;
        if !whole {
            // What follows is the rest of an overlong line, or the peer is gone.
            return Ok(());
        }
    }
}

/// Comes back when the peer has closed its connection: an operator who interrupts a command does not
/// want it any more. One that only says that it will send nothing more waits for its answer.
async fn gone(write: &OwnedWriteHalf) {
    loop {
        match write.ready(Interest::WRITABLE).await {
            Ok(ready) if !ready.is_write_closed() => {}
            Ok(_) | Err(_) => return,
        }
        // A socket that can be written to is ready at once, every time.
        tokio::time::sleep(GONE_PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn watch(path: &Path, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let mode = std::fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
            assert_eq!(mode.unwrap_or(0o600), 0o600);
        }
    }

    #[test]
    fn nobody_else_can_reach_the_socket_at_any_moment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| watch(&path, &over));
            for _ in 0..300 {
                drop(AdminSocket::open(&path).unwrap());
            }
            over.store(true, Ordering::Relaxed);
            watcher.join().unwrap();
        });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_peer_is_gone_when_it_closes_and_not_when_it_only_sends_no_more() {
        let (ours, peer) = UnixStream::pair().unwrap();
        let (_read, write) = ours.into_split();
        let mut peer = peer;
        peer.shutdown().await.unwrap();
        let still_there = tokio::time::timeout(GONE_PERIOD * 3, gone(&write)).await;
        assert!(still_there.is_err());
        drop(peer);
        gone(&write).await;
    }

    #[test]
    fn a_dead_proxys_socket_is_replaced_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let living = AdminSocket::open(&path).unwrap();
        let refused = AdminSocket::open(&path).unwrap_err();
        assert!(matches!(refused, ListenError::InUse { .. }), "{refused}");
        drop(living);
    }
}
