//! `pointsman run`: start, serve, shut down.
//!
//! Order of the start: configuration, admin socket (it tells a second proxy from the first),
//! listener, then the two servers are asked who serves. Clients that connect before the answer wait.
//!
//! Shutdown: the first SIGTERM or SIGINT stops accepting and lets every session end at the end of
//! its transaction; the second one, or the grace period's end, ends the rest. A migration needs no
//! farewell: whatever was durable is continued by the next `run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use router::Switch;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::admin::server::AdminSocket;
use crate::config::Config;
use crate::engine::{Clients, Engine, Kind, MySql, Postgres};
use crate::exit::Exit;
use crate::{failpoint, migration, output};

/// How long sessions may take to end their transactions after the first signal.
const GRACE_PERIOD: Duration = Duration::from_secs(30);

/// Pause after an accept that failed: out of file descriptors, most likely.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Runs the proxy until a signal ends it.
pub(crate) fn run(config: &Path, socket: Option<PathBuf>) -> Exit {
    let mut config = match Config::load(config) {
        Ok(config) => config,
        Err(error) => {
            output::error(&error);
            return Exit::Usage;
        }
    };
    if let Some(socket) = socket {
        config.admin.socket = socket;
    }
    log_to_stderr();
    keep_private();
    failpoint::obey_environment();
    match serve(config) {
        Ok(()) => Exit::Done,
        Err(error) => {
            output::error(error.as_ref());
            Exit::Refused
        }
    }
}

/// The spool holds rows and memory holds passwords: the files that we make are for our own user alone, and
/// a crash leaves no picture of our memory behind.
fn keep_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = rustix::process::setrlimit(Resource::Core, none) {
        warn!(%error, "core dumps cannot be switched off");
    }
}

/// `RUST_LOG` chooses what is logged, `info` and above by default.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

fn serve(config: Config) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    match config.engine()? {
        Kind::Postgres => runtime.block_on(serve_until_signal::<Postgres>(config)),
        Kind::MySql => runtime.block_on(serve_until_signal::<MySql>(config)),
    }
}

async fn serve_until_signal<E: Engine>(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let admin = AdminSocket::open(&config.admin.socket)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {} (`listen`)", config.listen))?;
    let threads = match config.sessions.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    let (switch, undecided) = Switch::undecided(threads);
    let config = Arc::new(config);
    let engine = Arc::new(E::new(&config, switch, threads)?);
    let clients = Arc::clone(engine.clients());

    let shutdown = CancellationToken::new();
    let listen = config.listen;
    let (handle, migration_thread) =
        migration::spawn(config, Arc::clone(&engine), undecided, shutdown.clone())?;
    let admin_thread = admin
        .serve(handle, shutdown.clone())
        .context("cannot start the admin socket's thread")?;
    info!(%listen, "pointsman listens");

    tokio::select! {
        biased;
        () = signals.next() => {}
        never = accept_loop(&listener, &clients) => never,
        never = reload_loop(&mut hang_up, engine.as_ref()) => never,
    }
    drop(listener);
    info!(
        sessions = clients.count(),
        "shutting down: waiting for transactions to end"
    );
    tokio::select! {
        biased;
        () = signals.next() => warn!("second signal: ending the sessions now"),
        () = clients.drain(GRACE_PERIOD) => {}
    }
    shutdown.cancel();
    // Both only wait for the token that was just cancelled; a movement that is under way is driven
    // to its end first.
    tokio::task::spawn_blocking(move || {
        drop(migration_thread.join());
        drop(admin_thread.join());
    })
    .await
    .context("a thread of ours panicked")
}

async fn accept_loop<C: Clients>(listener: &TcpListener, clients: &Arc<C>) -> ! {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => clients.accept(stream, address),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Reads the certificate and the users again at each SIGHUP.
async fn reload_loop<E: Engine>(hang_up: &mut Signal, engine: &E) -> ! {
    loop {
        hang_up.recv().await;
        match engine.reload() {
            Ok(()) => info!("the certificate and the users of clients were read again"),
            Err(error) => warn!("what was read before stays: {error:#}"),
        }
    }
}

/// The signals that end the proxy.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    /// # Cancel safety
    /// A signal that arrives while nobody waits is kept.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
