//! Events of the scheduler: they run on the side that serves, and on no other.

use std::time::{Duration, Instant};

use integration::mysql::MySqlServer;
use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql56, MySql97};
use integration::proxy::Proxy;

use super::stage::{DATABASE, PATIENCE, configured, usual};

struct Moved {
    source: MySqlServer,
    target: MySqlServer,
    proxy: Proxy,
}

/// A source with an event that adds a row each second, one that rests, and the definer of both.
async fn streaming(from: Version, to: Version) -> Moved {
    let options = usual().set("event-scheduler", "ON");
    let (source, target) = tokio::join!(
        MySqlServer::start(from, options.clone()),
        MySqlServer::start(to, options),
    );
    let (source, target) = (source.unwrap(), target.unwrap());
    source
        .sql(
            "CREATE DATABASE shop;
             CREATE TABLE shop.tick (id BIGINT UNSIGNED PRIMARY KEY, at INT) ENGINE = InnoDB;
             CREATE USER clock@'%'; GRANT ALL ON shop.* TO clock@'%';
             CREATE DEFINER = clock@'%' EVENT shop.ticks ON SCHEDULE EVERY 1 SECOND
                 DO INSERT INTO shop.tick VALUES (UUID_SHORT(), @@server_id);
             CREATE DEFINER = clock@'%' EVENT shop.rests ON SCHEDULE EVERY 1 SECOND DISABLE
                 DO INSERT INTO shop.tick VALUES (0, 0)",
        )
        .unwrap();
    let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    assert_eq!(
        events(&target),
        "rests\tDISABLED\tclock@%\nticks\tDISABLED\tclock@%"
    );
    Moved {
        source,
        target,
        proxy,
    }
}

fn events(server: &MySqlServer) -> String {
    let sql = "SELECT EVENT_NAME, REPLACE(STATUS, 'SLAVESIDE_', ''), DEFINER
        FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'shop' ORDER BY 1";
    server.sql_in(DATABASE, sql).unwrap()
}

const AS_ON_THE_SOURCE: &str = "rests\tDISABLED\tclock@%\nticks\tENABLED\tclock@%";

impl Moved {
    async fn wait_until_events_are_as_on_the_source(&self) {
        let deadline = Instant::now() + PATIENCE;
        let left = "SELECT COUNT(*) FROM pointsman.saved_event";
        while events(&self.target) != AS_ON_THE_SOURCE || self.target.sql(left).unwrap() != "0" {
            assert!(Instant::now() < deadline, "{}", events(&self.target));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn wait_until_it_ticks_here(&self) {
        let here = format!(
            "SELECT COUNT(*) > 0 FROM tick WHERE at = {}",
            self.target.server_id()
        );
        let deadline = Instant::now() + PATIENCE;
        while self.target.sql_in(DATABASE, &here).unwrap() != "1" {
            assert!(Instant::now() < deadline, "{}", events(&self.target));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_run_on_the_target_after_the_switch_under_their_own_definer() {
    for (from, to) in [
        (MySql97, MySql97),
        (MySql56, MySql97),
        (MariaDb1011, MariaDb118),
    ] {
        let moved = streaming(from, to).await;
        moved.proxy.done(&["cutover"]).await.unwrap();
        moved.wait_until_events_are_as_on_the_source().await;
        moved.wait_until_it_ticks_here().await;
        let foreign = format!(
            "SELECT COUNT(*) FROM tick WHERE at NOT IN ({}, {})",
            moved.source.server_id(),
            moved.target.server_id()
        );
        assert_eq!(moved.target.sql_in(DATABASE, &foreign).unwrap(), "0");
    }
}

/// A proxy that dies between the journal's commit and the last event: the next start enables them.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_a_killed_proxy_left_disabled_are_enabled_by_the_next_one() {
    for (from, to) in [(MySql97, MySql97), (MariaDb1011, MariaDb118)] {
        let mut moved = streaming(from, to).await;
        moved.proxy.done(&["cutover"]).await.unwrap();
        moved.wait_until_events_are_as_on_the_source().await;
        moved.proxy.kill9().unwrap();
        // What stands on the target right after the journal's commit.
        moved
            .target
            .sql(
                "ALTER DEFINER = clock@'%' EVENT shop.ticks DISABLE;
                 INSERT INTO pointsman.saved_event (schema_name, event_name)
                 VALUES ('shop', 'ticks')",
            )
            .unwrap();
        moved.proxy.restart().await.unwrap();
        let status = moved.proxy.status().await.unwrap();
        assert_eq!(status["serving"], "target");
        moved.wait_until_events_are_as_on_the_source().await;
    }
}

/// The switch does not wait for a target that enables nothing now; a kill at that moment loses
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_cannot_be_enabled_at_the_switch_are_enabled_by_the_next_start() {
    let mut moved = streaming(MySql97, MySql97).await;
    // Definitions wait for a backup, rows do not.
    let backup = moved.target.connect().await.unwrap();
    backup.execute("LOCK INSTANCE FOR BACKUP").await.unwrap();
    moved.proxy.done(&["cutover"]).await.unwrap();
    moved.proxy.kill9().unwrap();
    assert!(events(&moved.target).contains("ticks\tDISABLED"));
    // The statement that the dead proxy sent must not do it.
    let waiting = "SELECT PROCESSLIST_ID FROM performance_schema.threads
        WHERE PROCESSLIST_INFO LIKE 'ALTER%EVENT%' AND PROCESSLIST_ID <> CONNECTION_ID()";
    for row in backup.query(waiting).await.unwrap() {
        let kill = format!("KILL {}", row.text(0).unwrap());
        backup.execute(&kill).await.map(drop).unwrap_or_default();
    }
    backup.execute("UNLOCK INSTANCE").await.unwrap();
    moved.proxy.restart().await.unwrap();
    moved.wait_until_events_are_as_on_the_source().await;
    moved.wait_until_it_ticks_here().await;
}
