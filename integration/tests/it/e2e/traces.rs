//! `finish` and `abort` leave nothing of ours on either server.

use std::time::Duration;

use integration::catalog::{self, Facts};
use integration::server::PgServer;

use super::stage::{DATABASE, PATIENCE, Stage, configured, empty_target, filled_source, usual};
use integration::proxy::Proxy;

async fn facts(server: &PgServer) -> Facts {
    catalog::read(&server.client(DATABASE).await.unwrap())
        .await
        .unwrap()
}

struct Before {
    stage: Stage,
    source: Facts,
    target: Facts,
}

async fn stage(from: u32, to: u32) -> Before {
    let server = filled_source(from, usual()).await;
    let other = empty_target(to, usual()).await;
    let (source, target) = (facts(&server).await, facts(&other).await);
    let proxy = Proxy::start(configured(&server, &other)).await.unwrap();
    let stage = Stage {
        source: server,
        target: other,
        proxy,
    };
    Before {
        stage,
        source,
        target,
    }
}

fn assert_equal(before: &Facts, after: &Facts, which: &str) {
    let differences = catalog::differences(before, after);
    assert!(
        differences.is_empty(),
        "{which}:\n{}",
        differences.join("\n")
    );
}

async fn abort_leaves_nothing(from: u32, to: u32) {
    let before = stage(from, to).await;
    let stage = &before.stage;
    let load = stage.load(2).await;
    stage.stream().await;
    stage.proxy.done(&["abort"]).await.unwrap();
    load.more_commits(20, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.source).await;
    assert_eq!(stage.proxy.status().await.unwrap()["phase"], "proxying");
    assert_equal(&before.source, &facts(&stage.source).await, "source");
    assert_equal(&before.target, &facts(&stage.target).await, "target");
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_leaves_nothing_on_either_server_14_17() {
    abort_leaves_nothing(14, 17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_leaves_nothing_on_either_server_12_18() {
    abort_leaves_nothing(12, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_abort_the_migration_can_be_started_again() {
    let before = stage(15, 16).await;
    let stage = &before.stage;
    stage.stream().await;
    stage.proxy.done(&["abort"]).await.unwrap();
    stage.stream().await;
    stage.cutover().await;
    stage.assert_same_contents().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_does_not_wait_for_an_index_that_is_being_built() {
    let stage = Stage::new(14, 17).await;
    // An index that takes minutes on the target.
    let sql = "CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
            IF current_setting('server_version_num')::int >= 170000 THEN PERFORM pg_sleep(300); END IF;
            RETURN n; END $$;
        CREATE TABLE built (n int PRIMARY KEY); INSERT INTO built VALUES (1);
        CREATE INDEX ON built (slow(n))";
    stage.source.execute(DATABASE, sql).await.unwrap();
    stage.proxy.done(&["start"]).await.unwrap();
    let building = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%slow%'";
    let deadline = std::time::Instant::now() + PATIENCE;
    while stage.target.psql(DATABASE, building).unwrap() == "0" {
        assert!(
            std::time::Instant::now() < deadline,
            "{}",
            stage.proxy.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let abort = stage.proxy.done(&["abort"]);
    let aborted = tokio::time::timeout(PATIENCE, abort).await;
    aborted.expect("abort waits for the index").unwrap();
    assert_no_trace_by_name(&facts(&stage.target).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn finish_with_the_fence_lifted_leaves_nothing_on_the_source() {
    let before = stage(14, 17).await;
    let stage = &before.stage;
    let load = stage.load(2).await;
    stage.stream().await;
    stage.cutover().await;
    stage.proxy.done(&["finish", "--lift-fence"]).await.unwrap();
    load.more_commits(20, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    assert_equal(&before.source, &facts(&stage.source).await, "source");
    assert_no_trace_by_name(&facts(&stage.target).await);
}

/// After any number of movements both commands leave as little as after one.
#[tokio::test(flavor = "multi_thread")]
async fn after_rollbacks_abort_and_finish_leave_nothing() {
    let before = stage(14, 17).await;
    let stage = &before.stage;
    stage.stream().await;
    stage.cutover().await;
    stage.rollback().await;
    stage.proxy.wait_for_phase("streaming").await.unwrap();
    stage.proxy.done(&["abort"]).await.unwrap();
    assert_equal(&before.source, &facts(&stage.source).await, "source");
    assert_equal(&before.target, &facts(&stage.target).await, "target");

    stage.stream().await;
    stage.cutover().await;
    stage.rollback().await;
    stage.proxy.wait_for_phase("streaming").await.unwrap();
    stage.cutover().await;
    stage.proxy.done(&["finish", "--lift-fence"]).await.unwrap();
    assert_equal(&before.source, &facts(&stage.source).await, "source");
    assert_no_trace_by_name(&facts(&stage.target).await);
    let status = stage.proxy.status().await.unwrap();
    assert!(status["way_back"].is_null(), "{status:#}");
}

/// The side that does not serve keeps no log for us, whichever it is.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_serving_side_has_a_slot() {
    let before = stage(14, 17).await;
    let stage = &before.stage;
    stage.stream().await;
    let slots = |facts: &Facts| {
        let slots = facts
            .iter()
            .filter(|fact| fact.starts_with("replication slot:"));
        slots.count()
    };
    assert_eq!(slots(&facts(&stage.source).await), 1);
    assert_eq!(slots(&facts(&stage.target).await), 0);
    stage.cutover().await;
    stage.way_back_is_open().await;
    assert_eq!(slots(&facts(&stage.source).await), 0);
    assert_eq!(slots(&facts(&stage.target).await), 1);
    stage.rollback().await;
    stage.proxy.wait_for_phase("streaming").await.unwrap();
    assert_eq!(slots(&facts(&stage.source).await), 1);
    assert_eq!(slots(&facts(&stage.target).await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn finish_keeps_the_fence_unless_told_otherwise() {
    let before = stage(14, 17).await;
    let stage = &before.stage;
    stage.stream().await;
    stage.cutover().await;
    stage.proxy.done(&["finish"]).await.unwrap();
    assert_no_trace_by_name(&facts(&stage.source).await);
    assert_no_trace_by_name(&facts(&stage.target).await);
    let direct = stage.source.url_with_password("app", "secret", DATABASE);
    assert!(integration::server::psql(&direct, "SELECT 1").is_err());
    assert_eq!(stage.serving_major(), 17);
}

/// On the target the application's own things are new, so ours are looked for by their names.
fn assert_no_trace_by_name(facts: &Facts) {
    let ours: Vec<_> = facts
        .iter()
        .filter(|fact| fact.contains("pointsman"))
        .collect();
    assert!(ours.is_empty(), "{ours:#?}");
    let kinds = [
        "replication slot:",
        "replication origin:",
        "publication:",
        "subscription:",
    ];
    let traces = facts
        .iter()
        .filter(|fact| kinds.iter().any(|kind| fact.starts_with(kind)));
    assert_eq!(traces.count(), 0);
}

/// Ends a command by killing the proxy under it, at several instants; the same command, given to
/// the next proxy, then leaves nothing.
async fn killed_in(command: &[&str], after: Duration) {
    let before = stage(14, 17).await;
    let mut stage = before.stage;
    stage.stream().await;
    let serving = match command[0] {
        "abort" => "source",
        _ => {
            stage.cutover().await;
            "target"
        }
    };
    tokio::select! {
        said = stage.proxy.cli(command) => {
            said.unwrap();
        }
        () = tokio::time::sleep(after) => {}
    }
    stage.proxy.restart().await.unwrap();
    let status = stage.proxy.status().await.unwrap();
    assert_eq!(status["serving"], serving, "after {after:?}: {status:#}");
    // What was done whole needs nothing more: a proxy that finds no trace knows of no migration.
    let said = stage.proxy.cli(command).await.unwrap();
    assert!(said.code <= 1, "after {after:?}: {said}");
    assert_equal(&before.source, &facts(&stage.source).await, "source");
    let target = facts(&stage.target).await;
    match serving {
        "source" => assert_equal(&before.target, &target, "target"),
        _ => assert_no_trace_by_name(&target),
    }
    let client = stage.client().await;
    client.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_in_an_abort_can_be_told_to_abort_again() {
    for milliseconds in [10, 60, 150, 400] {
        killed_in(&["abort"], Duration::from_millis(milliseconds)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_killed_in_a_finish_can_be_told_to_finish_again() {
    for milliseconds in [10, 40, 100, 250] {
        let finish = ["finish", "--lift-fence"];
        killed_in(&finish, Duration::from_millis(milliseconds)).await;
    }
}

/// The servers hold no trace that could tell who serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_started_again_after_finish_does_not_serve_the_old_server() {
    let before = stage(14, 17).await;
    let mut stage = before.stage;
    stage.stream().await;
    stage.cutover().await;
    stage.proxy.done(&["finish", "--lift-fence"]).await.unwrap();
    stage.proxy.restart().await.unwrap();
    let status = stage.proxy.status().await.unwrap();
    assert_eq!(
        (&status["phase"], &status["serving"]),
        (&"finished".into(), &"target".into())
    );
    let told = status["warnings"].to_string();
    assert!(told.contains("set `source` to the new server"), "{told}");
    assert_eq!(stage.serving_major(), 17);
}
