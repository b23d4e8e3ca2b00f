//! The accounted load itself: it must be able to find what it looks for.

use std::time::Duration;

use integration::load::{Account, Load, LoadOptions};
use integration::server::{PgClient, PgOptions, PgServer};

async fn server_with_tables() -> (PgServer, PgClient) {
    let server = PgServer::start(16, PgOptions::default().without_fsync());
    let server = server.await.unwrap();
    let client = server.client("postgres").await.unwrap();
    Load::prepare(&client).await.unwrap();
    (server, client)
}

async fn account_after(server: &PgServer, client: &PgClient, damage: &str) -> Account {
    let options = LoadOptions::new(server.url("postgres", "postgres")).clients(4);
    let load = Load::start(&options).await.unwrap();
    load.more_commits(200, Duration::from_secs(120))
        .await
        .unwrap();
    let report = load.stop().await.unwrap();
    client.batch_execute(damage).await.unwrap();
    report.account(client).await.unwrap()
}

#[tokio::test]
async fn an_undisturbed_load_balances() {
    let (server, client) = server_with_tables().await;
    let account = account_after(&server, &client, "").await;
    assert!(account.is_perfect(), "{account:?}");
    assert!(account.acknowledged >= 200);
}

#[tokio::test]
async fn a_lost_row_and_a_row_that_is_there_twice_are_found() {
    let (server, client) = server_with_tables().await;
    let damage = "DELETE FROM load_event WHERE row = (SELECT max(row) FROM load_event);
        INSERT INTO load_event (id, client, note) SELECT id, client, note FROM load_event LIMIT 1";
    let account = account_after(&server, &client, damage).await;
    assert_eq!((account.lost, account.twice), (1, 1));
    assert!(account.wrong_totals > 0);
    assert!(!account.balances());
}

#[tokio::test]
async fn a_lost_update_is_found() {
    let (server, client) = server_with_tables().await;
    let damage = "UPDATE load_counter SET total = total - 1 WHERE client = 1";
    let account = account_after(&server, &client, damage).await;
    assert_eq!((account.lost, account.wrong_totals), (0, 1));
}

#[tokio::test]
async fn a_crash_makes_errors_and_unknown_outcomes_and_the_account_still_balances() {
    let (mut server, client) = server_with_tables().await;
    drop(client);
    let options = LoadOptions::new(server.url("postgres", "postgres")).clients(4);
    let load = Load::start(&options).await.unwrap();
    load.more_commits(200, Duration::from_secs(120))
        .await
        .unwrap();
    server.kill9().unwrap();
    server.restart().await.unwrap();
    load.more_commits(50, Duration::from_secs(120))
        .await
        .unwrap();
    let report = load.stop().await.unwrap();
    assert!(report.errors > 0);
    assert!(report.longest_gap.length > Duration::from_millis(10));
    let client = server.client("postgres").await.unwrap();
    let account = report.account(&client).await.unwrap();
    assert!(account.balances(), "{account:?}");
}
