//! Going on behind a position, and positions behind which nothing can go on.

use std::time::{Duration, Instant};

use binlog::position::Position;
use binlog::schema::identity::ServerIdentity;
use binlog::stream::{StreamError, StreamOptions};
use integration::mysql::Version;
use router::Side;

use super::fixture::{Kind, Lines, Source, Step};

/// Transactions, definitions and other files of the log.
async fn history(source: &Source) {
    for id in 0..4 {
        source
            .run(&format!("INSERT INTO t VALUES ({id}, 'first')"))
            .await;
    }
    source.run("CREATE TABLE u (id INT)").await;
    source.run("FLUSH BINARY LOGS").await;
    for id in 0..4 {
        source
            .run(&format!("UPDATE t SET v = 'second' WHERE id = {id}"))
            .await;
    }
    source.run("FLUSH BINARY LOGS").await;
    source.run("DROP TABLE u").await;
    source.run("DELETE FROM t").await;
}

#[tokio::test]
async fn from_every_position_that_was_handed_on_comes_exactly_the_rest() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        let start = source.position().await;
        history(&source).await;
        let end = source.position().await;
        let mut places: Vec<(Position, usize)> = vec![(start.clone(), 0)];
        let mut all = Vec::new();
        let mut lines = source.open(&start).await;
        while places.last().is_none_or(|(place, _)| *place < end) {
            let place = match lines.step().await.unwrap() {
                Step::Transaction(transaction) => {
                    all.push(transaction.lines);
                    transaction.position
                }
                Step::Idle(position) => position,
            };
            places.push((place, all.len()));
        }
        assert_eq!(all.len(), 11, "{kind:?}");
        for (place, before) in places {
            // As it is written down.
            let place: Position = place.to_string().parse().unwrap();
            assert_eq!(
                source.since(&place).await,
                all[before..],
                "{kind:?} {place}"
            );
        }
    }
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Restart,
    Crash,
}

/// Reads what was on its way when the source ended, and returns how the stream told the end.
async fn drain(lines: &mut Lines, came: &mut Vec<String>, at: &mut Position) -> StreamError {
    loop {
        match lines.try_transaction().await {
            Ok(transaction) => {
                came.extend(transaction.lines);
                *at = transaction.position;
            }
            Err(error) => return error,
        }
    }
}

async fn goes_on_after(kind: Kind, ends: &[End]) {
    let mut source = Source::start(kind).await;
    let mut at = source.position().await;
    let mut came = Vec::new();
    let mut expected = Vec::new();
    for (round, end) in ends.iter().enumerate() {
        let mut lines = source.open(&at).await;
        source
            .run(&format!("INSERT INTO t VALUES ({round}, 'before')"))
            .await;
        let first = lines.transaction().await;
        came.extend(first.lines);
        at = first.position;
        source
            .run(&format!("INSERT INTO t VALUES (10 + {round}, 'unread')"))
            .await;
        match end {
            End::Restart => source.restart().await,
            End::Crash => source.crash().await,
        }
        let error = drain(&mut lines, &mut came, &mut at).await;
        assert!(error.is_transient(), "{kind:?}: {error:?}");
        expected.push(format!("+ t {round},before"));
        expected.push(format!("+ t {},unread", 10 + round));
    }
    came.extend(source.since(&at).await.concat());
    assert_eq!(came, expected, "{kind:?}");
}

// Stopping a server blocks this thread; the stream has to see it meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_goes_on_after_a_restart_and_a_crash_of_the_source() {
    // An orderly stop of MySQL waits 10 s for whoever reads its log.
    goes_on_after(Kind::Gtids(Version::MySql97), &[End::Restart, End::Crash]).await;
    goes_on_after(Kind::Files(Version::MySql56), &[End::Crash, End::Crash]).await;
    goes_on_after(
        Kind::Gtids(Version::MariaDb118),
        &[End::Restart, End::Crash],
    )
    .await;
}

#[tokio::test]
async fn checksums_may_change_on_the_way() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        let start = source.position().await;
        let mut live = source.open(&start).await;
        for (id, checksum) in ["NONE", "CRC32", "NONE"].into_iter().enumerate() {
            source
                .run(&format!("SET GLOBAL binlog_checksum = {checksum}"))
                .await;
            source
                .run(&format!("INSERT INTO t VALUES ({id}, '{checksum}')"))
                .await;
            let came = live.transaction().await.lines;
            assert_eq!(came, [format!("+ t {id},{checksum}")], "{kind:?}");
        }
        let came = source.since(&start).await.concat();
        assert_eq!(
            came,
            ["+ t 0,NONE", "+ t 1,CRC32", "+ t 2,NONE"],
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn log_that_was_removed_is_told_as_such() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        let start = source.position().await;
        history(&source).await;
        let file = source.position().await.file.name;
        // A server removes no file that somebody reads.
        let begun = Instant::now();
        loop {
            source.run(&format!("PURGE BINARY LOGS TO '{file}'")).await;
            let rows = source.sql.query("SHOW BINARY LOGS").await.unwrap();
            if rows.len() == 1 {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(120));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let error = match source.try_open(source.options(start)).await {
            Ok(mut lines) => lines.try_transaction().await.unwrap_err(),
            Err(error) => error,
        };
        assert!(
            matches!(error, StreamError::Purged(_)),
            "{kind:?}: {error:?}"
        );
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn a_source_whose_log_began_anew_is_told_as_such() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        history(&source).await;
        let start = source.position().await;
        source.run("INSERT INTO t VALUES (1, 'a')").await;
        source
            .run(match kind.version() {
                Version::MySql97 => "RESET BINARY LOGS AND GTIDS",
                _older => "RESET MASTER",
            })
            .await;
        source.run("INSERT INTO t VALUES (2, 'b')").await;
        let error = match source.try_open(source.options(start)).await {
            Ok(mut lines) => lines.try_transaction().await.unwrap_err(),
            Err(error) => error,
        };
        // Without identifiers a missing file may as well have been removed.
        let told = match kind {
            Kind::Gtids(_) => matches!(error, StreamError::Rewound(_)),
            Kind::Files(_) => matches!(error, StreamError::Purged(_) | StreamError::Rewound(_)),
        };
        assert!(told && !error.is_transient(), "{kind:?}: {error:?}");
    }
}

#[tokio::test]
async fn another_server_is_not_read() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        let other = Source::start(kind).await;
        let start = source.position().await;
        let identity = ServerIdentity::read(&other.sql, Side::Source)
            .await
            .unwrap();
        let options = StreamOptions {
            source: Some(identity),
            ..source.options(start.clone())
        };
        let error = source.try_open(options).await.err().unwrap();
        assert!(
            matches!(error, StreamError::OtherSource { .. }),
            "{kind:?}: {error:?}"
        );
        let options = StreamOptions {
            server_id: source.server.server_id(),
            ..source.options(start)
        };
        let error = source.try_open(options).await.err().unwrap();
        assert!(
            matches!(error, StreamError::ServerId(_)),
            "{kind:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_second_stream_of_the_same_number_takes_the_place_of_the_first() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        let start = source.position().await;
        let mut first = source.open(&start).await;
        source.run("INSERT INTO t VALUES (1, 'a')").await;
        let at = first.transaction().await.position;
        let mut second = source.open(&at).await;
        source.run("INSERT INTO t VALUES (2, 'b')").await;
        assert_eq!(second.transaction().await.lines, ["+ t 2,b"], "{kind:?}");
        // MySQL ends the older one; where it does not, both read the same.
        match first.try_transaction().await {
            Ok(transaction) => assert_eq!(transaction.lines, ["+ t 2,b"]),
            Err(error) => assert!(error.is_transient(), "{kind:?}: {error:?}"),
        }
    }
}
