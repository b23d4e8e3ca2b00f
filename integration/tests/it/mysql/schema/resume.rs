//! The copy goes on after any break, and every watermark is exact.

use std::sync::Arc;
use std::time::Duration;

use binlog::position::Position;
use binlog::schema::initial::{
    InitialCopy, InitialDone, InitialError, InitialOptions, InitialStep,
};
use binlog::wire::SqlConn;
use integration::mysql::{MySqlOptions, MySqlServer, Version};
use router::words;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{Pair, done};

const PATIENCE: Duration = Duration::from_secs(120);

/// Tables that take a while: three of them in ranges, one without a key.
const BIG: &str = "
CREATE DATABASE shop; USE shop;
CREATE TABLE n (n int PRIMARY KEY); INSERT INTO n VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9);
CREATE TABLE a (id bigint PRIMARY KEY AUTO_INCREMENT, k int, c varchar(200), KEY k (k), KEY c (c));
INSERT INTO a (k, c) SELECT w.n, REPEAT('x', 150) FROM n v, n w, n x, n y, n z;
CREATE TABLE b LIKE a; INSERT INTO b SELECT * FROM a;
CREATE TABLE keyless (k int, c varchar(200)); INSERT INTO keyless SELECT k, c FROM a;
CREATE TABLE child (id int PRIMARY KEY, a bigint, FOREIGN KEY (a) REFERENCES a (id)); INSERT INTO child VALUES (1, 5);
";

fn options() -> InitialOptions {
    InitialOptions {
        range_bytes: 1 << 20,
        ..InitialOptions::new("t1")
    }
}

fn checksums(server: &MySqlServer) -> String {
    server
        .sql("CHECKSUM TABLE shop.a, shop.b, shop.keyless, shop.child, shop.n EXTENDED")
        .unwrap()
}

/// Waits until the copy is in this step and some rows are there.
async fn wait_for_rows(copy: &InitialCopy) {
    let begun = Instant::now();
    while copy.step() < InitialStep::Rows
        || copy.rows().tables().iter().all(|table| table.rows == 0)
    {
        assert!(begun.elapsed() < PATIENCE, "no row came");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs again while that may help.
async fn run_on(pair: &Pair) -> InitialDone {
    let begun = Instant::now();
    loop {
        match pair.initial(options()).run().await {
            Ok(done) => return done,
            Err(error) => {
                assert!(error.may_pass(), "{}", words(&error));
                assert!(begun.elapsed() < PATIENCE, "{}", words(&error));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn ended(tasks: &mut JoinSet<Result<(), InitialError>>) -> Result<(), InitialError> {
    let ended = timeout(PATIENCE, tasks.join_next()).await;
    ended.unwrap().unwrap().unwrap()
}

#[derive(Clone, Copy)]
enum Victim {
    Source,
    Target,
    Ourselves,
}

async fn goes_on_after(version: Version, victim: Victim) {
    let durable = || MySqlOptions::default().durable().set("local_infile", "1");
    let mut pair = Pair::start_with(version, version, durable(), durable()).await;
    pair.source.script("", BIG).unwrap();
    let limited = InitialOptions {
        bytes_per_second: Some(20 << 20),
        ..options()
    };
    let copy = pair.initial(limited);
    let running = Arc::clone(&copy);
    let mut tasks = JoinSet::new();
    let task = tasks.spawn(async move { running.run().await.map(drop) });
    wait_for_rows(&copy).await;
    match victim {
        Victim::Source => {
            pair.source.kill9().unwrap();
            assert!(ended(&mut tasks).await.is_err());
            pair.source.restart().await.unwrap();
        }
        Victim::Target => {
            pair.target.kill9().unwrap();
            pair.target.restart().await.unwrap();
            // It may go on by itself.
            ended(&mut tasks).await.unwrap_or_default();
        }
        Victim::Ourselves => {
            task.abort();
            assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        }
    }
    // What comes after the start is not in all of the copy; a table that was not reached has it.
    let finished = run_on(&pair).await;
    assert_eq!(checksums(&pair.source), checksums(&pair.target));
    assert_eq!(finished.watermarks.len(), 5);
    let indexes = "SELECT COUNT(DISTINCT INDEX_NAME) FROM information_schema.STATISTICS WHERE TABLE_NAME = 'a'";
    assert_eq!(pair.target.sql(indexes).unwrap(), "3");
    let keys = "SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE TABLE_NAME = 'child'";
    assert_eq!(pair.target.sql(keys).unwrap(), "1");
}

#[tokio::test]
async fn it_goes_on_after_the_source_crashed() {
    goes_on_after(Version::MySql97, Victim::Source).await;
}

#[tokio::test]
async fn it_goes_on_after_the_target_crashed() {
    goes_on_after(Version::MySql97, Victim::Target).await;
}

#[tokio::test]
async fn it_goes_on_after_we_crashed() {
    goes_on_after(Version::MySql97, Victim::Ourselves).await;
}

#[tokio::test]
async fn it_goes_on_after_a_mariadb_source_crashed() {
    goes_on_after(Version::MariaDb118, Victim::Source).await;
}

#[tokio::test]
async fn it_goes_on_after_a_mariadb_target_crashed() {
    goes_on_after(Version::MariaDb118, Victim::Target).await;
}

/// Writes rows one by one until told to stop; each row holds nothing but its number.
async fn write(
    client: SqlConn,
    table: String,
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> u64 {
    let mut number = 0;
    while !*stop.borrow_and_update() {
        number += 1;
        let insert = format!("INSERT INTO shop.{table} VALUES ({number})");
        client.execute(&insert).await.unwrap();
    }
    number
}

/// The rows of a table that the log holds up to a position: one transaction a row.
async fn rows_until(client: &SqlConn, table: &str, position: &Position) -> u64 {
    let log = &position.file;
    let first = client
        .query_first("SHOW BINARY LOGS")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        first.text(0).unwrap(),
        &*log.name,
        "one log file is enough for this test"
    );
    let events = format!("SHOW BINLOG EVENTS IN '{}'", log.name);
    let mut rows = 0;
    let mut is_ours = false;
    for event in client.query(&events).await.unwrap() {
        if event.parse::<u64>(4).unwrap() > log.offset {
            break;
        }
        let kind = event.text(2).unwrap();
        if kind == "Table_map" {
            is_ours = event.text(5).unwrap().contains(&format!("(shop.{table})"));
        } else if kind.starts_with("Write_rows") && is_ours {
            rows += 1;
        }
    }
    rows
}

async fn watermarks_are_exact(version: Version, user_grants: Option<&str>) {
    let options = MySqlOptions::default().set("local_infile", "1");
    let pair = Pair::start_with(version, version, options.clone(), options).await;
    pair.source.sql("CREATE DATABASE shop").unwrap();
    let tables: Vec<String> = (0..6).map(|number| format!("t{number}")).collect();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let (source, target) = pair.endpoints();
    let mut writers = JoinSet::new();
    for table in &tables {
        pair.source
            .sql(&format!(
                "CREATE TABLE shop.{table} (id bigint PRIMARY KEY)"
            ))
            .unwrap();
        let client = source.connect_sql("writer").await.unwrap();
        writers.spawn(write(client, table.clone(), stopped.clone()));
    }
    let mut limited = source.clone();
    if let Some(grants) = user_grants {
        pair.source
            .script(
                "",
                &format!("CREATE USER mover@'%' IDENTIFIED BY 'm'; {grants}"),
            )
            .unwrap();
        limited = pair
            .source
            .url_with_password("mover", "m", "")
            .parse()
            .unwrap();
    }
    let copy = InitialCopy::new(limited, target.clone(), InitialOptions::new("t1"));
    let finished = done(copy.run().await);
    stop.send_replace(true);
    assert!(writers.join_all().await.iter().all(|rows| *rows > 0));
    let client = source.connect_sql("test").await.unwrap();
    for table in &tables {
        let watermark = &finished.watermarks[&("shop".to_owned(), table.clone())];
        assert!(finished.start.position <= *watermark);
        let copied = pair
            .target
            .sql(&format!(
                "SELECT COUNT(*), COALESCE(MAX(id), 0) FROM shop.{table}"
            ))
            .unwrap();
        let logged = rows_until(&client, table, watermark).await;
        assert!(logged > 0, "the writers were not at work");
        assert_eq!(copied, format!("{logged}\t{logged}"), "{table}");
    }
}

#[tokio::test]
async fn watermarks_are_exact_under_writes_on_mysql_9_7() {
    watermarks_are_exact(Version::MySql97, None).await;
}

#[tokio::test]
async fn watermarks_are_exact_under_writes_on_mysql_5_6() {
    watermarks_are_exact(Version::MySql56, None).await;
}

#[tokio::test]
async fn watermarks_are_exact_under_writes_on_mariadb_10_11() {
    watermarks_are_exact(Version::MariaDb1011, None).await;
}

#[tokio::test]
async fn watermarks_are_exact_without_the_right_to_lock_on_mariadb() {
    let grants = "GRANT SELECT, CREATE, DROP, INSERT, UPDATE, DELETE, EVENT, TRIGGER, SHOW VIEW, ALTER, INDEX, BINLOG MONITOR, SLAVE MONITOR ON *.* TO mover@'%'";
    watermarks_are_exact(Version::MariaDb118, Some(grants)).await;
}

#[tokio::test]
async fn watermarks_are_exact_under_table_locks_on_mysql_9_7() {
    let grants = "GRANT SELECT, CREATE, DROP, INSERT, UPDATE, DELETE, EVENT, TRIGGER, SHOW VIEW, ALTER, INDEX, LOCK TABLES, REPLICATION CLIENT, PROCESS, SHOW_ROUTINE ON *.* TO mover@'%'; GRANT XA_RECOVER_ADMIN ON *.* TO mover@'%'";
    watermarks_are_exact(Version::MySql97, Some(grants)).await;
}
