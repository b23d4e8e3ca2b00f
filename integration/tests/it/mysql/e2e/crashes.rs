//! Kills at every phase: a restart goes on by itself from what the servers say.

use std::time::Duration;

use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql97};

use super::stage::{DATABASE, PATIENCE, Stage, usual};

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_while_streaming_from_mysql_goes_on() {
    let mut stage = Stage::new(MySql97, MySql97).await;
    let load = stage.load(4).await;
    stage.stream().await;
    stage.proxy.restart().await.unwrap();
    stage.proxy.wait_for_phase("streaming").await.unwrap();
    load.more_commits(100, PATIENCE).await.unwrap();
    stage.cutover().await;
    load.more_commits(100, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_balanced(&report, &stage.target).await;
    stage.assert_same_contents().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_while_copying_from_mysql_goes_on() {
    let mut stage = Stage::new(MySql97, MySql97).await;
    let sql = "CREATE TABLE large (id int NOT NULL PRIMARY KEY, t varchar(600));
        INSERT INTO large SELECT n, REPEAT('x', 500) FROM numbers;
        INSERT INTO large SELECT n + 10000, REPEAT('y', 500) FROM numbers;
        INSERT INTO large SELECT id + 20000, t FROM large;
        INSERT INTO large SELECT id + 40000, t FROM large";
    stage.source.sql_in(DATABASE, sql).unwrap();
    let load = stage.load(2).await;
    stage.proxy.done(&["start"]).await.unwrap();
    let copying = |status: &serde_json::Value| {
        status["phase"] == "streaming"
            || status["copy"]["tables"]
                .as_array()
                .is_some_and(|tables| !tables.is_empty())
    };
    stage
        .proxy
        .wait_for("tables are copied", PATIENCE, copying)
        .await
        .unwrap();
    stage.proxy.restart().await.unwrap();
    stage.proxy.wait_for_phase("streaming").await.unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.cutover().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_balanced(&report, &stage.target).await;
    stage.assert_same_contents().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_after_the_switch_serves_the_mysql_target() {
    let mut stage = Stage::new(MariaDb1011, MariaDb118).await;
    let load = stage.load(4).await;
    stage.stream().await;
    stage.cutover().await;
    stage.proxy.restart().await.unwrap();
    let status = stage.proxy.status().await.unwrap();
    assert_eq!(
        (&status["phase"], &status["serving"]),
        (&"switched".into(), &"target".into())
    );
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_balanced(&report, &stage.target).await;
}

/// Kills the proxy so long after the cutover began; whoever serves then has everything.
async fn killed_during_the_cutover(version: Version, after: Duration) {
    let mut stage = Stage::new(version, version).await;
    let load = stage.load(4).await;
    stage.stream().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    tokio::select! {
        said = stage.proxy.cli(&["cutover"]) => {
            said.unwrap();
        }
        () = tokio::time::sleep(after) => {}
    }
    stage.proxy.restart().await.unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    let status = stage.proxy.status().await.unwrap();
    let report = load.stop().await.unwrap();
    let serving = match status["serving"].as_str() {
        Some("source") => &stage.source,
        Some("target") => &stage.target,
        _ => panic!("nobody serves: {status:#}"),
    };
    stage.assert_balanced(&report, serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_early_in_the_cutover_of_mysql() {
    killed_during_the_cutover(MySql97, Duration::from_millis(15)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_the_cutover_of_mysql() {
    killed_during_the_cutover(MySql97, Duration::from_millis(40)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_the_cutover_of_mariadb() {
    killed_during_the_cutover(MariaDb118, Duration::from_millis(30)).await;
}

/// Both servers die and come back while changes flow; nothing is lost and nothing comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn servers_killed_while_streaming_come_back() {
    let servers = usual().durable();
    let mut stage = Stage::with(MySql97, MySql97, servers, |options| options).await;
    let load = stage.load(4).await;
    stage.stream().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.target.kill9().unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.target.restart().await.unwrap();
    stage.source.kill9().unwrap();
    stage.source.restart().await.unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.cutover_once_current().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_balanced(&report, &stage.target).await;
    stage.assert_same_contents().await;
}
