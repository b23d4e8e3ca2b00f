//! A server that dies while a client commits: nobody knows whether the transaction is in, and the
//! client is told nothing else.

use binlog::wire::SqlConn;
use integration::mysql::{MySqlServer, Version};
use tokio::time::timeout;

use super::house::{House, PATIENCE, ask, port};

/// Has every commit of the server wait until the connection ends.
async fn stops_commits(server: &MySqlServer) -> SqlConn {
    let root = server.connect().await.unwrap();
    root.execute("FLUSH TABLES WITH READ LOCK").await.unwrap();
    root
}

/// Waits until a statement of the application is stuck.
async fn wait_until_stuck(root: &SqlConn, statement: &str) {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.processlist \
         WHERE USER = 'app' AND INFO LIKE '{statement}%' AND STATE LIKE 'Waiting%'"
    );
    let stuck = async {
        while ask(root, &sql).await == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, stuck).await.unwrap();
}

/// The client's server dies under this statement, behind those.
async fn tells_no_lie(version: Version, before: &[&str], last: &str) {
    let mut house = House::pair(version, version).await;
    for server in [&house.source, house.target.as_ref().unwrap()] {
        server
            .sql("CREATE TABLE shop.t (a int PRIMARY KEY) ENGINE = InnoDB")
            .unwrap();
    }
    let client = house.client().await;
    // A twin stands ready: the temptation to try again there.
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.ready, 1, "{report:?}");
    for sql in before {
        client.execute(sql).await.unwrap();
    }
    let root = stops_commits(&house.source).await;
    let committing = client.execute(last);
    let killing = async {
        wait_until_stuck(&root, last).await;
        house.source.kill9().unwrap();
    };
    let (outcome, ()) = timeout(PATIENCE, async { tokio::join!(committing, killing) })
        .await
        .unwrap();
    // The connection is gone, as with the server itself (error 2013 of the clients): no OK, and no
    // error of a server, which would say that nothing was done.
    let error = outcome.expect_err("the outcome is unknown");
    assert!(error.server().is_none(), "{error:?}");
    client.query("SELECT 1").await.expect_err("it is over");
    // Nobody tried again.
    let target = house.target.as_ref().unwrap();
    assert_eq!(
        target.sql("SELECT COUNT(*) FROM shop.t").unwrap().trim(),
        "0"
    );
    house.source.restart().await.unwrap();
    let count = house.source.sql("SELECT COUNT(*) FROM shop.t").unwrap();
    assert!(matches!(count.trim(), "0" | "1"), "{count}");
    // Others are served again.
    let next = house.client().await;
    assert_eq!(port(&next).await, house.source.port());
}

const TRANSACTION: [&str; 2] = ["BEGIN", "INSERT INTO t VALUES (1)"];

#[tokio::test]
async fn the_outcome_of_a_commit_at_which_mysql_9_7_dies_is_unknown() {
    tells_no_lie(Version::MySql97, &TRANSACTION, "COMMIT").await;
}

#[tokio::test]
async fn the_outcome_of_a_commit_at_which_mysql_5_6_dies_is_unknown() {
    tells_no_lie(Version::MySql56, &TRANSACTION, "COMMIT").await;
}

#[tokio::test]
async fn the_outcome_of_a_commit_at_which_mariadb_11_8_dies_is_unknown() {
    tells_no_lie(Version::MariaDb118, &TRANSACTION, "COMMIT").await;
}

#[tokio::test]
async fn the_outcome_of_an_insert_at_which_its_server_dies_is_unknown() {
    for version in [Version::MySql97, Version::MariaDb118] {
        tells_no_lie(version, &[], "INSERT INTO t VALUES (1)").await;
    }
}
