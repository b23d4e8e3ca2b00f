//! The comparison of both sides: equal under load, and every damage is found.

use integration::mysql::Version;
use integration::proxy::Said;
use serde_json::Value;

use super::stage::{DATABASE, PATIENCE, Stage};

/// More tables and kinds of values than the stage has, on every version.
const VALUES: &str = "
SET NAMES utf8mb4 COLLATE utf8mb4_general_ci;
SET sql_mode = 'NO_ENGINE_SUBSTITUTION';
CREATE TABLE kinds (
    id bigint NOT NULL PRIMARY KEY, tiny tinyint, small smallint unsigned, big bigint unsigned,
    f float, d double, n decimal(20, 5), bits bit(64), dt datetime(6) NULL, ts timestamp(3) NULL,
    t time(3), y year, c char(10), v varchar(20), l varchar(20) CHARACTER SET latin1,
    u varchar(20) CHARACTER SET utf16, b binary(4), vb varbinary(9), tx text, bl longblob,
    e enum('a', 'b', ''), s set('x', 'y'), g geometry
) ENGINE = InnoDB;
INSERT INTO kinds (id) VALUES (0), (-9223372036854775808), (9223372036854775807);
INSERT INTO kinds SELECT n, n % 100, n, 18446744073709551615 - n, n / 3, 1 / n, n / 7, n * 1000003,
    '2024-02-29 12:00:00.123456', '2024-03-31 01:30:00.5', '-12:34:56.789', 2000 + n % 100,
    CONCAT('c', n), CONCAT('v', n, ' '), 'Käse', 'Straße', 'ab', X'00FF', REPEAT('text\\n', n % 50),
    REPEAT(X'00FF0A', n % 60), 1 + n % 3, n % 4, POINT(n, -n)
    FROM numbers WHERE n <= 300;
UPDATE kinds SET d = -1e0 * 0e0, f = 3.4028235e38, tx = '', v = '' WHERE id = 6;
CREATE TABLE empty_one (id int NOT NULL PRIMARY KEY, t text) ENGINE = InnoDB;
CREATE TABLE twins (a int, b varchar(20)) ENGINE = InnoDB;
INSERT INTO twins SELECT n % 10, 'the same' FROM numbers WHERE n <= 100;
CREATE TABLE folded (k varchar(20) NOT NULL PRIMARY KEY, v int) ENGINE = InnoDB;
INSERT INTO folded VALUES ('Straße', 1), ('ÉCLAIR', 2), ('b', 3);
CREATE TABLE wide_key (a varchar(20) NOT NULL, b date NOT NULL, c int NOT NULL,
    PRIMARY KEY (b, a, c)) ENGINE = InnoDB;
INSERT INTO wide_key SELECT CONCAT('a, b=', n % 3), '2024-01-01' + INTERVAL n DAY, n
    FROM numbers WHERE n <= 50;
CREATE TABLE child (id int NOT NULL PRIMARY KEY, parent int,
    CONSTRAINT child_of FOREIGN KEY (parent) REFERENCES empty_one (id)) ENGINE = InnoDB;
";

/// What is done to the target, what the report must say of it, and how it is undone.
const DAMAGES: &[(&str, &str, &str)] = &[
    (
        "DELETE FROM kinds WHERE id = 9",
        "missing: id=9",
        "REPLACE INTO kinds SELECT * FROM pointsman.kept",
    ),
    (
        "INSERT INTO kinds (id) VALUES (-9)",
        "extra: id=-9",
        "DELETE FROM kinds WHERE id = -9",
    ),
    (
        "UPDATE kinds SET f = f + 0.0001 WHERE id = 9",
        "changed: id=9",
        "REPLACE INTO kinds SELECT * FROM pointsman.kept",
    ),
    (
        "UPDATE kinds SET d = d + 1e-9 WHERE id = 9",
        "changed: id=9",
        "REPLACE INTO kinds SELECT * FROM pointsman.kept",
    ),
    (
        "UPDATE kinds SET tx = NULL WHERE id = 6",
        "changed: id=6",
        "UPDATE kinds SET tx = '' WHERE id = 6",
    ),
    (
        "UPDATE kinds SET v = 'v9' WHERE id = 9",
        "changed: id=9",
        "REPLACE INTO kinds SELECT * FROM pointsman.kept",
    ),
    (
        "UPDATE kinds SET l = 'Kase' WHERE id = 9",
        "changed: id=9",
        "REPLACE INTO kinds SELECT * FROM pointsman.kept",
    ),
    (
        "UPDATE kinds SET bl = CONCAT(bl, X'00') WHERE id = 9",
        "changed: id=9",
        "REPLACE INTO kinds SELECT * FROM pointsman.kept",
    ),
    (
        "UPDATE kinds SET g = POINT(9, 9) WHERE id = 9",
        "changed: id=9",
        "REPLACE INTO kinds SELECT * FROM pointsman.kept",
    ),
    (
        "UPDATE kinds SET dt = dt + INTERVAL 1 MICROSECOND WHERE id = 9",
        "changed: id=9",
        "REPLACE INTO kinds SELECT * FROM pointsman.kept",
    ),
    (
        "INSERT INTO twins VALUES (1, 'the same')",
        "extra: a=1, b=the same",
        "DELETE FROM twins WHERE a = 1 LIMIT 1",
    ),
    (
        "DELETE FROM twins WHERE a = 2 LIMIT 1",
        "missing: a=2, b=the same",
        "INSERT INTO twins VALUES (2, 'the same')",
    ),
    (
        "UPDATE folded SET k = 'STRASSE' WHERE v = 1",
        "missing: k=Straße",
        "UPDATE folded SET k = 'Straße' WHERE v = 1",
    ),
    (
        "UPDATE wide_key SET c = 0 WHERE c = 5",
        "extra: b=2024-01-06, a=a, b=2, c=0",
        "UPDATE wide_key SET c = 5 WHERE c = 0",
    ),
    (
        "INSERT INTO child VALUES (1, 77)",
        "foreign key child_of of shop.child: 1 row on the target without it",
        "DELETE FROM child",
    ),
    (
        "ALTER TABLE wide_key MODIFY c bigint NOT NULL",
        "shop.wide_key cannot be compared: its definition differs: column c is int",
        "ALTER TABLE wide_key MODIFY c int NOT NULL",
    ),
    (
        "ALTER TABLE purchase DROP KEY purchase_day",
        "index shop.purchase.purchase_day differs",
        "ALTER TABLE purchase ADD KEY purchase_day (day)",
    ),
    (
        "DROP TRIGGER customer_named",
        "trigger shop.customer_named differs",
        "CREATE TRIGGER customer_named BEFORE INSERT ON customer FOR EACH ROW \
         SET NEW.notes = COALESCE(NEW.notes, 'by trigger')",
    ),
    (
        "ALTER TABLE child DROP FOREIGN KEY child_of",
        "foreign key shop.child.child_of differs",
        "ALTER TABLE child ADD CONSTRAINT child_of FOREIGN KEY (parent) REFERENCES empty_one (id)",
    ),
    (
        "CREATE TABLE foreign_one (id int)",
        "table shop.foreign_one differs",
        "DROP TABLE foreign_one",
    ),
];

async fn verify(stage: &Stage) -> (Said, Value) {
    let said = stage.proxy.cli(&["verify", "--json"]).await.unwrap();
    let report = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("{error}: {said}\n{}", stage.proxy.log()));
    (said, report)
}

/// Everything is equal; gives the report.
async fn assert_equal(stage: &Stage) -> Value {
    let (said, report) = verify(stage).await;
    assert_eq!(said.code, 0, "{report:#}");
    assert_eq!(report["outcome"], "equal", "{report:#}");
    report
}

async fn filled(from: Version, to: Version) -> Stage {
    let stage = Stage::new(from, to).await;
    stage.source.script(DATABASE, VALUES).unwrap();
    stage.stream().await;
    stage
}

fn rows<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().unwrap();
    let found = tables.iter().find(|table| table["name"] == name);
    &found.unwrap_or_else(|| panic!("no table {name} in {report:#}"))["rows"]
}

async fn equal_under_load(from: Version, to: Version) {
    let stage = filled(from, to).await;
    let load = stage.load(4).await;
    for _ in 0..3 {
        let report = assert_equal(&stage).await;
        assert_eq!(*rows(&report, "shop.kinds"), 303);
        assert_eq!(*rows(&report, "shop.empty_one"), 0);
        assert_eq!(*rows(&report, "shop.twins"), 100);
        assert!(report["held_ms"].as_f64().unwrap() < 20_000.0, "{report:#}");
        load.more_commits(20, PATIENCE).await.unwrap();
    }
    let status = stage.proxy.status().await.unwrap();
    assert_eq!(status["last_verify"]["outcome"], "equal", "{status:#}");
    drop(load);
    stage.cutover().await;
}

async fn damages_are_found(from: Version, to: Version) {
    let stage = filled(from, to).await;
    assert_equal(&stage).await;
    let target = stage.target.connect().await.unwrap();
    for sql in [
        "USE shop",
        "SET foreign_key_checks = 0, sql_log_bin = 0",
        "CREATE TABLE pointsman.kept AS SELECT * FROM kinds WHERE id = 9",
    ] {
        target.execute(sql).await.unwrap();
    }
    for &(damage, words, undo) in DAMAGES {
        target.execute(damage).await.unwrap();
        let said = stage.proxy.cli(&["verify"]).await.unwrap();
        assert_eq!(said.code, 1, "{damage}: {said}");
        assert!(said.stderr.contains(words), "{damage}: {said}");
        target.execute(undo).await.unwrap();
    }
    target.execute("DROP TABLE pointsman.kept").await.unwrap();
    assert_equal(&stage).await;
}

macro_rules! between {
    ($what:ident; $($name:ident: $from:ident, $to:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $what(Version::$from, Version::$to).await;
        }
    )*};
}

between! {
    equal_under_load;
    equal_under_load_from_mysql_97_to_97: MySql97, MySql97;
    equal_under_load_from_mysql_56_to_97: MySql56, MySql97;
    equal_under_load_from_mariadb_1011_to_118: MariaDb1011, MariaDb118;
}

between! {
    damages_are_found;
    damages_are_found_from_mysql_97_to_97: MySql97, MySql97;
    damages_are_found_from_mysql_56_to_97: MySql56, MySql97;
    damages_are_found_from_mariadb_1011_to_118: MariaDb1011, MariaDb118;
}

/// The operator's interrupt ends it, and nothing of it stays on the servers.
#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_of_mysql_that_is_given_up_leaves_nothing_on_the_servers() {
    let stage = filled(Version::MySql97, Version::MySql97).await;
    let locked = stage.target.connect().await.unwrap();
    // A lock that a reader waits for keeps the comparison at work.
    locked
        .execute("LOCK TABLES shop.twins WRITE")
        .await
        .unwrap();
    let mut child = crate::e2e::commands::command(&stage.proxy, &["verify"]);
    let reading = |status: &Value| status["step"].to_string().contains("comparing rows");
    let waited = stage.proxy.wait_for("it reads", PATIENCE, reading);
    waited.await.unwrap();
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    let idle = |status: &Value| !status["step"].to_string().contains("verify");
    let waited = stage.proxy.wait_for("it is given up", PATIENCE, idle);
    waited.await.unwrap();
    let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '%pointsman bucket%' \
               AND ID <> CONNECTION_ID()";
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let left = locked.query_first(sql).await.unwrap().unwrap();
        if left.text(0) == Some("0") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "sessions are left");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    locked.execute("UNLOCK TABLES").await.unwrap();
    assert_equal(&stage).await;
}
