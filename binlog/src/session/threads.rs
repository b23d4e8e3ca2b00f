//! The threads that sessions run on: each has its own runtime, and a session stays on its thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::limits::ACCEPTED_MAX;
use super::relay::Relay;
use super::serve::serve_on;

/// A client on its way to a thread.
#[derive(Debug)]
struct Accepted {
    relay: Arc<Relay>,
    client: std::net::TcpStream,
    address: SocketAddr,
}

/// The relay threads.
#[derive(Debug)]
pub(super) struct Threads {
    queues: Vec<mpsc::Sender<Accepted>>,
    next: AtomicUsize,
}

impl Threads {
    pub(super) fn start(count: usize) -> io::Result<Self> {
        let mut queues = Vec::with_capacity(count);
        for shard in 0..count {
            let (sender, receiver) = mpsc::channel(ACCEPTED_MAX);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            std::thread::Builder::new()
                .name(format!("relay-{shard}"))
                .spawn(move || runtime.block_on(take_clients(receiver, shard)))?;
            queues.push(sender);
        }
        Ok(Self {
            queues,
            next: AtomicUsize::new(0),
        })
    }

    /// Gives a client to the next thread, or to another one when that has too many to take.
    pub(super) fn hand_over(&self, relay: &Arc<Relay>, client: TcpStream, address: SocketAddr) {
        let client = match client.set_nodelay(true).and_then(|()| client.into_std()) {
            Ok(client) => client,
            Err(error) => {
                tracing::debug!(%error, %address, "a client went away at once");
                return;
            }
        };
        let mut accepted = Accepted {
            relay: Arc::clone(relay),
            client,
            address,
        };
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.queues.len();
        let order = (0..count).filter_map(|step| self.queues.get(first.wrapping_add(step) % count));
        for queue in order {
            match queue.try_send(accepted) {
                Ok(()) => return,
                Err(refused) => accepted = refused.into_inner(),
            }
        }
        tracing::warn!(%address, "a client is turned away: no relay thread can take it");
    }
}

/// Runs the sessions of one thread until nobody can send clients any more and all are gone.
async fn take_clients(mut queue: mpsc::Receiver<Accepted>, shard: usize) {
    let tasks = TaskTracker::new();
    while let Some(accepted) = queue.recv().await {
        match TcpStream::from_std(accepted.client) {
            Ok(client) => {
                drop(tasks.spawn(serve_on(client, accepted.address, accepted.relay, shard)));
            }
            Err(error) => tracing::warn!(%error, "a client's socket cannot be used"),
        }
    }
    tasks.close();
    tasks.wait().await;
}
