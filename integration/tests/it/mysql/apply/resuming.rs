//! Windows, markers, pauses, crashes: every transaction is applied exactly once.

use std::time::Duration;

use binlog::apply::{Applier, ApplyOptions, RunState, Watermarks};
use binlog::movement::marker::Marker;
use binlog::position::BinlogFile;
use binlog::schema::catalog::Scope;
use binlog::wire::{Endpoint, SqlConn};
use integration::mysql::Version;
use router::window::WindowLimits;

use super::log;
use super::pair::Pair;

const PATIENCE: Duration = Duration::from_secs(60);

fn options(pair: &Pair, rows_max: u64) -> ApplyOptions {
    let scope = Scope::Database("d".to_owned());
    let mut options = ApplyOptions::new("pointsman test", pair.applied.clone(), scope);
    options.window = WindowLimits {
        rows_max,
        ..WindowLimits::default()
    };
    options
}

/// Applies the source's log again and again from where the target says, while the target dies.
async fn killed(version: Version) {
    let mut pair = Pair::start(version, version).await;
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT) ENGINE=InnoDB;
         CREATE TABLE n (v INT) ENGINE=InnoDB; INSERT INTO t VALUES (0, 0)",
    )
    .await;
    let mut history = String::new();
    for id in 1..400 {
        history.push_str(&format!(
            "INSERT INTO t VALUES ({id}, 0); UPDATE t SET v = v + 1; INSERT INTO n VALUES ({id});"
        ));
    }
    pair.change(&history);
    let end = log::end_of(&pair.source).await;
    for round in 0..4 {
        let endpoint: Endpoint = pair.target_url.parse().unwrap();
        let mut applier = Box::pin(Applier::open(
            &endpoint,
            options(&pair, 500),
            Watermarks::new(),
        ))
        .await
        .unwrap();
        let from = applier.position();
        let handle = applier.handle();
        let events = log::behind(&pair.source, &from).await;
        let before = handle.status().windows;
        let run = Box::pin(applier.run_stream(events));
        let crash = async {
            let mut applied = handle.applied();
            applied.wait_for(|applied| *applied > from).await.unwrap();
            pair.target.kill9().unwrap();
        };
        if round == 3 {
            let mut applied = handle.applied();
            let finish = async {
                applied.wait_for(|applied| *applied >= end).await.unwrap();
                handle.stop();
            };
            let both = futures(run, finish);
            tokio::time::timeout(PATIENCE, both).await.unwrap().unwrap();
            assert!(handle.status().windows > before);
        } else {
            let both = futures(run, crash);
            let error = tokio::time::timeout(PATIENCE, both)
                .await
                .unwrap()
                .unwrap_err();
            assert!(error.is_transient(), "{error:?}");
            pair.target.restart().await.unwrap();
        }
    }
    assert_eq!(pair.same_rows("t").lines().count(), 400);
    assert_eq!(
        pair.same("SELECT count(*), count(DISTINCT v) FROM n"),
        "399\t399"
    );
}

/// Runs both and gives the first one's result.
async fn futures<T>(one: impl Future<Output = T>, other: impl Future<Output = ()>) -> T {
    tokio::pin!(one);
    tokio::select! {
        result = &mut one => result,
        () = other => one.await,
    }
}

#[tokio::test]
async fn every_transaction_is_applied_once_though_mysql_97_is_killed() {
    killed(Version::MySql97).await;
}

#[tokio::test]
async fn every_transaction_is_applied_once_though_mariadb_118_is_killed() {
    killed(Version::MariaDb118).await;
}

#[tokio::test]
async fn a_second_applier_of_the_same_migration_stops() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    pair.both("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await;
    pair.change("INSERT INTO t VALUES (1)");
    let mut second = Box::pin(pair.applier()).await.unwrap();
    let from = pair.applied.clone();
    Box::pin(pair.apply()).await.unwrap();
    let events = log::behind(&pair.source, &from).await;
    let run = Box::pin(second.run_stream(events));
    let error = tokio::time::timeout(PATIENCE, run)
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("another pointsman"), "{error}");
    assert_eq!(pair.same("SELECT id FROM t"), "1");
}

#[tokio::test]
async fn markers_are_waited_for_and_a_pause_holds_it_still() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    pair.both("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await;
    pair.source.sql("CREATE DATABASE pointsman; CREATE TABLE pointsman.marker (id BIGINT PRIMARY KEY, token VARCHAR(64))").unwrap();
    pair.change("INSERT INTO t VALUES (1)");
    pair.source
        .sql("INSERT INTO pointsman.marker VALUES (1, 'here')")
        .unwrap();
    let end = log::end_of(&pair.source).await;
    let mut applier = Box::pin(pair.applier()).await.unwrap();
    let events = log::behind(&pair.source, &pair.applied).await;
    let handle = applier.handle();
    let run = Box::pin(applier.run_stream(events));
    let ask = async {
        let marker = Marker::Row {
            token: "here".to_owned(),
        };
        let position = handle.wait_marker(&marker).await;
        assert_eq!(position, end);
        let paused = handle.pause().await;
        assert_eq!(
            (paused.at.clone(), handle.status().run),
            (end.clone(), RunState::Paused)
        );
        assert_eq!(
            pair.target.sql_in("d", "SELECT count(*) FROM t").unwrap(),
            "1"
        );
        paused.resume();
        let rotated = Marker::Rotated {
            file: BinlogFile::new("binlog.000001", 4).name.to_string(),
        };
        handle.wait_marker(&rotated).await;
        handle.stop();
    };
    tokio::time::timeout(PATIENCE, futures(run, ask))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*handle.run_state().borrow(), RunState::Ended);
}

#[tokio::test]
async fn windows_that_an_applier_wrote_are_not_applied_again() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    pair.both("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await;
    // As the target of an earlier direction looks: rows behind a change of the progress.
    pair.source.sql("CREATE DATABASE pointsman; CREATE TABLE pointsman.progress (lane INT PRIMARY KEY, position TEXT, commit_time BIGINT, windows BIGINT)").unwrap();
    let start = log::end_of(&pair.source).await;
    pair.source.sql("BEGIN; INSERT INTO pointsman.progress VALUES (0, 'x', 0, 1); INSERT INTO d.t VALUES (1); COMMIT; INSERT INTO d.t VALUES (2)").unwrap();
    pair.applied = start;
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.target.sql_in("d", "SELECT id FROM t").unwrap(), "2");
}

/// How long to leave the server alone between two looks: what InnoDB tells of transactions is kept
/// for a tenth of a second after the last look.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

async fn number(conn: &SqlConn, sql: &str) -> u64 {
    let rows = conn.query(sql).await.unwrap();
    rows[0].parse(0).unwrap()
}

async fn deadlocks(conn: &SqlConn) -> u64 {
    let sql = "SELECT COUNT FROM information_schema.INNODB_METRICS WHERE NAME = 'lock_deadlocks'";
    number(conn, sql).await
}

/// The applier waits for the second row while a transaction with far more changes waits for the
/// first: InnoDB takes back the one with fewer changes, which is the window.
async fn a_deadlock(version: Version) {
    let mut pair = Pair::start(version, version).await;
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT) ENGINE=InnoDB; INSERT INTO t VALUES (1, 0), (2, 0);
         CREATE TABLE n (v INT) ENGINE=InnoDB",
    )
    .await;
    pair.target
        .sql_in(
            "d",
            "CREATE TABLE heavy (id INT AUTO_INCREMENT PRIMARY KEY, v INT) ENGINE=InnoDB",
        )
        .unwrap();
    pair.change(
        "BEGIN; UPDATE t SET v = v + 1 WHERE id = 1; UPDATE t SET v = v + 1 WHERE id = 2;
         INSERT INTO n VALUES (7); COMMIT",
    );
    let blocker = pair.target.connect().await.unwrap();
    let watcher = pair.target.connect().await.unwrap();
    blocker.execute("BEGIN").await.unwrap();
    let heavy = vec!["(0)"; 1000].join(",");
    let heavy = format!("INSERT INTO d.heavy (v) VALUES {heavy}");
    blocker.execute(&heavy).await.unwrap();
    let second = "SELECT v FROM d.t WHERE id = 2 FOR UPDATE";
    assert_eq!(number(&blocker, second).await, 0);
    let before = deadlocks(&watcher).await;

    let meet = async {
        // Nobody else waits for a row on this server.
        let waiting = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
        loop {
            let rows = watcher.query(waiting).await.unwrap();
            if rows[0].text(1) == Some("1") {
                break;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        // This is not the transaction that is taken back; it sees nothing of the window's.
        let first = "SELECT v FROM d.t WHERE id = 1 FOR UPDATE";
        assert_eq!(number(&blocker, first).await, 0);
        while deadlocks(&watcher).await == before {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        blocker.execute("COMMIT").await.unwrap();
    };
    let both = async { tokio::join!(Box::pin(pair.apply()), meet) };
    let (applied, ()) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    applied.unwrap();
    let windows = "SELECT windows FROM pointsman.progress";
    assert_eq!(number(&watcher, windows).await, 1);
    assert_eq!(deadlocks(&watcher).await, before + 1);
    assert_eq!(pair.same("SELECT id, v FROM t ORDER BY id"), "1\t1\n2\t1");
    assert_eq!(pair.same("SELECT v FROM n"), "7");
}

#[tokio::test]
async fn a_window_that_loses_a_deadlock_runs_again_whole_on_mysql_97() {
    a_deadlock(Version::MySql97).await;
}

#[tokio::test]
async fn a_window_that_loses_a_deadlock_runs_again_whole_on_mariadb_118() {
    a_deadlock(Version::MariaDb118).await;
}
