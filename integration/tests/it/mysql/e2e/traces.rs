//! `finish` and `abort` leave nothing of ours on either server.

use integration::catalog::{self, Facts};
use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql56, MySql97};
use integration::mysql::{self, MySqlServer};
use integration::proxy::Proxy;

use super::stage::{PATIENCE, Stage, configured, filled_source, usual};

async fn facts(server: &MySqlServer) -> Facts {
    mysql::catalog::read(&server.connect().await.unwrap())
        .await
        .unwrap()
}

struct Before {
    stage: Stage,
    source: Facts,
    target: Facts,
}

async fn stage(from: Version, to: Version) -> Before {
    let source = filled_source(from, usual()).await;
    let target = MySqlServer::start(to, usual()).await.unwrap();
    let (source_facts, target_facts) = (facts(&source).await, facts(&target).await);
    let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    Before {
        stage: Stage {
            source,
            target,
            proxy,
        },
        source: source_facts,
        target: target_facts,
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

async fn abort_leaves_nothing(from: Version, to: Version) {
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
async fn abort_leaves_nothing_on_either_mysql_server() {
    abort_leaves_nothing(MySql97, MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_leaves_nothing_on_mysql_5_6() {
    abort_leaves_nothing(MySql56, MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_leaves_nothing_on_either_mariadb_server() {
    abort_leaves_nothing(MariaDb1011, MariaDb118).await;
}

/// After `finish` only the fence is left on the source, which says so itself, and the moved
/// database on the target.
async fn finish_leaves_nothing(from: Version, to: Version) {
    let before = stage(from, to).await;
    let stage = &before.stage;
    let load = stage.load(2).await;
    stage.stream().await;
    stage.cutover().await;
    stage.proxy.done(&["finish"]).await.unwrap();
    load.more_commits(20, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;

    let target = facts(&stage.target).await;
    let ours: Vec<&String> = target
        .iter()
        .filter(|fact| fact.contains("pointsman") && !fact.contains("/pointsman-servers-"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
    let source = facts(&stage.source).await;
    let mut differences = catalog::differences(&before.source, &source);
    differences.retain(|line| !line.contains("read_only"));
    assert_eq!(differences, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn finish_leaves_nothing_but_the_fence_on_mysql() {
    finish_leaves_nothing(MySql97, MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn finish_leaves_nothing_but_the_fence_on_mariadb() {
    finish_leaves_nothing(MariaDb1011, MariaDb118).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_abort_the_migration_of_mysql_can_be_started_again() {
    let before = stage(MySql97, MySql97).await;
    let stage = &before.stage;
    stage.stream().await;
    stage.proxy.done(&["abort"]).await.unwrap();
    stage.stream().await;
    stage.cutover().await;
    stage.assert_same_contents().await;
}
