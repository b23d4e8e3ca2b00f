//! The marker of a MySQL server with GTIDs: an empty transaction that is reached when, and only
//! when, everything before it is on the target.

use std::time::Duration;

use binlog::movement::marker::{self, Marker};
use binlog::schema::bookkeeping;
use integration::mysql::Version;

use super::log;
use super::pair::Pair;

const PATIENCE: Duration = Duration::from_secs(120);

/// The marker that comes after this one.
fn next(marker: &Marker) -> Marker {
    let Marker::Gtid { gtid } = marker else {
        panic!("{marker:?}");
    };
    let (uuid, number) = gtid.rsplit_once(':').unwrap();
    let number: u64 = number.parse().unwrap();
    Marker::Gtid {
        gtid: format!("{uuid}:{}", number + 1),
    }
}

async fn a_gtid_is_reached_when_all_before_it_is_applied(version: Version) {
    let mut pair = Pair::start(version, version).await;
    pair.both("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await;
    pair.source.sql(bookkeeping::CREATE_SCHEMA).unwrap();
    for table in bookkeeping::SOURCE_TABLES {
        pair.source.sql(table).unwrap();
    }
    let source = pair.source.connect().await.unwrap();
    let mut applier = Box::pin(pair.applier()).await.unwrap();
    let events = log::behind(&pair.source, &pair.applied).await;
    let handle = applier.handle();
    let rows = || pair.target.sql_in("d", "SELECT COUNT(*) FROM t").unwrap();
    let ask = async {
        pair.change("INSERT INTO t VALUES (1)");
        let first = marker::write(&source).await.unwrap();
        handle.wait_marker(&first).await;
        assert_eq!(rows(), "1");
        // It stays reached.
        handle.wait_marker(&first).await;

        let second = next(&first);
        pair.change("INSERT INTO t VALUES (2)");
        let early = tokio::time::timeout(Duration::from_millis(300), handle.wait_marker(&second));
        assert!(early.await.is_err(), "it is not written yet");
        assert_eq!(marker::write(&source).await.unwrap(), second);
        handle.wait_marker(&second).await;
        assert_eq!(rows(), "2");
        handle.stop();
    };
    let run = Box::pin(applier.run_stream(events));
    let both = async { tokio::join!(run, ask) };
    let (ran, ()) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    ran.unwrap();
}

#[tokio::test]
async fn a_gtid_is_reached_when_all_before_it_is_applied_on_mysql_9_7() {
    a_gtid_is_reached_when_all_before_it_is_applied(Version::MySql97).await;
}

#[tokio::test]
async fn a_gtid_is_reached_when_all_before_it_is_applied_on_mysql_5_6() {
    a_gtid_is_reached_when_all_before_it_is_applied(Version::MySql56).await;
}
