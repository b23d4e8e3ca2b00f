//! What `currval()` and `lastval()` say after the switch, and that asking and telling changes no
//! sequence.

use integration::server::{PgClient, PgServer};
use router::Side;

use super::house::{House, PATIENCE};

const SAYS: &str = "SELECT concat_ws(' ', currval('a'), currval('\"Odd s\".\"c d\"'), lastval())";
const STORED: &str = "SELECT concat_ws(' ', (SELECT last_value || is_called::text FROM a), \
    (SELECT last_value || is_called::text FROM b), \
    (SELECT last_value || is_called::text FROM \"Odd s\".\"c d\"))";

fn set_up(server: &PgServer) {
    let sql = "CREATE ROLE app LOGIN; CREATE SEQUENCE a; CREATE SEQUENCE b CACHE 10; \
        CREATE SCHEMA \"Odd s\"; CREATE SEQUENCE \"Odd s\".\"c d\"; CREATE SEQUENCE untouched; \
        GRANT USAGE ON SCHEMA \"Odd s\" TO app; \
        GRANT USAGE, SELECT ON a, b, \"Odd s\".\"c d\", untouched TO app";
    server.psql("postgres", sql).unwrap();
}

async fn value(client: &PgClient, sql: &str) -> String {
    client.value(sql).await.unwrap()
}

async fn what_sequences_said_they_say_again(from: u32, to: u32) {
    let house = House::pair(from, to).await;
    let target = house.target.as_ref().unwrap();
    for server in [&house.source, target] {
        set_up(server);
    }
    let url = house.url("app", "x");
    let client = PgClient::connect(&url).await.unwrap();
    let other = PgClient::connect(&url).await.unwrap();
    let silent = PgClient::connect(&url).await.unwrap();
    silent.batch_execute("SELECT 1").await.unwrap();
    client
        .batch_execute(
            "SELECT nextval('b'), nextval('\"Odd s\".\"c d\"'); SELECT nextval('a'); \
             SELECT nextval('a'); SET default_transaction_read_only = on",
        )
        .await
        .unwrap();
    other.batch_execute("SELECT nextval('a')").await.unwrap();
    assert_eq!(value(&client, SAYS).await, "2 1 2");
    let stored = house.source.psql("postgres", STORED).unwrap();
    let set = "SELECT setval('a', 500), setval('b', 600), setval('\"Odd s\".\"c d\"', 700, false)";

    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable.len()), (3, 0), "{report:?}");
    assert_eq!(house.source.psql("postgres", STORED).unwrap(), stored);
    // What changes between the preparation and the hold is carried too.
    other
        .batch_execute("SELECT nextval('\"Odd s\".\"c d\"')")
        .await
        .unwrap();
    let promote = || drop(target.psql("postgres", set).unwrap());
    house.move_promoting(Side::Target, promote).await;
    assert_eq!(
        target.psql("postgres", STORED).unwrap(),
        "500true 600true 700false"
    );
    assert_eq!(value(&client, SAYS).await, "2 1 2");
    assert_eq!(value(&other, SAYS).await, "3 2 2");
    assert_eq!(value(&client, "SELECT currval('b')").await, "1");
    for (client, sql) in [
        (&silent, "SELECT lastval()"),
        (&other, "SELECT currval('b')"),
        (&client, "SELECT currval('untouched')"),
    ] {
        let error = client.simple_query(sql).await.unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some("55000"), "{sql}");
    }
    assert_eq!(value(&other, "SELECT nextval('a')").await, "501");
    assert_eq!(value(&other, "SELECT nextval('b')").await, "601");
    assert_eq!(
        value(&other, "SELECT nextval('\"Odd s\".\"c d\"')").await,
        "700"
    );
    house.relay.close_source_connections(PATIENCE).await;
    let ours = "SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace('pointsman')";
    for server in [&house.source, target] {
        assert_eq!(server.psql("postgres", ours).unwrap(), "0");
    }
    let log = house.source.log();
    assert!(!log.contains("is not yet defined"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sequences_said_on_14_they_say_again_on_17() {
    what_sequences_said_they_say_again(14, 17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sequences_said_on_12_they_say_again_on_18() {
    what_sequences_said_they_say_again(12, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_the_target_lacks_is_named() {
    let house = House::pair(14, 17).await;
    house
        .source
        .psql("postgres", "CREATE SEQUENCE \"only here\"")
        .unwrap();
    let client = house.client().await;
    client
        .batch_execute("SELECT nextval('\"only here\"')")
        .await
        .unwrap();
    let report = house.relay.prepare_twins(PATIENCE).await;
    let reasons: Vec<String> = report
        .unmovable
        .iter()
        .flat_map(|(_id, reasons)| reasons.iter().map(ToString::to_string))
        .collect();
    assert_eq!(reasons, ["currval() of public.\"only here\""]);
    client.batch_execute("DISCARD SEQUENCES").await.unwrap();
    assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
}

const TOKEN: &str = "SELECT token FROM pointsman.carrying";

fn carry(token: &str) -> String {
    format!("SELECT pointsman.carry_sequence('public.a', 77, '{token}')")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_knows_the_token_carries_values_and_nobody_after_the_promotion() {
    let house = House::pair(14, 17).await;
    let target = house.target.as_ref().unwrap();
    for server in [&house.source, target] {
        set_up(server);
    }
    let client = house.client().await;
    client.batch_execute("SELECT nextval('a')").await.unwrap();
    house.relay.prepare_twins(PATIENCE).await;
    let token = target.psql("postgres", TOKEN).unwrap();
    let app = PgClient::connect(&target.url("app", "postgres"))
        .await
        .unwrap();
    for (sql, code) in [(TOKEN, "42501"), (carry("").as_str(), "P0001")] {
        let error = app.simple_query(sql).await.unwrap_err();
        assert_eq!(error.code().map(|code| code.code()), Some(code), "{sql}");
    }
    let promote = || drop(target.psql("postgres", "SELECT setval('a', 500)").unwrap());
    house.move_promoting(Side::Target, promote).await;
    let error = app.simple_query(&carry(&token)).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("P0001"));
    assert_eq!(value(&client, "SELECT currval('a')").await, "1");
    assert_eq!(value(&client, "SELECT nextval('a')").await, "501");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promotion_waits_for_who_is_carrying_a_value() {
    let house = House::pair(14, 17).await;
    let target = house.target.as_ref().unwrap();
    for server in [&house.source, target] {
        set_up(server);
    }
    let client = house.client().await;
    client.batch_execute("SELECT nextval('a')").await.unwrap();
    house.relay.prepare_twins(PATIENCE).await;
    let token = target.psql("postgres", TOKEN).unwrap();
    let late = target.client("postgres").await.unwrap();
    late.batch_execute("BEGIN").await.unwrap();
    late.batch_execute(&carry(&token)).await.unwrap();
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
    let go_on = async {
        while target.psql("postgres", waits).unwrap() == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        late.batch_execute(&carry(&token)).await.unwrap();
        late.batch_execute("ROLLBACK").await.unwrap();
    };
    let promote = || drop(target.psql("postgres", "SELECT setval('a', 500)").unwrap());
    tokio::join!(go_on, house.move_promoting(Side::Target, promote));
    assert_eq!(value(&client, "SELECT currval('a')").await, "1");
    assert_eq!(value(&client, "SELECT nextval('a')").await, "501");
}
