//! More tables than anything in the program has room for at once.

use std::fmt::Write as _;

use integration::mysql::MySqlServer;
use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql97};
use integration::proxy::Proxy;

use super::stage::{PATIENCE, configured, usual};

const TABLES: u32 = 320;

/// All rows of all tables, counted by one statement.
fn rows(server: &MySqlServer) -> String {
    let each: Vec<String> = (0..TABLES)
        .map(|n| format!("SELECT COUNT(*) AS c FROM shop.t{n}"))
        .collect();
    let sql = format!(
        "SELECT SUM(c), MIN(c) FROM ({}) x",
        each.join(" UNION ALL ")
    );
    server.sql(&sql).unwrap()
}

async fn many_tables_move(from: Version, to: Version) {
    let (source, target) = tokio::join!(
        MySqlServer::start(from, usual()),
        MySqlServer::start(to, usual()),
    );
    let (source, target) = (source.unwrap(), target.unwrap());
    let mut make = "CREATE DATABASE shop; USE shop;".to_owned();
    let mut change = "BEGIN;".to_owned();
    for n in 0..TABLES {
        let columns = "(id INT PRIMARY KEY, v VARCHAR(10), KEY (v)) ENGINE = InnoDB";
        write!(
            make,
            "CREATE TABLE t{n} {columns}; INSERT INTO t{n} VALUES (1, 'a');"
        )
        .unwrap();
        write!(change, "INSERT INTO t{n} VALUES (2, 'b');").unwrap();
    }
    change.push_str("COMMIT;");
    source.script("", &make).unwrap();
    let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    // One transaction over all of them.
    source.script("shop", &change).unwrap();
    let status = proxy.wait_for("the target is current", PATIENCE, |status| {
        status["lag"]["transactions"] == 0 && status["lag"]["bytes"] == 0
    });
    status.await.unwrap();
    proxy.done(&["cutover"]).await.unwrap();
    let all = format!("{}\t2", 2 * TABLES);
    assert_eq!((rows(&source), rows(&target)), (all.clone(), all));
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_mysql_tables_move() {
    many_tables_move(MySql97, MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_mariadb_tables_move() {
    many_tables_move(MariaDb1011, MariaDb118).await;
}
