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

/// What a session has, and how it is named.
const UNMOVABLE: [(&str, &str); 5] = [
    (LOCK, "LOCK TABLES or HANDLER"),
    ("HANDLER shop.customer OPEN", "LOCK TABLES or HANDLER"),
    (
        "CREATE TEMPORARY TABLE shop.mine (id int)",
        "temporary table",
    ),
    ("PREPARE p FROM 'SELECT 1'", "prepared statement"),
    (
        "SET character_set_results = utf16",
        "setting character_set_results",
    ),
];

async fn each_unmovable_state(from: Version, to: Version) {
    let stage = streaming(from, to, &[]).await;
    let mut sessions = vec![client(&stage).await];
    for (begin, _) in UNMOVABLE {
        let session = client(&stage).await;
        session.execute(begin).await.unwrap();
        sessions.push(session);
    }
    let said = stage.proxy.cli(&["cutover", "--dry-run"]).await.unwrap();
    let text = said.to_string();
    let status = stage.proxy.status().await.unwrap();
    let listed = status["sessions"]["unmovable"].as_array().unwrap();
    assert_eq!(listed.len(), UNMOVABLE.len(), "{text}\n{listed:#?}");
    for ((_, reason), session) in UNMOVABLE.iter().zip(listed) {
        assert_eq!(session["reasons"][0], *reason, "{listed:#?}");
        assert!(session["age_seconds"].is_number(), "{session}");
        let refuses = format!("session #{} ", session["id"]);
        let line = text.lines().find(|line| line.contains(&refuses));
        let line = line.unwrap_or_else(|| panic!("{refuses}: {text}"));
        assert!(line.contains("refuses the cutover"), "{line}");
        assert!(line.contains(reason), "{line}");
    }
    assert_eq!(text.matches(": moves").count(), 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_that_cannot_be_carried_is_named_in_the_dry_run_and_in_status_on_mysql() {
    each_unmovable_state(MySql97, MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_that_cannot_be_carried_is_named_in_the_dry_run_and_in_status_on_mariadb() {
    each_unmovable_state(MariaDb1011, MariaDb118).await;
}
