//! The lag: how much is to do, and not how much of it has arrived.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::stage::{DATABASE, PATIENCE, Stage};

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
