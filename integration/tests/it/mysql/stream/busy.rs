//! A log as busy servers write it has no holes: many sessions, new files, rollbacks, definitions,
//! transactions that are larger than the caches, logs of replicas.

use std::time::{Duration, Instant};

use binlog::version::Flavour;
use binlog::wire::SqlConn;
use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql56, MySql97};
use integration::mysql::{MySqlOptions, MySqlServer};
use tokio::time::timeout;

use super::fixture::{Kind, Source};

const PATIENCE: Duration = Duration::from_secs(120);

/// How long sessions write; longer for who wants to be sure.
fn duration() -> Duration {
    let seconds = std::env::var("POINTSMAN_BUSY_S").map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(2))
}

const TABLES: &str =
    "CREATE TABLE big (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT) ENGINE=InnoDB;
    CREATE TABLE old (id INT, v LONGTEXT) ENGINE=MyISAM";

/// What one session does over and over, errors and all.
const STATEMENTS: [&str; 24] = [
    "INSERT INTO big (v) VALUES (REPEAT('a', 200)), (REPEAT('b', 100))",
    "BEGIN",
    "INSERT INTO big (v) VALUES (REPEAT('c', 150000))",
    "UPDATE big SET v = CONCAT(v, 'x') WHERE id > 0 ORDER BY id DESC LIMIT 20",
    "SAVEPOINT a",
    "INSERT INTO big (v) VALUES ('undone')",
    "INSERT INTO old VALUES (1, 'not undone')",
    "ROLLBACK TO SAVEPOINT a",
    "COMMIT",
    "BEGIN",
    "INSERT INTO old VALUES (2, 'stays')",
    "INSERT INTO big (v) VALUES ('goes')",
    "ROLLBACK",
    "CREATE TABLE IF NOT EXISTS made_{n} (a INT) ENGINE=InnoDB",
    "INSERT INTO made_{n} VALUES (1), (2)",
    "ALTER TABLE made_{n} ADD COLUMN b INT",
    "TRUNCATE TABLE made_{n}",
    "DROP TABLE made_{n}",
    "CREATE TEMPORARY TABLE mine (a INT)",
    "INSERT INTO mine VALUES (1)",
    "DROP TEMPORARY TABLE mine",
    "DELETE FROM big WHERE v = 'x'",
    "SELECT v FROM big ORDER BY id DESC LIMIT 200 INTO OUTFILE '{file}'",
    "LOAD DATA INFILE '{file}' INTO TABLE old (v)",
];

/// Whether a transaction may be undone that changed a table which is not undone. MariaDB logs it in
/// one piece, and with that the stream stops.
fn may_be_undone_in_part(statement: &str, sql: &SqlConn) -> bool {
    sql.version().flavour == Flavour::MariaDb && statement.starts_with("INSERT INTO old VALUES")
}

async fn session(sql: SqlConn, number: u32, folder: &str, until: Instant) {
    let mut round = 0;
    while Instant::now() < until {
        round += 1;
        let file = format!("{folder}/{number}_{round}.txt");
        for statement in STATEMENTS {
            if may_be_undone_in_part(statement, &sql) {
                continue;
            }
            let statement = statement
                .replace("{n}", &number.to_string())
                .replace("{file}", &file);
            // Deadlocks and what an older version does not know are part of it.
            let _ran = sql.execute(&statement).await;
        }
        std::fs::remove_file(&file).unwrap_or_default();
        let _ran = sql
            .execute("DELETE FROM big WHERE id % 7 = 1 LIMIT 50")
            .await;
        if number == 1 {
            sql.execute("FLUSH BINARY LOGS").await.unwrap();
        }
    }
}

/// Writes for a while and reads what was written at the same time, and once more from its beginning.
async fn writes(source: &Source, writer: &MySqlServer) {
    let start = source.position().await;
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let folder = folder.path().to_str().unwrap();
    let mut stream = source.open(&start).await;
    let until = Instant::now() + duration();
    let writes = async {
        let mut sessions = Vec::new();
        for number in 0..4 {
            let sql = writer.connect().await.unwrap();
            sql.execute("USE d").await.unwrap();
            sessions.push(session(sql, number, folder, until));
        }
        let mut sessions = sessions.into_iter();
        let [a, b, c, d] = std::array::from_fn(|_nth| sessions.next().unwrap());
        Box::pin(async { tokio::join!(a, b, c, d) }).await;
        wait_for_replica(source, writer).await;
        source.run("INSERT INTO t VALUES (-1, 'the end')").await;
    };
    let reads = async {
        let mut read = 0_u64;
        loop {
            let transaction = stream.transaction().await;
            read += 1;
            if transaction.lines == ["+ t -1,the end"] {
                return read;
            }
        }
    };
    let ((), read) = Box::pin(async { tokio::join!(writes, reads) }).await;
    assert!(read > 20, "{:?}: {read} transactions", source.kind);
    let end = source.position().await;
    let again = source.open(&start).await.until(&end).await;
    assert_eq!(
        u64::try_from(again.len()).unwrap(),
        read,
        "{:?}",
        source.kind
    );
}

/// Until the source has what the writer wrote, if it is another server.
async fn wait_for_replica(source: &Source, writer: &MySqlServer) {
    if writer.port() == source.server.port() {
        return;
    }
    writer
        .sql("INSERT INTO d.t VALUES (-2, 'written')")
        .unwrap();
    let arrives = async {
        while source.one("SELECT COUNT(*) FROM t WHERE id = -2").await != "1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let status = || source.server.sql("SHOW SLAVE STATUS\\G");
    let arrived = timeout(PATIENCE, arrives).await;
    arrived.unwrap_or_else(|_late| panic!("{:?}", status()));
}

async fn is_read_whole(kind: Kind, settings: &[(&str, &str)]) {
    let mut all = vec![
        ("binlog-cache-size", "32768"),
        ("binlog-stmt-cache-size", "32768"),
        ("max-binlog-size", "1048576"),
    ];
    all.extend(settings);
    let source = Source::start_with(kind, &all).await;
    source.server.script("d", TABLES).unwrap();
    Box::pin(writes(&source, &source.server)).await;
}

#[tokio::test]
async fn a_busy_log_of_mysql_9_7_has_no_holes() {
    let kind = Kind::Gtids(MySql97);
    Box::pin(is_read_whole(
        kind,
        &[("binlog-rows-query-log-events", "ON")],
    ))
    .await;
}

#[tokio::test]
async fn a_busy_compressed_log_of_mysql_9_7_has_no_holes() {
    let kind = Kind::Files(MySql97);
    Box::pin(is_read_whole(
        kind,
        &[("binlog-transaction-compression", "ON")],
    ))
    .await;
}

#[tokio::test]
async fn a_busy_log_of_mysql_5_6_has_no_holes() {
    Box::pin(is_read_whole(Kind::Gtids(MySql56), &[])).await;
    Box::pin(is_read_whole(Kind::Files(MySql56), &[])).await;
}

#[tokio::test]
async fn a_busy_log_of_mariadb_has_no_holes() {
    Box::pin(is_read_whole(Kind::Gtids(MariaDb1011), &[])).await;
    Box::pin(is_read_whole(
        Kind::Gtids(MariaDb118),
        &[("log-bin-compress", "ON")],
    ))
    .await;
}

/// The log of a server that is itself a replica.
async fn of_a_replica(version: Version, connect: &str, start: &str) {
    let options = |id: &str| {
        MySqlOptions::default()
            .set("server-id", id)
            .set("max-binlog-size", "1048576")
            .set("binlog-cache-size", "32768")
    };
    let primary = MySqlServer::start(version, options("71")).await.unwrap();
    let kind = Kind::Gtids(version);
    let settings = [("server-id", "72"), ("log-slave-updates", "ON")];
    let source = Source::start_with(kind, &settings).await;
    primary
        .sql(
            "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(40)) ENGINE=InnoDB",
        )
        .unwrap();
    primary.script("d", TABLES).unwrap();
    source.run("DROP DATABASE d").await;
    let reset = match version {
        MySql97 => "RESET BINARY LOGS AND GTIDS",
        MySql56 | MariaDb1011 | MariaDb118 => "RESET MASTER",
    };
    source.run(reset).await;
    let connect = connect.replace("{port}", &primary.port().to_string());
    source.run(&connect).await;
    source.run(start).await;
    let arrives = async {
        while source.server.sql("SELECT COUNT(*) FROM d.old").is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, arrives).await.unwrap();
    source.run("USE d").await;
    Box::pin(writes(&source, &primary)).await;
}

#[tokio::test]
async fn a_busy_log_of_a_replica_of_mysql_9_7_has_no_holes() {
    let connect = "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, \
                   SOURCE_USER = 'root', SOURCE_AUTO_POSITION = 1";
    Box::pin(of_a_replica(MySql97, connect, "START REPLICA")).await;
}

#[tokio::test]
async fn a_busy_log_of_a_replica_of_mariadb_11_8_has_no_holes() {
    let connect = "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, \
                   MASTER_USER = 'root', MASTER_USE_GTID = slave_pos, MASTER_SSL = 0";
    Box::pin(of_a_replica(MariaDb118, connect, "START SLAVE")).await;
}
