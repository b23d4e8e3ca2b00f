//! The number under which the stream reads the log, taken by somebody else.

use std::time::{Duration, Instant};

use binlog::copy::snapshot::source_position;
use binlog::stream::{Stream, StreamOptions};
use integration::mysql::{MySqlServer, Version};
use integration::proxy::Proxy;

use super::{DATABASE, PATIENCE, assert_says, configured, notes, pair, stopped, usual};

async fn streaming(version: Version) -> (MySqlServer, MySqlServer, Proxy, u32) {
    let (source, target) = pair(version, usual()).await;
    let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    let id = source.sql("SELECT id FROM pointsman.migration").unwrap();
    let number = u32::from_str_radix(&id, 16).unwrap();
    (source, target, proxy, number)
}

/// Polls until the target has these rows.
async fn wait_for_notes(target: &MySqlServer, proxy: &Proxy, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    while notes(target) != wanted {
        assert!(Instant::now() < deadline, "{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Another replica that comes back whenever the source ends its stream, as all do.
async fn reads_too(source: &MySqlServer, number: u32) -> ! {
    let client = source.connect().await.unwrap();
    let endpoint = source.url("root", "").parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    loop {
        let start = source_position(&client).await.unwrap();
        let options = StreamOptions::new(start, number, folder.path());
        // The other one may end it before it is open.
        if let Ok(mut stream) = Box::pin(Stream::open(&endpoint, options)).await {
            while stream.next().await.is_ok() {}
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_with_the_stream_s_server_id_stops_the_migration_by_that_number() {
    for version in Version::ALL {
        let (source, target, proxy, number) = streaming(version).await;
        source
            .sql_in(DATABASE, "INSERT INTO note VALUES (2, 'second')")
            .unwrap();
        let said = tokio::select! {
            never = reads_too(&source, number) => never,
            said = stopped(&proxy) => said,
        };
        assert_says(
            &said,
            &[&number.to_string(), "server_id", "replica", "source"],
        );

        // The other one is gone, and the stream goes on behind what it had.
        proxy.done(&["start"]).await.unwrap();
        proxy.wait_for_phase("streaming").await.unwrap();
        wait_for_notes(&target, &proxy, "1\tfirst\n2\tsecond").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_takes_the_stream_s_server_id_stops_the_migration() {
    for version in [Version::MySql97, Version::MySql56, Version::MariaDb118] {
        let (source, target, mut proxy, number) = streaming(version).await;
        proxy.kill9().unwrap();
        let before = source.server_id();
        source
            .sql(&format!("SET GLOBAL server_id = {number}"))
            .unwrap();
        source
            .sql_in(DATABASE, "INSERT INTO note VALUES (2, 'second')")
            .unwrap();
        proxy.launch().await.unwrap();
        let said = stopped(&proxy).await;
        assert_says(&said, &[&number.to_string(), "server", "source"]);
        assert_eq!(notes(&target), "1\tfirst");

        source
            .sql(&format!("SET GLOBAL server_id = {before}"))
            .unwrap();
        proxy.done(&["start"]).await.unwrap();
        proxy.wait_for_phase("streaming").await.unwrap();
        wait_for_notes(&target, &proxy, "1\tfirst\n2\tsecond").await;
    }
}

/// The number stands in no event, so the target's does not matter.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_the_stream_s_server_id_gets_every_change() {
    for version in [Version::MySql97, Version::MariaDb118] {
        let (source, target, proxy, number) = streaming(version).await;
        target
            .sql(&format!("SET GLOBAL server_id = {number}"))
            .unwrap();
        source
            .sql_in(DATABASE, "INSERT INTO note VALUES (2, 'second')")
            .unwrap();
        wait_for_notes(&target, &proxy, "1\tfirst\n2\tsecond").await;
        proxy.done(&["cutover"]).await.unwrap();
        assert_eq!(notes(&source), notes(&target));
    }
}
