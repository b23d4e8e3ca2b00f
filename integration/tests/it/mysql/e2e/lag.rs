//! A target that is behind: it is waited for while clients work.

use std::time::Duration;

use binlog::wire::SqlConn;
use integration::load::{Load, LoadOptions};
use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql97};
use serde_json::Value;
use tokio::time::timeout;

use super::stage::{DATABASE, PATIENCE, Stage, usual};

/// What the target waits with, and who can end that.
struct KeptBack {
    by: SqlConn,
    end: &'static str,
}

impl KeptBack {
    async fn end(self) {
        self.by.execute(self.end).await.unwrap();
    }
}

/// Waits until the target says that somebody waits there.
async fn until_somebody_waits(looks: &SqlConn, sql: &str) {
    let waits = async {
        loop {
            let row = looks.query_first(sql).await.unwrap().unwrap();
            if row.text(0) != Some("0") {
                return;
            }
            // What InnoDB tells stays the same while it is asked more often than every 100 ms.
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    timeout(PATIENCE, waits).await.unwrap();
}

/// Keeps the target from applying a change of a row.
async fn keep_row_back(stage: &Stage) -> KeptBack {
    let by = stage.target.connect().await.unwrap();
    by.execute("BEGIN").await.unwrap();
    let lock = "SELECT id FROM shop.customer WHERE id = 1 FOR UPDATE";
    by.query(lock).await.unwrap();
    let row = "UPDATE customer SET name = 'changed' WHERE id = 1";
    stage.source.sql_in(DATABASE, row).unwrap();
    let looks = stage.target.connect().await.unwrap();
    let waits = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'";
    until_somebody_waits(&looks, waits).await;
    KeptBack { by, end: "COMMIT" }
}

/// Keeps the target from carrying out a definition statement.
async fn keep_definition_back(stage: &Stage) -> KeptBack {
    let by = stage.target.connect().await.unwrap();
    by.execute("LOCK TABLES shop.customer READ").await.unwrap();
    let definition = "ALTER TABLE customer ADD added int NULL";
    stage.source.sql_in(DATABASE, definition).unwrap();
    let looks = stage.target.connect().await.unwrap();
    let waits = "SELECT COUNT(*) FROM information_schema.processlist \
        WHERE STATE LIKE 'Waiting for table metadata lock%'";
    until_somebody_waits(&looks, waits).await;
    let end = "UNLOCK TABLES";
    KeptBack { by, end }
}

async fn streaming(from: Version, to: Version, wait_timeout: &str) -> Stage {
    let key = format!("cutover.wait_timeout = {wait_timeout:?}");
    let stage = Stage::with(from, to, usual(), |options| options.key(key)).await;
    stage.stream().await;
    stage
}

/// Cuts over: clients go on to commit until the target is let go on.
async fn is_waited_for(stage: &Stage, kept_back: impl AsyncFnOnce(&Stage) -> KeptBack) {
    let load = stage.load(2).await;
    let kept_back = kept_back(stage).await;
    let waits = |status: &Value| {
        let step = status["step"].to_string();
        step.contains("waiting") && step.contains("catch up")
    };
    let meanwhile = async {
        let waits = stage.proxy.wait_for("it is waited for", PATIENCE, waits);
        assert_eq!(waits.await.unwrap()["phase"], "streaming");
        load.more_commits(50, PATIENCE).await.unwrap();
        kept_back.end().await;
    };
    let (said, ()) = tokio::join!(stage.proxy.cli(&["cutover"]), meanwhile);
    let said = said.unwrap();
    assert_eq!(said.code, 0, "{said}\n{}", stage.proxy.log());
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
}

/// Cuts over, which is refused.
async fn is_refused(stage: &Stage, kept_back: impl AsyncFnOnce(&Stage) -> KeptBack) {
    let kept_back = kept_back(stage).await;
    let said = stage.proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("the target lags"), "{said}");
    let status = stage.proxy.status().await.unwrap();
    assert_eq!(status["phase"], "streaming");
    assert_eq!(stage.serving().await, stage.source.server_id());
    kept_back.end().await;
    stage.cutover_once_current().await;
    stage.assert_same_contents().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_held_while_mysql_waits_for_a_row() {
    let stage = streaming(MySql97, MySql97, "10m").await;
    is_waited_for(&stage, keep_row_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_held_while_mysql_works_on_a_definition() {
    let stage = streaming(MySql97, MySql97, "10m").await;
    is_waited_for(&stage, keep_definition_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_held_while_mariadb_waits_for_a_row() {
    let stage = streaming(MariaDb1011, MariaDb118, "10m").await;
    is_waited_for(&stage, keep_row_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_held_while_mariadb_works_on_a_definition() {
    let stage = streaming(MariaDb1011, MariaDb118, "10m").await;
    is_waited_for(&stage, keep_definition_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_target_that_does_not_catch_up_refuses_the_cutover() {
    let stage = streaming(MySql97, MySql97, "1s").await;
    is_refused(&stage, keep_definition_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_target_that_does_not_catch_up_refuses_the_cutover() {
    let stage = streaming(MariaDb1011, MariaDb118, "1s").await;
    is_refused(&stage, keep_row_back).await;
}

/// There is always something then that has arrived and is not applied.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_never_pauses_does_not_keep_a_cutover_of_mysql_waiting() {
    let stage = Stage::new(MySql97, MySql97).await;
    stage.stream().await;
    let options = LoadOptions::new(stage.url()).clients(8);
    let load = Load::start(&options).await.unwrap();
    load.more_commits(500, PATIENCE).await.unwrap();
    stage.cutover().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
}
