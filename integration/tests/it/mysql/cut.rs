//! A wire in front of a server, which is cut at a statement.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where a wire is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Nowhere,
    /// The statement does not reach the server.
    Before,
    /// The server has carried the statement out, and its answer does not reach the client.
    Behind,
}

/// Takes connections to a server of this port, in clear, until a client sends a statement at which
/// all of them are cut.
pub(super) async fn wire<F>(listener: &TcpListener, port: u16, cut: F)
where
    F: Fn(&str) -> Cut + Clone + Send + Sync + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.unwrap();
                connections.spawn(connection(client, port, cut.clone()));
            }
            Some(ended) = connections.join_next() => {
                if ended.unwrap() {
                    return;
                }
            }
        }
    }
}

/// Whether the connection came to a statement at which it is cut.
async fn connection(mut client: TcpStream, port: u16, cut: impl Fn(&str) -> Cut) -> bool {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let is_cut = AtomicBool::new(false);
    let answers = async {
        let mut answer = vec![0; 16 * 1024];
        loop {
            let read = from_server.read(&mut answer).await.unwrap_or(0);
            if is_cut.load(Ordering::Relaxed) {
                return true;
            }
            if read == 0 || to_client.write_all(&answer[..read]).await.is_err() {
                return false;
            }
        }
    };
    let asks = async {
        loop {
            let mut header = [0; 4];
            if from_client.read_exact(&mut header).await.is_err() {
                return false;
            }
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
            let mut body = vec![0; usize::try_from(length).unwrap()];
            if from_client.read_exact(&mut body).await.is_err() {
                return false;
            }
            let is_query = header[3] == 0 && body.first() == Some(&3);
            if is_query {
                match cut(&String::from_utf8_lossy(&body[1..])) {
                    Cut::Nowhere => {}
                    Cut::Before => return true,
                    Cut::Behind => is_cut.store(true, Ordering::Relaxed),
                }
            }
            let packet = [&header, &body[..]].concat();
            if to_server.write_all(&packet).await.is_err() {
                return false;
            }
        }
    };
    tokio::select! {
        came_to_it = asks => came_to_it,
        came_to_it = answers => came_to_it,
    }
}
