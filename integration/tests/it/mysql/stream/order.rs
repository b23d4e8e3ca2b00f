//! What is committed comes whole, in order, and once.

use binlog::stream::{EventError, StopReason, StreamError};
use integration::mysql::Version;

use super::fixture::{Kind, Source};

#[tokio::test]
async fn changes_and_definitions_come_in_the_order_of_their_commits() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        let start = source.position().await;
        for sql in [
            "INSERT INTO t VALUES (1, 'a'), (2, NULL)",
            "BEGIN",
            "UPDATE t SET v = 'b' WHERE id = 1",
            "DELETE FROM t WHERE id = 2",
            "COMMIT",
            "BEGIN",
            "INSERT INTO t VALUES (9, 'undone')",
            "ROLLBACK",
            "CREATE TABLE u (id INT)",
            "INSERT INTO u VALUES (7)",
            "TRUNCATE TABLE u",
            "ALTER TABLE t ADD w TEXT",
            "INSERT INTO t VALUES (3, 'c', 'd')",
            "CREATE DATABASE e",
            "CREATE TABLE e.far (id INT)",
            "INSERT INTO e.far VALUES (1)",
            "DROP TABLE u",
        ] {
            source.run(sql).await;
        }
        let came = source.since(&start).await;
        let drop = &came.last().unwrap()[0];
        assert!(drop.starts_with("d: DROP TABLE `u`"), "{kind:?}: {drop}");
        let expected: [&[&str]; 9] = [
            &["+ t 1,a", "+ t 2,NULL"],
            &["~ t 1,a -> 1,b", "- t 2,NULL"],
            &["d: CREATE TABLE u (id INT)"],
            &["+ u 7"],
            &["d: TRUNCATE TABLE u"],
            &["d: ALTER TABLE t ADD w TEXT"],
            &["+ t 3,c,d"],
            &["d: CREATE DATABASE e"],
            &["d: CREATE TABLE e.far (id INT)"],
        ];
        // CREATE DATABASE names its own as the default one.
        let came: Vec<Vec<String>> = came
            .into_iter()
            .map(|one| {
                one.iter()
                    .map(|line| line.replace("e: CREATE DATABASE", "d: CREATE DATABASE"))
                    .collect()
            })
            .collect();
        assert_eq!(came[..came.len() - 1], expected, "{kind:?}");
    }
}

#[tokio::test]
async fn savepoints_leave_what_was_committed() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        let start = source.position().await;
        for sql in [
            "BEGIN",
            "INSERT INTO t VALUES (1, 'a')",
            "SAVEPOINT one",
            "INSERT INTO t VALUES (2, 'b')",
            "ROLLBACK TO one",
            "SAVEPOINT two",
            "INSERT INTO t VALUES (3, 'c')",
            "RELEASE SAVEPOINT two",
            "COMMIT",
        ] {
            source.run(sql).await;
        }
        let came = source.since(&start).await;
        assert_eq!(came, [["+ t 1,a", "+ t 3,c"]], "{kind:?}");
    }
}

#[tokio::test]
async fn a_table_made_of_a_query_comes_with_its_rows() {
    for kind in Kind::ALL {
        if kind == Kind::Gtids(Version::MySql56) {
            // That server refuses it.
            continue;
        }
        let source = Source::start(kind).await;
        source.run("INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
        let start = source.position().await;
        source.run("CREATE TABLE made AS SELECT * FROM t").await;
        source.run("INSERT INTO made VALUES (3, 'c')").await;
        let came = source.since(&start).await.concat();
        assert!(
            came[0].contains("CREATE TABLE `made`"),
            "{kind:?}: {came:?}"
        );
        assert_eq!(
            came[1..],
            ["+ made 1,a", "+ made 2,b", "+ made 3,c"],
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn temporary_tables_leave_nothing_but_their_end() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        let start = source.position().await;
        if !matches!(kind, Kind::Gtids(Version::MySql56)) {
            source
                .run("CREATE TEMPORARY TABLE tmp AS SELECT * FROM t")
                .await;
        } else {
            source
                .run("CREATE TEMPORARY TABLE tmp (id INT PRIMARY KEY, v VARCHAR(40))")
                .await;
        }
        for sql in [
            "INSERT INTO tmp VALUES (1, 'x')",
            "INSERT INTO t SELECT * FROM tmp",
            "DROP TEMPORARY TABLE tmp",
        ] {
            source.run(sql).await;
        }
        let came = source.since(&start).await.concat();
        let (rows, rest): (Vec<_>, Vec<_>) = came.iter().partition(|line| line.starts_with('+'));
        assert_eq!(rows, ["+ t 1,x"], "{kind:?}");
        assert!(
            rest.iter().all(|line| line.contains("TEMPORARY")),
            "{kind:?}: {rest:?}"
        );
    }
}

#[tokio::test]
async fn a_change_that_was_logged_as_a_statement_ends_the_stream_with_the_setting_to_change() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        let start = source.position().await;
        source.run("INSERT INTO t VALUES (1, 'a')").await;
        source.run("SET SESSION binlog_format = 'STATEMENT'").await;
        source.run("INSERT INTO t VALUES (2, 'secret')").await;
        let mut lines = source.open(&start).await;
        assert_eq!(lines.transaction().await.lines, ["+ t 1,a"]);
        let error = lines.try_transaction().await.unwrap_err();
        let StreamError::Event { source: event, .. } = &error else {
            panic!("{kind:?}: {error:?}");
        };
        assert!(
            matches!(event, EventError::Stop(StopReason::Statement { word, .. }) if word == "INSERT"),
            "{kind:?}: {event:?}"
        );
        assert!(!error.is_transient());
        let text = format!("{error}: {event}");
        assert!(
            text.contains("binlog_format = ROW") && !text.contains("secret"),
            "{text}"
        );
        assert!(lines.stream.has_failed());
        lines.try_transaction().await.unwrap_err();
    }
}

#[tokio::test]
async fn minimal_and_noblob_images_leave_out_what_the_log_does() {
    for kind in Kind::ALL {
        let source = Source::start(kind).await;
        source.run("ALTER TABLE t ADD b TEXT").await;
        let start = source.position().await;
        source.run("SET SESSION binlog_row_image = 'MINIMAL'").await;
        source.run("INSERT INTO t (id, v) VALUES (1, 'a')").await;
        source.run("UPDATE t SET v = 'b'").await;
        source.run("DELETE FROM t").await;
        source.run("SET SESSION binlog_row_image = 'NOBLOB'").await;
        source.run("INSERT INTO t (id, v) VALUES (2, 'c')").await;
        source.run("UPDATE t SET v = 'd'").await;
        source.run("UPDATE t SET b = 'e'").await;
        let came = source.since(&start).await.concat();
        let expected = [
            "+ t 1,a,?",
            "~ t 1,?,? -> ?,b,?",
            "- t 1,?,?",
            "+ t 2,c,?",
            "~ t 2,c,? -> 2,d,?",
            "~ t 2,d,? -> 2,d,e",
        ];
        assert_eq!(came, expected, "{kind:?}");
    }
}
