//! Log-ins that race with the fence: a backend that is still authenticating is in no list of
//! sessions, and must not come out of it as a writer on the side that was left.

use std::time::Instant;

use integration::server::PgClient;
use tokio::task::JoinSet;

use super::stage::{DATABASE, PATIENCE, Stage};

/// Connects past the proxy, slowly, and writes; says whether the source acknowledged it.
async fn late_writer(source: String, number: u32) -> bool {
    let url = format!("{source}?options=-c%20post_auth_delay%3D30");
    let Ok(client) = PgClient::connect(&url).await else {
        return false;
    };
    let write = format!("INSERT INTO \"Odd schema\".\"No key\" VALUES ('late', {number})");
    client.batch_execute(&write).await.is_ok()
}

/// P3: the two sides never take writes at the same time, not even from a log-in under way.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_past_the_proxy_that_is_under_way_at_the_cutover_never_writes() {
    let stage = Stage::new(14, 17).await;
    let load = stage.load(2).await;
    stage.stream().await;
    let direct = stage.source.url_with_password("app", "secret", DATABASE);
    let mut late = JoinSet::new();
    for number in 0..6 {
        late.spawn(late_writer(direct.clone(), number));
    }
    let waiting = "SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock'
        AND classid = 'pg_database'::regclass AND NOT EXISTS (
            SELECT FROM pg_stat_activity a WHERE a.pid = pg_locks.pid AND a.usename = 'app')";
    let deadline = Instant::now() + PATIENCE;
    while stage.source.psql("postgres", waiting).unwrap() == "0" {
        assert!(Instant::now() < deadline, "no log-in is under way");
    }
    stage.cutover().await;
    load.more_commits(20, PATIENCE).await.unwrap();
    let mut acknowledged = 0;
    while let Some(wrote) = late.join_next().await {
        acknowledged += usize::from(wrote.unwrap());
    }
    let count = "SELECT count(*) FROM \"Odd schema\".\"No key\" WHERE \"a column\" = 'late'";
    let count = stage.target.psql(DATABASE, count).unwrap();
    assert_eq!(
        count,
        acknowledged.to_string(),
        "an acknowledged write is lost"
    );
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    stage.assert_same_contents().await;
}
