//! What happens behind the program's back while a cutover is under way, and between its commands.

use std::process::Command;
use std::time::Duration;

use integration::proxy::ProxyOptions;

use super::stage::{DATABASE, PATIENCE, Stage, usual};

async fn streaming(configure: impl FnOnce(ProxyOptions) -> ProxyOptions) -> Stage {
    let stage = Stage::with(14, 17, usual(), configure).await;
    stage.stream().await;
    stage
}

fn signal(name: &str, pid: &str) {
    let sent = Command::new("kill").args([name, pid]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_while_the_cutover_drains_is_not_left_behind() {
    let stage = streaming(|options| options.key("cutover.drain_timeout = \"60s\"")).await;
    let client = stage.client().await;
    let sql = "BEGIN; CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1)";
    let commit = async {
        stage.begin_before_the_drain(&client, sql).await;
        client.batch_execute("COMMIT").await.unwrap();
    };
    let (said, ()) = tokio::join!(stage.proxy.cli(&["cutover"]), commit);
    let said = said.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("schema"), "{said}");
    assert_eq!(client.value("SELECT id FROM late").await.unwrap(), "1");
    assert_eq!(stage.serving_major(), 14);
}

/// Stops the server process of the movement's own connection while clients wait: they must not wait
/// for that connection as well.
async fn hangs_in_the_hold(source: bool) {
    let stage = streaming(|options| options.key("cutover.drain_timeout = \"60s\"")).await;
    let load = stage.load(2).await;
    let client = stage.client().await;
    let sql = "BEGIN; INSERT INTO \"Odd schema\".\"No key\" VALUES ('hold', 1)";
    load.reset_gap();
    let server = if source { &stage.source } else { &stage.target };
    let control = server.client(DATABASE).await.unwrap();
    let stop = async {
        stage.begin_before_the_drain(&client, sql).await;
        let pid = "SELECT pid FROM pg_stat_activity WHERE application_name = 'pointsman movement'";
        let pid = control.value(pid).await.unwrap();
        signal("-STOP", &pid);
        client.batch_execute("COMMIT").await.unwrap();
        pid
    };
    let cutover = stage.proxy.cli(&["cutover", "--max-pause", "10s"]);
    let (said, pid) = tokio::join!(cutover, stop);
    signal("-CONT", &pid);
    let said = said.unwrap();
    assert_eq!(said.code, 1, "{said}");
    load.more_commits(20, PATIENCE).await.unwrap();
    let gap = load.longest_gap().length;
    assert!(
        gap < Duration::from_secs(60),
        "{gap:?}\n{}",
        stage.proxy.log()
    );
    stage.cutover().await;
    load.more_commits(20, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_the_source_that_hangs_does_not_lengthen_the_pause() {
    hangs_in_the_hold(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_the_target_that_hangs_does_not_lengthen_the_pause() {
    hangs_in_the_hold(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_movement_that_nobody_ended_does_not_keep_the_next_one_from_beginning() {
    let stage = streaming(|options| options).await;
    // It came late, from a proxy that was gone when the next one asked the servers.
    let sql =
        "INSERT INTO pointsman.movement (epoch, serving, state) VALUES (1, 'target', 'pending')";
    stage.target.execute(DATABASE, sql).await.unwrap();
    stage.cutover().await;
    stage.assert_same_contents().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finish_that_ended_half_way_leaves_the_target_serving_after_a_restart() {
    let mut stage = streaming(|options| options).await;
    stage.cutover().await;
    // Our schema cannot be dropped on the target while this stands.
    let other = stage.target.client(DATABASE).await.unwrap();
    other
        .batch_execute("BEGIN; LOCK TABLE pointsman.movement IN ACCESS SHARE MODE")
        .await
        .unwrap();
    let source = stage.source.client(DATABASE).await.unwrap();
    let half = async {
        let gone = "SELECT to_regnamespace('pointsman') IS NULL";
        while source.value(gone).await.unwrap() != "t" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        said = stage.proxy.cli(&["finish"]) => panic!("it cannot end: {}", said.unwrap()),
        half = tokio::time::timeout(PATIENCE, half) => half.unwrap(),
    }
    stage.proxy.restart().await.unwrap();
    assert_eq!(stage.serving_major(), 17);
    other.batch_execute("ROLLBACK").await.unwrap();
    stage.proxy.done(&["finish"]).await.unwrap();
    assert_eq!(stage.serving_major(), 17);
}
