//! Sessions that are read again: a look tells whether there is anything new to read.

use integration::server::{PgClient, PgOptions, PgServer};
use router::Side;

use super::house::{House, PATIENCE};

async fn executed(client: &PgClient, statement: &str) -> String {
    let sql = format!(
        "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE name = '{statement}'"
    );
    client.value(&sql).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_what_it_was_is_not_read_whole_again() {
    let house = House::pair(14, 17).await;
    let client = house.client().await;
    client.batch_execute("SET work_mem = '15MB'").await.unwrap();
    assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
    for _round in 0..3 {
        client.batch_execute("SELECT 1").await.unwrap();
        assert_eq!(house.relay.refresh_changed(PATIENCE).await.ready, 1);
    }
    assert_eq!(executed(&client, "pointsman_state").await, "1");
    assert_eq!(executed(&client, "pointsman_look").await, "4");
    house.move_to(Side::Target).await;
    assert_eq!(client.value("SHOW work_mem").await.unwrap(), "15MB");
}

/// What a client does between the preparation and the hold, a question about it, and the answer.
const CHANGES: &[(&str, &str, &str)] = &[
    ("SET work_mem = '17MB'", "SHOW work_mem", "17MB"),
    // The source's own default, which is not the target's.
    ("SET work_mem = '4MB'", "SHOW work_mem", "4MB"),
    ("RESET statement_timeout", "SHOW statement_timeout", "0"),
    (
        "SELECT set_config('work_mem', '18MB', false)",
        "SHOW work_mem",
        "18MB",
    ),
    (
        "DO $$BEGIN PERFORM set_config('app.tenant', '', false); END$$",
        "SELECT coalesce(current_setting('app.tenant', true), 'none')",
        "",
    ),
    (
        "DO $$BEGIN EXECUTE 'SET search_path = pg_catalog'; END$$",
        "SHOW search_path",
        "pg_catalog",
    ),
    (
        "DO $$BEGIN EXECUTE 'PREPARE q AS SELECT 7'; END$$",
        "EXECUTE q",
        "7",
    ),
    ("SET ROLE app", "SELECT current_user", "app"),
    (
        "SET SESSION AUTHORIZATION app",
        "SELECT session_user",
        "app",
    ),
    (
        "DO $$BEGIN EXECUTE 'LISTEN news'; END$$",
        "SELECT count(*) FROM pg_listening_channels()",
        "1",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_after_a_session_was_read_is_noticed() {
    let options = PgOptions::default().without_fsync();
    let source = PgServer::start(14, options.clone()).await.unwrap();
    let target = PgServer::start(17, options).await.unwrap();
    for server in [&source, &target] {
        server.psql("postgres", "CREATE ROLE app").unwrap();
    }
    let other_default = "ALTER SYSTEM SET work_mem = '8MB'; SELECT pg_reload_conf()";
    for statement in other_default.split("; ") {
        target.psql("postgres", statement).unwrap();
    }
    let house = House::over(source, Some(target), |_options| {}).await;
    house.relay.set_custom_settings(["app.tenant".to_owned()]);
    let mut clients = Vec::new();
    for _change in CHANGES {
        let client = house.client().await;
        for before in ["SET statement_timeout = '1h'", "PREPARE p AS SELECT 8"] {
            client.batch_execute(before).await.unwrap();
        }
        clients.push(client);
    }
    let made = house.client().await;
    made.batch_execute("SELECT 1").await.unwrap();
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.ready, CHANGES.len() + 1, "{report:?}");

    for (client, (change, _, _)) in clients.iter().zip(CHANGES) {
        client.batch_execute(change).await.unwrap();
    }
    let again = &clients[0];
    for again_under_its_name in ["DEALLOCATE p", "PREPARE p AS SELECT 9"] {
        again.batch_execute(again_under_its_name).await.unwrap();
    }
    let temporary = "DO $$BEGIN EXECUTE 'CREATE TEMP TABLE t ()'; END$$";
    made.batch_execute(temporary).await.unwrap();
    let report = house.relay.refresh_changed(PATIENCE).await;
    let unmovable: Vec<_> = report.unmovable.iter().flat_map(|(_, why)| why).collect();
    assert_eq!(format!("{unmovable:?}"), "[TemporaryTable]");
    made.batch_execute("DROP TABLE t").await.unwrap();

    house.move_to(Side::Target).await;
    for (client, (change, question, answer)) in clients.iter().zip(CHANGES) {
        assert_eq!(client.value(question).await.unwrap(), *answer, "{change}");
    }
    assert_eq!(clients[0].value("EXECUTE p").await.unwrap(), "9");
    assert_eq!(clients[1].value("EXECUTE p").await.unwrap(), "8");
    let version = "SELECT current_setting('server_version_num')::int / 10000";
    assert_eq!(made.value(version).await.unwrap(), "17");
}
