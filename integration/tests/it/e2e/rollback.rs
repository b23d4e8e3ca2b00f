//! P9: the way back. `rollback` leads to the source again with everything that was written on the
//! target, under load, any number of times, and after crashes.

use std::time::Duration;

use integration::proxy::Said;
use serde_json::Value;

use super::stage::{DATABASE, PATIENCE, Stage, usual};

impl Stage {
    /// Waits until what is written on the target flows back.
    pub(super) async fn way_back_is_open(&self) {
        let open = |status: &Value| status["way_back"]["state"] == "open";
        let waited = self.proxy.wait_for("the way back is open", PATIENCE, open);
        waited.await.unwrap();
    }

    /// Rolls back; on a starved machine the source may be behind for a while.
    async fn rollback_says(&self) -> Said {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let said = self.proxy.cli(&["rollback", "--json"]).await.unwrap();
            let words = ["of log behind", "lag", "is being opened"];
            let behind = words.iter().any(|word| said.stdout.contains(word));
            if said.code != 1 || !behind || std::time::Instant::now() > deadline {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) async fn rollback(&self) -> Value {
        self.way_back_is_open().await;
        let said = self.rollback_says().await;
        assert_eq!(said.code, 0, "{said}\n{}", self.proxy.log());
        let report: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(report["outcome"], "rolled_back", "{report:#}");
        assert_eq!(report["sessions_ended"], 0, "{report:#}");
        let status = self.proxy.status().await.unwrap();
        assert_eq!(status["serving"], "source", "{status:#}");
        report
    }

    async fn cutover_again(&self) {
        self.proxy.wait_for_phase("streaming").await.unwrap();
        self.cutover().await;
    }
}

async fn there_and_back_under_load(from: u32, to: u32) {
    let stage = Stage::new(from, to).await;
    let load = stage.load(8).await;
    stage.stream().await;
    for _round in 0..2 {
        stage.cutover_again().await;
        load.more_commits(200, PATIENCE).await.unwrap();
        assert_eq!(stage.serving_major(), to);
        let report = stage.rollback().await;
        assert!(report["pause_ms"].as_f64().unwrap() > 0.0, "{report:#}");
        let steps = report["steps"].to_string();
        assert!(steps.contains("\"open\""), "{report:#}");
        load.more_commits(200, PATIENCE).await.unwrap();
        assert_eq!(stage.serving_major(), from);
    }
    stage.cutover_again().await;
    load.more_commits(100, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    stage.way_back_is_open().await;
    stage.rollback().await;
    stage.assert_perfect(&report, &stage.source).await;
    stage.assert_same_contents().await;
}

/// P9: nothing lost, nothing twice, and no client saw an error.
#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_from_14_to_17_under_load() {
    there_and_back_under_load(14, 17).await;
}

/// P9: on the oldest version, without a filter by origin, and the newest.
#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_from_12_to_18_under_load() {
    there_and_back_under_load(12, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_and_back_from_16_to_18_under_load() {
    there_and_back_under_load(16, 18).await;
}

/// P9: every kind of row goes back, and sequences too.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_on_the_target_is_on_the_source_after_a_rollback() {
    let stage = Stage::new(14, 17).await;
    stage.stream().await;
    stage.cutover().await;
    let client = stage.client().await;
    client
        .batch_execute(
            "INSERT INTO customer (email, tags, data) VALUES ('new@example.com', '{x}', '{}');
             UPDATE customer SET data = data || '{\"more\": 1}' WHERE id % 7 = 0;
             DELETE FROM customer WHERE id % 11 = 0;
             UPDATE purchase SET day = '2026-05-05' WHERE id % 13 = 0;
             UPDATE \"Odd schema\".\"No key\" SET n = -1 WHERE \"a column\" = 'text 7';
             DELETE FROM \"Odd schema\".\"No key\" WHERE n = 'NaN'",
        )
        .await
        .unwrap();
    assert_eq!(
        client.value("SELECT nextval('ticket')").await.unwrap(),
        "114"
    );
    stage.rollback().await;
    stage.assert_same_contents().await;
    // The same session goes on, on the source.
    assert_eq!(
        client.value("SELECT nextval('ticket')").await.unwrap(),
        "121"
    );
    let sql = "INSERT INTO customer (email) VALUES ('newer@example.com') RETURNING id";
    assert_eq!(client.value(sql).await.unwrap(), "2002");
    assert_eq!(stage.serving_major(), 14);
    // And what is written now is on the target after another cutover.
    stage.cutover_again().await;
    stage.assert_same_contents().await;
    assert_eq!(
        client.value("SELECT nextval('ticket')").await.unwrap(),
        "128"
    );
}

/// P9: a session's locks and channels come along, though it can connect only behind the switch.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_locks_channels_and_settings_is_carried_back() {
    let stage = Stage::new(14, 17).await;
    stage.stream().await;
    stage.cutover().await;
    let client = stage.client().await;
    for sql in [
        "SET work_mem = '7MB'",
        "PREPARE who AS SELECT 'prepared'",
        "SELECT pg_advisory_lock(42)",
        "LISTEN news",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    stage.rollback().await;
    assert_eq!(client.value("SHOW work_mem").await.unwrap(), "7MB");
    assert_eq!(client.value("EXECUTE who").await.unwrap(), "prepared");
    let other = stage.client().await;
    let taken = "SELECT pg_try_advisory_lock(42)";
    assert_eq!(other.value(taken).await.unwrap(), "f");
    assert_eq!(stage.serving_major(), 14);
}

/// P5, P9: a proxy that is killed while the target serves goes on with both.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_after_the_switch_can_still_roll_back() {
    let mut stage = Stage::new(14, 17).await;
    let load = stage.load(4).await;
    stage.stream().await;
    stage.cutover().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.proxy.restart().await.unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.rollback().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    // And once more in the other direction.
    stage.proxy.restart().await.unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.cutover_again().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_balanced(&report, &stage.target).await;
    stage.rollback().await;
    stage.assert_balanced(&report, &stage.source).await;
    stage.assert_same_contents().await;
}

/// P5, P9: killed so long after the rollback began; whoever serves then has everything.
async fn killed_during_the_rollback(after: Duration) {
    let mut stage = Stage::new(14, 17).await;
    let load = stage.load(4).await;
    stage.stream().await;
    stage.cutover().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.way_back_is_open().await;
    let rollback = async { stage.proxy.cli(&["rollback"]).await };
    let killed = tokio::time::timeout(after, rollback).await;
    drop(killed);
    stage.proxy.restart().await.unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    let status = stage.proxy.status().await.unwrap();
    let report = load.stop().await.unwrap();
    if status["serving"] == "source" {
        stage.assert_balanced(&report, &stage.source).await;
        stage.cutover_again().await;
        stage.assert_balanced(&report, &stage.target).await;
    } else {
        stage.assert_balanced(&report, &stage.target).await;
        stage.rollback().await;
        stage.assert_balanced(&report, &stage.source).await;
    }
    stage.assert_same_contents().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_early_in_a_rollback_leaves_one_side_with_everything() {
    killed_during_the_rollback(Duration::from_millis(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_late_in_a_rollback_leaves_one_side_with_everything() {
    killed_during_the_rollback(Duration::from_millis(250)).await;
}

/// A rollback needs a target that serves; before that and after `finish` it says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_refused_where_there_is_nothing_to_go_back_from() {
    let stage = Stage::new(14, 17).await;
    let said = stage.proxy.cli(&["rollback"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.stderr.contains("does not serve"), "{said}");
    stage.stream().await;
    let said = stage.proxy.cli(&["rollback"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    stage.cutover().await;
    stage.proxy.done(&["finish"]).await.unwrap();
    let said = stage.proxy.cli(&["rollback"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
}

/// A definition that changes on the target closes the way back, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_definition_on_the_target_closes_the_way_back_by_name() {
    let stage = Stage::new(14, 17).await;
    let load = stage.load(2).await;
    stage.stream().await;
    stage.cutover().await;
    stage.way_back_is_open().await;
    let client = stage.client().await;
    client
        .batch_execute("ALTER TABLE customer ADD COLUMN nickname text")
        .await
        .unwrap();
    let closed = |status: &Value| status["way_back"]["state"] == "closed";
    let status = stage.proxy.wait_for("closed", PATIENCE, closed).await;
    let status = status.unwrap();
    assert_eq!(status["phase"], "switched", "{status:#}");
    let reason = status["way_back"]["reason"].to_string();
    assert!(reason.contains("nickname"), "{reason}");
    let said = stage.proxy.cli(&["rollback"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.stderr.contains("nickname"), "{said}");
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
}

/// Where the target writes no log that can be streamed, the cutover says that there is no way back;
/// it is refused where one is required.
#[tokio::test(flavor = "multi_thread")]
async fn without_logical_log_on_the_target_the_cutover_says_that_there_is_no_way_back() {
    let source = super::stage::filled_source(14, usual()).await;
    let target = super::stage::empty_target(17, usual().set("wal_level", "replica")).await;
    let options = super::stage::configured(&source, &target);
    let options = options.key("cutover.way_back = \"require\"");
    let proxy = integration::proxy::Proxy::start(options).await.unwrap();
    let mut stage = Stage {
        source,
        target,
        proxy,
    };
    stage.stream().await;
    let said = stage.proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.stderr.contains("wal_level"), "{said}");
    let configuration = std::fs::read_to_string(stage.proxy.config_path()).unwrap();
    let without = configuration.replace("\"require\"", "\"prefer\"");
    std::fs::write(stage.proxy.config_path(), without).unwrap();
    stage.proxy.restart().await.unwrap();
    stage.proxy.wait_for_phase("streaming").await.unwrap();
    let dry = stage.proxy.done(&["cutover", "--dry-run"]).await.unwrap();
    assert!(dry.contains("no rollback"), "{dry}");
    let report = stage.cutover().await;
    let why = report["no_way_back"].to_string();
    assert!(why.contains("wal_level"), "{report:#}");
    let closed = |status: &Value| status["way_back"]["state"] == "closed";
    stage
        .proxy
        .wait_for("closed", PATIENCE, closed)
        .await
        .unwrap();
    let said = stage.proxy.cli(&["rollback"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    stage.proxy.done(&["finish"]).await.unwrap();
}

/// A dry run says what would happen, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_a_rollback_changes_nothing() {
    let stage = Stage::new(14, 17).await;
    let load = stage.load(2).await;
    stage.stream().await;
    stage.cutover().await;
    stage.way_back_is_open().await;
    stage.proxy.done(&["rollback", "--dry-run"]).await.unwrap();
    let status = stage.proxy.status().await.unwrap();
    assert_eq!(
        (&status["phase"], &status["serving"]),
        (&"switched".into(), &"target".into())
    );
    let slots = "SELECT count(*) FROM pg_replication_slots";
    let client = stage.source.client(DATABASE).await.unwrap();
    assert_eq!(client.value(slots).await.unwrap(), "0");
    load.more_commits(20, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
}

/// P9: a source that is away while the target serves gets everything when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_away_gets_everything_before_a_rollback() {
    let mut stage = Stage::new(14, 17).await;
    let load = stage.load(4).await;
    stage.stream().await;
    stage.cutover().await;
    stage.way_back_is_open().await;
    stage.source.kill9().unwrap();
    load.more_commits(100, PATIENCE).await.unwrap();
    let said = stage.proxy.cli(&["rollback"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert_eq!(stage.proxy.status().await.unwrap()["serving"], "target");
    stage.source.restart().await.unwrap();
    load.more_commits(100, PATIENCE).await.unwrap();
    stage.rollback().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.source).await;
}

/// P9: a target that crashes while it serves loses nothing of what it acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_crashed_while_it_served_can_be_rolled_back() {
    let mut stage = Stage::new(14, 17).await;
    let load = stage.load(4).await;
    stage.stream().await;
    stage.cutover().await;
    stage.way_back_is_open().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.target.kill9().unwrap();
    stage.target.restart().await.unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    stage.rollback().await;
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_balanced(&report, &stage.source).await;
}

/// P8, P9: the disk of the server that serves does not fill for one that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_does_not_make_the_target_keep_its_log_without_end() {
    let mut stage = Stage::with(14, 17, usual(), |options| {
        options.key("spool.limit = \"16MiB\"")
    })
    .await;
    stage.stream().await;
    stage.cutover().await;
    stage.way_back_is_open().await;
    stage.source.kill9().unwrap();
    let client = stage.client().await;
    let slots = "SELECT count(*) FROM pg_replication_slots";
    let observer = stage.target.client(DATABASE).await.unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let sql = "UPDATE customer SET data = jsonb_build_object('more', repeat(md5(random()::text), 100))";
        client.batch_execute(sql).await.unwrap();
        if observer.value(slots).await.unwrap() == "0" {
            break;
        }
        let status = stage.proxy.status().await.unwrap();
        assert!(std::time::Instant::now() < deadline, "{status:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let closed = |status: &Value| status["way_back"]["state"] == "closed";
    let status = stage.proxy.wait_for("closed", PATIENCE, closed).await;
    let status = status.unwrap();
    let reason = status["way_back"]["reason"].to_string();
    assert!(reason.contains("spool.limit"), "{reason}");
}

/// P9: a transaction larger than a window, and TRUNCATE, go back too.
#[tokio::test(flavor = "multi_thread")]
async fn large_transactions_and_truncate_go_back() {
    let stage = Stage::with(14, 17, usual(), |options| {
        options.key("apply.window.rows = 500")
    })
    .await;
    stage.stream().await;
    stage.cutover().await;
    let client = stage.client().await;
    client
        .batch_execute(
            "INSERT INTO purchase (day, customer, net)
                 SELECT date '2025-01-01' + n % 700, 1 + n % 2000, n FROM generate_series(1, 20000) AS n;
             TRUNCATE \"Odd schema\".\"No key\";
             INSERT INTO \"Odd schema\".\"No key\" VALUES ('after', 1), ('after', 1)",
        )
        .await
        .unwrap();
    stage.rollback().await;
    stage.assert_same_contents().await;
}
