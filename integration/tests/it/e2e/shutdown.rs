//! SIGTERM: transactions may end, everybody else is sent away, and a second signal is in a hurry.

use integration::server::PgClient;
use std::time::{Duration, Instant};

use super::stage::{PATIENCE, Stage};

async fn until_refused(stage: &Stage) {
    let deadline = Instant::now() + PATIENCE;
    while PgClient::connect(&stage.url()).await.is_ok() {
        assert!(Instant::now() < deadline, "new clients are let in");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_closed(client: &PgClient) {
    let deadline = Instant::now() + PATIENCE;
    while !client.is_closed() {
        assert!(Instant::now() < deadline, "an idle client stays");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_transactions_end_sends_the_others_away_and_exits_with_0() {
    let mut stage = Stage::new(14, 17).await;
    let (busy, idle) = (stage.client().await, stage.client().await);
    busy.batch_execute("BEGIN; INSERT INTO \"Odd schema\".\"No key\" VALUES ('last', 1)")
        .await
        .unwrap();
    stage.proxy.terminate().unwrap();
    until_refused(&stage).await;
    until_closed(&idle).await;
    assert!(!busy.is_closed());
    busy.batch_execute("UPDATE \"Odd schema\".\"No key\" SET n = 2 WHERE \"a column\" = 'last'")
        .await
        .unwrap();
    busy.batch_execute("COMMIT").await.unwrap();
    assert_eq!(stage.proxy.wait_until_ended().await.unwrap(), 0);
    until_closed(&busy).await;
    let sql = "SELECT n FROM \"Odd schema\".\"No key\" WHERE \"a column\" = 'last'";
    assert_eq!(stage.source.psql(super::stage::DATABASE, sql).unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_transactions_too() {
    let mut stage = Stage::new(14, 17).await;
    stage.stream().await;
    let busy = stage.client().await;
    busy.batch_execute("BEGIN").await.unwrap();
    stage.proxy.terminate().unwrap();
    until_refused(&stage).await;
    assert!(!busy.is_closed());
    stage.proxy.terminate().unwrap();
    assert_eq!(stage.proxy.wait_until_ended().await.unwrap(), 0);
    until_closed(&busy).await;
    stage.proxy.restart().await.unwrap();
    stage.proxy.wait_for_phase("streaming").await.unwrap();
}
