//! Definition statements at their place, and crashes around them.

use std::time::{Duration, Instant};

use binlog::apply::{ApplyError, DdlWhy, TableError};
use integration::mysql::Version;

use super::log;
use super::pair::Pair;

/// How long anything may take on a starved machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A source's history with definitions between its rows.
async fn in_place(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, v INT) ENGINE=InnoDB; INSERT INTO t VALUES (1, 1)",
    )
    .await;
    pair.change(
        "INSERT INTO t VALUES (2, 2); ALTER TABLE t ADD COLUMN w VARCHAR(10) DEFAULT 'x' AFTER id;
         INSERT INTO t VALUES (3, 'three', 3); CREATE TABLE u LIKE t; INSERT INTO u SELECT * FROM t;
         RENAME TABLE t TO tmp, u TO t, tmp TO u; DELETE FROM u WHERE id = 1; TRUNCATE TABLE t;
         INSERT INTO t VALUES (4, 'four', 4); ALTER TABLE t DROP COLUMN v; UPDATE t SET w = 'neu';
         CREATE INDEX i ON t (w); CREATE VIEW s AS SELECT id FROM t; DROP TABLE u;
         CREATE DATABASE other; CREATE TABLE other.x (id INT)",
    );
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same_rows("t"), pair.same_rows("t"));
    assert_eq!(pair.same("SELECT id FROM s"), "4");
    assert_eq!(
        pair.target.sql("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'other' OR table_name = 'u'").unwrap(),
        "0"
    );
}

macro_rules! directions {
    ($($name:ident: $source:ident $target:ident;)*) => {
        $(#[tokio::test]
        async fn $name() {
            in_place(Version::$source, Version::$target).await;
        })*
    };
}

directions! {
    definitions_take_effect_at_their_place_from_mysql_97_on_mysql_97: MySql97 MySql97;
    definitions_take_effect_at_their_place_from_mysql_56_on_mysql_97: MySql56 MySql97;
    definitions_take_effect_at_their_place_from_mariadb_1011_on_mariadb_118: MariaDb1011 MariaDb118;
    definitions_take_effect_at_their_place_from_mariadb_118_on_mysql_97: MariaDb118 MySql97;
    definitions_take_effect_at_their_place_from_mysql_97_on_mariadb_118: MySql97 MariaDb118;
}

/// The record that a crash between the statement's beginning and its end leaves behind.
fn begun_again(pair: &Pair) {
    pair.target
        .sql("UPDATE pointsman.ddl_intent SET state = 'begun'")
        .unwrap();
}

async fn crash_after(target: Version) {
    let mut pair = Pair::start(target, target).await;
    pair.both("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB; CREATE TABLE e (id INT PRIMARY KEY, v INT) ENGINE=InnoDB").await;
    for statement in [
        "ALTER TABLE t ADD COLUMN a INT",
        "CREATE TABLE n (id INT)",
        "RENAME TABLE t TO x",
        "RENAME TABLE x TO tmp",
        "TRUNCATE TABLE tmp",
        "DROP TABLE n",
    ] {
        let before = pair.applied.clone();
        pair.change(statement);
        Box::pin(pair.apply()).await.unwrap();
        // It took effect, and its being done was not written down: it must not run twice.
        begun_again(&pair);
        pair.applied = before;
        Box::pin(pair.apply())
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    pair.change("INSERT INTO tmp VALUES (1, 2)");
    Box::pin(pair.apply()).await.unwrap();
    pair.same_rows("tmp");
}

#[tokio::test]
async fn a_definition_that_took_effect_before_a_crash_is_not_repeated_on_mysql_97() {
    crash_after(Version::MySql97).await;
}

#[tokio::test]
async fn a_definition_that_took_effect_before_a_crash_is_not_repeated_on_mariadb_118() {
    crash_after(Version::MariaDb118).await;
}

#[tokio::test]
async fn a_definition_that_did_not_take_effect_before_a_crash_is_repeated() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    pair.both("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await;
    let before = pair.applied.clone();
    pair.change("ALTER TABLE t ADD COLUMN a INT");
    Box::pin(pair.apply()).await.unwrap();
    pair.target
        .sql_in("d", "ALTER TABLE t DROP COLUMN a")
        .unwrap();
    // What the table looked like cannot be put back exactly, since it has another number now.
    pair.target
        .sql("UPDATE pointsman.ddl_intent SET state = 'again'")
        .unwrap();
    pair.applied = before;
    Box::pin(pair.apply()).await.unwrap();
    pair.same_rows("t");
    assert_eq!(
        pair.same("SELECT count(*) FROM information_schema.columns WHERE table_schema = 'd'"),
        "2"
    );
}

#[tokio::test]
async fn a_definition_that_the_target_refuses_stops_with_its_place_and_not_its_text() {
    let mut pair = Pair::start(Version::MariaDb118, Version::MySql97).await;
    pair.both("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await;
    pair.change("ALTER TABLE t ADD COLUMN u UUID DEFAULT '00000000-0000-0000-0000-00000000beef'");
    let error = Box::pin(pair.apply()).await.unwrap_err();
    let ApplyError::Ddl(ddl) = &error else {
        panic!("{error}");
    };
    assert_eq!(ddl.why, DdlWhy::Refused);
    assert!(
        error
            .to_string()
            .contains("ALTER TABLE d.t behind binlog.000001:"),
        "{error}"
    );
    assert!(!error.to_string().contains("beef"), "{error}");
    assert!(error.statement().unwrap().contains("beef"));
}

/// The server would close the connection on such a statement, each time anew.
#[tokio::test]
async fn a_definition_beyond_the_targets_packets_stops_by_name_and_goes_on_when_it_takes_them() {
    for version in [Version::MySql97, Version::MariaDb118] {
        let mut pair = Pair::start(version, version).await;
        let packets = |bytes: u32| format!("SET GLOBAL max_allowed_packet = {bytes}");
        pair.source.sql(&packets(16_777_216)).unwrap();
        pair.target.sql(&packets(1_048_576)).unwrap();
        let text = "x".repeat(1_100_000);
        let long = format!("CREATE PROCEDURE p() SELECT '{text}';");
        pair.source.script("d", &long).unwrap();
        let error = Box::pin(pair.apply()).await.unwrap_err();
        assert!(!error.is_transient(), "{error}");
        let told = error.to_string();
        assert!(told.contains("CREATE PROCEDURE d.p behind "), "{told}");
        let limit = "max_allowed_packet on the target is 1048576";
        assert!(told.contains(limit), "{told}");
        assert!(!told.contains("xxxx"), "{told}");
        pair.target.sql(&packets(16_777_216)).unwrap();
        Box::pin(pair.apply()).await.unwrap();
        pair.same("SELECT LENGTH(ROUTINE_DEFINITION) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'd'");
    }
}

#[tokio::test]
async fn events_of_the_scheduler_are_defined_disabled_and_remembered() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    pair.target.sql("SET GLOBAL event_scheduler = ON").unwrap();
    pair.both("CREATE TABLE t (id INT) ENGINE=InnoDB").await;
    pair.change(
        "SET GLOBAL event_scheduler = OFF;
         CREATE EVENT now ON SCHEDULE AT CURRENT_TIMESTAMP ON COMPLETION PRESERVE DO INSERT INTO t VALUES (1);
         CREATE EVENT often ON SCHEDULE EVERY 1 SECOND COMMENT 'x' DO INSERT INTO t VALUES (2);
         CREATE EVENT gone ON SCHEDULE EVERY 1 SECOND DO INSERT INTO t VALUES (3);
         ALTER EVENT often RENAME TO seldom; DROP EVENT gone",
    );
    Box::pin(pair.apply()).await.unwrap();
    let events = "SELECT EVENT_NAME, STATUS FROM information_schema.EVENTS ORDER BY 1";
    assert_eq!(
        pair.target.sql(events).unwrap(),
        "now\tDISABLED\nseldom\tDISABLED"
    );
    assert_eq!(
        pair.target
            .sql("SELECT event_name FROM pointsman.saved_event ORDER BY 1")
            .unwrap(),
        "now\nseldom"
    );
    assert_eq!(pair.target.sql("SELECT count(*) FROM d.t").unwrap(), "0");
}

/// How the applier's end comes while the target works on a definition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The program goes, and the target goes on.
    Program,
    /// The target is killed.
    Target,
}

async fn in_the_middle(version: Version, end: End) {
    let mut pair = Pair::start(version, version).await;
    pair.both("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB; INSERT INTO t VALUES (1)")
        .await;
    pair.change("ALTER TABLE t ADD COLUMN a INT DEFAULT 5; INSERT INTO t VALUES (2, 2)");
    // An open transaction that has read the table keeps the definition waiting.
    let reader = pair.target.connect().await.unwrap();
    reader.execute("BEGIN").await.unwrap();
    reader.query("SELECT * FROM d.t").await.unwrap();
    let count = |sql: &str| {
        pair.target
            .sql(&format!(
                "SELECT count(*) FROM information_schema.processlist WHERE {sql}"
            ))
            .unwrap()
    };
    let deadline = Instant::now() + PATIENCE;
    let mut applier = Box::pin(pair.applier()).await.unwrap();
    let stream = log::behind(&pair.source, &pair.applied).await;
    let waits = async {
        while count("INFO LIKE 'ALTER TABLE t%'") == "0" {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        ran = Box::pin(applier.run_stream(stream)) => panic!("{ran:?}"),
        () = waits => {}
    }
    drop(applier);
    if end == End::Target {
        pair.target.kill9().unwrap();
        pair.target.restart().await.unwrap();
    }
    let ends = async {
        // A while after the applier is back, as a rule; before it, it is right as well.
        tokio::time::sleep(Duration::from_secs(1)).await;
        // The target that was killed has ended it.
        reader.execute("COMMIT").await.map(drop).unwrap_or_default();
    };
    let (applied, ()) = tokio::join!(Box::pin(pair.apply()), ends);
    applied.unwrap();
    assert_eq!(pair.same("SELECT * FROM t ORDER BY 1"), "1\t5\n2\t2");
}

#[tokio::test]
async fn a_definition_that_outlives_its_connection_is_waited_for_on_mysql_97() {
    in_the_middle(Version::MySql97, End::Program).await;
}

#[tokio::test]
async fn a_definition_that_outlives_its_connection_is_waited_for_on_mariadb_118() {
    in_the_middle(Version::MariaDb118, End::Program).await;
}

#[tokio::test]
async fn a_definition_takes_effect_once_though_mysql_97_is_killed_in_it() {
    in_the_middle(Version::MySql97, End::Target).await;
}

#[tokio::test]
async fn a_definition_takes_effect_once_though_mariadb_118_is_killed_in_it() {
    in_the_middle(Version::MariaDb118, End::Target).await;
}

/// What is written to a table without transactions stays when the rest of a transaction does not: after a
/// crash it would be written again.
async fn no_transactions(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
        .await;
    pair.change(
        "INSERT INTO t VALUES (1); CREATE TABLE old (v INT) ENGINE=MyISAM; INSERT INTO t VALUES (2)",
    );
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same("SELECT count(*) FROM t"), "2");
    pair.change("INSERT INTO t VALUES (3); INSERT INTO old VALUES (1), (2)");
    let error = Box::pin(pair.apply()).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    let ApplyError::Table(TableError::NoTransactions { table, engine }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!((table.name.as_str(), engine.as_str()), ("old", "MyISAM"));
    assert_eq!(pair.target.sql("SELECT count(*) FROM d.old").unwrap(), "0");
    // As the message says.
    for server in [&pair.target, &pair.source] {
        server.sql_in("d", "ALTER TABLE old ENGINE=InnoDB").unwrap();
    }
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same("SELECT v FROM old ORDER BY v"), "1\n2");
    assert_eq!(pair.same("SELECT count(*) FROM t"), "3");
}

#[tokio::test]
async fn rows_of_a_table_without_transactions_stop_the_stream_to_mysql_97() {
    no_transactions(Version::MySql97, Version::MySql97).await;
}

#[tokio::test]
async fn rows_of_a_table_without_transactions_stop_the_stream_from_mysql_56() {
    no_transactions(Version::MySql56, Version::MySql97).await;
}

#[tokio::test]
async fn rows_of_a_table_without_transactions_stop_the_stream_to_mariadb_118() {
    no_transactions(Version::MariaDb1011, Version::MariaDb118).await;
}

/// A table that is made with its rows is one transaction in the log. (MySQL 5.6 takes no such statement with GTIDs.)
async fn made_with_rows(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9)) ENGINE=InnoDB; INSERT INTO t VALUES (1, 'a'), (2, 'b')")
        .await;
    let before = pair.applied.clone();
    pair.change(
        "INSERT INTO t VALUES (3, 'c'); CREATE TABLE u (PRIMARY KEY (id)) ENGINE=InnoDB SELECT * FROM t;
         INSERT INTO u VALUES (4, 'd'); CREATE TABLE w ENGINE=InnoDB AS SELECT v, id + 1 AS n FROM u;
         CREATE TABLE none ENGINE=InnoDB AS SELECT * FROM t WHERE id < 0; CREATE TABLE gone ENGINE=InnoDB AS SELECT 1 AS x;
         DROP TABLE gone; CREATE PROCEDURE p() START TRANSACTION; INSERT INTO w SELECT v, id FROM t",
    );
    Box::pin(pair.apply()).await.unwrap();
    let check = |pair: &Pair| {
        assert_eq!(pair.same("SELECT * FROM u ORDER BY id").lines().count(), 4);
        assert_eq!(
            pair.same("SELECT * FROM w ORDER BY v, n").lines().count(),
            7
        );
        assert_eq!(pair.same("SELECT COUNT(*) FROM none"), "0");
        pair.same(
            "SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'd'",
        );
    };
    check(&pair);
    // The table was made, and the proxy died before its rows came.
    pair.change("DROP PROCEDURE p");
    Box::pin(pair.apply()).await.unwrap();
    pair.applied = log::end_of(&pair.source).await;
    assert!(before < pair.applied);
    pair.change("CREATE TABLE late ENGINE=InnoDB AS SELECT * FROM t");
    let made = pair.applied.clone();
    Box::pin(pair.apply()).await.unwrap();
    for forget in ["UPDATE pointsman.ddl_intent SET state = 'begun'", "DO 0"] {
        pair.target
            .sql(&format!("DELETE FROM d.late; {forget}"))
            .unwrap();
        pair.applied = made.clone();
        Box::pin(pair.apply()).await.unwrap();
        assert_eq!(
            pair.same("SELECT * FROM late ORDER BY id").lines().count(),
            3
        );
    }
}

macro_rules! made_with_rows {
    ($($name:ident: $source:ident $target:ident;)*) => {
        $(#[tokio::test]
        async fn $name() {
            made_with_rows(Version::$source, Version::$target).await;
        })*
    };
}

made_with_rows! {
    a_table_made_with_its_rows_is_carried_over_from_mysql_97_to_mysql_97: MySql97 MySql97;
    a_table_made_with_its_rows_is_carried_over_from_mariadb_1011_to_mariadb_118: MariaDb1011 MariaDb118;
    a_table_made_with_its_rows_is_carried_over_from_mysql_97_to_mariadb_118: MySql97 MariaDb118;
    a_table_made_with_its_rows_is_carried_over_from_mariadb_118_to_mysql_97: MariaDb118 MySql97;
}
