//! The applier behind the real stream, under load.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use pgwal::apply::{Applier, ApplyError};
use pgwal::stream::{Stream, StreamOptions};
use tokio::time::timeout;

use super::pair::Pair;

const DDL: &str = "CREATE TABLE a (id int PRIMARY KEY, place int UNIQUE, n int, big text);
    ALTER TABLE a ALTER big SET STORAGE EXTERNAL;
    CREATE TABLE log (v text); ALTER TABLE log REPLICA IDENTITY FULL;
    INSERT INTO a SELECT n, n, 0, repeat('v' || n, 1000) FROM generate_series(1, 200) n";

async fn stream(pair: &Pair, applier: &Applier, dir: &Path) -> Result<Stream> {
    let options = StreamOptions::new(&pair.slot, &pair.slot, applier.position(), dir);
    Ok(Stream::open(&pair.source_endpoint, options).await?)
}

/// Writes of every kind, one transaction after the other.
async fn write(pair: &Pair, writer: i32) -> Result<()> {
    let conn = pair.source_endpoint.connect_sql("writer").await?;
    for n in 0..150 {
        conn.batch_execute(&format!(
            "SET search_path = public; BEGIN;
             INSERT INTO log VALUES ('{writer} {n}'), ('same');
             UPDATE a SET n = n + 1 WHERE id = 1 + ({n} * 7 + {writer}) % 200;
             INSERT INTO a VALUES ({writer}000 + {n}, -{writer}000 - {n}, 0, repeat('w', 3000));
             UPDATE a SET place = -place WHERE id = {writer}000 + {n} / 2;
             UPDATE a SET id = id + 500 WHERE id = {writer}000 + {n} / 3;
             DELETE FROM a WHERE id = {writer}000 + {n} / 5;
             DELETE FROM log WHERE v = '{writer} ' || {n} - 3; COMMIT"
        ))
        .await?;
    }
    Ok(())
}

/// Runs until the marker is committed on the target.
pub(crate) async fn until_marker(
    pair: &Pair,
    applier: &mut Applier,
    dir: &Path,
    token: &str,
) -> Result<Result<(), ApplyError>> {
    let stream = stream(pair, applier, dir).await?;
    let handle = applier.handle();
    let run = Box::pin(applier.run_stream(stream));
    let marked = async {
        handle.wait_marker(token).await;
        handle.stop();
        std::future::pending::<()>().await;
    };
    let ended = async {
        tokio::select! {
            result = run => result,
            () = marked => unreachable!("it waits for the end of the run"),
        }
    };
    Ok(timeout(Duration::from_secs(120), ended).await?)
}

async fn follows_a_load(source: u32, target: u32) -> Result<()> {
    let pair = Pair::new(source, target, DDL).await?;
    let dir = tempfile::tempdir()?;
    let mut applier = Applier::open(&pair.target_endpoint, pair.options(), HashMap::new()).await?;
    let handle = applier.handle();
    // The connection is lost once in the middle of the load.
    let writers = async {
        tokio::try_join!(write(&pair, 1), write(&pair, 2), write(&pair, 3))?;
        pair.on_source("INSERT INTO pointsman.marker VALUES (1, 'first')")
            .await
    };
    let cut = async {
        let mut applied = handle.applied();
        let first = *applied.borrow();
        applied.wait_for(|applied| *applied > first).await?;
        let end = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
                   WHERE application_name LIKE 'pointsman_% apply'";
        pair.target.batch_execute(end).await?;
        anyhow::Ok(())
    };
    let applied = async {
        loop {
            match until_marker(&pair, &mut applier, dir.path(), "first").await? {
                Ok(()) => return anyhow::Ok(()),
                Err(error) if error.is_transient() => applier.reopen().await?,
                Err(error) => return Err(error.into()),
            }
        }
    };
    let (written, applied, cut) = Box::pin(async { tokio::join!(writers, applied, cut) }).await;
    written?;
    applied?;
    cut?;
    pair.compare().await?;
    let row = pair
        .source
        .query_one(
            "SELECT confirmed_flush_lsn::text FROM pg_catalog.pg_replication_slots",
            &[],
        )
        .await?;
    let confirmed: router::Lsn = row.get::<_, String>(0).parse()?;
    assert!(
        confirmed <= applier.position(),
        "{confirmed} {}",
        applier.position()
    );
    Ok(())
}

#[tokio::test]
async fn a_load_is_followed_from_14_to_17_over_a_lost_connection() -> Result<()> {
    Box::pin(follows_a_load(14, 17)).await
}

#[tokio::test]
async fn a_load_is_followed_from_12_to_18_over_a_lost_connection() -> Result<()> {
    Box::pin(follows_a_load(12, 18)).await
}

#[tokio::test]
async fn a_load_is_followed_from_17_back_to_14_over_a_lost_connection() -> Result<()> {
    Box::pin(follows_a_load(17, 14)).await
}
