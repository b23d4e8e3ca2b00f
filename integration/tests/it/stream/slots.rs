//! Slots: made in bounded time or with the blockers named, refused when they are not what they were.

use std::time::{Duration, Instant};

use integration::server::PgOptions;
use pgwal::stream::slot::{self, Blocker, ResumeError, SlotError, SlotFacts};
use pgwal::stream::{StreamError, SystemIdentity};
use router::Lsn;

use super::fixture::{SLOT, Source};
use super::on_versions;

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY)";

on_versions! {
    a_slot_behind_an_open_write_transaction_times_out_and_names_it,
    a_slot_that_was_made_again_is_refused,
    a_new_slot_exports_the_snapshot_that_fits_its_position,
    no_free_slot_a_second_slot_and_a_dropped_one_are_told_apart,
}

fn quick() -> PgOptions {
    PgOptions::default().without_fsync()
}

async fn a_slot_behind_an_open_write_transaction_times_out_and_names_it(major: u32) {
    // A transaction of the server's own would stand in the way too.
    let alone = quick().set("autovacuum", "off");
    let source = Source::without_slot(major, alone, TABLE).await;
    source.run("CREATE DATABASE other").await;
    let open = source.server.client("other").await.unwrap();
    open.batch_execute(
        "SET application_name = 'night job'; CREATE TABLE o (i int); BEGIN; INSERT INTO o VALUES (1)",
    )
    .await
    .unwrap();
    let begun = Instant::now();
    let timeout = Duration::from_millis(700);
    let error = slot::create(&source.endpoint(), SLOT, timeout)
        .await
        .unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(120));
    let text = error.to_string();
    let SlotError::Blocked { blockers, .. } = error else {
        unreachable!("{error:?}")
    };
    let pid: i32 = open
        .value("SELECT pg_backend_pid()")
        .await
        .unwrap()
        .parse()
        .unwrap();
    let [
        Blocker::Session {
            pid: named,
            application,
            database,
            age_s,
            ..
        },
    ] = &blockers[..]
    else {
        unreachable!("{blockers:?}");
    };
    assert_eq!(*named, pid);
    assert_eq!(application.as_deref(), Some("night job"));
    assert_eq!(database.as_deref(), Some("other"));
    assert!(age_s.is_some());
    assert!(
        text.contains(&format!("pid {pid}")) && text.contains("night job"),
        "{text}"
    );
    assert_eq!(SlotFacts::read(&source.sql, SLOT).await.unwrap(), None);

    open.batch_execute("PREPARE TRANSACTION 'forgotten'")
        .await
        .unwrap();
    let error = slot::create(&source.endpoint(), SLOT, timeout)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("prepared transaction 'forgotten'"), "{text}");
    assert!(text.contains("database other"), "{text}");

    open.batch_execute("ROLLBACK PREPARED 'forgotten'")
        .await
        .unwrap();
    source.create_slot().await;
}

/// etl #935, DBZ-5739: a slot of the same name, but from a later position.
async fn a_slot_that_was_made_again_is_refused(major: u32) {
    let (source, start) = Source::start(major, TABLE).await;
    source.run("INSERT INTO t VALUES (1)").await;
    let mut lines = source.open(start).await;
    let applied = lines.transaction().await.end_lsn;
    lines.stream.handle().acknowledge(applied);
    lines.stream.close().await;

    assert!(slot::drop_slot(&source.sql, SLOT).await.unwrap());
    let refused = source
        .try_open(source.options(applied))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused, StreamError::Resume(ResumeError::Missing { .. })),
        "{refused:?}"
    );
    assert!(!refused.is_transient());

    source.run("INSERT INTO t VALUES (2)").await;
    source.create_slot().await;
    let refused = source
        .try_open(source.options(applied))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(refused, StreamError::Resume(ResumeError::Gap { .. })),
        "{refused:?}"
    );

    let mut options = source.options(Lsn(u64::MAX));
    options.source = Some(SystemIdentity {
        system_id: "1".into(),
        timeline: 1,
    });
    let refused = source.try_open(options).await.err().unwrap();
    assert!(
        matches!(
            refused,
            StreamError::Resume(ResumeError::OtherSystem { .. })
        ),
        "{refused:?}"
    );
}

async fn a_new_slot_exports_the_snapshot_that_fits_its_position(major: u32) {
    let source = Source::without_slot(major, quick(), TABLE).await;
    source.run("INSERT INTO t VALUES (1)").await;
    let created = source.create_slot().await;
    source.run("INSERT INTO t VALUES (2)").await;
    let copy = source.server.client("postgres").await.unwrap();
    copy.batch_execute(&format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{}'",
        created.snapshot_name
    ))
    .await
    .unwrap();
    assert_eq!(
        copy.value("SELECT string_agg(id::text, ',') FROM t")
            .await
            .unwrap(),
        "1"
    );
    let mut lines = source.open(created.consistent_point).await;
    assert_eq!(lines.transaction().await.lines, ["t +(2)"]);
    lines.stream.close().await;

    let endpoint = source.endpoint();
    let temporary = slot::create_temporary(&endpoint, "for_a_while", Duration::from_secs(60));
    let temporary = temporary.await.unwrap();
    assert!(
        SlotFacts::read(&source.sql, "for_a_while")
            .await
            .unwrap()
            .is_some()
    );
    drop(temporary);
    let begun = Instant::now();
    while SlotFacts::read(&source.sql, "for_a_while")
        .await
        .unwrap()
        .is_some()
    {
        assert!(begun.elapsed() < Duration::from_secs(120));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn no_free_slot_a_second_slot_and_a_dropped_one_are_told_apart(major: u32) {
    let options = quick().set("max_replication_slots", "1");
    let (source, start) = Source::start_with(major, options, TABLE).await;
    let again = slot::create(&source.endpoint(), SLOT, Duration::from_secs(60)).await;
    assert!(matches!(again, Err(SlotError::Exists { .. })), "{again:?}");
    let other = slot::create(&source.endpoint(), "other", Duration::from_secs(60)).await;
    assert!(
        matches!(other, Err(SlotError::NoFreeSlot { .. })),
        "{other:?}"
    );

    // One that is being read from is dropped too: its reader is ended.
    let mut lines = source.open(start).await;
    assert!(slot::drop_slot(&source.sql, SLOT).await.unwrap());
    assert!(!slot::drop_slot(&source.sql, SLOT).await.unwrap());
    assert!(lines.try_transaction().await.is_err());
}

#[tokio::test]
async fn a_slot_whose_log_was_removed_is_refused() {
    for major in [14, 17] {
        let options = quick()
            .set("max_slot_wal_keep_size", "1MB")
            .set("max_wal_size", "32MB")
            .set("wal_keep_size", "0");
        let (source, start) = Source::start_with(major, options, TABLE).await;
        let lost = format!(
            "SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = '{SLOT}'"
        );
        let begun = Instant::now();
        while source.value(&lost).await != "t" {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "the slot is not lost"
            );
            source
                .run("CREATE TABLE filler AS SELECT generate_series(1, 100000)")
                .await;
            source.run("DROP TABLE filler").await;
            source.run("SELECT pg_switch_wal()").await;
            source.run("CHECKPOINT").await;
        }
        let refused = source.try_open(source.options(start)).await.err().unwrap();
        assert!(
            matches!(refused, StreamError::Resume(ResumeError::Lost { .. })),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_source_without_logical_wal_says_what_to_set() {
    let options = quick().set("wal_level", "replica");
    let source = Source::without_slot(16, options, TABLE).await;
    let error = slot::create(&source.endpoint(), SLOT, Duration::from_secs(60))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("set wal_level = logical"),
        "{error}"
    );
}

#[tokio::test]
async fn a_user_that_may_not_replicate_is_told_so() {
    let source = Source::without_slot(17, quick(), TABLE).await;
    source.run("CREATE ROLE plain LOGIN").await;
    let endpoint = source.server.url("plain", "postgres").parse().unwrap();
    let error = slot::create(&endpoint, SLOT, Duration::from_secs(60))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("REPLICATION"), "{error}");
}
