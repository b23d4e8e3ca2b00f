//! Order of transactions, positions, and what may be acknowledged when.

use std::time::{Duration, Instant};

use pgwal::stream::StreamEvent;
use router::Lsn;

use super::fixture::Source;
use super::on_versions;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, note text)";

on_versions! {
    transactions_come_in_the_order_of_their_commits_and_a_restart_loses_none,
    a_source_that_is_idle_for_us_moves_the_position_on,
    nothing_inside_an_open_transaction_is_ever_acknowledged,
    a_prepared_transaction_comes_at_commit_prepared_and_not_before,
    a_new_column_is_announced_before_the_first_row_with_it,
}

/// pgcopydb #1044: the transaction that begins first commits last. A filter by the position of its
/// beginning would lose it when the stream starts again between the two commits.
async fn transactions_come_in_the_order_of_their_commits_and_a_restart_loses_none(major: u32) {
    let (source, start) = Source::start(major, TABLE).await;
    let (one, two) = (
        source.server.client("postgres").await.unwrap(),
        source.server.client("postgres").await.unwrap(),
    );
    one.batch_execute("BEGIN; INSERT INTO t VALUES (1, 'begins first')")
        .await
        .unwrap();
    two.batch_execute("BEGIN; INSERT INTO t VALUES (2, 'commits first'); COMMIT")
        .await
        .unwrap();
    one.batch_execute("INSERT INTO t VALUES (3, 'late'); COMMIT")
        .await
        .unwrap();

    let mut lines = source.open(start).await;
    let first = lines.transaction().await;
    let second = lines.transaction().await;
    assert_eq!(first.lines, ["t +(2,commits first)"]);
    assert_eq!(second.lines, ["t +(1,begins first)", "t +(3,late)"]);
    assert!(first.end_lsn <= second.commit_lsn);
    lines.stream.close().await;

    for (start, expected) in [(start, &first), (first.end_lsn, &second)] {
        let mut lines = source.open(start).await;
        assert_eq!(&lines.transaction().await, expected);
        lines.stream.close().await;
    }
}

async fn a_source_that_is_idle_for_us_moves_the_position_on(major: u32) {
    let (source, start) = Source::start(major, TABLE).await;
    source.run("CREATE DATABASE other").await;
    let mut lines = source.open(start).await;
    let other = source.server.client("other").await.unwrap();
    other
        .batch_execute("CREATE TABLE elsewhere AS SELECT generate_series(1, 1000)")
        .await
        .unwrap();
    let far: Lsn = source
        .value("SELECT pg_current_wal_lsn()")
        .await
        .parse()
        .unwrap();
    let handle = lines.stream.handle();
    // The server's own running-xacts records are far apart, so every event must come by itself.
    let begun = Instant::now();
    loop {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "the position stands still"
        );
        if let StreamEvent::Idle { wal_end } = lines.event().await.unwrap() {
            handle.acknowledge(wal_end);
            if wal_end >= far {
                break;
            }
        }
    }
    source.wait_for_confirmed(far).await;
    lines.stream.close().await;
    // What follows still comes.
    source.run("INSERT INTO t VALUES (1, 'after')").await;
    let mut lines = source.open(handle.acknowledged()).await;
    assert_eq!(lines.transaction().await.lines, ["t +(1,after)"]);
    lines.stream.close().await;
}

async fn nothing_inside_an_open_transaction_is_ever_acknowledged(major: u32) {
    let (source, start) = Source::start(major, TABLE).await;
    let mut lines = source.open(start).await;
    source
        .run("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i")
        .await;
    let handle = lines.stream.handle();
    let mut changes = 0;
    loop {
        match lines.event().await.unwrap() {
            StreamEvent::Change { .. } => changes += 1,
            StreamEvent::Commit {
                commit_lsn,
                end_lsn,
                ..
            } if changes > 0 => {
                assert_eq!(changes, 20_000);
                assert!(handle.flushed() <= commit_lsn);
                assert!(source.confirmed_flush().await <= commit_lsn);
                handle.acknowledge(end_lsn);
                break;
            }
            StreamEvent::Commit { end_lsn, .. } => handle.acknowledge(end_lsn),
            StreamEvent::Idle { wal_end } => handle.acknowledge(wal_end),
            StreamEvent::Begin { .. }
            | StreamEvent::Relation(_)
            | StreamEvent::Truncate { .. }
            | StreamEvent::Origin { .. } => {}
        }
    }
    let acknowledged = handle.acknowledged();
    lines.stream.close().await;
    source.wait_for_confirmed(acknowledged).await;
}

async fn a_prepared_transaction_comes_at_commit_prepared_and_not_before(major: u32) {
    let (source, start) = Source::start(major, TABLE).await;
    let mut lines = source.open(start).await;
    source
        .run("BEGIN; INSERT INTO t VALUES (1, 'prepared'); PREPARE TRANSACTION 'two phases'")
        .await;
    source
        .run("BEGIN; INSERT INTO t VALUES (9, 'given up'); PREPARE TRANSACTION 'never'")
        .await;
    source.run("INSERT INTO t VALUES (2, 'meanwhile')").await;
    assert_eq!(lines.transaction().await.lines, ["t +(2,meanwhile)"]);
    source.run("COMMIT PREPARED 'two phases'").await;
    source.run("ROLLBACK PREPARED 'never'").await;
    source.run("INSERT INTO t VALUES (3, 'later')").await;
    assert_eq!(lines.transaction().await.lines, ["t +(1,prepared)"]);
    assert_eq!(lines.transaction().await.lines, ["t +(3,later)"]);
    lines.stream.close().await;
}

async fn a_new_column_is_announced_before_the_first_row_with_it(major: u32) {
    let (source, start) = Source::start(major, TABLE).await;
    source.run("INSERT INTO t VALUES (1, 'old')").await;
    source
        .run("ALTER TABLE t ADD COLUMN extra int DEFAULT 5")
        .await;
    source.run("INSERT INTO t VALUES (2, 'new', 6)").await;
    let mut lines = source.open(start).await;
    assert_eq!(lines.transaction().await.lines, ["t +(1,old)"]);
    assert_eq!(lines.transaction().await.lines, ["t +(2,new,6)"]);
    lines.stream.close().await;
}
