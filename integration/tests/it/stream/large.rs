//! Transactions that the server streams while they run (from 14 on), and large ones before that.

use std::time::Duration;

use integration::server::PgOptions;
use pgwal::stream::StreamEvent;

use super::fixture::{SLOT, Source};
use super::on_versions;

const TABLES: &str = "CREATE TABLE t (id int PRIMARY KEY, note text);
                      CREATE TABLE u (id int PRIMARY KEY, note text)";

on_versions! {
    a_streamed_transaction_comes_whole_and_without_what_was_rolled_back,
    a_table_first_named_in_a_subtransaction_that_aborts_is_known_afterwards,
    a_transaction_larger_than_the_memory_comes_from_its_file,
}

/// The server streams everything above this, so that small tests stream.
fn streaming(major: u32) -> PgOptions {
    let options = PgOptions::default().without_fsync();
    if major >= 13 {
        options.set("logical_decoding_work_mem", "64kB")
    } else {
        options
    }
}

async fn assert_streamed(source: &Source, major: u32) {
    if major >= 14 {
        let sql = format!(
            "SELECT stream_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = '{SLOT}'"
        );
        let begun = std::time::Instant::now();
        while source.value(&sql).await != "t" {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "nothing was streamed"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn rows(table: &str, ids: std::ops::Range<u32>) -> String {
    let (first, last) = (ids.start, ids.end - 1);
    format!(
        "INSERT INTO {table} SELECT i, repeat('x', 50) FROM generate_series({first}, {last}) i;"
    )
}

async fn a_streamed_transaction_comes_whole_and_without_what_was_rolled_back(major: u32) {
    let (source, start) = Source::start_with(major, streaming(major), TABLES).await;
    let mut lines = source.open(start).await;
    let big = source.server.client("postgres").await.unwrap();
    let doomed = source.server.client("postgres").await.unwrap();
    big.batch_execute(&format!(
        "BEGIN; {} SAVEPOINT a; {} SAVEPOINT b; {} RELEASE b; ROLLBACK TO a; {} SAVEPOINT c; {}",
        rows("t", 0..2000),
        rows("t", 10_000..12_000),
        rows("t", 20_000..22_000),
        rows("t", 2000..4000),
        rows("t", 4000..6000),
    ))
    .await
    .unwrap();
    doomed
        .batch_execute(&format!("BEGIN; {}", rows("u", 0..4000)))
        .await
        .unwrap();
    source.run("INSERT INTO u VALUES (-1, 'in between')").await;
    assert_eq!(lines.transaction().await.lines, ["u +(-1,in between)"]);
    doomed.batch_execute("ROLLBACK").await.unwrap();
    big.batch_execute(&format!("RELEASE c; {} COMMIT", rows("t", 6000..8000)))
        .await
        .unwrap();
    source.run("INSERT INTO u VALUES (-2, 'after')").await;

    let whole = lines.transaction().await;
    let note = "x".repeat(50);
    let expected: Vec<_> = (0..8000)
        .map(|id| format!("t +({id},{} bytes)", note.len()))
        .collect();
    assert!(
        whole.lines == expected,
        "{} lines, first {:?}",
        whole.lines.len(),
        whole.lines.first()
    );
    assert_eq!(lines.transaction().await.lines, ["u +(-2,after)"]);
    assert_streamed(&source, major).await;
    lines.stream.close().await;
}

async fn a_table_first_named_in_a_subtransaction_that_aborts_is_known_afterwards(major: u32) {
    let (source, start) = Source::start_with(major, streaming(major), TABLES).await;
    let mut lines = source.open(start).await;
    source
        .run(&format!(
            "BEGIN; {} SAVEPOINT a; {} ROLLBACK TO a; {} COMMIT",
            rows("t", 0..2000),
            rows("u", 0..2000),
            rows("u", 2000..4000),
        ))
        .await;
    let whole = lines.transaction().await;
    assert_eq!(whole.lines.len(), 4000);
    assert_eq!(whole.lines[2000], "u +(2000,50 bytes)");
    // And it stays known to what follows.
    source.run("INSERT INTO u VALUES (-1, 'after')").await;
    assert_eq!(lines.transaction().await.lines, ["u +(-1,after)"]);
    lines.stream.close().await;
}

async fn a_transaction_larger_than_the_memory_comes_from_its_file(major: u32) {
    const ROWS: usize = 60_000;
    let (source, start) = Source::start_with(major, streaming(major), TABLES).await;
    let mut options = source.options(start);
    options.memory_bytes = 1024 * 1024;
    let mut lines = source.try_open(options).await.unwrap();
    let handle = lines.stream.handle();
    source
        .run(&format!(
            "BEGIN; INSERT INTO t SELECT i, md5(i::text) || repeat('x', 200) \
             FROM generate_series(1, {ROWS}) i; \
             SAVEPOINT a; DELETE FROM t; ROLLBACK TO a; COMMIT; INSERT INTO u VALUES (1, 'after')"
        ))
        .await;
    let mut changes = 0;
    let end = loop {
        match lines.event().await.unwrap() {
            StreamEvent::Change { .. } => changes += 1,
            StreamEvent::Commit { end_lsn, .. } if changes > 0 => break end_lsn,
            StreamEvent::Commit { .. }
            | StreamEvent::Begin { .. }
            | StreamEvent::Relation(_)
            | StreamEvent::Truncate { .. }
            | StreamEvent::Origin { .. }
            | StreamEvent::Idle { .. } => {}
        }
    };
    assert_eq!(changes, ROWS);
    let files = || {
        let names = std::fs::read_dir(source.spool.path()).unwrap();
        names
            .filter(|name| {
                name.as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .starts_with("transaction-")
            })
            .count()
    };
    assert_eq!(files(), usize::from(major >= 14));
    handle.acknowledge(end);
    assert_eq!(lines.transaction().await.lines, ["u +(1,after)"]);
    let begun = std::time::Instant::now();
    while files() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "the file stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lines.stream.close().await;
}
