//! The movement itself, from and to every pair of versions, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use integration::server::PgClient;

use super::stage::{DATABASE, PATIENCE, Stage};

async fn moves_under_load(from: u32, to: u32) {
    let stage = Stage::new(from, to).await;
    assert_eq!(stage.serving_major(), from);
    let load = stage.load(8).await;
    stage.stream().await;
    load.more_commits(200, PATIENCE).await.unwrap();

    let report = stage.cutover().await;
    assert!(report["pause_ms"].as_f64().unwrap() > 0.0, "{report:#}");
    assert_eq!(report["sessions_ended"], 0, "{report:#}");
    load.more_commits(200, PATIENCE).await.unwrap();

    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    stage.assert_same_contents().await;
    assert_eq!(stage.serving_major(), to);
    sequences_go_on(&stage).await;
}

/// No value comes twice, whatever the sequence cached and whoever asked for it.
async fn sequences_go_on(stage: &Stage) {
    let client = stage.client().await;
    assert_eq!(
        client.value("SELECT nextval('ticket')").await.unwrap(),
        "114"
    );
    let sql = "INSERT INTO customer (email) VALUES ('new@example.com') RETURNING id";
    assert_eq!(client.value(sql).await.unwrap(), "2001");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_12_to_18_under_load() {
    moves_under_load(12, 18).await;
}

/// P1: what was acknowledged is there, once. P2: and no client saw an error.
#[tokio::test(flavor = "multi_thread")]
async fn from_14_to_17_under_load() {
    moves_under_load(14, 17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_15_to_16_under_load() {
    moves_under_load(15, 16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_17_to_18_under_load() {
    moves_under_load(17, 18).await;
}

/// P2: who comes during the hold waits like the others.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_connect_during_the_cutover_see_no_error() {
    let stage = Stage::new(14, 17).await;
    stage.stream().await;
    let url = stage.url();
    let mut newcomers = tokio::task::JoinSet::new();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let connected = Arc::new(AtomicU32::new(0));
    for _ in 0..4 {
        let (url, stopped) = (url.clone(), stopped.clone());
        let connected = Arc::clone(&connected);
        newcomers.spawn(async move {
            let mut versions = Vec::new();
            while !*stopped.borrow() {
                let client = PgClient::connect(&url).await.unwrap();
                connected.fetch_add(1, Ordering::SeqCst);
                versions.push(client.value("SHOW server_version_num").await.unwrap());
            }
            versions
        });
    }
    until_more(&connected, 20).await;
    stage.cutover().await;
    until_more(&connected, 20).await;
    stop.send_replace(true);
    while let Some(versions) = newcomers.join_next().await {
        let versions = versions.unwrap();
        assert!(versions.first().unwrap().starts_with("14"), "{versions:?}");
        assert!(versions.last().unwrap().starts_with("17"), "{versions:?}");
        assert!(versions.is_sorted(), "{versions:?}");
    }
}

async fn until_more(count: &AtomicU32, more: u32) {
    let goal = count.load(Ordering::SeqCst) + more;
    let deadline = Instant::now() + PATIENCE;
    while count.load(Ordering::SeqCst) < goal {
        assert!(Instant::now() < deadline, "no {more} connections");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// P3: the fence is on the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_bypasses_the_proxy_is_ended_and_cannot_write_to_the_source() {
    let stage = Stage::new(14, 17).await;
    stage.stream().await;
    let direct = stage.source.url_with_password("app", "secret", DATABASE);
    let bypassing = PgClient::connect(&direct).await.unwrap();
    stage.cutover().await;
    let write = "INSERT INTO \"Odd schema\".\"No key\" VALUES ('late', 1)";
    assert!(bypassing.batch_execute(write).await.is_err());
    assert!(PgClient::connect(&direct).await.is_err());
    stage.assert_same_contents().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing() {
    let stage = Stage::new(14, 17).await;
    let load = stage.load(2).await;
    stage.stream().await;
    stage.proxy.done(&["cutover", "--dry-run"]).await.unwrap();
    let status = stage.proxy.status().await.unwrap();
    assert_eq!(
        (&status["phase"], &status["serving"]),
        (&"streaming".into(), &"source".into())
    );
    load.more_commits(20, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.source).await;
}
