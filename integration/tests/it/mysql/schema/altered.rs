//! Definition statements of the application while the copy runs: what arrives is what the source
//! has, or the copy stops and names the table.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use binlog::schema::initial::{
    InitialCopy, InitialDone, InitialError, InitialOptions, InitialStep,
};
use integration::mysql::{MySqlOptions, Version};
use router::words;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::follow::{follow, same};
use super::{Pair, done, endpoint};

const PATIENCE: Duration = Duration::from_secs(300);

/// Equal tables `t1` to `t9`, each with rows of its own.
fn tables() -> String {
    let mut script = "CREATE DATABASE shop; USE shop;\n".to_owned();
    for n in 1..=9 {
        writeln!(
            script,
            "CREATE TABLE t{n} (id int PRIMARY KEY AUTO_INCREMENT, a int, b int, \
             c varchar(20) DEFAULT 'x'); INSERT INTO t{n} (a, b) VALUES ({n}, 2), (3, {n}), (5, 6);"
        )
        .unwrap();
    }
    script
}

/// What a copy needs of a source, but for the right to make definition statements wait.
const GRANTS: &str = "CREATE USER mover@'%' IDENTIFIED BY 'm';
GRANT SELECT, CREATE, DROP, INSERT, UPDATE, DELETE, EVENT, TRIGGER, SHOW VIEW, ALTER, INDEX, RELOAD,
REPLICATION CLIENT, REPLICATION SLAVE, PROCESS, SHOW_ROUTINE, XA_RECOVER_ADMIN ON *.* TO mover@'%';";

async fn pair(version: Version) -> Pair {
    let to = match version {
        Version::MySql56 | Version::MySql97 => Version::MySql97,
        Version::MariaDb1011 | Version::MariaDb118 => Version::MariaDb118,
    };
    let local = MySqlOptions::default().set("local_infile", "1");
    let pair = Pair::start_with(version, to, MySqlOptions::default(), local).await;
    pair.source.script("", &tables()).unwrap();
    if version == Version::MySql97 {
        pair.source.script("", GRANTS).unwrap();
    }
    pair
}

/// A copy of an account that cannot keep definitions as they are.
fn copy_of(pair: &Pair) -> Arc<InitialCopy> {
    let (root, target) = pair.endpoints();
    let source = match pair.source.version() {
        Version::MySql97 => {
            let url = pair.source.url_with_password("mover", "m", "");
            url.parse().unwrap()
        }
        Version::MySql56 | Version::MariaDb1011 | Version::MariaDb118 => root,
    };
    let options = InitialOptions::new("t1");
    Arc::new(InitialCopy::new(source, target, options))
}

/// Copies, and runs `change` when the snapshot is taken and nothing was read under it.
async fn copied_around(pair: &Pair, change: &str) -> Result<InitialDone, InitialError> {
    // Tables are not made as long as an earlier run seems to be at work.
    let earlier = endpoint(&pair.target).connect_sql("test").await.unwrap();
    let lock = "SELECT GET_LOCK('pointsman_structure_0', 0)";
    earlier.query_first(lock).await.unwrap();
    let copy = copy_of(pair);
    let running = Arc::clone(&copy);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { running.run().await });
    let begun = Instant::now();
    while copy.step() < InitialStep::Structure {
        assert!(begun.elapsed() < PATIENCE && !tasks.is_empty());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    pair.source.script("shop", change).unwrap();
    drop(earlier);
    let ended = timeout(PATIENCE, tasks.join_next()).await;
    ended.unwrap().unwrap().unwrap()
}

/// The change comes to the target, whatever was read before or after it.
async fn arrives(version: Version, changes: &[&str]) {
    for change in changes {
        let pair = pair(version).await;
        let finished = done(copied_around(&pair, change).await);
        pair.source
            .script("shop", "INSERT INTO t1 (a) VALUES (2);")
            .unwrap();
        if let Err(error) = follow(&pair, finished).await {
            panic!("{change}: {}", words(&error));
        }
        same(&pair, change).await;
    }
}

/// Where a table is dropped no other may be new, which could be that under another name.
const ARRIVING: &[&str] = &[
    "ALTER TABLE t1 ADD COLUMN d int DEFAULT 7; INSERT INTO t1 (a, d) VALUES (8, 9);
     ALTER TABLE t2 ADD KEY by_a (a); DELETE FROM t2 WHERE id = 1;
     ALTER TABLE t3 DROP COLUMN c; UPDATE t3 SET a = 9 WHERE id = 2;
     TRUNCATE TABLE t4; INSERT INTO t4 (a) VALUES (77);
     ALTER TABLE t5 CHANGE a b int, CHANGE b a int; UPDATE t5 SET a = 5 WHERE id = 1;
     RENAME TABLE t6 TO x, t7 TO t6, x TO t7; UPDATE t6 SET a = 5 WHERE id = 3;
     DROP TABLE t8; CREATE TABLE t8 (id int PRIMARY KEY, z int); INSERT INTO t8 VALUES (4, 4);
     UPDATE t9 SET a = 99 WHERE id = 1; DROP TABLE t9;",
    "CREATE TABLE n (id int PRIMARY KEY, v int); INSERT INTO n VALUES (1, 1); UPDATE n SET v = 2;
     ALTER TABLE t1 MODIFY a bigint NOT NULL DEFAULT 3; INSERT INTO t1 (b) VALUES (8);",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_altered_during_the_copy_arrives_on_mysql_9_7() {
    arrives(Version::MySql97, ARRIVING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_altered_during_the_copy_arrives_from_mysql_5_6() {
    arrives(Version::MySql56, ARRIVING).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_altered_during_the_copy_arrives_on_mariadb() {
    arrives(Version::MariaDb118, ARRIVING).await;
}

/// A table that has another name since the snapshot may be any of the new ones.
async fn a_new_name_stops(version: Version) {
    let pair = pair(version).await;
    let change = "RENAME TABLE t1 TO t1_old;";
    let error = copied_around(&pair, change).await.unwrap_err();
    let told = words(&error);
    let named = "shop.t1 was dropped or renamed by RENAME TABLE shop.t1 behind ";
    assert!(told.contains(named), "{told}");
    assert!(told.contains("#1 [RENAME TABLE t1 TO t1_old]"), "{told}");
    assert!(told.contains("abort"), "{told}");
    assert!(!error.may_pass());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_renamed_during_the_copy_stops_it_on_mysql_9_7() {
    a_new_name_stops(Version::MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_renamed_during_the_copy_stops_it_from_mysql_5_6() {
    a_new_name_stops(Version::MySql56).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_renamed_during_the_copy_stops_it_on_mariadb() {
    a_new_name_stops(Version::MariaDb118).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_wait_for_the_copy_where_they_can_be_locked() {
    let pair = pair(Version::MySql97).await;
    let earlier = endpoint(&pair.target).connect_sql("test").await.unwrap();
    let lock = "SELECT GET_LOCK('pointsman_structure_0', 0)";
    earlier.query_first(lock).await.unwrap();
    let copy = pair.initial(InitialOptions::new("t1"));
    let running = Arc::clone(&copy);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { running.run().await });
    let begun = Instant::now();
    while copy.step() < InitialStep::Structure {
        assert!(begun.elapsed() < PATIENCE && !tasks.is_empty());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let altering = endpoint(&pair.source).connect_sql("test").await.unwrap();
    let mut alters = JoinSet::new();
    alters.spawn(async move {
        altering
            .execute("ALTER TABLE shop.t1 ADD d int DEFAULT 4")
            .await
    });
    let waits = "SELECT COUNT(*) FROM performance_schema.metadata_locks \
                 WHERE OBJECT_TYPE = 'BACKUP LOCK' AND LOCK_STATUS = 'PENDING'";
    while pair.source.sql(waits).unwrap().trim() == "0" {
        assert!(begun.elapsed() < PATIENCE, "the statement does not wait");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Rows go on meanwhile.
    let row = "INSERT INTO shop.t1 (a) VALUES (40)";
    pair.source.sql(row).unwrap();
    drop(earlier);
    let finished = done(tasks.join_next().await.unwrap().unwrap());
    alters.join_next().await.unwrap().unwrap().unwrap();
    follow(&pair, finished).await.unwrap();
    same(&pair, "a waiting ALTER TABLE").await;
}
