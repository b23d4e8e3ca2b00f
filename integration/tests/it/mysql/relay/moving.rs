//! Sessions that go over to another server, and those that must not.

use std::time::Duration;

use binlog::session::Unmovable;
use binlog::wire::SqlConn;
use integration::mysql::Version;

use super::house::{House, PATIENCE, ask, port, refusal};

const STATE: &str = "SELECT @@sql_mode, @@time_zone, @@group_concat_max_len, @a, @b, @c, HEX(@d), \
     @e, LAST_INSERT_ID(), @@character_set_client, @@collation_connection, @@autocommit, DATABASE()";

async fn carries_its_state(from: Version, to: Version) {
    let house = House::pair(from, to).await;
    let target = house.target.as_ref().unwrap();
    for server in [&house.source, target] {
        server
            .sql("CREATE TABLE shop.t (id int AUTO_INCREMENT PRIMARY KEY, v int)")
            .unwrap();
    }
    let client = house.client().await;
    for sql in [
        "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', time_zone = '+03:00'",
        "SET NAMES latin1",
        "SET SESSION group_concat_max_len = 777, @a = 1.50, @b = 'x', @c = 1e0, @d = x'00FF', @e = -3",
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "INSERT INTO t (v) VALUES (1), (2)",
        "INSERT INTO t (v) VALUES (3)",
        "SET autocommit = 0",
    ] {
        client.execute(sql).await.unwrap();
    }
    let before = ask(&client, STATE).await;
    client.execute("COMMIT").await.unwrap();
    house.relay.prepare_twins(PATIENCE).await;
    // Our own questions leave nothing behind, without `autocommit` neither.
    client.execute("DO 1").await.unwrap();
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, &report.unmovable[..]), (1, &[][..]));
    // What is said between the preparation and the switch is carried too.
    client.execute("SET @e = -4, @f = 'new'").await.unwrap();
    client.execute("COMMIT").await.unwrap();
    house.move_points().await;
    assert_eq!(port(&client).await, target.port());
    assert_eq!(ask(&client, STATE).await, before.replace("-3", "-4"));
    assert_eq!(ask(&client, "SELECT @f").await, "new");
    client.execute("COMMIT").await.unwrap();
    assert_eq!(house.relay.close_source_connections(PATIENCE).await, 0);
    // And back.
    house.relay.prepare_twins(PATIENCE).await;
    house.move_points().await;
    assert_eq!(port(&client).await, house.source.port());
    assert_eq!(ask(&client, STATE).await, before.replace("-3", "-4"));
}

macro_rules! carries {
    ($($name:ident: $from:ident $to:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            carries_its_state(Version::$from, Version::$to).await;
        })*
    };
}

carries! {
    a_session_carries_its_state_from_mysql_9_7_to_9_7: MySql97 MySql97,
    a_session_carries_its_state_from_mysql_5_6_to_9_7: MySql56 MySql97,
    a_session_carries_its_state_from_mariadb_10_11_to_11_8: MariaDb1011 MariaDb118,
    a_session_carries_its_state_from_mariadb_11_8_to_mysql_9_7: MariaDb118 MySql97,
    a_session_carries_its_state_from_mysql_9_7_to_mariadb_11_8: MySql97 MariaDb118,
}

async fn names_what_it_cannot_carry(from: Version, to: Version) {
    let house = House::pair(from, to).await;
    house
        .source
        .sql("CREATE TABLE shop.t (id int PRIMARY KEY); CREATE TABLE shop.u (id int PRIMARY KEY)")
        .unwrap();
    let cases = [
        (
            "CREATE TEMPORARY TABLE tt (a int)",
            Unmovable::TemporaryTable,
        ),
        ("LOCK TABLES u READ", Unmovable::TableLock),
        ("HANDLER t OPEN", Unmovable::TableLock),
        ("PREPARE s FROM 'SELECT 1'", Unmovable::PreparedStatement),
    ];
    let mut clients: Vec<SqlConn> = Vec::new();
    for (sql, _) in &cases {
        let client = house.client().await;
        client.execute(sql).await.unwrap();
        clients.push(client);
    }
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.ready, 0, "{report:?}");
    let found: Vec<_> = report
        .unmovable
        .iter()
        .map(|(_, reasons)| reasons.clone())
        .collect();
    let expected: Vec<_> = cases
        .iter()
        .map(|(_, reason)| vec![reason.clone()])
        .collect();
    assert_eq!(found, expected);
    house.move_points().await;
    for client in &clients {
        let (code, message) = refusal(client.query("SELECT 1").await);
        assert_eq!(code, 1053);
        assert!(message.contains("could not be moved"), "{message}");
    }
}

#[tokio::test]
async fn mysql_sessions_that_cannot_move_are_named_and_refused() {
    names_what_it_cannot_carry(Version::MySql97, Version::MySql97).await;
}

#[tokio::test]
async fn mariadb_sessions_that_cannot_move_are_named_and_refused() {
    names_what_it_cannot_carry(Version::MariaDb1011, Version::MariaDb118).await;
}

#[tokio::test]
async fn a_session_whose_results_are_in_utf_16_is_listed() {
    for version in [Version::MySql97, Version::MariaDb118] {
        let house = House::pair(version, version).await;
        let client = house.client().await;
        let sql = "SET character_set_results = utf16";
        client.execute(sql).await.unwrap();
        let report = house.relay.prepare_twins(PATIENCE).await;
        let reasons: Vec<_> = report.unmovable.into_iter().map(|(_, why)| why).collect();
        let reason = Unmovable::Setting("character_set_results".to_owned());
        assert_eq!((report.ready, reasons), (0, vec![vec![reason]]));
        let sql = "SET character_set_results = utf8mb4";
        client.execute(sql).await.unwrap();
        assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
    }
}

#[tokio::test]
async fn what_was_given_back_is_no_hindrance() {
    let house = House::pair(Version::MySql97, Version::MySql97).await;
    house
        .source
        .sql("CREATE TABLE shop.t (id int PRIMARY KEY)")
        .unwrap();
    let client = house.client().await;
    for sql in [
        "CREATE TEMPORARY TABLE tt (a int)",
        "DROP TEMPORARY TABLE tt",
        "LOCK TABLES t WRITE",
        "UNLOCK TABLES",
        "DO GET_LOCK('l', 1)",
        "DO RELEASE_LOCK('l')",
        "HANDLER t OPEN",
        "HANDLER t CLOSE",
        "PREPARE s FROM 'SELECT 1'",
        "DEALLOCATE PREPARE s",
    ] {
        client.execute(sql).await.unwrap();
    }
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable), (1, Vec::new()));
}

async fn waits_for_transactions(version: Version) {
    let house = House::pair(version, version).await;
    let target = house.target.as_ref().unwrap();
    for server in [&house.source, target] {
        server
            .script(
                "shop",
                "CREATE TABLE t (id int PRIMARY KEY) ENGINE=InnoDB; INSERT INTO t VALUES (1);\n\
                 DELIMITER //\n\
                 CREATE PROCEDURE leaves_open() BEGIN START TRANSACTION; \
                 INSERT INTO t VALUES (7); INSERT INTO t VALUES (1); END//\n",
            )
            .unwrap();
    }
    let client = house.client().await;
    // An error that hides a transaction: the procedure fails after it began one.
    let (code, _) = refusal(client.query("CALL leaves_open()").await);
    assert_eq!(code, 1062);
    let held = house
        .switch
        .hold(house.switch.serving().unwrap().other())
        .unwrap();
    let held = held.into_drained().expect_err("a transaction is open");
    drop(held);
    client.execute("ROLLBACK").await.unwrap();
    // An error that ends nothing and begins nothing leaves the session idle.
    refusal(client.query("SELECT * FROM nowhere").await);
    let idle = async {
        while house.switch.running() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, idle).await.unwrap();
    // A held client waits, and goes on at the other server.
    house.relay.prepare_twins(PATIENCE).await;
    let mut held = house
        .switch
        .hold(house.switch.serving().unwrap().other())
        .unwrap();
    held.drain().await;
    let mut asked = Box::pin(client.query("SELECT @@port"));
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut asked)
            .await
            .is_err()
    );
    let drained = held.into_drained().unwrap();
    drained.fenced().caught_up().switch().release();
    let rows = tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rows[0].text(0), Some(target.port().to_string().as_str()));
}

#[tokio::test]
async fn mysql_transactions_are_waited_for_also_those_that_an_error_hides() {
    waits_for_transactions(Version::MySql97).await;
}

#[tokio::test]
async fn mariadb_transactions_are_waited_for_also_those_that_an_error_hides() {
    waits_for_transactions(Version::MariaDb118).await;
}

/// All are asked about at once; none gets what is another's.
async fn many_sessions_keep_their_own(from: Version, to: Version) {
    let house = House::pair(from, to).await;
    house.source.sql("CREATE TABLE shop.t (a int)").unwrap();
    let mut clients = Vec::new();
    for number in 0..9 {
        let client = house.client().await;
        client
            .execute(&format!("SET @mine = {number}"))
            .await
            .unwrap();
        clients.push(client);
    }
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, &report.unmovable[..]), (9, &[][..]));
    for (number, client) in clients.iter().enumerate() {
        let sql = format!("SET @mine = @mine + 100, @also_{number} = {number}");
        client.execute(&sql).await.unwrap();
    }
    // The last two cannot move any more, and it is known which.
    let stays = "CREATE TEMPORARY TABLE tt (a int)";
    clients[7].execute(stays).await.unwrap();
    clients[8].execute("LOCK TABLES shop.t READ").await.unwrap();
    let report = house.move_points().await;
    assert_eq!(report.ready, 7, "{report:?}");
    let reasons: Vec<_> = report.unmovable.into_iter().map(|(_, why)| why).collect();
    assert_eq!(
        reasons,
        [vec![Unmovable::TemporaryTable], vec![Unmovable::TableLock]]
    );
    for (number, client) in clients[..7].iter().enumerate() {
        let sql = format!("SELECT @mine, @also_{number}, @also_{}", (number + 1) % 7);
        let expected = format!("{}\t{number}\tNULL", 100 + number);
        assert_eq!(ask(client, &sql).await, expected);
        let target = house.target.as_ref().unwrap();
        assert_eq!(port(client).await, target.port());
    }
}

#[tokio::test]
async fn many_mysql_sessions_that_changed_keep_what_is_their_own() {
    many_sessions_keep_their_own(Version::MySql97, Version::MySql97).await;
}

#[tokio::test]
async fn many_mysql_5_6_sessions_that_changed_keep_what_is_their_own() {
    many_sessions_keep_their_own(Version::MySql56, Version::MySql97).await;
}

#[tokio::test]
async fn many_mariadb_sessions_that_changed_keep_what_is_their_own() {
    many_sessions_keep_their_own(Version::MariaDb1011, Version::MariaDb118).await;
}
