//! The source's log: where it ends, and a stream of it.

use std::sync::atomic::{AtomicU32, Ordering};

use binlog::copy::snapshot::source_position;
use binlog::position::Position;
use binlog::stream::{Stream, StreamOptions};
use binlog::wire::Endpoint;
use integration::mysql::MySqlServer;

/// Numbers of replicas that no server here has: theirs are ports.
static REPLICAS: AtomicU32 = AtomicU32::new(100_000);

/// Where the source's log ends now.
pub(super) async fn end_of(source: &MySqlServer) -> Position {
    let endpoint: Endpoint = source.url("root", "").parse().unwrap();
    let conn = Box::pin(endpoint.connect_sql("test")).await.unwrap();
    source_position(&conn).await.unwrap()
}

/// The source's log behind `start`.
pub(super) async fn behind(source: &MySqlServer, start: &Position) -> Stream {
    let endpoint: Endpoint = source.url("root", "").parse().unwrap();
    let server_id = REPLICAS.fetch_add(1, Ordering::Relaxed);
    let options = StreamOptions::new(start.clone(), server_id, source.dir());
    Box::pin(Stream::open(&endpoint, options)).await.unwrap()
}
