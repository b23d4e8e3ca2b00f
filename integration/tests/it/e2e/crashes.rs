//! Kills at every phase: a restart goes on by itself from what the servers say.

use std::time::Duration;

use super::stage::{DATABASE, PATIENCE, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_while_streaming_goes_on() {
    let mut stage = Stage::new(14, 17).await;
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
async fn a_proxy_killed_while_copying_goes_on() {
    let mut stage = Stage::new(14, 17).await;
    let sql = "CREATE TABLE large AS SELECT n AS id, repeat('x', 500) AS t
        FROM generate_series(1, 200000) AS n; ALTER TABLE large ADD PRIMARY KEY (id);
        ALTER TABLE large OWNER TO app";
    stage.source.execute(DATABASE, sql).await.unwrap();
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
async fn a_proxy_killed_after_the_switch_serves_the_target() {
    let mut stage = Stage::new(14, 17).await;
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
async fn killed_during_the_cutover(after: Duration) {
    let mut stage = Stage::new(14, 17).await;
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
    load.more_commits(100, PATIENCE).await.unwrap();
    let status = stage.proxy.status().await.unwrap();
    if status["serving"] == "source" {
        stage.proxy.wait_for_phase("streaming").await.unwrap();
        stage.cutover().await;
    }
    load.more_commits(100, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_balanced(&report, &stage.target).await;
    stage.assert_same_contents().await;
}

/// P5: nobody chooses who serves; and P1 holds over the crash.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_at_any_time_of_the_cutover_leaves_one_side_with_everything() {
    for milliseconds in [5, 20, 40, 70, 120] {
        killed_during_the_cutover(Duration::from_millis(milliseconds)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_crashes_while_streaming_is_waited_for() {
    let mut stage = Stage::with(14, 17, integration::server::PgOptions::default(), |o| o).await;
    let load = stage.load(4).await;
    stage.stream().await;
    stage.source.kill9().unwrap();
    stage.source.restart().await.unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.proxy.wait_for_phase("streaming").await.unwrap();
    cutover_when_possible(&stage).await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_balanced(&report, &stage.target).await;
    stage.assert_same_contents().await;
}

/// P5: a crash of the target is no concern of any client.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_crashes_while_streaming_is_waited_for() {
    let mut stage = Stage::with(14, 17, integration::server::PgOptions::default(), |o| o).await;
    let load = stage.load(4).await;
    stage.stream().await;
    stage.target.kill9().unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.target.restart().await.unwrap();
    cutover_when_possible(&stage).await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    stage.assert_same_contents().await;
}

/// Right after a crash a cutover may be refused, because the target is behind.
async fn cutover_when_possible(stage: &Stage) {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let said = stage.proxy.cli(&["cutover"]).await.unwrap();
        if said.code == 0 {
            return;
        }
        assert_eq!(said.code, 1, "{said}");
        assert!(
            std::time::Instant::now() < deadline,
            "{said}\n{}",
            stage.proxy.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
