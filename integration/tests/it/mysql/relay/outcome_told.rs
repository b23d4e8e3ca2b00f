//! What a session's last statement left is told by `ROW_COUNT()` and `FOUND_ROWS()` as if nothing
//! had come between: no question of ours, and no other server.

use binlog::wire::{Conn, SqlConn};
use integration::mysql::Version::{self, MariaDb118, MySql56, MySql97};

use super::house::{House, PATIENCE, ask, in_shop, port};

const BOTH: &str = "SELECT ROW_COUNT(), FOUND_ROWS() AS found";

/// Statements, and what a session says behind them that nobody asks in between.
const CASES: [&str; 7] = [
    "INSERT INTO t VALUES (1), (2), (3), (4), (5)",
    "UPDATE t SET a = a + 10 WHERE a > 2",
    "SELECT a FROM t",
    "SELECT SQL_CALC_FOUND_ROWS a FROM t LIMIT 2",
    "DELETE FROM t WHERE a = 1",
    "SET @a = 1",
    "INSERT INTO nowhere VALUES (1)",
];

async fn run(client: &SqlConn, sql: &str) {
    // One of them fails, and is meant to.
    let _answer = client.query(sql).await;
}

async fn direct(house: &House) -> Vec<String> {
    let url = house.source.url_with_password("app", "secret", "");
    let conn = Conn::connect(&url.parse().unwrap(), in_shop())
        .await
        .unwrap();
    let client = SqlConn::new(conn, "the source".to_owned());
    run(&client, "SELECT 1").await;
    let mut all = Vec::new();
    for sql in CASES {
        run(&client, sql).await;
        all.push(ask(&client, BOTH).await);
    }
    client.execute("DELETE FROM t").await.unwrap();
    all
}

async fn is_told_as_it_was(from: Version, to: Version) {
    let house = House::pair(from, to).await;
    for server in [&house.source, house.target.as_ref().unwrap()] {
        server.sql("CREATE TABLE shop.t (a INT)").unwrap();
    }
    let expected = direct(&house).await;
    let client = house.client().await;
    run(&client, "SELECT 1").await;
    // Behind questions of ours.
    for (sql, expected) in CASES.iter().zip(&expected) {
        run(&client, sql).await;
        house.relay.prepare_twins(PATIENCE).await;
        assert_eq!(ask(&client, BOTH).await, *expected, "asked behind {sql}");
        assert_eq!(ask(&client, "SELECT ROW_COUNT()").await, "-1", "only once");
    }
    // And behind a move, there and back.
    for server in [&house.source, house.target.as_ref().unwrap()] {
        server.sql("DELETE FROM shop.t").unwrap();
    }
    for (sql, expected) in CASES.iter().zip(&expected) {
        run(&client, sql).await;
        let before = house.switch.serving();
        house.move_points().await;
        assert_ne!(house.switch.serving(), before);
        assert_eq!(ask(&client, BOTH).await, *expected, "moved behind {sql}");
        house.move_points().await;
        assert_eq!(port(&client).await, house.source.port());
    }
}

#[tokio::test]
async fn what_a_statement_left_is_told_by_mysql_9_7_as_if_nothing_came_between() {
    Box::pin(is_told_as_it_was(MySql97, MySql97)).await;
}

#[tokio::test]
async fn what_a_statement_left_is_told_by_mysql_5_6_as_if_nothing_came_between() {
    Box::pin(is_told_as_it_was(MySql56, MySql97)).await;
}

#[tokio::test]
async fn what_a_statement_left_is_told_by_mariadb_as_if_nothing_came_between() {
    Box::pin(is_told_as_it_was(MariaDb118, MariaDb118)).await;
}
