//! The stream behind a copy, up to where the source's log ends, and whether both sides are alike.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use binlog::apply::{Applier, ApplyError, ApplyOptions};
use binlog::copy::snapshot::source_position;
use binlog::schema::catalog::Scope;
use binlog::schema::initial::InitialDone;
use binlog::stream::{Stream, StreamOptions};
use integration::mysql::MySqlServer;
use tokio::time::timeout;

use super::Pair;

/// Numbers of replicas that no server and no other test has.
static REPLICAS: AtomicU32 = AtomicU32::new(300_000);

const PATIENCE: Duration = Duration::from_secs(300);

/// Applies what the source's log has behind a copy so far.
pub(super) async fn follow(pair: &Pair, finished: InitialDone) -> Result<(), ApplyError> {
    let (source, target) = pair.endpoints();
    let client = source.connect_sql("test").await.unwrap();
    let end = source_position(&client).await.unwrap();
    let start = finished.start.position;
    let options = ApplyOptions::new("pointsman test", start.clone(), Scope::All);
    let mut applier = Box::pin(Applier::open(&target, options, finished.watermarks)).await?;
    let server_id = REPLICAS.fetch_add(1, Ordering::Relaxed);
    let options = StreamOptions::new(start, server_id, pair.source.dir());
    let stream = Box::pin(Stream::open(&source, options)).await.unwrap();
    let handle = applier.handle();
    let stop = async {
        let mut applied = handle.applied();
        applied.wait_for(|applied| *applied >= end).await.unwrap();
        handle.stop();
        std::future::pending().await
    };
    let run = Box::pin(applier.run_stream(stream));
    let both = async {
        tokio::select! {
            ran = run => ran,
            ran = stop => ran,
        }
    };
    timeout(PATIENCE, both)
        .await
        .expect("the applier is done in time")
}

fn tables(server: &MySqlServer) -> String {
    let query = "SELECT TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, DATA_TYPE \
                 FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'shop' ORDER BY 1, 3";
    let indexes = "SELECT TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, COLUMN_NAME \
                   FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = 'shop' ORDER BY 1, 2, 3";
    server.sql(query).unwrap() + "\n" + &server.sql(indexes).unwrap()
}

/// All tables of `shop` are the same on both, with all rows.
pub(super) async fn same(pair: &Pair, after: &str) {
    assert_eq!(tables(&pair.source), tables(&pair.target), "{after}");
    let query = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop' \
                 AND TABLE_TYPE = 'BASE TABLE' ORDER BY 1";
    for table in pair.source.sql(query).unwrap().lines() {
        let rows = format!("SELECT * FROM shop.{table} ORDER BY 1");
        let (source, target) = (pair.source.sql(&rows), pair.target.sql(&rows));
        let (source, target) = (source.unwrap(), target.unwrap());
        assert!(
            source == target,
            "{after}: {table}: {} bytes and {}",
            source.len(),
            target.len()
        );
    }
}
