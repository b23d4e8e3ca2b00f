//! Log that is gone before it was read, and a server that was set back.

use std::time::{Duration, Instant};

use integration::mysql::{MySqlOptions, MySqlServer, Version};
use integration::proxy::Proxy;

use super::{DATABASE, PATIENCE, assert_says, configured, notes, pair, stopped, usual};

/// The proxy is away while the source writes and throws its log away.
async fn purged(version: Version, options: MySqlOptions, throw_away: &str, says: &str) {
    let (source, target) = pair(version, options).await;
    let mut proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    proxy.kill9().unwrap();
    source
        .sql_in(DATABASE, "INSERT INTO note VALUES (2, 'unread')")
        .unwrap();
    thrown_away(&source, throw_away).await;
    source
        .sql_in(DATABASE, "INSERT INTO note VALUES (3, 'later')")
        .unwrap();
    proxy.launch().await.unwrap();
    let said = stopped(&proxy).await;
    assert_says(&said, &[says, "copy must start again", "pointsman abort"]);
    assert_eq!(notes(&target), "1\tfirst", "nothing is skipped");

    // The next step works: nothing is lost.
    proxy.done(&["abort"]).await.unwrap();
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    proxy.done(&["cutover"]).await.unwrap();
    assert_eq!(notes(&target), "1\tfirst\n2\tunread\n3\tlater");
}

/// Removes the log that was written; a server keeps files for a while that it may need itself, or
/// for readers that it believes to be there.
async fn thrown_away(source: &MySqlServer, sql: &str) {
    let logs = || source.sql("SHOW BINARY LOGS").unwrap();
    let unread = logs().lines().last().unwrap().to_owned();
    let (unread, _size) = unread.split_once('\t').unwrap();
    source.sql_in(DATABASE, sql).unwrap();
    if sql != ROTATE {
        return;
    }
    if source.version().is_mariadb() {
        let none = "SET GLOBAL slave_connections_needed_for_purge = 0";
        source.sql(none).unwrap_or_default();
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        source
            .sql("PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY")
            .unwrap();
        if !logs().contains(unread) {
            return;
        }
        assert!(Instant::now() < deadline, "{}", logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Leaves the unread row in a file that is not the newest.
const ROTATE: &str = "FLUSH LOGS; INSERT INTO note VALUES (9, 'x'); DELETE FROM note WHERE id = 9;
    FLUSH LOGS";

#[tokio::test(flavor = "multi_thread")]
async fn purged_gtids_of_mysql_stop_the_migration() {
    for version in [Version::MySql97, Version::MySql56] {
        purged(version, usual(), ROTATE, "the source has removed log").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_files_of_mysql_without_gtids_stop_the_migration() {
    for version in [Version::MySql97, Version::MySql56] {
        let options = usual().without_gtids();
        purged(version, options, ROTATE, "the source has removed log").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn purged_gtids_of_mariadb_stop_the_migration() {
    for version in [Version::MariaDb1011, Version::MariaDb118] {
        purged(version, usual(), ROTATE, "the source has removed log").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_log_was_reset_stops_the_migration() {
    let reset = |version, sql| purged(version, usual(), sql, "the source");
    reset(Version::MySql97, "RESET BINARY LOGS AND GTIDS").await;
    reset(Version::MySql56, "RESET MASTER").await;
    reset(Version::MariaDb118, "RESET MASTER").await;
}
