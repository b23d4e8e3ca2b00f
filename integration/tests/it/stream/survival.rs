//! Lost connections, slow consumers, restarts, and the spool in between.

use std::time::{Duration, Instant};

use integration::server::PgOptions;
use pgwal::stream::slot::ResumeError;
use pgwal::stream::{StreamError, StreamOptions};
use router::Lsn;

use super::fixture::{Lines, SLOT, Source};
use super::on_versions;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, note text)";

on_versions! {
    a_lost_walsender_is_a_transient_error_and_the_stream_goes_on_after_it,
    a_consumer_slower_than_the_walsenders_timeout_keeps_its_connection,
    a_full_spool_makes_the_source_wait_and_loses_nothing,
    what_is_durable_in_the_spool_is_acknowledged_and_survives_a_restart,
}

fn quick() -> PgOptions {
    PgOptions::default().without_fsync()
}

/// `count` transactions of about a kilobyte.
async fn write(source: &Source, first: u32, count: u32) {
    let last = first + count - 1;
    let sql = format!(
        "DO $$ BEGIN FOR i IN {first}..{last} LOOP \
         INSERT INTO t SELECT i, string_agg(md5(i::text || j::text), '') \
         FROM generate_series(1, 30) j; COMMIT; END LOOP; END $$"
    );
    source.run(&sql).await;
}

/// Reads the transactions of [`write`]; gives the last one's end.
async fn read(lines: &mut Lines, first: u32, count: u32) -> Lsn {
    let mut end = Lsn::INVALID;
    for id in first..first + count {
        let transaction = lines.transaction().await;
        assert_eq!(transaction.lines, [format!("t +({id},960 bytes)")]);
        assert!(transaction.end_lsn > end);
        end = transaction.end_lsn;
    }
    end
}

/// Little memory, so that the spool is used.
fn small(source: &Source, start: Lsn) -> StreamOptions {
    let mut options = source.options(start);
    options.memory_bytes = 64 * 1024;
    options
}

async fn walsender(source: &Source) -> String {
    let sql = "SELECT string_agg(pid::text, ',') FROM pg_stat_replication \
               WHERE application_name = 'pointsman stream'";
    source.value(sql).await
}

async fn wait_for(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "waited in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn a_lost_walsender_is_a_transient_error_and_the_stream_goes_on_after_it(major: u32) {
    let (mut source, start) = Source::start(major, TABLE).await;
    let mut lines = source.open(start).await;
    write(&source, 1, 2).await;
    let applied = read(&mut lines, 1, 1).await;
    lines.stream.handle().acknowledge(applied);
    let handle = lines.stream.handle();
    wait_for("both are received", async || handle.has_transaction()).await;
    let pid = walsender(&source).await;
    source
        .value(&format!("SELECT pg_terminate_backend({pid})"))
        .await;
    read(&mut lines, 2, 1).await;
    let error = lines.try_transaction().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    // After the error there is nothing more.
    assert!(lines.try_transaction().await.is_err());
    drop(lines);

    let mut lines = source.open(applied).await;
    // Not acknowledged: the server must be able to stop all the same.
    let applied = read(&mut lines, 2, 1).await;
    source.server.stop().unwrap();
    let error = lines.try_transaction().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let error = source
        .try_open(source.options(applied))
        .await
        .err()
        .unwrap();
    assert!(error.is_transient(), "{error:?}");
    drop(lines);
    source.server.restart().await.unwrap();
    source.sql = source.server.client("postgres").await.unwrap();
    write(&source, 3, 1).await;
    let mut lines = source.open(applied).await;
    read(&mut lines, 3, 1).await;
    lines.stream.close().await;
}

async fn a_consumer_slower_than_the_walsenders_timeout_keeps_its_connection(major: u32) {
    let options = quick().set("wal_sender_timeout", "5s");
    let (source, start) = Source::start_with(major, options, TABLE).await;
    let mut lines = source.try_open(small(&source, start)).await.unwrap();
    let pid = walsender(&source).await;
    write(&source, 1, 500).await;
    read(&mut lines, 1, 1).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(12) {
        assert_eq!(walsender(&source).await, pid, "the walsender was ended");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    read(&mut lines, 2, 499).await;
    assert_eq!(walsender(&source).await, pid);
    lines.stream.close().await;
}

/// P8: a full spool is no error: the source waits.
async fn a_full_spool_makes_the_source_wait_and_loses_nothing(major: u32) {
    let options = quick().set("wal_sender_timeout", "5s");
    let (source, start) = Source::start_with(major, options, TABLE).await;
    let mut stream = small(&source, start);
    stream.spool_limit_bytes = 512 * 1024;
    let mut lines = source.try_open(stream).await.unwrap();
    let pid = walsender(&source).await;
    // More than memory, spool and the sockets' buffers hold.
    const COUNT: u32 = 20_000;
    write(&source, 1, COUNT).await;
    let written: Lsn = source
        .value("SELECT pg_current_wal_lsn()")
        .await
        .parse()
        .unwrap();
    let handle = lines.stream.handle();
    let mut received = handle.received();
    wait_for("the reader stands still", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = std::mem::replace(&mut received, handle.received());
        before == received && handle.lag().spool_bytes > 256 * 1024
    })
    .await;
    assert!(received < written);
    assert!(handle.has_transaction());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(12) {
        assert_eq!(walsender(&source).await, pid, "the walsender was ended");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut next = 1;
    while next <= COUNT {
        let count = 100.min(COUNT + 1 - next);
        handle.acknowledge(read(&mut lines, next, count).await);
        next += count;
    }
    assert_eq!(walsender(&source).await, pid);
    lines.stream.close().await;
}

/// P8: what is durable here need not be kept by the source.
async fn what_is_durable_in_the_spool_is_acknowledged_and_survives_a_restart(major: u32) {
    let (source, start) = Source::start(major, TABLE).await;
    let mut lines = source.try_open(small(&source, start)).await.unwrap();
    write(&source, 1, 1999).await;
    // Asked before the last one: the server itself writes to its log at any time, and a position
    // behind the last transaction is not reached by what is in the spool.
    let written: Lsn = source
        .value("SELECT pg_current_wal_lsn()")
        .await
        .parse()
        .unwrap();
    write(&source, 2000, 1).await;
    let handle = lines.stream.handle();
    // A consumer that overtakes the reader empties the spool, and what comes then stays in memory.
    wait_for("all are received", async || handle.received() >= written).await;
    // What is in memory must be applied before the spool counts.
    let applied = read(&mut lines, 1, 500).await;
    assert!(source.confirmed_flush().await <= applied);
    handle.acknowledge(applied);
    wait_for("the spool is acknowledged", async || {
        source.confirmed_flush().await >= written
    })
    .await;
    assert!(handle.flushed() >= written);
    // As a crash would: no goodbye.
    drop(lines);

    let mut lines = source.open(applied).await;
    write(&source, 2001, 500).await;
    let applied = read(&mut lines, 501, 1000).await;
    lines.stream.handle().acknowledge(applied);
    lines.stream.close().await;
    let mut lines = source.open(applied).await;
    read(&mut lines, 1501, 1000).await;
    drop(lines);

    // Without the spool there is a gap, and it is told.
    std::fs::remove_dir_all(source.spool.path()).unwrap();
    let refused = wait_for_spool(&source, applied).await;
    assert!(
        matches!(refused, StreamError::Resume(ResumeError::Gap { .. })),
        "{refused:?}"
    );
    let text = std::error::Error::source(&refused).unwrap().to_string();
    assert!(
        text.contains("the copy must start again") && text.contains(SLOT),
        "{text}"
    );
}

async fn wait_for_spool(source: &Source, applied: Lsn) -> StreamError {
    source
        .try_open(source.options(applied))
        .await
        .err()
        .unwrap()
}
