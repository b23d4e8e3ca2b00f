//! The journal, the markers and the counters on real servers.

use binlog::movement::counters::Counters;
use binlog::movement::fence::{Fence, FenceOptions};
use binlog::movement::journal::{self, JournalError, MovementState, Outcome};
use binlog::movement::marker::{self, Marker, MarkerWriter};
use binlog::movement::standing::{self, Told};
use binlog::movement::{events, fence};
use integration::mysql::{MySqlOptions, Version};
use router::cutover::standing::Standing;
use router::{Epoch, Side};

use super::ground::{Ground, PATIENCE};

#[tokio::test]
async fn of_a_late_promotion_and_a_recovery_one_wins() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        let one = ground.connect("migrator").await;
        let other = ground.connect("migrator").await;
        journal::begin(&one, Epoch(1), Side::Target).await.unwrap();
        let again = journal::begin(&other, Epoch(2), Side::Target)
            .await
            .unwrap_err();
        assert!(
            again.is_refused() && matches!(again, JournalError::NotNext { .. }),
            "{version}"
        );
        assert_eq!(
            journal::resolve(&other, Epoch(1)).await.unwrap(),
            Outcome::Aborted
        );
        let late = journal::promote(&one, Epoch(1)).await.unwrap_err();
        assert!(late.is_refused(), "{version}");

        journal::begin(&one, Epoch(2), Side::Target).await.unwrap();
        journal::promote(&one, Epoch(2)).await.unwrap();
        for _ in 0..2 {
            assert_eq!(
                journal::resolve(&other, Epoch(2)).await.unwrap(),
                Outcome::Switched
            );
        }
        // One that never began cannot begin later.
        assert_eq!(
            journal::resolve(&other, Epoch(7)).await.unwrap(),
            Outcome::Aborted
        );
        assert!(
            journal::begin(&one, Epoch(7), Side::Target).await.is_err(),
            "{version}"
        );
        assert_eq!(journal::next_epoch(&one).await.unwrap(), Epoch(8));
        let states: Vec<_> = journal::movements(&one).await.unwrap();
        let states: Vec<_> = states.iter().map(|one| (one.epoch.0, one.state)).collect();
        let (aborted, switched) = (MovementState::Aborted, MovementState::Switched);
        assert_eq!(
            states,
            [(1, aborted), (2, switched), (7, aborted)],
            "{version}"
        );
    }
}

#[tokio::test]
async fn movements_that_begin_at_once_exclude_one_another() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        let one = ground.connect("migrator").await;
        let other = ground.connect("migrator").await;
        for round in 0..10 {
            let epoch = Epoch(3 * round + 1);
            let (first, second) = tokio::join!(
                journal::begin(&one, epoch, Side::Target),
                journal::begin(&other, epoch.next(), Side::Target),
            );
            let began = u8::from(first.is_ok()) + u8::from(second.is_ok());
            assert!(began <= 1, "{version}: both began");
            for epoch in [epoch, epoch.next()] {
                journal::resolve(&one, epoch).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_marker_is_written_behind_the_fence_on_all_servers() {
    for version in Version::ALL {
        for gtids in [true, false] {
            let options = MySqlOptions::default();
            let options = match gtids {
                true => options,
                // 9.7 has them on unless told otherwise.
                false if version == Version::MySql97 => {
                    options.without_gtids().set("gtid-mode", "OFF")
                }
                false => options.without_gtids(),
            };
            let ground = Ground::open_with(version, options).await;
            let source = ground.connect("migrator").await;
            ground
                .run("INSERT INTO pointsman.migration (only_row, id, format) VALUES (1, 'abc', 1)")
                .await
                .unwrap_or_default();
            let writer = MarkerWriter::prepare(&source).await.unwrap();
            let options = FenceOptions {
                trusted_roles: vec!["root".to_owned()],
                end_timeout: PATIENCE,
                ..FenceOptions::default()
            };
            let fence = Fence::prepare(&source, options).await.unwrap();
            fence.raise(&source, &[], Epoch(1)).await.unwrap();
            let first = writer.write(&source).await.unwrap();
            let second = writer.write(&source).await.unwrap();
            assert_ne!(first, second, "{version}");
            match second {
                Marker::Gtid { gtid } => {
                    assert!(gtids && !version.is_mariadb());
                    assert!(
                        gtid.starts_with(&marker::marker_uuid("abc")),
                        "{version}: {gtid}"
                    );
                    let sql = format!("SELECT GTID_SUBSET('{gtid}', @@GLOBAL.gtid_executed)");
                    assert_eq!(ground.one(&sql).await, "1", "{version}");
                }
                Marker::Row { token } => {
                    assert!(version.is_mariadb());
                    let sql =
                        format!("SELECT COUNT(*) FROM pointsman.marker WHERE token = '{token}'");
                    assert_eq!(ground.one(&sql).await, "1", "{version}");
                }
                Marker::Rotated { file } => {
                    assert!(!gtids && !version.is_mariadb());
                    let status = log_status(version);
                    assert_eq!(ground.one(status).await, file, "{version}");
                }
            }
            fence::lower(&source, PATIENCE).await.unwrap();
        }
    }
}

fn log_status(version: Version) -> &'static str {
    match version {
        Version::MySql97 => "SHOW BINARY LOG STATUS",
        Version::MySql56 | Version::MariaDb1011 | Version::MariaDb118 => "SHOW MASTER STATUS",
    }
}

#[tokio::test]
async fn counters_are_raised_where_they_are_lower_and_never_lowered() {
    for version in Version::ALL {
        let source = Ground::open(version).await;
        let target = Ground::open(version).await;
        for sql in [
            "CREATE TABLE shop.ahead (id INT AUTO_INCREMENT PRIMARY KEY)",
            "CREATE TABLE shop.`odd ``name` (id INT AUTO_INCREMENT PRIMARY KEY)",
            "CREATE TABLE shop.still (id INT PRIMARY KEY)",
        ] {
            source.run(sql).await.unwrap();
            target.run(sql).await.unwrap();
        }
        source
            .run("INSERT INTO shop.entry (id) VALUES (40), (41)")
            .await
            .unwrap();
        source
            .run("DELETE FROM shop.entry WHERE id = 41")
            .await
            .unwrap();
        target
            .run("INSERT INTO shop.entry (id) VALUES (40)")
            .await
            .unwrap();
        target
            .run("ALTER TABLE shop.ahead AUTO_INCREMENT = 100")
            .await
            .unwrap();
        let all = |schema: &str, _: &str| schema == "shop";
        let counters = Counters::prepare(&source.root, &target.root, all)
            .await
            .unwrap();
        assert_eq!(counters.tables().len(), 3, "{version}");
        // In the pause: only what moved since.
        source
            .run("INSERT INTO shop.`odd ``name` VALUES (7)")
            .await
            .unwrap();
        let values = counters.read(&source.root).await.unwrap();
        for _ in 0..2 {
            counters.raise(&target.root, &values).await.unwrap();
        }
        for (table, next) in [("entry", "42"), ("ahead", "100"), ("`odd ``name`", "8")] {
            let sql = format!("INSERT INTO shop.{table} () VALUES ()");
            let done = target.root.execute(&sql).await.unwrap();
            assert_eq!(done.last_insert_id.to_string(), next, "{version} {table}");
        }
        target.run("DROP TABLE shop.ahead").await.unwrap();
        let error = counters.raise(&target.root, &values).await.unwrap_err();
        assert!(
            error.to_string().contains("shop.ahead"),
            "{version}: {error}"
        );
    }
}

#[tokio::test]
async fn events_are_enabled_once_at_the_switch() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        ground
            .run("CREATE EVENT shop.nightly ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM shop.entry")
            .await
            .unwrap();
        for event in ["nightly", "gone"] {
            let sql = format!("INSERT INTO pointsman.saved_event VALUES ('shop', '{event}')");
            ground.run(&sql).await.unwrap();
        }
        let status = "SELECT STATUS FROM information_schema.EVENTS WHERE EVENT_NAME = 'nightly'";
        assert_eq!(ground.one(status).await, "DISABLED");
        let failed = events::enable_saved(&ground.root).await.unwrap();
        assert_eq!(failed, Vec::<String>::new());
        assert_eq!(ground.one(status).await, "ENABLED", "{version}");
        assert_eq!(
            ground
                .one("SELECT COUNT(*) FROM pointsman.saved_event")
                .await,
            "0"
        );
    }
}

#[tokio::test]
async fn who_serves_is_told_by_the_rows() {
    for version in Version::ALL {
        let source = Ground::open(version).await;
        let target = Ground::open(version).await;
        let facts = standing::facts(Ok(&source.root), Ok(&target.root)).await;
        let serves = Standing::Serves(Side::Source, Epoch::FIRST);
        assert_eq!(standing::decide(&facts), serves, "{version}");

        let migrator = source.connect("migrator").await;
        let options = FenceOptions {
            trusted_roles: vec!["root".to_owned()],
            end_timeout: PATIENCE,
            ..FenceOptions::default()
        };
        let fence = Fence::prepare(&migrator, options).await.unwrap();
        journal::begin(&target.root, Epoch(1), Side::Target)
            .await
            .unwrap();
        fence.raise(&migrator, &[], Epoch(1)).await.unwrap();
        let (_, pending) = standing::ask(Ok(&source.root), Ok(&target.root)).await;
        assert_eq!(pending, Standing::Resolve(Epoch(1)), "{version}");
        journal::promote(&target.root, Epoch(1)).await.unwrap();
        let (facts, switched) = standing::ask(Ok(&source.root), Ok(&target.root)).await;
        assert_eq!(
            switched,
            Standing::Serves(Side::Target, Epoch(1)),
            "{version}"
        );
        assert!(!facts.source_is_open());
        source.run("SET GLOBAL read_only = OFF").await.unwrap();
        let (facts, _) = standing::ask(Ok(&source.root), Ok(&target.root)).await;
        assert!(facts.source_is_open(), "{version}");
        let (facts, _) = standing::ask(Err("down".to_owned()), Ok(&target.root)).await;
        assert_eq!(facts.source, Told::Unreachable("down".to_owned()));
    }
}
