//! What the operator chose for sessions that stand in the way of a cutover is what happens to them.

use binlog::wire::{Endpoint, SqlConn};
use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql97};
use integration::proxy::{ProxyOptions, Said};
use serde_json::Value;

use super::stage::{PATIENCE, Stage, usual};

const LOCK: &str = "LOCK TABLES shop.customer READ";

async fn streaming(from: Version, to: Version, keys: &[&str]) -> Stage {
    let configure = |options: ProxyOptions| keys.iter().fold(options, |all, key| all.key(*key));
    let stage = Stage::with(from, to, usual(), configure).await;
    stage.stream().await;
    stage
}

async fn client(stage: &Stage) -> SqlConn {
    let endpoint: Endpoint = stage.url().parse().unwrap();
    Box::pin(endpoint.connect_sql("a client")).await.unwrap()
}

async fn cutover(stage: &Stage) -> Said {
    stage.proxy.cli(&["cutover"]).await.unwrap()
}

/// Until a cutover says that it waits for this.
async fn waits_for(stage: &Stage, what: &str) {
    let waits = |status: &Value| {
        let step = status["step"].to_string();
        step.contains("waiting") && step.contains(what)
    };
    stage.proxy.wait_for(what, PATIENCE, waits).await.unwrap();
    assert_eq!(stage.proxy.status().await.unwrap()["phase"], "streaming");
}

/// Cuts over; what stands in the way goes only when it is waited for, and clients never wait.
async fn goes_while_waited_for(stage: &Stage, begin: &str, what: &str, end: &str) {
    let (one, other) = (client(stage).await, client(stage).await);
    one.execute(begin).await.unwrap();
    let before = stage.serving().await;
    let goes = async {
        waits_for(stage, what).await;
        other.query("SELECT 1").await.unwrap();
        assert_eq!(stage.serving().await, before);
        one.execute(end).await.unwrap();
    };
    let (said, ()) = tokio::join!(cutover(stage), goes);
    assert_eq!(said.code, 0, "{said}");
    assert_ne!(stage.serving().await, before);
    one.query("SELECT 1").await.unwrap();
}

async fn an_unmovable_one(from: Version, to: Version) {
    let stage = streaming(from, to, &["cutover.on_unmovable_session = \"wait\""]).await;
    goes_while_waited_for(&stage, LOCK, "LOCK TABLES", "UNLOCK TABLES").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_moved_is_waited_for_on_mysql() {
    an_unmovable_one(MySql97, MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_moved_is_waited_for_on_mariadb() {
    an_unmovable_one(MariaDb1011, MariaDb118).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_is_waited_for() {
    let keys = [
        "cutover.on_long_transaction = \"wait\"",
        "cutover.drain_timeout = \"2s\"",
    ];
    let stage = streaming(MySql97, MySql97, &keys).await;
    let begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT";
    goes_while_waited_for(&stage, begin, "transaction is still running", "COMMIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_state_whose_policy_is_to_end_ends_with_the_servers_own_error() {
    let keys = ["cutover.on_unmovable = { table-lock = \"end\" }"];
    let stage = streaming(MySql97, MySql97, &keys).await;
    let (ended, moved) = (client(&stage).await, client(&stage).await);
    ended.execute(LOCK).await.unwrap();
    let report = stage.cutover().await;
    assert_eq!(report["sessions_ended"], 1, "{report:#}");
    assert!(ended.query("SELECT 1").await.is_err());
    moved.query("SELECT 1").await.unwrap();
}
