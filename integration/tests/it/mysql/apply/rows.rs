//! What becomes of rows: keys, unique values, duplicates, cascades, triggers, and rows that differ.

use binlog::apply::{ApplyError, Found};
use binlog::position::{BinlogFile, Gtids, Position};
use binlog::stream::StreamEvent;
use integration::mysql::Version;
use router::{Cell, Change, OldImage};

use super::log;
use super::pair::Pair;

/// The same test against every target, from a source that it can have.
macro_rules! on_every_target {
    ($($name:ident: $test:ident;)*) => {
        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn from_mysql_97_on_mysql_97() {
                super::$test(Version::MySql97, Version::MySql97).await;
            }

            #[tokio::test]
            async fn from_mariadb_1011_on_mariadb_118() {
                super::$test(Version::MariaDb1011, Version::MariaDb118).await;
            }

            #[tokio::test]
            async fn from_mariadb_118_on_mysql_97() {
                super::$test(Version::MariaDb118, Version::MySql97).await;
            }

            #[tokio::test]
            async fn from_mysql_97_on_mariadb_118() {
                super::$test(Version::MySql97, Version::MariaDb118).await;
            }

            #[tokio::test]
            async fn from_mysql_56_on_mysql_97() {
                super::$test(Version::MySql56, Version::MySql97).await;
            }
        })*
    };
}

on_every_target! {
    keys_and_unique_values_change_hands_in_one_window: change_hands;
    minimal_row_images_are_enough: minimal;
    a_trigger_of_the_target_does_not_fire: no_trigger;
    rows_without_a_key_are_counted: without_a_key;
    cascades_happen_once: cascades;
    rows_that_differ_stop_it_with_their_key: differ;
}

async fn change_hands(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, v INT) ENGINE=InnoDB;
         CREATE TABLE c (name VARCHAR(20) PRIMARY KEY, v INT) ENGINE=InnoDB;
         INSERT INTO t VALUES (1, 10, 0), (2, 20, 0), (3, 30, 0);
         INSERT INTO c VALUES ('abc', 1), ('Def', 2)",
    )
    .await;
    pair.change(
        "BEGIN; UPDATE t SET u = NULL WHERE id = 1; UPDATE t SET u = 10 WHERE id = 2;
         UPDATE t SET u = 20 WHERE id = 1; COMMIT;
         UPDATE t SET id = 4 WHERE id = 3; INSERT INTO t VALUES (3, 40, 1);
         UPDATE t SET v = v + 1; DELETE FROM t WHERE id = 4; INSERT INTO t VALUES (5, 30, 9);
         UPDATE c SET name = 'ABC' WHERE v = 1; UPDATE c SET v = 3 WHERE name = 'def';
         DELETE FROM c WHERE name = 'def'; INSERT INTO c VALUES ('DEF', 7)",
    );
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same_rows("t").lines().count(), 4);
    assert_eq!(pair.same("SELECT * FROM c ORDER BY 1"), "ABC\t1\nDEF\t7");
}

async fn minimal(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, v INT, w TEXT) ENGINE=InnoDB;
         INSERT INTO t VALUES (1, 10, 0, 'one'), (2, 20, 0, 'two'), (3, 30, 0, 'three')",
    )
    .await;
    pair.change(
        "SET SESSION binlog_row_image = MINIMAL;
         BEGIN; UPDATE t SET u = NULL WHERE id = 1; UPDATE t SET u = 10 WHERE id = 2;
         UPDATE t SET u = 20 WHERE id = 1; COMMIT;
         UPDATE t SET v = 5 WHERE id = 1; UPDATE t SET w = NULL, v = 6 WHERE id = 1;
         UPDATE t SET id = 9 WHERE id = 3; UPDATE t SET v = 7 WHERE id = 9;
         INSERT INTO t (id, u) VALUES (4, 40); DELETE FROM t WHERE id = 2",
    );
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same_rows("t").lines().count(), 3);
    whole_rows_in_the_log(&pair).await;
}

/// The target's own log tells whole rows, whatever the source's did: its replicas may need them.
async fn whole_rows_in_the_log(pair: &Pair) {
    let end = log::end_of(&pair.target).await;
    let begin = BinlogFile::new(std::sync::Arc::clone(&end.file.name), 4);
    let mut stream = log::behind(&pair.target, &Position::new(begin, Gtids::None)).await;
    let mut updates = 0;
    loop {
        let event = tokio::time::timeout(std::time::Duration::from_secs(120), stream.next());
        match event.await.unwrap().unwrap() {
            StreamEvent::Change {
                change:
                    Change::Update {
                        old: Some(old),
                        row,
                    },
                ..
            } if row.cells().len() == 4
                && matches!(&row.cells()[3], Cell::Null | Cell::Value(_)) =>
            {
                assert!(matches!(old, OldImage::Full(_)), "{old:?}");
                assert!(row.is_complete(), "{row:?}");
                let text = old.row().cells()[3].clone();
                assert!(matches!(text, Cell::Null | Cell::Value(_)));
                updates += 1;
            }
            StreamEvent::Commit { position, .. } | StreamEvent::Idle { position } => {
                if position >= end {
                    break;
                }
            }
            StreamEvent::Begin { .. }
            | StreamEvent::Table { .. }
            | StreamEvent::Change { .. }
            | StreamEvent::Ddl(_) => {}
        }
    }
    assert!(updates > 0);
}

async fn no_trigger(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT) ENGINE=InnoDB;
         CREATE TABLE audit (id INT, what TEXT) ENGINE=InnoDB;
         CREATE TRIGGER i AFTER INSERT ON t FOR EACH ROW INSERT INTO audit VALUES (NEW.id, 'i');
         CREATE TRIGGER u AFTER UPDATE ON t FOR EACH ROW INSERT INTO audit VALUES (NEW.id, 'u')",
    )
    .await;
    pair.change("INSERT INTO t VALUES (1, 1), (2, 2); UPDATE t SET v = 5 WHERE id = 1");
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same("SELECT count(*) FROM audit"), "3");
    pair.same_rows("t");
}

async fn without_a_key(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both(
        "CREATE TABLE t (a INT, b VARCHAR(10)) ENGINE=InnoDB;
         INSERT INTO t VALUES (1, 'x'), (1, 'x'), (1, NULL), (2, 'y')",
    )
    .await;
    pair.change(
        "DELETE FROM t WHERE b = 'x' LIMIT 1; UPDATE t SET a = 3 WHERE b IS NULL;
         INSERT INTO t VALUES (2, 'y'), (2, 'y')",
    );
    Box::pin(pair.apply()).await.unwrap();
    let rows = pair.same("SELECT * FROM t ORDER BY 1, 2");
    assert_eq!(rows, "1\tx\n2\ty\n2\ty\n2\ty\n3\tNULL");
    pair.target
        .sql_in("d", "DELETE FROM t WHERE a = 3")
        .unwrap();
    pair.change("DELETE FROM t WHERE a = 3");
    let error = Box::pin(pair.apply()).await.unwrap_err();
    assert!(
        matches!(&error, ApplyError::Divergence(found) if found.found == Found::Missing),
        "{error}"
    );
}

async fn cascades(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both(
        "CREATE TABLE p (id INT PRIMARY KEY, v INT) ENGINE=InnoDB;
         CREATE TABLE c (id INT PRIMARY KEY, p INT, q INT,
            FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE,
            FOREIGN KEY (q) REFERENCES p (id) ON DELETE SET NULL) ENGINE=InnoDB;
         CREATE TABLE g (id INT PRIMARY KEY, c INT,
            FOREIGN KEY (c) REFERENCES c (id) ON DELETE CASCADE) ENGINE=InnoDB;
         INSERT INTO p VALUES (1, 0), (2, 0), (3, 0), (4, 0);
         INSERT INTO c VALUES (1, 1, 2), (2, 2, NULL), (3, 3, 4), (4, 1, NULL);
         INSERT INTO g VALUES (1, 1), (2, 2), (3, 3)",
    )
    .await;
    pair.change(
        "UPDATE p SET v = 1; INSERT INTO p VALUES (9, 9);
         UPDATE p SET id = 30 WHERE id = 3; DELETE FROM p WHERE id = 1;
         BEGIN; UPDATE c SET p = 9 WHERE id = 2; DELETE FROM p WHERE id = 4; DELETE FROM p WHERE id = 2; COMMIT;
         SET foreign_key_checks = 0; DELETE FROM p WHERE id = 30",
    );
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same_rows("p").lines().count(), 1);
    assert_eq!(
        pair.same("SELECT * FROM c ORDER BY 1"),
        "2\t9\tNULL\n3\t30\tNULL"
    );
    assert_eq!(pair.same("SELECT * FROM g ORDER BY 1"), "2\t2\n3\t3");
}

async fn differ(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both(
        "CREATE TABLE t (id INT, k VARCHAR(9), v INT, PRIMARY KEY (k, id)) ENGINE=InnoDB;
         INSERT INTO t VALUES (1, 'secret', 0), (2, 'b', 0)",
    )
    .await;
    let both = |pair: &Pair| {
        pair.target
            .sql_in("d", "DELETE FROM t WHERE id = 1")
            .unwrap()
    };
    both(&pair);
    pair.change("UPDATE t SET v = 1 WHERE id = 2; UPDATE t SET v = 5 WHERE id = 1");
    let error = Box::pin(pair.apply()).await.unwrap_err();
    assert!(!error.is_transient());
    let text = format!("{error} {error:?}");
    assert!(
        error.to_string().contains("d.t") && error.to_string().contains("k, id"),
        "{error}"
    );
    assert!(!error.to_string().contains("secret"), "{text}");
    assert_eq!(
        error.row().unwrap(),
        "(`k`=_utf8mb4 x'736563726574' AND `id`=1)"
    );
    let key: Vec<_> = error.key().unwrap().values().collect();
    assert_eq!(key, ["secret", "1"]);
    assert_eq!(
        pair.target.sql_in("d", "SELECT v FROM t").unwrap(),
        "0",
        "nothing is committed"
    );

    pair.target
        .sql_in("d", "INSERT INTO t VALUES (1, 'secret', 0), (7, 'x', 0)")
        .unwrap();
    pair.change("INSERT INTO t VALUES (6, 'x', 1), (7, 'x', 1)");
    let error = Box::pin(pair.apply()).await.unwrap_err();
    assert!(
        matches!(&error, ApplyError::Divergence(found) if found.found == Found::Exists),
        "{error}"
    );
    assert_eq!(error.row().unwrap(), "(`k`=_utf8mb4 x'78' AND `id`=7)");
    let key: Vec<_> = error.key().unwrap().values().collect();
    assert_eq!(key, ["x", "7"]);
}
