//! Forms of the log that one version or one session writes.

use integration::mysql::Version;

use super::fixture::{Kind, Source};

#[tokio::test]
async fn transactions_with_tagged_gtids_are_read_and_resumed() {
    let source = Source::start(Kind::Gtids(Version::MySql97)).await;
    let start = source.position().await;
    source.run("INSERT INTO t VALUES (1, 'plain')").await;
    source.run("SET gtid_next = 'AUTOMATIC:tag_1'").await;
    source.run("INSERT INTO t VALUES (2, 'tagged')").await;
    source.run("INSERT INTO t VALUES (3, 'tagged')").await;
    source.run("SET gtid_next = 'AUTOMATIC'").await;
    source.run("INSERT INTO t VALUES (4, 'plain')").await;
    let expected = ["+ t 1,plain", "+ t 2,tagged", "+ t 3,tagged", "+ t 4,plain"];
    let end = source.position().await;
    let mut lines = source.open(&start).await;
    for index in 0..4 {
        let one = lines.transaction().await;
        assert_eq!(one.lines, [expected[index]]);
        let place = one.position.to_string().parse().unwrap();
        assert_eq!(source.since(&place).await.concat(), expected[index + 1..]);
        if index == 3 {
            assert_eq!(one.position.to_string(), end.to_string());
        }
    }
}

#[tokio::test]
async fn compressed_transactions_are_read() {
    for kind in [Kind::Gtids(Version::MySql97), Kind::Files(Version::MySql97)] {
        let source = Source::start(kind).await;
        let start = source.position().await;
        source
            .run("SET SESSION binlog_transaction_compression = ON")
            .await;
        source
            .run("INSERT INTO t VALUES (1, REPEAT('a', 40)), (2, REPEAT('a', 40))")
            .await;
        source.run("CREATE TABLE made AS SELECT id FROM t").await;
        source
            .run("SET SESSION binlog_transaction_compression = OFF")
            .await;
        source.run("INSERT INTO t VALUES (3, 'c')").await;
        let came = source.since(&start).await;
        let long = "a".repeat(40);
        assert_eq!(
            came[0],
            [format!("+ t 1,{long}"), format!("+ t 2,{long}")],
            "{kind:?}"
        );
        assert_eq!(came[1][1..], ["+ made 1", "+ made 2"], "{kind:?}");
        assert_eq!(came[2], ["+ t 3,c"], "{kind:?}");
        let log = source.one("SELECT @@GLOBAL.log_bin").await;
        assert_eq!(log, "1");
    }
}

#[tokio::test]
async fn compressed_events_of_mariadb_are_read() {
    for version in [Version::MariaDb1011, Version::MariaDb118] {
        let settings = [
            ("log-bin-compress", "ON"),
            ("log-bin-compress-min-len", "10"),
        ];
        let source = Source::start_with(Kind::Gtids(version), &settings).await;
        let start = source.position().await;
        let long = "a".repeat(40);
        source
            .run("CREATE TABLE wide (id INT PRIMARY KEY, v TEXT /* some more text to squeeze */)")
            .await;
        for sql in [
            "INSERT INTO wide VALUES (1, REPEAT('a', 40)), (2, REPEAT('a', 40))",
            "UPDATE wide SET v = 'b' WHERE id = 1",
            "DELETE FROM wide",
        ] {
            source.run(sql).await;
        }
        let came = source.since(&start).await;
        assert!(came[0][0].contains("CREATE TABLE wide"));
        let rest = came[1..].concat();
        let expected = [
            format!("+ wide 1,{long}"),
            format!("+ wide 2,{long}"),
            format!("~ wide 1,{long} -> 1,b"),
            "- wide 1,b".to_owned(),
            format!("- wide 2,{long}"),
        ];
        assert_eq!(rest, expected, "{version}");
    }
}

#[tokio::test]
async fn an_alter_in_two_phases_comes_once() {
    for version in [Version::MariaDb1011, Version::MariaDb118] {
        let source = Source::start(Kind::Gtids(version)).await;
        source
            .run("INSERT INTO t VALUES (1, NULL), (2, NULL)")
            .await;
        let start = source.position().await;
        source.run("SET SESSION binlog_alter_two_phase = ON").await;
        source.run("ALTER TABLE t ADD w INT, ALGORITHM=COPY").await;
        let same = "ALTER TABLE t ADD UNIQUE (id, w), ADD UNIQUE (one), ALGORITHM=COPY";
        source.run("ALTER TABLE t ADD one INT DEFAULT 1").await;
        source.sql.execute(same).await.unwrap_err();
        source.run("INSERT INTO t VALUES (3, '3', 3, 3)").await;
        let came = source.since(&start).await;
        assert_eq!(
            came.concat(),
            [
                "d: ALTER TABLE t ADD w INT, ALGORITHM=COPY",
                "d: ALTER TABLE t ADD one INT DEFAULT 1",
                "+ t 3,3,3,3"
            ],
            "{version}"
        );
    }
}

#[tokio::test]
async fn a_transaction_of_hundred_megabytes_goes_through_a_file() {
    for kind in [
        Kind::Gtids(Version::MySql97),
        Kind::Gtids(Version::MariaDb118),
    ] {
        for compress in [false, true] {
            if compress && kind.version().is_mariadb() {
                continue;
            }
            let source = Source::start(kind).await;
            source
                .run("CREATE TABLE big (id INT PRIMARY KEY, v LONGTEXT)")
                .await;
            source
                .run("INSERT INTO big VALUES (0, REPEAT('x', 400000))")
                .await;
            if compress {
                source
                    .run("SET SESSION binlog_transaction_compression = ON")
                    .await;
            }
            let start = source.position().await;
            source.run("BEGIN").await;
            for id in 1..=256 {
                source
                    .run(&format!(
                        "INSERT INTO big SELECT {id}, v FROM big WHERE id = 0"
                    ))
                    .await;
            }
            source.run("COMMIT").await;
            source.run("DELETE FROM big WHERE id = 0").await;
            let came = source.since(&start).await;
            assert_eq!(came[0].len(), 256, "{kind:?}");
            for (index, line) in came[0].iter().enumerate() {
                assert!(line.starts_with(&format!("+ big {},xxx", index + 1)));
                assert!(line.len() > 400_000);
            }
            assert!(came[1][0].starts_with("- big 0,"));
        }
    }
}

#[tokio::test]
async fn an_idle_source_is_known_to_be_there() {
    for kind in [
        Kind::Gtids(Version::MySql97),
        Kind::Gtids(Version::MySql56),
        Kind::Gtids(Version::MariaDb118),
    ] {
        let source = Source::start(kind).await;
        let start = source.position().await;
        let mut lines = source.open(&start).await;
        // Heartbeats come every 5 s.
        let silent =
            tokio::time::timeout(std::time::Duration::from_secs(12), lines.try_transaction());
        silent.await.expect_err("nothing comes");
        source.run("INSERT INTO t VALUES (1, 'a')").await;
        assert_eq!(lines.transaction().await.lines, ["+ t 1,a"], "{kind:?}");
    }
}
