//! Sessions that are read again: a look tells whether their variables are what they were.

use integration::mysql::Version;

use super::house::{House, PATIENCE, ask};

const SHOWN: &str = "SHOW SESSION STATUS LIKE 'Com_show_variables'";

async fn a_session_is_read_whole_only_if_its_variables_changed(from: Version, to: Version) {
    let house = House::pair(from, to).await;
    let client = house.client().await;
    client.execute("SET sql_mode = 'ANSI'").await.unwrap();
    assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
    for _round in 0..3 {
        client.execute("DO 1").await.unwrap();
        assert_eq!(house.relay.refresh_changed(PATIENCE).await.ready, 1);
    }
    assert_eq!(ask(&client, SHOWN).await, "Com_show_variables\t1");
    client
        .execute("SET group_concat_max_len = 77")
        .await
        .unwrap();
    assert_eq!(house.relay.refresh_changed(PATIENCE).await.ready, 1);
    assert_eq!(ask(&client, SHOWN).await, "Com_show_variables\t2");
    house.move_points().await;
    let values = "SELECT @@group_concat_max_len, LOCATE('ANSI_QUOTES', @@sql_mode) > 0";
    assert_eq!(ask(&client, values).await, "77\t1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_session_is_read_whole_only_if_its_variables_changed() {
    a_session_is_read_whole_only_if_its_variables_changed(Version::MySql97, Version::MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_session_is_read_whole_only_if_its_variables_changed() {
    let (from, to) = (Version::MariaDb1011, Version::MariaDb118);
    a_session_is_read_whole_only_if_its_variables_changed(from, to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_mysql_session_is_read_whole_only_if_its_variables_changed() {
    a_session_is_read_whole_only_if_its_variables_changed(Version::MySql56, Version::MySql97).await;
}

/// What a client does between the preparation and the hold, a question about it, and the answer.
const CHANGES: &[(&str, &str, &str)] = &[
    ("SET sql_mode = ''", "SELECT @@sql_mode", ""),
    (
        "SET SESSION max_execution_time = 123",
        "SELECT @@max_execution_time",
        "123",
    ),
    (
        "CALL shop.sets()",
        "SELECT @@sql_safe_updates, @@time_zone",
        "1\t+05:00",
    ),
    ("SET @a = 5", "SELECT @a", "5"),
    (
        "SET character_set_results = NULL",
        "SELECT @@character_set_results IS NULL",
        "1",
    ),
    (
        "SET NAMES latin1",
        "SELECT @@character_set_client",
        "latin1",
    ),
    (
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT @@transaction_isolation",
        "SERIALIZABLE",
    ),
    ("SET autocommit = 0", "SELECT @@autocommit", "0"),
    ("SET insert_id = 50", "SELECT @@insert_id", "50"),
    ("SELECT LAST_INSERT_ID(44)", "SELECT LAST_INSERT_ID()", "44"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_after_a_session_was_read_is_noticed() {
    let house = House::pair(Version::MySql97, Version::MySql97).await;
    let sets = "CREATE PROCEDURE shop.sets() \
        SET SESSION sql_safe_updates = 1, SESSION time_zone = '+05:00'";
    house.source.sql(sets).unwrap();
    house.source.sql("GRANT EXECUTE ON shop.* TO app").unwrap();
    let mut clients = Vec::new();
    for _change in CHANGES {
        let client = house.client().await;
        client.execute("SET sql_big_selects = 0").await.unwrap();
        clients.push(client);
    }
    assert_eq!(
        house.relay.prepare_twins(PATIENCE).await.ready,
        CHANGES.len()
    );
    for (client, (change, _, _)) in clients.iter().zip(CHANGES) {
        client.query(change).await.unwrap();
    }
    let report = house.move_points().await;
    assert_eq!(report.ready, CHANGES.len(), "{report:?}");
    for (client, (change, question, answer)) in clients.iter().zip(CHANGES) {
        assert_eq!(ask(client, question).await, *answer, "{change}");
        assert_eq!(ask(client, "SELECT @@sql_big_selects").await, "0");
    }
}
