//! The movement itself, in every direction, under load.

use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql56, MySql97};

use super::stage::{DATABASE, PATIENCE, Stage};

async fn moves_under_load(from: Version, to: Version) {
    let stage = Stage::new(from, to).await;
    assert_eq!(stage.serving().await, stage.source.server_id());
    let load = stage.load(8).await;
    stage.stream().await;
    changes_of_every_kind(&stage);
    load.more_commits(200, PATIENCE).await.unwrap();

    let report = stage.cutover().await;
    assert!(report["pause_ms"].as_f64().unwrap() > 0.0, "{report:#}");
    assert_eq!(report["sessions_ended"], 0, "{report:#}");
    load.more_commits(50, PATIENCE).await.unwrap();
    other_replicas_can_follow(&stage, &report);
    load.more_commits(200, PATIENCE).await.unwrap();

    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
    stage.assert_same_contents().await;
    assert_eq!(stage.serving().await, stage.target.server_id());
    the_target_goes_on(&stage);
}

/// Changes that the load does not make: cascades, keys that change, rows without a key, definitions.
fn changes_of_every_kind(stage: &Stage) {
    let sql = "
        UPDATE customer SET id = id + 100000 WHERE id BETWEEN 10 AND 20;
        DELETE FROM customer WHERE id BETWEEN 100 AND 120;
        UPDATE `No key` SET n = n + 1 WHERE `a column` LIKE 'text 1%';
        DELETE FROM `No key` WHERE `a column` IS NULL LIMIT 1;
        UPDATE by_year SET day = day + INTERVAL 1 YEAR ORDER BY day DESC;
        ALTER TABLE `odd-dates` ADD COLUMN added varchar(30) NOT NULL DEFAULT 'new';
        INSERT INTO `odd-dates` VALUES (7, '2026-12-31', '01:02:03.000004', 2026, 'é');
        CREATE TABLE late (id int NOT NULL PRIMARY KEY, v varchar(10)) ENGINE = InnoDB;
        INSERT INTO late VALUES (1, 'one'), (2, 'two');
        BEGIN; UPDATE late SET v = 'gone' WHERE id = 1; ROLLBACK;
        UPDATE customer SET email = CONCAT('x', email) WHERE id > 1990;";
    stage.source.sql_in(DATABASE, sql).unwrap();
}

/// Nothing comes behind the old server's end, and behind the place in the new one's log comes what
/// clients did there, and nothing of ours.
fn other_replicas_can_follow(stage: &Stage, report: &serde_json::Value) {
    let behind = |server: &integration::mysql::MySqlServer, what: &str| {
        let sentences = report["for_replicas"].as_array().unwrap();
        let place = sentences
            .iter()
            .find_map(|sentence| sentence.as_str().unwrap().strip_prefix(what))
            .unwrap();
        assert!(place.contains(&format!("server_id {}", server.server_id())));
        let (file, rest) = place.split_once(':').unwrap();
        let offset = rest.split(' ').next().unwrap();
        let sql = format!("SHOW BINLOG EVENTS IN '{file}' FROM {offset}");
        let events = server.sql(&sql).unwrap();
        let tables = events.lines().filter(|line| line.contains("Table_map"));
        tables.map(str::to_owned).collect::<Vec<_>>()
    };
    let left = behind(&stage.source, "the old server's log ends at ");
    assert_eq!(left, Vec::<String>::new());
    let of_clients = behind(&stage.target, "the new server's log goes on at ");
    assert!(!of_clients.is_empty());
    let all_theirs = of_clients.iter().all(|table| table.contains("(shop."));
    assert!(all_theirs, "{of_clients:?}");
}

/// No key comes twice, and what belongs to the tables is there.
fn the_target_goes_on(stage: &Stage) {
    let sql = "INSERT INTO customer (email) VALUES ('new@example.com');
        SELECT LAST_INSERT_ID() > 100020, notes FROM customer WHERE email = 'new@example.com';
        CALL pay(1);
        SELECT state, twice(21) FROM purchase WHERE id = 1;
        SELECT count(*) > 100 FROM sales";
    let said = stage.target.sql_in(DATABASE, sql).unwrap();
    assert_eq!(said, "1\tby trigger\npaid\t42\n1");
}

macro_rules! moves {
    ($($name:ident: $from:expr => $to:expr),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            moves_under_load($from, $to).await;
        })*
    };
}

moves! {
    mysql_9_7_to_9_7_under_load: MySql97 => MySql97,
    mysql_5_6_to_9_7_under_load: MySql56 => MySql97,
    mariadb_10_11_to_11_8_under_load: MariaDb1011 => MariaDb118,
    mariadb_11_8_to_mysql_9_7_under_load: MariaDb118 => MySql97,
    mysql_9_7_to_mariadb_11_8_under_load: MySql97 => MariaDb118,
}

/// P3: the fence is on the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_bypasses_the_proxy_cannot_write_to_the_fenced_source() {
    for version in [MySql97, MariaDb1011] {
        let stage = Stage::new(version, MySql97).await;
        stage.stream().await;
        stage.cutover().await;
        let direct: binlog::wire::Endpoint = stage
            .source
            .url_with_password("app", "secret", DATABASE)
            .parse()
            .unwrap();
        let client = Box::pin(direct.connect_sql("bypass")).await;
        if let Ok(client) = client {
            let write = "INSERT INTO shop.by_year VALUES ('2026-05-05', 99, 1)";
            let error = client.execute(write).await.unwrap_err();
            assert!(matches!(error.code(), Some(1290 | 1836)), "{error:?}");
        }
        stage.assert_same_contents().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_of_a_mysql_cutover_changes_nothing() {
    let stage = Stage::new(MySql97, MySql97).await;
    let load = stage.load(2).await;
    stage.stream().await;
    stage.proxy.done(&["cutover", "--dry-run"]).await.unwrap();
    let status = stage.proxy.status().await.unwrap();
    assert_eq!(
        (&status["phase"], &status["serving"]),
        (&"streaming".into(), &"source".into())
    );
    load.more_commits(20, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.source).await;
}
