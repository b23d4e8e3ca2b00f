//! How rows are written may change while they are.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use binlog::schema::initial::InitialOptions;
use integration::mysql::{MySqlOptions, Version};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Pair, done};

const PATIENCE: Duration = Duration::from_secs(300);

const TABLES: usize = 20;

/// The target takes no `LOAD DATA LOCAL` any more when some tables are copied.
async fn goes_on_by_insert(version: Version) {
    let local = MySqlOptions::default().set("local_infile", "1");
    let pair = Pair::start_with(version, version, MySqlOptions::default(), local).await;
    let mut script = "CREATE DATABASE shop; USE shop;\n".to_owned();
    for n in 0..TABLES {
        writeln!(
            script,
            "CREATE TABLE t{n} (id int PRIMARY KEY, c text) ENGINE = InnoDB; \
             INSERT INTO t{n} VALUES (1, REPEAT('a\\tb', 10000)), (2, ''), (3, NULL);"
        )
        .unwrap();
    }
    pair.source.script("", &script).unwrap();
    let copy = pair.initial(InitialOptions {
        workers: 2,
        bytes_per_second: Some(100 << 10),
        ..InitialOptions::new("t1")
    });
    let running = Arc::clone(&copy);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { running.run().await });
    let begun = Instant::now();
    let copied = "SELECT COUNT(*) FROM pointsman.table_copy WHERE copied = 1";
    while !pair.target.sql(copied).is_ok_and(|count| count != "0") {
        assert!(begun.elapsed() < PATIENCE && !tasks.is_empty());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pair.target.sql("SET GLOBAL local_infile = OFF").unwrap();
    done(tasks.join_next().await.unwrap().unwrap());
    for n in 0..TABLES {
        let sum = format!("SELECT COUNT(*), COUNT(c), SUM(CRC32(c)) FROM shop.t{n}");
        let (here, there) = (pair.source.sql(&sum), pair.target.sql(&sum));
        assert_eq!(here.unwrap(), there.unwrap(), "t{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_by_insert_when_mysql_refuses_load_data() {
    goes_on_by_insert(Version::MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_by_insert_when_an_old_mysql_refuses_load_data() {
    goes_on_by_insert(Version::MySql56).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_by_insert_when_mariadb_refuses_load_data() {
    goes_on_by_insert(Version::MariaDb118).await;
}
