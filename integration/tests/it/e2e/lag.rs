//! The lag: how much is to do, and not how much of it has arrived.

use std::time::Duration;

use integration::load::{Load, LoadOptions};
use integration::server::PgClient;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::timeout;

use super::stage::{DATABASE, PATIENCE, Stage, usual};

/// More than a cutover begins with.
const MEGABYTES: u64 = 24;

/// Right after a connection is made nothing has arrived, so a lag of what has arrived would be 0.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_has_not_sent_yet_is_lag_too() {
    let stage = Stage::new(14, 17).await;
    stage.stream().await;
    let sender = "SELECT active_pid FROM pg_replication_slots WHERE slot_name LIKE 'pointsman%'";
    let pid: i32 = stage
        .source
        .psql(DATABASE, sender)
        .unwrap()
        .parse()
        .unwrap();
    let pid = Pid::from_raw(pid).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let fill = format!(
        "INSERT INTO \"Odd schema\".\"No key\"
         SELECT (SELECT string_agg(md5((n * m)::text), '') FROM generate_series(1, 32) AS m), n
         FROM generate_series(1, {MEGABYTES} * 1024) AS n"
    );
    stage.source.execute(DATABASE, &fill).await.unwrap();
    let behind =
        |status: &Value| status["lag"]["bytes"].as_u64().unwrap_or(0) > MEGABYTES * 1024 * 1024;
    let status = stage
        .proxy
        .wait_for("the lag is told", PATIENCE, behind)
        .await;
    let seconds = &status.unwrap()["lag"]["seconds"];
    assert_ne!(seconds.as_f64(), Some(0.0), "of no age that is known");
    let said = stage.proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("bytes of log behind"), "{said}");

    kill_process(pid, Signal::CONT).unwrap();
    let current = |status: &Value| {
        let lag = &status["lag"];
        lag["bytes"].as_u64().is_some_and(|bytes| bytes < 1 << 20) && lag["seconds"] == 0.0
    };
    stage
        .proxy
        .wait_for("the target has caught up", PATIENCE, current)
        .await
        .unwrap();
    stage.cutover().await;
    stage.assert_same_contents().await;
}

/// What cannot be asked is not known, and not 0.
#[tokio::test(flavor = "multi_thread")]
async fn the_lag_behind_a_source_that_does_not_answer_is_not_known() {
    let stage = Stage::new(14, 17).await;
    stage.stream().await;
    let known = |status: &Value| status["lag"]["bytes"].is_u64();
    let proxy = &stage.proxy;
    proxy
        .wait_for("the lag is told", PATIENCE, known)
        .await
        .unwrap();
    stage.source.pause().unwrap();
    let unknown = |status: &Value| status["lag"]["bytes"].is_null();
    let patience = PATIENCE + Duration::from_secs(30);
    proxy
        .wait_for("the lag is not known", patience, unknown)
        .await
        .unwrap();
    stage.source.resume().unwrap();
    proxy
        .wait_for("the lag is told again", PATIENCE, known)
        .await
        .unwrap();
}

/// Keeps the target from applying what the source has committed, until this client ends its
/// transaction.
async fn keep_back(stage: &Stage) -> PgClient {
    let keeps_back = stage.target.client(DATABASE).await.unwrap();
    let lock = "BEGIN; SELECT FROM customer WHERE id = 1 FOR UPDATE";
    keeps_back.batch_execute(lock).await.unwrap();
    let client = stage.client().await;
    let row = "UPDATE customer SET data = '{}' WHERE id = 1";
    client.batch_execute(row).await.unwrap();
    let looks = stage.target.client(DATABASE).await.unwrap();
    let waits = async {
        let sql = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')";
        while looks.value(sql).await.unwrap() != "t" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waits).await.unwrap();
    keeps_back
}

/// What the target lacks at the hold would be waited for by everybody.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_held_while_the_target_is_behind() {
    let key = "cutover.wait_timeout = \"10m\"";
    let stage = Stage::with(14, 17, usual(), |options| options.key(key)).await;
    let load = stage.load(2).await;
    stage.stream().await;
    let keeps_back = keep_back(&stage).await;
    let waits = |status: &Value| {
        let step = status["step"].to_string();
        step.contains("waiting") && step.contains("catch up")
    };
    let proxy = &stage.proxy;
    tokio::select! {
        said = proxy.cli(&["cutover"]) => panic!("{}\n{}", said.unwrap(), proxy.log()),
        waits = proxy.wait_for("it is waited for", PATIENCE, waits) => { waits.unwrap(); }
    }
    // The command line program is dead now.
    let given_up = |status: &Value| {
        let reason = status["last_cutover"]["reason"].to_string();
        reason.contains("given up") && status["step"].is_null()
    };
    let given_up = proxy.wait_for("given up", PATIENCE, given_up);
    given_up.await.unwrap();

    let meanwhile = async {
        let waits = proxy.wait_for("it is waited for again", PATIENCE, waits);
        assert_eq!(waits.await.unwrap()["phase"], "streaming");
        load.more_commits(50, PATIENCE).await.unwrap();
        keeps_back.batch_execute("COMMIT").await.unwrap();
    };
    let (said, ()) = tokio::join!(proxy.cli(&["cutover"]), meanwhile);
    let said = said.unwrap();
    assert_eq!(said.code, 0, "{said}\n{}", proxy.log());
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_catch_up_refuses_the_cutover() {
    let key = "cutover.wait_timeout = \"1s\"";
    let stage = Stage::with(14, 17, usual(), |options| options.key(key)).await;
    stage.stream().await;
    let keeps_back = keep_back(&stage).await;
    let said = stage.proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("the target lags"), "{said}");
    let status = stage.proxy.status().await.unwrap();
    assert_eq!(status["phase"], "streaming");
    assert_eq!(stage.serving_major(), 14);
    keeps_back.batch_execute("COMMIT").await.unwrap();
    stage.cutover().await;
    stage.assert_same_contents().await;
}

/// There is always something then that has arrived and is not applied.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_never_pauses_does_not_keep_a_cutover_waiting() {
    let stage = Stage::new(14, 17).await;
    stage.stream().await;
    let options = LoadOptions::new(stage.url()).clients(8);
    let load = Load::start(&options).await.unwrap();
    load.more_commits(500, PATIENCE).await.unwrap();
    stage.cutover().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
}
