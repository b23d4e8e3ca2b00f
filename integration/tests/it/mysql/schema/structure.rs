//! Many tables are made over several connections at once, and a crash in the middle does no harm.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use binlog::schema::initial::{InitialCopy, InitialOptions, InitialStep};
use integration::mysql::{MySqlOptions, MySqlServer, Version};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Pair, done, endpoint};

const PATIENCE: Duration = Duration::from_secs(300);

const TABLES: usize = 120;

/// Tables that refer to later ones, a view of a view with a name before it, a routine in a view.
fn tables() -> String {
    let mut script = "CREATE DATABASE shop; USE shop; SET foreign_key_checks = 0;\n".to_owned();
    for number in 0..TABLES {
        let next = (number + 1) % TABLES;
        writeln!(
            script,
            "CREATE TABLE t{number} (id int PRIMARY KEY, next int, KEY (next), \
             CONSTRAINT f{number} FOREIGN KEY (next) REFERENCES t{next} (id)); \
             INSERT INTO t{number} VALUES ({number}, {next});"
        )
        .unwrap();
    }
    script.push_str(
        "SET GLOBAL log_bin_trust_function_creators = 1;
         CREATE FUNCTION twice(n int) RETURNS int DETERMINISTIC RETURN 2 * n;
         CREATE VIEW v AS SELECT twice(id) AS id FROM t1;
         CREATE VIEW a AS SELECT id FROM v;",
    );
    script
}

fn target_options() -> MySqlOptions {
    MySqlOptions::default()
        .set("local_infile", "1")
        .set("log_bin_trust_function_creators", "1")
}

fn same_structure(pair: &Pair) {
    for query in [
        "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop' ORDER BY 1",
        "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = 'shop' ORDER BY 1, 2",
        "SELECT TABLE_NAME, CONSTRAINT_NAME, REFERENCED_TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = 'shop' ORDER BY 1",
        "SELECT id FROM shop.a",
        "SELECT id, next FROM shop.t119",
    ] {
        let (source, target) = (pair.source.sql(query), pair.target.sql(query));
        assert_eq!(source.unwrap(), target.unwrap(), "{query}");
    }
}

/// How many sessions made tables.
fn makers(target: &MySqlServer) -> u64 {
    let query = "SELECT COUNT(DISTINCT thread_id) FROM mysql.general_log \
                 WHERE argument LIKE 'CREATE TABLE `shop`.%'";
    target.sql(query).unwrap().trim().parse().unwrap()
}

async fn are_made_by_several(version: Version) {
    let logged = target_options().set("log_output", "TABLE");
    let pair = Pair::start_with(version, version, MySqlOptions::default(), logged).await;
    pair.source.script("", &tables()).unwrap();
    pair.target.sql("SET GLOBAL general_log = 1").unwrap();
    let copy = pair.initial(InitialOptions {
        workers: 3,
        ..InitialOptions::new("t1")
    });
    done(copy.run().await);
    pair.target.sql("SET GLOBAL general_log = 0").unwrap();
    assert_eq!(makers(&pair.target), 3);
    same_structure(&pair);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_over_several_connections_on_mysql() {
    are_made_by_several(Version::MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_made_over_several_connections_on_mariadb() {
    are_made_by_several(Version::MariaDb118).await;
}

/// Waits until this many tables are made; gives up when they all are.
async fn wait_for_tables(copy: &InitialCopy, count: usize) {
    let begun = Instant::now();
    loop {
        let (made, all) = copy.restored();
        match copy.step() {
            InitialStep::Structure if all == TABLES && made >= count => return,
            later if later > InitialStep::Structure => return,
            _earlier => {}
        }
        assert!(begun.elapsed() < PATIENCE, "no table was made");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn is_made_again_after_crashes(version: Version) {
    let durable = target_options().durable();
    let mut pair = Pair::start_with(version, version, MySqlOptions::default(), durable).await;
    pair.source.script("", &tables()).unwrap();
    for count in [1, 40, 80] {
        let copy = pair.initial(InitialOptions::new("t1"));
        let running = Arc::clone(&copy);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { running.run().await.map(drop) });
        wait_for_tables(&copy, count).await;
        if count == 80 {
            pair.target.kill9().unwrap();
            pair.target.restart().await.unwrap();
        }
        // The next run begins at once, while the server may still be at work for this one.
        tasks.shutdown().await;
    }
    pair.copy().await;
    same_structure(&pair);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structure_half_made_is_made_again_on_mysql() {
    is_made_again_after_crashes(Version::MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structure_half_made_is_made_again_on_mariadb() {
    is_made_again_after_crashes(Version::MariaDb118).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_while_an_earlier_run_is_at_work() {
    let version = Version::MySql97;
    let pair = Pair::start_with(version, version, MySqlOptions::default(), target_options()).await;
    pair.source.script("", &tables()).unwrap();
    // As a run with more connections has it.
    let earlier = endpoint(&pair.target).connect_sql("test").await.unwrap();
    let lock = "SELECT GET_LOCK('pointsman_structure_7', 0)";
    let locked = earlier.query_first(lock).await.unwrap().unwrap();
    assert_eq!(locked.text(0), Some("1"));
    let copy = pair.initial(InitialOptions::new("t1"));
    let running = Arc::clone(&copy);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { running.run().await.map(drop) });
    let begun = Instant::now();
    let waits = "SELECT COUNT(*) FROM performance_schema.metadata_locks \
                 WHERE OBJECT_TYPE = 'USER LEVEL LOCK' AND OBJECT_NAME LIKE 'pointsman_structure_%'";
    while pair.target.sql(waits).unwrap().trim() != "5" {
        assert!(begun.elapsed() < PATIENCE, "the makers do not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let shop = "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'shop'";
    assert_eq!(pair.target.sql(shop).unwrap().trim(), "0");
    drop(earlier);
    tasks.join_next().await.unwrap().unwrap().unwrap();
    same_structure(&pair);
}
