//! Which rows are found, where they are written by SQL: one of those that the target's collations
//! hold equal, and no other.

use std::future::Future;

use binlog::apply::{ApplyError, Found};
use integration::mysql::Version;

use super::pair::Pair;

const DIRECTIONS: [(Version, Version); 4] = [
    (Version::MySql97, Version::MySql97),
    (Version::MySql56, Version::MySql97),
    (Version::MariaDb1011, Version::MariaDb118),
    (Version::MySql97, Version::MariaDb118),
];

async fn pair(source: Version, target: Version) -> Pair {
    let mut pair = Pair::start(source, target).await;
    pair.without_row_events().await;
    pair
}

async fn the_row_with_the_same_bytes(source: Version, target: Version) {
    let mut pair = pair(source, target).await;
    let kinds = [
        "VARCHAR(20)",
        "VARCHAR(20) COLLATE utf8mb4_bin",
        "TEXT",
        "VARCHAR(20) CHARACTER SET utf8 COLLATE utf8_unicode_ci",
        "CHAR(20)",
    ];
    for kind in kinds {
        pair.both(&format!("CREATE TABLE n (k {kind}, v INT) ENGINE=InnoDB"))
            .await;
        pair.change(
            "INSERT INTO n (k) VALUES ('x'), ('X'), ('x  '), ('ß'), ('ss'), ('s'), ('é'), ('e'), ('É'), ('X'), (''), ('  '), (NULL)",
        );
        Box::pin(pair.apply()).await.unwrap();
        pair.change(
            "DELETE FROM n WHERE k = BINARY 'X' LIMIT 1; DELETE FROM n WHERE k = BINARY 'x  ';
             DELETE FROM n WHERE k = BINARY 'ss'; UPDATE n SET k = 'E' WHERE k = BINARY 'é';
             DELETE FROM n WHERE k = BINARY 'É'; DELETE FROM n WHERE k = BINARY '  '; UPDATE n SET v = 1 WHERE k = BINARY 'x'",
        );
        Box::pin(pair.apply()).await.unwrap();
        pair.same("SELECT HEX(k), v FROM n ORDER BY 1, 2");
        pair.both("DROP TABLE n").await;
    }
}

async fn keys_that_change_by_their_case_alone(source: Version, target: Version) {
    let mut pair = pair(source, target).await;
    pair.both(
        "CREATE TABLE t (k VARCHAR(20), v INT, u VARCHAR(9) UNIQUE, PRIMARY KEY (k)) ENGINE=InnoDB;
         INSERT INTO t VALUES ('a', 1, 'p'), ('B', 2, 'Q'), ('c ', 3, 'r'), ('d', 4, 's')",
    )
    .await;
    pair.change(
        "UPDATE t SET k = 'A' WHERE v = 1; DELETE FROM t WHERE v = 2; INSERT INTO t VALUES ('b', 5, 'q');
         UPDATE t SET k = 'C' WHERE v = 3; UPDATE t SET u = 'S' WHERE v = 4",
    );
    Box::pin(pair.apply()).await.unwrap();
    let rows = pair.same("SELECT HEX(k), v, HEX(u) FROM t ORDER BY v");
    assert_eq!(rows, "41\t1\t70\n43\t3\t72\n64\t4\t53\n62\t5\t71");
    pair.change("UPDATE t SET k = 'D' WHERE v = 4");
    Box::pin(pair.apply()).await.unwrap();
    pair.change("BEGIN; UPDATE t SET k = 'x' WHERE v = 1; UPDATE t SET k = 'a' WHERE v = 3; UPDATE t SET k = 'C' WHERE v = 1; COMMIT; DELETE FROM t WHERE k = 'd'");
    Box::pin(pair.apply()).await.unwrap();
    pair.same("SELECT HEX(k), v, HEX(u) FROM t ORDER BY v");
}

async fn a_missing_row_is_named(source: Version, target: Version) {
    let mut pair = pair(source, target).await;
    pair.both(
        "CREATE TABLE t (id INT, k VARCHAR(9), v INT, PRIMARY KEY (k, id)) ENGINE=InnoDB;
         INSERT INTO t VALUES (1, 'a', 0), (2, 'se-cret', 0), (3, 'c', 0), (4, 'd', 0)",
    )
    .await;
    let lost = "DELETE FROM t WHERE id = 2";
    pair.target.sql_in("d", lost).unwrap();
    let start = pair.applied.clone();
    for change in ["UPDATE t SET v = 1", "DELETE FROM t"] {
        pair.change(change);
        let error = Box::pin(pair.apply()).await.unwrap_err();
        assert!(
            matches!(&error, ApplyError::Divergence(found) if found.found == Found::Missing),
            "{error}"
        );
        let key: Vec<_> = error.key().unwrap().values().collect();
        assert_eq!(key, ["se-cret", "2"]);
        assert!(!error.to_string().contains("se-cret"), "{error}");
        let left = pair.target.sql_in("d", "SELECT SUM(v), COUNT(*) FROM t");
        assert_eq!(left.unwrap(), "0\t3", "nothing is committed");
        pair.both("SELECT 1").await;
    }
    pair.target
        .sql_in("d", "INSERT INTO t VALUES (2, 'se-cret', 0)")
        .unwrap();
    pair.applied = start;
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same("SELECT COUNT(*) FROM t"), "0");
}

async fn every_direction<F: Future<Output = ()>>(test: fn(Version, Version) -> F) {
    for (source, target) in DIRECTIONS {
        Box::pin(test(source, target)).await;
    }
}

#[tokio::test]
async fn without_a_key_the_row_with_the_same_bytes_is_found() {
    every_direction(the_row_with_the_same_bytes).await;
}

#[tokio::test]
async fn keys_change_by_their_case_alone() {
    every_direction(keys_that_change_by_their_case_alone).await;
}

#[tokio::test]
async fn a_row_that_is_missing_is_named_by_its_key() {
    every_direction(a_missing_row_is_named).await;
}
