//! What others see and do while changes are applied: markers, positions, watermarks, pauses, and
//! tables that do not fit.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use pgwal::apply::{Applier, ApplyError, RunState, TableError};
use pgwal::stream::event::StreamEvent;
use router::Lsn;
use tokio::time::timeout;

use super::pair::{Pair, Queue, apply_events, rows, stop_at};

const DDL: &str =
    "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY)";

async fn progress(pair: &Pair) -> Result<Lsn> {
    let row = pair
        .target
        .query_one("SELECT end_lsn::text FROM pointsman.progress", &[])
        .await?;
    Ok(row.get::<_, String>(0).parse()?)
}

#[tokio::test]
async fn a_transaction_at_the_watermark_is_applied_and_one_before_it_is_not() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    for id in 1..=3 {
        pair.on_source(&format!(
            "BEGIN; INSERT INTO a VALUES ({id}); INSERT INTO b VALUES ({id}); COMMIT"
        ))
        .await?;
    }
    let events = pair.events().await?;
    let second = events
        .iter()
        .filter_map(|event| match event {
            StreamEvent::Begin { commit_lsn, .. } => Some(*commit_lsn),
            _ => None,
        })
        .nth(1)
        .context("a second transaction")?;
    let watermarks = HashMap::from([(("public".to_owned(), "a".to_owned()), second)]);
    let mut applier = Applier::open(&pair.target_endpoint, pair.options(), watermarks).await?;
    apply_events(&mut applier, events).await?;
    assert_eq!(rows(&pair.target, "a").await?, ["(2,)", "(3,)"]);
    assert_eq!(rows(&pair.target, "b").await?, ["(1)", "(2)", "(3)"]);
    Ok(())
}

#[tokio::test]
async fn a_marker_is_seen_when_everything_before_it_is_committed() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    pair.on_source(
        "INSERT INTO a SELECT n, 'v' FROM generate_series(1, 5000) n;
         INSERT INTO pointsman.marker VALUES (1, 'the token')",
    )
    .await?;
    let events = pair.events().await?;
    let mut applier = pair.applier().await?;
    let handle = applier.handle();
    let marked = async {
        let at = handle.wait_marker("the token").await;
        let seen = (progress(&pair).await, rows(&pair.target, "a").await);
        handle.stop();
        (at, seen)
    };
    let run = applier.run(Queue(events.into()), |_lsn| {});
    let (result, (at, (position, rows))) = timeout(Duration::from_secs(120), async {
        tokio::join!(run, marked)
    })
    .await?;
    result?;
    assert_eq!((rows?.len(), position?), (5000, at));
    Ok(())
}

#[tokio::test]
async fn a_position_without_changes_is_written_down_before_it_is_acknowledged() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    let mut applier = pair.applier().await?;
    let wal_end = Lsn(pair.start.0 + 4096);
    let acknowledged = Mutex::new(Vec::new());
    let handle = applier.handle();
    let run = applier.run(Queue(vec![StreamEvent::Idle { wal_end }].into()), |lsn| {
        acknowledged.lock().push(lsn);
    });
    let both = async {
        tokio::select! {
            result = run => result,
            () = stop_at(handle, Some(wal_end)) => unreachable!("it waits for the end of the run"),
        }
    };
    timeout(Duration::from_secs(120), both).await??;
    assert_eq!(*acknowledged.lock(), [wal_end]);
    assert_eq!(progress(&pair).await?, wal_end);
    let time = pair
        .target
        .query_one("SELECT commit_time IS NULL FROM pointsman.progress", &[])
        .await?;
    assert!(time.get::<_, bool>(0));
    Ok(())
}

#[tokio::test]
async fn the_progress_row_has_the_sources_commit_time() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    pair.on_source("INSERT INTO a VALUES (1, 'v')").await?;
    pair.apply_and_compare().await?;
    let row = pair
        .target
        .query_one(
            "SELECT pg_catalog.now() - commit_time BETWEEN '0' AND '1 hour',
                    (SELECT remote_lsn = p.end_lsn FROM pg_catalog.pg_replication_origin_status)
             FROM pointsman.progress p",
            &[],
        )
        .await?;
    assert!(row.get::<_, bool>(0) && row.get::<_, bool>(1));
    Ok(())
}

#[tokio::test]
async fn a_pause_holds_at_a_boundary_and_ends_when_dropped() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    for id in 1..=100 {
        pair.on_source(&format!(
            "BEGIN; INSERT INTO a VALUES ({id}); INSERT INTO b VALUES ({id}); COMMIT"
        ))
        .await?;
    }
    let events = pair.events().await?;
    let last = events.iter().rev().find_map(|event| match event {
        StreamEvent::Commit { end_lsn, .. } => Some(*end_lsn),
        _ => None,
    });
    let mut options = pair.options();
    options.window.rows_max = 10;
    let mut applier = Applier::open(&pair.target_endpoint, options, HashMap::new()).await?;
    let handle = applier.handle();
    let pauses = async {
        for _ in 0..5 {
            let paused = handle.pause().await;
            assert_eq!(handle.status().run, RunState::Paused);
            assert_eq!(progress(&pair).await?, paused.at);
            let (left, right) = (
                rows(&pair.target, "a").await?,
                rows(&pair.target, "b").await?,
            );
            assert_eq!(left.len(), right.len());
            paused.resume();
            tokio::task::yield_now().await;
        }
        let last = last.context("a last transaction")?;
        handle
            .applied()
            .wait_for(|applied| *applied >= last)
            .await?;
        handle.stop();
        anyhow::Ok(())
    };
    let run = applier.run(Queue(events.into()), |_lsn| {});
    let both = async { tokio::join!(run, pauses) };
    let (result, pauses) = timeout(Duration::from_secs(120), both).await?;
    result?;
    pauses?;
    pair.compare().await
}

/// Whether an error is the expected one.
type Fits = fn(&TableError) -> bool;

#[tokio::test]
async fn tables_that_do_not_fit_stop_and_are_named() -> Result<()> {
    let cases: [(&str, &str, Fits); 6] = [
        ("", "DROP TABLE a", |e| {
            matches!(e, TableError::Unknown { .. })
        }),
        (
            "ALTER TABLE a DROP COLUMN v",
            "",
            |e| matches!(e, TableError::GoneColumn { column, .. } if column == "v"),
        ),
        (
            "ALTER TABLE a RENAME COLUMN v TO w",
            "",
            |e| matches!(e, TableError::NewColumn { column, .. } if column == "w"),
        ),
        (
            "ALTER TABLE a ALTER v TYPE varchar(20)",
            "",
            |e| matches!(e, TableError::ColumnType { column, .. } if column == "v"),
        ),
        (
            "ALTER TABLE a ALTER n TYPE numeric(12,4)",
            "",
            |e| matches!(e, TableError::ColumnType { column, .. } if column == "n"),
        ),
        ("", "ALTER TABLE a DROP CONSTRAINT a_pkey", |e| {
            matches!(e, TableError::NoKeyIndex { .. })
        }),
    ];
    for (on_source, on_target, expected) in cases {
        let ddl = "CREATE TABLE a (id int PRIMARY KEY, v text, n numeric(10,2))";
        let pair = Pair::new(14, 17, ddl).await?;
        pair.on_source(on_source).await?;
        pair.target.batch_execute(on_target).await?;
        pair.on_source("INSERT INTO a (id) VALUES (1)").await?;
        let error = pair.apply().await.expect_err("it does not fit");
        assert!(!error.is_transient());
        let ApplyError::Table(table) = &error else {
            anyhow::bail!("{error:?}")
        };
        assert!(expected(table), "{on_source}{on_target}: {error:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_changed_replica_identity_while_streaming_is_followed() -> Result<()> {
    let ddl = "CREATE TABLE a (id int PRIMARY KEY, n int NOT NULL UNIQUE, v text)";
    let pair = Pair::new(14, 17, ddl).await?;
    pair.on_source(
        "INSERT INTO a SELECT n, n, 'v' FROM generate_series(1, 100) n;
         ALTER TABLE a REPLICA IDENTITY FULL; UPDATE a SET v = 'w', id = -id WHERE id < 50;
         ALTER TABLE a REPLICA IDENTITY USING INDEX a_n_key; UPDATE a SET n = n + 1000;
         DELETE FROM a WHERE id > 80",
    )
    .await?;
    pair.apply_and_compare().await
}

#[tokio::test]
async fn transactions_that_came_from_the_target_are_left_out_but_counted_as_done() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    pair.on_source("INSERT INTO a VALUES (1, 'own')").await?;
    pair.on_source("INSERT INTO a VALUES (2, 'foreign')")
        .await?;
    let mut events = pair.events().await?;
    let second = events
        .iter()
        .rposition(|event| matches!(event, StreamEvent::Begin { .. }))
        .context("a transaction")?;
    let name = "the origin".into();
    events.insert(second + 1, StreamEvent::Origin { name });
    let mut options = pair.options();
    options.ignored_origin = Some("the origin".to_owned());
    let mut applier = Applier::open(&pair.target_endpoint, options, HashMap::new()).await?;
    apply_events(&mut applier, events).await?;
    assert_eq!(rows(&pair.target, "a").await?, ["(1,own)"]);
    Ok(())
}

#[tokio::test]
async fn a_transaction_out_of_order_stops() -> Result<()> {
    let pair = Pair::new(14, 17, DDL).await?;
    for id in 1..=2 {
        pair.on_source(&format!("INSERT INTO a VALUES ({id}, 'v')"))
            .await?;
    }
    let mut events = pair.events().await?;
    let second = events
        .iter()
        .rposition(|event| matches!(event, StreamEvent::Begin { .. }))
        .context("a transaction")?;
    let first: Vec<_> = events.drain(..second).collect();
    // The table's shape stays with the transaction that comes first now.
    let shapes = first
        .iter()
        .filter(|event| matches!(event, StreamEvent::Relation(_)));
    let mut swapped: Vec<_> = shapes.cloned().collect();
    swapped.extend(events);
    swapped.extend(first);
    let mut applier = pair.applier().await?;
    let queue = Queue(swapped.into());
    let run = Box::pin(applier.run(queue, |_lsn| {}));
    let error = timeout(Duration::from_secs(120), run)
        .await?
        .expect_err("it is out of order");
    assert!(matches!(error, ApplyError::OutOfOrder { .. }) && !error.is_transient());
    Ok(())
}
