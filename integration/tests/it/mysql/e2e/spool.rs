//! A target that stands still: what it does not take goes to the spool, then waits on the source.

use integration::mysql::Version::MySql97;
use serde_json::Value;

use super::stage::{DATABASE, PATIENCE, Stage, usual};

/// About two megabytes of rows, which do not compress well.
fn grow() -> String {
    let noise = ["SHA2(RAND(), 512)"; 8].join(", ");
    format!(
        "INSERT INTO `No key` (`a column`, n)
         SELECT CONCAT({noise}), n FROM numbers WHERE n <= 2000"
    )
}

fn has_caught_up(status: &Value) -> bool {
    status["lag"]["transactions"]
        .as_u64()
        .is_some_and(|waiting| waiting < 100)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_of_mysql_is_told_and_loses_nothing() {
    let configure =
        |options: integration::proxy::ProxyOptions| options.key("spool.limit = \"4MiB\"");
    let stage = Stage::with(MySql97, MySql97, usual(), configure).await;
    let load = stage.load(2).await;
    stage.stream().await;
    stage.target.pause().unwrap();
    // More than memory and spool hold together.
    for _ in 0..50 {
        stage.source.sql_in(DATABASE, &grow()).unwrap();
    }
    let told = |status: &Value| {
        let trouble = status["trouble"].to_string();
        trouble.contains("has reached its limit of 4194304 bytes")
    };
    let status = stage
        .proxy
        .wait_for("the full spool is told", PATIENCE, told);
    assert_eq!(status.await.unwrap()["phase"], "streaming");
    load.more_commits(50, PATIENCE).await.unwrap();
    assert_eq!(stage.serving().await, stage.source.server_id());

    stage.target.resume().unwrap();
    let fine = |status: &Value| status["trouble"].is_null() && has_caught_up(status);
    let what = "the target has caught up";
    stage.proxy.wait_for(what, PATIENCE, fine).await.unwrap();
    stage.cutover_once_current().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    stage.assert_same_contents().await;
}
