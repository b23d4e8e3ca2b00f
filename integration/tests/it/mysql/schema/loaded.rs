//! A copy that is cut while a table is half copied, under writes, and goes on under another
//! snapshot: nothing is lost and nothing doubled, however the snapshots are taken.

use std::sync::Arc;
use std::time::Duration;

use binlog::schema::initial::{InitialCopy, InitialOptions};
use binlog::wire::{Endpoint, SqlConn, SqlError};
use integration::mysql::{MySqlOptions, Version};
use router::words;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::follow::{follow, same};
use super::{Pair, done};

const PATIENCE: Duration = Duration::from_secs(300);

/// About 16 MB in `big`, which is read in ranges where all readers see the same.
const TABLES: &str = "
CREATE DATABASE shop; USE shop;
CREATE TABLE n (n int PRIMARY KEY); INSERT INTO n VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9);
CREATE TABLE big (id bigint PRIMARY KEY AUTO_INCREMENT, k int NOT NULL, c varchar(700) NOT NULL, KEY k (k));
INSERT INTO big (k, c) SELECT x.n, REPEAT('x', 700) FROM n v, n w, n x, n y, n z WHERE z.n < 2;
CREATE TABLE small (id bigint PRIMARY KEY AUTO_INCREMENT, k int NOT NULL); INSERT INTO small (k) SELECT id FROM big LIMIT 2000;
ANALYZE TABLE big, small;
";

/// How the source lets its snapshots be taken.
#[derive(Clone, Copy)]
enum Granted {
    Everything,
    /// All that the copy needs but a lock on the server.
    TableLocks,
    /// The same without a lock on tables: where snapshots tell where they stand.
    NoLock,
}

impl Granted {
    fn grants(self, version: Version) -> Option<String> {
        let common = "SELECT, CREATE, DROP, INSERT, UPDATE, DELETE, EVENT, TRIGGER, SHOW VIEW, ALTER, INDEX, PROCESS";
        let own = match version {
            Version::MySql97 => ", SHOW_ROUTINE, XA_RECOVER_ADMIN, REPLICATION CLIENT",
            Version::MySql56 => ", REPLICATION CLIENT",
            Version::MariaDb1011 | Version::MariaDb118 => ", BINLOG MONITOR, SLAVE MONITOR",
        };
        let lock = match self {
            Self::Everything => return None,
            Self::TableLocks => ", LOCK TABLES",
            Self::NoLock => "",
        };
        Some(format!("GRANT {common}{own}{lock} ON *.* TO mover@'%'"))
    }
}

/// Writes all over the tables until told to stop: new rows, changes, keys that go to another
/// range, transactions over both tables.
async fn write(client: SqlConn, seed: u64, mut stop: watch::Receiver<bool>) -> u64 {
    let mut random = seed;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        1 + (random >> 33) % below
    };
    let mut committed = 0;
    while !*stop.borrow_and_update() {
        let (one, two, three) = (next(20_000), next(20_000), next(2_000));
        let far = 100_000 + next(1_000_000_000);
        let statements = [
            "BEGIN".to_owned(),
            format!("INSERT INTO shop.big (k, c) VALUES ({one}, 'new')"),
            format!("UPDATE shop.big SET k = k + 1 WHERE id = {one}"),
            format!("UPDATE shop.small SET k = k + 1 WHERE id = {three}"),
            format!("DELETE FROM shop.big WHERE id = {two}"),
            format!(
                "UPDATE IGNORE shop.big SET id = {far} WHERE id = {}",
                next(20_000)
            ),
            "COMMIT".to_owned(),
        ];
        match transact(&client, &statements).await {
            Ok(()) => committed += 1,
            // Two writers met.
            Err(error) if matches!(error.code(), Some(1213 | 1205)) => {
                client.execute("ROLLBACK").await.unwrap();
            }
            Err(error) => panic!("{}", words(&error)),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    committed
}

async fn transact(client: &SqlConn, statements: &[String]) -> Result<(), SqlError> {
    for statement in statements {
        client.execute(statement).await?;
    }
    Ok(())
}

fn slow(endpoints: &(Endpoint, Endpoint)) -> Arc<InitialCopy> {
    let options = InitialOptions {
        workers: 3,
        range_bytes: 1 << 20,
        // Far more time than it takes to see it.
        bytes_per_second: Some(300 << 10),
        ..InitialOptions::new("t1")
    };
    let (source, target) = endpoints.clone();
    Arc::new(InitialCopy::new(source, target, options))
}

/// Runs a copy until some of `big` is there, and drops it.
async fn cut(endpoints: &(Endpoint, Endpoint)) {
    let copy = slow(endpoints);
    let running = Arc::clone(&copy);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { running.run().await.map(drop) });
    let begun = Instant::now();
    let half = |copy: &InitialCopy| {
        let tables = copy.rows().tables();
        tables
            .iter()
            .any(|table| table.name.name == "big" && table.rows > 0 && !table.done)
    };
    while !half(&copy) {
        assert!(begun.elapsed() < PATIENCE, "no row came");
        if let Some(ended) = tasks.try_join_next() {
            panic!("{:?}", ended.unwrap().map_err(|error| words(&error)));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tasks.shutdown().await;
}

async fn nothing_is_lost(version: Version, granted: Granted) {
    let local = MySqlOptions::default().set("local_infile", "1");
    let pair = Pair::start_with(version, version, MySqlOptions::default(), local).await;
    pair.source.script("", TABLES).unwrap();
    let (mut source, target) = pair.endpoints();
    let root = source.clone();
    if let Some(grants) = granted.grants(version) {
        let user = "CREATE USER mover@'%' IDENTIFIED BY 'm'";
        let anonymous = "DELETE FROM mysql.user WHERE User = ''; FLUSH PRIVILEGES";
        let script = if version == Version::MySql56 {
            format!("{anonymous}; {user}; {grants};")
        } else {
            format!("{user}; {grants};")
        };
        pair.source.script("", &script).unwrap();
        let url = pair.source.url_with_password("mover", "m", "");
        source = url.parse().unwrap();
    }
    let (stop, stopped) = watch::channel(false);
    let mut writers = JoinSet::new();
    for seed in [3, 5, 7] {
        let client = root.connect_sql("writer").await.unwrap();
        writers.spawn(write(client, seed, stopped.clone()));
    }
    let endpoints = (source, target);
    cut(&endpoints).await;
    cut(&endpoints).await;
    let last = InitialCopy::new(
        endpoints.0,
        endpoints.1,
        InitialOptions {
            range_bytes: 1 << 20,
            ..InitialOptions::new("t1")
        },
    );
    let finished = done(last.run().await);
    stop.send_replace(true);
    assert!(writers.join_all().await.iter().all(|count| *count > 0));
    let big = ("shop".to_owned(), "big".to_owned());
    // It was read again under a snapshot that is newer than the start.
    assert!(finished.watermarks[&big] > finished.start.position);
    if let Err(error) = follow(&pair, finished).await {
        panic!("{}", words(&error));
    }
    same(&pair, "two cuts").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_cuts_under_the_global_lock_of_mysql_9_7() {
    nothing_is_lost(Version::MySql97, Granted::Everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_cuts_under_table_locks_of_mysql_9_7() {
    nothing_is_lost(Version::MySql97, Granted::TableLocks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_cuts_on_mysql_5_6() {
    nothing_is_lost(Version::MySql56, Granted::Everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_cuts_under_table_locks_of_mysql_5_6() {
    nothing_is_lost(Version::MySql56, Granted::TableLocks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_cuts_on_mariadb_10_11() {
    nothing_is_lost(Version::MariaDb1011, Granted::Everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_cuts_on_mariadb_11_8() {
    nothing_is_lost(Version::MariaDb118, Granted::Everything).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_by_cuts_of_a_copy_of_mariadb_without_any_lock() {
    nothing_is_lost(Version::MariaDb118, Granted::NoLock).await;
}
