//! Full disks.

use std::time::{Duration, Instant};

use integration::proxy::Proxy;
use integration::server::PgServer;
use integration::small_disk::SmallDisk;
use serde_json::Value;

use super::stage::{DATABASE, PATIENCE, Stage, configured, empty_target, filled_source, usual};

/// About two megabytes of rows.
const GROW: &str = "INSERT INTO \"Odd schema\".\"No key\"
    SELECT (SELECT string_agg(md5((n * m)::text), '') FROM generate_series(1, 30) AS m), n
    FROM generate_series(1, 2000) AS n";

fn has_caught_up(status: &Value) -> bool {
    status["lag"]["bytes"]
        .as_u64()
        .is_some_and(|lag| lag < 1 << 20)
}

/// Everything that the status tells in words.
fn words(status: &Value) -> String {
    format!(
        "{} {} {}",
        status["failure"], status["trouble"], status["step"]
    )
    .to_lowercase()
}

/// P8: what has no room waits on the source, and nothing fails for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_disk_slows_the_stream_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(2).unwrap() else {
        return;
    };
    let line = format!("spool.dir = {:?}", disk.path().join("spool"));
    let stage = Stage::with(14, 17, usual(), |options| options.key(line)).await;
    let load = stage.load(2).await;
    stage.stream().await;
    stage.target.pause().unwrap();
    for _ in 0..60 {
        stage.source.execute(DATABASE, GROW).await.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    while !stage.proxy.log().contains("no space is left for the spool") {
        assert!(Instant::now() < deadline, "{}", stage.proxy.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let told = |status: &Value| words(status).contains("no space is left for the spool");
    let status = stage
        .proxy
        .wait_for("the full disk is told", PATIENCE, told);
    assert_eq!(status.await.unwrap()["phase"], "streaming");
    load.more_commits(50, PATIENCE).await.unwrap();
    assert_eq!(stage.serving_major(), 14);

    // What did not fit waited on the source: once the target goes on, everything arrives.
    stage.target.resume().unwrap();
    stage
        .proxy
        .wait_for("the target has caught up", PATIENCE, has_caught_up)
        .await
        .unwrap();
    let fine = |status: &Value| status["trouble"].is_null();
    let what = "the disk has space again";
    stage.proxy.wait_for(what, PATIENCE, fine).await.unwrap();
    stage.cutover().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    stage.assert_same_contents().await;
}

async fn target_on(disk: &SmallDisk) -> PgServer {
    let target = empty_target(17, usual()).await;
    let sql = format!(
        "CREATE TABLESPACE small LOCATION '{}'",
        disk.path().display()
    );
    target.execute("postgres", &sql).await.unwrap();
    let sql = format!("ALTER DATABASE {DATABASE} SET TABLESPACE small");
    target.execute("postgres", &sql).await.unwrap();
    target
}

/// P4: the target's trouble is not the source's.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_disk_that_is_full_while_streaming_is_waited_for() {
    let Some(disk) = SmallDisk::mount(48).unwrap() else {
        return;
    };
    let source = filled_source(14, usual()).await;
    let target = target_on(&disk).await;
    let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    let stage = Stage {
        source,
        target,
        proxy,
    };
    let load = stage.load(2).await;
    stage.stream().await;
    for _ in 0..30 {
        stage.source.execute(DATABASE, GROW).await.unwrap();
    }
    let told =
        |status: &Value| status["phase"] == "streaming" && words(status).contains("no space left");
    stage
        .proxy
        .wait_for("the full disk is told", PATIENCE, told)
        .await
        .unwrap();
    let said = stage.proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    load.more_commits(50, PATIENCE).await.unwrap();

    disk.grow(400).unwrap();
    let count = "SELECT count(*) FROM \"Odd schema\".\"No key\"";
    let wanted = stage.source.psql(DATABASE, count).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while stage.target.psql(DATABASE, count).unwrap() != wanted {
        assert!(Instant::now() < deadline, "{}", stage.proxy.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage
        .proxy
        .wait_for("the target has caught up", PATIENCE, has_caught_up)
        .await
        .unwrap();
    stage.cutover().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    stage.assert_same_contents().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_target_disk_is_told_and_the_source_serves_on() {
    let Some(disk) = SmallDisk::mount(24).unwrap() else {
        return;
    };
    let source = filled_source(14, usual()).await;
    let sql = "CREATE TABLE large AS SELECT n AS id, repeat(md5(n::text), 20) AS t
        FROM generate_series(1, 60000) AS n; ALTER TABLE large OWNER TO app;
        ALTER TABLE large ADD PRIMARY KEY (id)";
    source.execute(DATABASE, sql).await.unwrap();
    let target = target_on(&disk).await;
    let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    let stage = Stage {
        source,
        target,
        proxy,
    };
    let load = stage.load(2).await;
    stage.proxy.done(&["start"]).await.unwrap();
    let told = |status: &Value| words(status).contains("disk is full");
    stage
        .proxy
        .wait_for("the full disk is told", PATIENCE, told)
        .await
        .unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();

    stage.proxy.done(&["abort"]).await.unwrap();
    assert_eq!(stage.proxy.status().await.unwrap()["phase"], "proxying");
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.source).await;
}
