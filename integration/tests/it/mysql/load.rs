//! The accounted load itself, on MySQL and MariaDB: it must be able to find what it looks for.

use std::time::Duration;

use integration::load::{Account, Load, LoadOptions};
use integration::mysql::{MySqlOptions, MySqlServer, Version};

const PATIENCE: Duration = Duration::from_secs(120);

async fn server_with_tables(version: Version) -> MySqlServer {
    let options = MySqlOptions::default().durable();
    let server = MySqlServer::start(version, options).await.unwrap();
    server.sql("CREATE DATABASE shop").unwrap();
    server.create_user("app", "secret", "shop").unwrap();
    let client = server.connect().await.unwrap();
    Load::prepare_in(&client, "shop").await.unwrap();
    server
}

async fn account_after(version: Version, damage: &str) -> Account {
    let server = server_with_tables(version).await;
    let url = server.url_with_password("app", "secret", "shop");
    let load = Load::start(&LoadOptions::new(url).clients(4))
        .await
        .unwrap();
    load.more_commits(200, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    if !damage.is_empty() {
        server.sql_in("shop", damage).unwrap();
    }
    let client = server.connect().await.unwrap();
    report.account_in(&client, "shop").await.unwrap()
}

#[tokio::test]
async fn an_undisturbed_load_balances_on_every_version() {
    for version in Version::ALL {
        let account = account_after(version, "").await;
        assert!(account.is_perfect(), "{version}: {account:?}");
        assert!(account.acknowledged >= 200);
    }
}

#[tokio::test]
async fn a_lost_row_and_a_row_that_is_there_twice_are_found_on_mysql() {
    let damage = "DELETE FROM load_event ORDER BY `row` DESC LIMIT 1;
        INSERT INTO load_event (id, client, note) SELECT id, client, note FROM load_event LIMIT 1";
    let account = account_after(Version::MySql97, damage).await;
    assert_eq!((account.lost, account.twice), (1, 1));
    assert!(account.wrong_totals > 0);
    assert!(!account.balances());
}

#[tokio::test]
async fn a_lost_update_is_found_on_mariadb() {
    let damage = "UPDATE load_counter SET total = total - 1 WHERE client = 1";
    let account = account_after(Version::MariaDb118, damage).await;
    assert_eq!((account.lost, account.wrong_totals), (0, 1));
}

#[tokio::test]
async fn a_crash_of_mysql_makes_errors_and_the_account_still_balances() {
    let mut server = server_with_tables(Version::MySql97).await;
    let url = server.url_with_password("app", "secret", "shop");
    let load = Load::start(&LoadOptions::new(url).clients(4))
        .await
        .unwrap();
    load.more_commits(200, PATIENCE).await.unwrap();
    server.kill9().unwrap();
    server.restart().await.unwrap();
    load.more_commits(50, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    assert!(report.errors > 0);
    assert!(report.longest_gap.length > Duration::from_millis(10));
    let client = server.connect().await.unwrap();
    let account = report.account_in(&client, "shop").await.unwrap();
    assert!(account.balances(), "{account:?} {:?}", report.error_samples);
}
