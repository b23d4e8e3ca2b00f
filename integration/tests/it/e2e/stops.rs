//! What stops a migration for good: the status says what happened, on which object, and what to do;
//! the source serves on, and `abort` takes everything away so that it can begin anew.

use std::time::{Duration, Instant};

use integration::server::psql;
use serde_json::Value;

use super::stage::{DATABASE, PATIENCE, Stage, usual};

/// The migration has failed with these words, and what the operator does next works.
async fn is_told(stage: &Stage, words: &[&str]) {
    let failed = |status: &Value| status["phase"] == "failed";
    let status = stage
        .proxy
        .wait_for("the migration stops", PATIENCE, failed)
        .await
        .unwrap();
    let text = stage.proxy.done(&["status"]).await.unwrap();
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}\n{status:#}");
    }
    let next = text.lines().last().unwrap();
    assert!(
        next.starts_with("next ") && next.contains("pointsman abort"),
        "{text}"
    );
    let said = stage.proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
}

/// The source takes writes before and after `abort`.
async fn aborts(stage: &Stage) {
    let write = "INSERT INTO \"Odd schema\".\"No key\" VALUES ('on the source', 1)";
    psql(&stage.url(), write).unwrap();
    stage.proxy.done(&["abort"]).await.unwrap();
    assert_eq!(stage.proxy.status().await.unwrap()["phase"], "proxying");
    psql(&stage.url(), write).unwrap();
    assert_eq!(stage.serving_major(), 14);
}

/// P7: changes to the schema are in no stream; none of them is skipped in silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_table_column_or_enum_value_while_streaming_stops_and_is_named() {
    let stage = Stage::new(14, 17).await;
    let load = stage.load(2).await;
    let changes: [(&str, &[&str]); 4] = [
        (
            "ALTER TABLE customer ADD COLUMN nickname text",
            &["nickname", "customer"],
        ),
        ("CREATE TABLE coupon (id int PRIMARY KEY)", &["coupon"]),
        (
            "ALTER TABLE customer DROP COLUMN nickname;
             UPDATE customer SET email = email || '!' WHERE id = 3",
            &["nickname", "customer"],
        ),
        (
            "ALTER TYPE state ADD VALUE 'returned'",
            &["state", "returned"],
        ),
    ];
    for (change, words) in changes {
        stage.stream().await;
        let client = stage.client().await;
        client.batch_execute(change).await.unwrap();
        if change.contains("ADD VALUE") {
            let sql = "UPDATE purchase SET state = 'returned' WHERE id = 5";
            client.batch_execute(sql).await.unwrap();
        }
        drop(client);
        is_told(&stage, words).await;
        aborts(&stage).await;
    }
    // With what it has now it moves.
    stage.stream().await;
    stage.cutover().await;
    load.more_commits(20, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    stage.assert_same_contents().await;
}

fn slot_of(stage: &Stage) -> String {
    let sql = "SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'pointsman_%'";
    stage.source.psql(DATABASE, sql).unwrap()
}

/// Once the proxy's walsender is gone.
async fn drop_slot(stage: &Stage, slot: &str) {
    let sql = format!("SELECT pg_drop_replication_slot('{slot}')");
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = stage.source.execute(DATABASE, &sql).await {
        assert!(Instant::now() < deadline, "{error:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// P6: a gap in the stream is found, whatever the slot's name says (etl #935, DBZ-5739).
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_dropped_or_made_again_while_the_proxy_was_down_is_noticed() {
    let mut stage = Stage::new(14, 17).await;
    for again in [false, true] {
        stage.stream().await;
        let slot = slot_of(&stage);
        stage.proxy.kill9().unwrap();
        drop_slot(&stage, &slot).await;
        let write = "INSERT INTO \"Odd schema\".\"No key\" VALUES ('in the gap', 1)";
        stage.source.execute(DATABASE, write).await.unwrap();
        if again {
            let sql = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
            stage.source.execute(DATABASE, &sql).await.unwrap();
        }
        stage.proxy.restart().await.unwrap();
        is_told(&stage, &["slot", &slot]).await;
        aborts(&stage).await;
    }
}

/// `max_slot_wal_keep_size` lets the source remove what the slot still needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_log_was_removed_is_noticed() {
    let servers = usual()
        .set("max_slot_wal_keep_size", "1MB")
        .set("max_wal_size", "32MB")
        .set("wal_keep_size", "0");
    let mut stage = Stage::with(14, 17, servers, |options| options).await;
    stage.stream().await;
    let slot = slot_of(&stage);
    stage.proxy.kill9().unwrap();
    let lost = "SELECT wal_status = 'lost' FROM pg_replication_slots";
    let deadline = Instant::now() + PATIENCE;
    while stage.source.psql(DATABASE, lost).unwrap() != "t" {
        assert!(Instant::now() < deadline, "the slot is not lost");
        for sql in [
            "CREATE TABLE filler AS SELECT generate_series(1, 100000)",
            "DROP TABLE filler",
            "SELECT pg_switch_wal()",
            "CHECKPOINT",
        ] {
            stage.source.execute(DATABASE, sql).await.unwrap();
        }
    }
    stage.proxy.restart().await.unwrap();
    is_told(&stage, &["slot", &slot, "max_slot_wal_keep_size"]).await;
    aborts(&stage).await;
}
