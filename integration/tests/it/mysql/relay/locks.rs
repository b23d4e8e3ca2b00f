//! User-level locks go over with their sessions: taken inside the hold, as often as before.

use std::time::Duration;

use binlog::session::Unmovable;
use binlog::wire::SqlConn;
use integration::mysql::{MySqlServer, Version};
use tokio::time::timeout;

use super::house::{House, PATIENCE, ask, port};

async fn all_are_ready(house: &House, count: usize) {
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, &report.unmovable[..]), (count, &[][..]));
}

async fn move_all(house: &House, count: usize) {
    let report = house.move_points().await;
    assert_eq!((report.ready, &report.unmovable[..]), (count, &[][..]));
}

/// Whether a lock is free, as a server says.
fn is_free(server: &MySqlServer, name: &str) -> bool {
    let free = server.sql(&format!("SELECT IS_FREE_LOCK('{name}')"));
    free.unwrap().trim() == "1"
}

async fn has(client: &SqlConn, name: &str) -> bool {
    let sql = format!("SELECT IS_USED_LOCK('{name}') = CONNECTION_ID()");
    ask(client, &sql).await == "1"
}

async fn gives_back(client: &SqlConn, name: &str) -> String {
    ask(client, &format!("SELECT RELEASE_LOCK('{name}')")).await
}

async fn takes(client: &SqlConn, name: &str) {
    let sql = format!("SELECT GET_LOCK('{name}', 20)");
    assert_eq!(ask(client, &sql).await, "1");
}

async fn locks_go_over(from: Version, to: Version) {
    let house = House::pair(from, to).await;
    let target = house.target.as_ref().unwrap();
    let first = house.client().await;
    takes(&first, "One lock").await;
    takes(&first, "One lock").await;
    takes(&first, "One lock").await;
    takes(&first, "two").await;
    let second = house.client().await;
    all_are_ready(&house, 2).await;
    // Before the hold another session may still get it.
    assert!(is_free(target, "One lock"));
    assert_eq!(gives_back(&first, "two").await, "1");
    takes(&second, "two").await;
    move_all(&house, 2).await;
    assert!(!is_free(target, "One lock") && !is_free(target, "two"));
    assert!(has(&first, "One lock").await && has(&second, "two").await);
    assert_eq!(port(&first).await, target.port());
    assert_eq!(ask(&first, "SELECT GET_LOCK('two', 0)").await, "0");
    for held in ["1", "1", "1", "NULL"] {
        assert_eq!(gives_back(&first, "One lock").await, held);
    }
    assert_eq!(house.relay.close_source_connections(PATIENCE).await, 0);
    // And back.
    all_are_ready(&house, 2).await;
    move_all(&house, 2).await;
    assert!(has(&second, "two").await);
    assert_eq!(port(&second).await, house.source.port());
    assert_eq!(gives_back(&second, "two").await, "1");
}

#[tokio::test]
async fn locks_go_over_from_mysql_9_7_to_9_7() {
    locks_go_over(Version::MySql97, Version::MySql97).await;
}

#[tokio::test]
async fn locks_go_over_from_mariadb_11_8_to_11_8() {
    locks_go_over(Version::MariaDb118, Version::MariaDb118).await;
}

#[tokio::test]
async fn locks_go_over_from_mariadb_11_8_to_mysql_9_7() {
    locks_go_over(Version::MariaDb118, Version::MySql97).await;
}

/// There a session has one lock at most, once.
#[tokio::test]
async fn the_lock_of_a_session_of_mysql_5_6_goes_over() {
    let house = House::pair(Version::MySql56, Version::MySql97).await;
    let client = house.client().await;
    takes(&client, "gone").await;
    takes(&client, "kept").await;
    takes(&client, "kept").await;
    all_are_ready(&house, 1).await;
    move_all(&house, 1).await;
    assert!(has(&client, "kept").await);
    assert!(is_free(house.target.as_ref().unwrap(), "gone"));
    assert_eq!(gives_back(&client, "kept").await, "1");
    assert_eq!(gives_back(&client, "kept").await, "NULL");
}

async fn stale_locks_of_twins_are_no_hindrance(version: Version) {
    let house = House::pair(version, version).await;
    let first = house.client().await;
    let second = house.client().await;
    takes(&first, "l").await;
    all_are_ready(&house, 2).await;
    // A cutover that is given up when the twins have all.
    let mut held = house.switch.hold(router::Side::Target).unwrap();
    timeout(PATIENCE, held.drain()).await.unwrap();
    let drained = held.into_drained().unwrap();
    house.relay.refresh_changed(PATIENCE).await;
    assert!(!is_free(house.target.as_ref().unwrap(), "l"));
    drop(drained);
    assert!(has(&first, "l").await, "it still has it at the source");
    assert_eq!(gives_back(&first, "l").await, "1");
    takes(&second, "l").await;
    all_are_ready(&house, 2).await;
    move_all(&house, 2).await;
    assert!(has(&second, "l").await && !has(&first, "l").await);
}

#[tokio::test]
async fn stale_locks_of_mysql_twins_are_no_hindrance() {
    stale_locks_of_twins_are_no_hindrance(Version::MySql97).await;
}

#[tokio::test]
async fn stale_locks_of_mariadb_twins_are_no_hindrance() {
    stale_locks_of_twins_are_no_hindrance(Version::MariaDb118).await;
}

/// Whoever waits for a lock runs a statement: the hold waits for it, and nothing is lost.
#[tokio::test]
async fn a_session_that_waits_for_a_lock_is_waited_for() {
    for version in [Version::MySql97, Version::MariaDb118] {
        let house = House::pair(version, version).await;
        let holder = house.client().await;
        let waiter = house.client().await;
        takes(&holder, "l").await;
        all_are_ready(&house, 2).await;
        let waiting = takes(&waiter, "l");
        let meanwhile = async {
            while house.switch.running() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let held = house.switch.hold(router::Side::Target).unwrap();
            let held = held.into_drained().expect_err("a statement runs");
            drop(held);
            assert_eq!(gives_back(&holder, "l").await, "1");
        };
        let both = async { tokio::join!(waiting, meanwhile) };
        timeout(PATIENCE, both).await.unwrap();
        move_all(&house, 2).await;
        assert!(has(&waiter, "l").await && !has(&holder, "l").await);
    }
}

#[tokio::test]
async fn a_lock_whose_name_cannot_be_told_is_listed() {
    let sql = "SELECT GET_LOCK(CONCAT('a', 'b'), 1)";
    let house = House::pair(Version::MySql97, Version::MySql97).await;
    let client = house.client().await;
    assert_eq!(ask(&client, sql).await, "1");
    all_are_ready(&house, 1).await;
    move_all(&house, 1).await;
    assert!(has(&client, "ab").await, "this server lists it");

    let house = House::pair(Version::MariaDb118, Version::MariaDb118).await;
    let client = house.client().await;
    assert_eq!(ask(&client, sql).await, "1");
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.unmovable[0].1, [Unmovable::UserLock]);
}
