//! Crashes, restarts and large transactions: everything arrives exactly once.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use pgwal::apply::{Action, Applier, ApplyError, OriginState};
use pgwal::stream::event::StreamEvent;
use pgwal::wire::Endpoint;
use tokio::time::timeout;

use super::pair::{Pair, Queue, apply_events, rows};

const DDL: &str = "CREATE TABLE log (v text);
    CREATE TABLE a (id int PRIMARY KEY, n int, v text);
    INSERT INTO a SELECT n, 0, 'v' FROM generate_series(1, 50) n";

/// Small transactions, each of which would be seen if it were applied twice or not at all.
async fn some_transactions(pair: &Pair) -> Result<Vec<StreamEvent>> {
    for n in 0..150 {
        pair.on_source(&format!(
            "BEGIN; INSERT INTO log VALUES ('{n}'); UPDATE a SET n = n + 1 WHERE id % 7 = {n} % 7;
             UPDATE a SET id = -id WHERE id = {n} - 60; COMMIT"
        ))
        .await?;
    }
    pair.events().await
}

#[tokio::test]
async fn an_applier_dropped_at_any_time_resumes_exactly_once() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    let events = some_transactions(&pair).await?;
    let mut drops = 0;
    for wait_us in (0..60).map(|n| 200 + n * 137) {
        let mut options = pair.options();
        options.window.rows_max = 5;
        options.window.open_max = Duration::ZERO;
        let mut applier = Applier::open(&pair.target_endpoint, options, HashMap::new()).await?;
        // The source sends again from the start, as if nothing had been acknowledged.
        let run = applier.run(Queue(events.clone().into()), |_lsn| {});
        drops += u32::from(timeout(Duration::from_micros(wait_us), run).await.is_err());
    }
    assert!(drops > 0);
    apply_events(&mut pair.applier().await?, events).await?;
    pair.compare().await
}

#[tokio::test]
async fn a_lost_connection_is_transient_and_the_applier_goes_on() -> Result<()> {
    let mut pair = Pair::new(14, 17, DDL).await?;
    let events = some_transactions(&pair).await?;
    let mut applier = pair.applier().await?;
    let end = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
               WHERE application_name LIKE 'pointsman_% apply'";
    pair.target.batch_execute(end).await?;
    let error = apply_events(&mut applier, events.clone())
        .await
        .expect_err("the connection is lost");
    assert!(error.is_transient(), "{error:?}");
    applier.reopen().await?;
    apply_events(&mut applier, events).await?;
    pair.compare().await?;

    pair.on_source("INSERT INTO log VALUES ('last')").await?;
    let events = pair.events().await?;
    pair.target_server().kill9()?;
    let error = apply_events(&mut applier, events.clone())
        .await
        .expect_err("the server is gone");
    assert!(error.is_transient(), "{error:?}");
    let error = applier.reopen().await.expect_err("the server is gone");
    assert!(error.is_transient(), "{error:?}");
    pair.target_server().restart().await?;
    pair.reconnect_target().await?;
    applier.reopen().await?;
    apply_events(&mut applier, events).await?;
    pair.compare().await
}

#[tokio::test]
async fn a_second_applier_ends_the_first_and_nothing_comes_twice() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    let events = some_transactions(&pair).await?;
    let mut first = pair.applier().await?;
    assert_eq!(first.origin(), Some(&OriginState::Set));
    let mut second = pair.applier().await?;
    assert_eq!(second.origin(), Some(&OriginState::Set));
    apply_events(&mut second, events.clone()).await?;
    let error = apply_events(&mut first, events)
        .await
        .expect_err("it was ended");
    assert!(error.is_transient(), "{error:?}");
    pair.compare().await
}

#[tokio::test]
async fn progress_moved_by_someone_else_stops() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    let events = some_transactions(&pair).await?;
    let mut applier = pair.applier().await?;
    pair.target
        .batch_execute("UPDATE pointsman.progress SET end_lsn = end_lsn + 1")
        .await?;
    let error = apply_events(&mut applier, events)
        .await
        .expect_err("someone moved it");
    assert!(
        matches!(error, ApplyError::ProgressMoved { .. }) && !error.is_transient(),
        "{error:?}"
    );
    assert_eq!(rows(&pair.target, "log").await?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn a_large_transaction_is_applied_in_several_batches_and_one_commit() -> Result<()> {
    let ddl =
        "CREATE TABLE a (id int PRIMARY KEY, place int UNIQUE, v text); CREATE TABLE b (v text);
               INSERT INTO a SELECT n, n, 'v' FROM generate_series(1, 2000) n";
    let pair = Pair::new(14, 17, ddl).await?;
    pair.on_source(
        "BEGIN; INSERT INTO a SELECT n, n, 'w' FROM generate_series(2001, 6000) n;
         UPDATE a SET v = 'x' WHERE id % 3 = 0; UPDATE a SET id = -id WHERE id % 7 = 0;
         INSERT INTO b SELECT 'b' FROM generate_series(1, 500);
         UPDATE a SET place = -place; UPDATE a SET place = 6001 + place;
         DELETE FROM a WHERE v = 'w'; TRUNCATE b; INSERT INTO b VALUES ('c'); COMMIT",
    )
    .await?;
    let mut options = pair.options();
    options.window.rows_max = 300;
    let mut applier = Applier::open(&pair.target_endpoint, options, HashMap::new()).await?;
    apply_events(&mut applier, pair.events().await?).await?;
    pair.compare().await?;
    let status = applier.handle().status();
    assert_eq!((status.windows, status.transactions), (1, 1));
    assert!(status.changes > 15_000, "{status:?}");
    Ok(())
}

#[tokio::test]
async fn a_row_missing_in_a_later_batch_is_named_and_nothing_is_committed() -> Result<()> {
    let ddl = "CREATE TABLE a (id int PRIMARY KEY, v text);
               INSERT INTO a SELECT n, 'v' FROM generate_series(1, 1000) n";
    let pair = Pair::new(14, 17, ddl).await?;
    pair.target
        .batch_execute("DELETE FROM a WHERE id = 777")
        .await?;
    pair.on_source(
        "BEGIN; INSERT INTO a SELECT n, 'w' FROM generate_series(1001, 3000) n;
         UPDATE a SET v = 'x' WHERE id > 1000; DELETE FROM a; COMMIT",
    )
    .await?;
    let mut options = pair.options();
    options.window.rows_max = 900;
    let mut applier = Applier::open(&pair.target_endpoint, options, HashMap::new()).await?;
    let error = apply_events(&mut applier, pair.events().await?)
        .await
        .expect_err("it is missing");
    let ApplyError::RowsMissing(missing) = &error else {
        anyhow::bail!("{error:?}")
    };
    assert_eq!(missing.action, Action::Deleted);
    let key: Vec<_> = error.key().context("a key")?.values().collect();
    assert_eq!(key, ["777"]);
    assert_eq!(rows(&pair.target, "a").await?.len(), 999);
    Ok(())
}

#[tokio::test]
async fn a_role_with_the_needed_grants_applies_without_being_superuser() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    pair.on_source("INSERT INTO log VALUES ('x')").await?;
    let events = pair.events().await?;
    pair.target
        .batch_execute(
            "CREATE ROLE mover LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public, pointsman TO mover;
             GRANT USAGE ON SCHEMA pointsman TO mover",
        )
        .await?;
    let endpoint = Endpoint {
        user: "mover".to_owned(),
        ..pair.target_endpoint.clone()
    };
    let error = Applier::open(&endpoint, pair.options(), HashMap::new())
        .await
        .expect_err("denied");
    assert!(matches!(error, ApplyError::ReplicationRole { .. }) && !error.is_transient());
    pair.target
        .batch_execute("GRANT SET ON PARAMETER session_replication_role TO mover")
        .await?;
    let mut applier = Applier::open(&endpoint, pair.options(), HashMap::new()).await?;
    assert!(matches!(
        applier.origin(),
        Some(OriginState::Unavailable { .. })
    ));
    apply_events(&mut applier, events).await?;
    pair.compare().await
}
