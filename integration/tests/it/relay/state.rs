//! Session state: carried, or named as what cannot be carried. Never lost in silence.

use std::time::Duration;

use pgwal::session::Unmovable;
use router::Side;
use tokio::time::timeout;

use super::house::{House, PATIENCE, tags};

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_session_are_carried() {
    let house = House::pair(14, 18).await;
    house
        .relay
        .set_custom_settings(["app.tenant".to_owned(), "not a name".to_owned()]);
    for server in [&house.source, house.target.as_ref().unwrap()] {
        server
            .psql("postgres", "CREATE ROLE other; CREATE SCHEMA private")
            .unwrap();
    }
    let client = house.client().await;
    let set = "SET work_mem = '13MB'; SET search_path = private, \"$user\", public; \
        SET application_name = 'caf\u{e9}; DROP'; SET DateStyle = 'SQL, DMY'; \
        SELECT set_config('app.tenant', '42''s', false); SET statement_timeout = '1234s'; \
        SET ROLE other";
    client.batch_execute(set).await.unwrap();
    let look = "SELECT current_setting('work_mem') || current_setting('search_path') || \
        current_setting('application_name') || current_setting('DateStyle') || \
        current_setting('app.tenant') || current_setting('statement_timeout') || current_user";
    let before = client.value(look).await.unwrap();
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable.len()), (1, 0), "{report:?}");

    // What changes between the preparation and the hold is carried too, and what is taken back
    // is taken back.
    client
        .batch_execute("SET work_mem = '14MB'; RESET DateStyle")
        .await
        .unwrap();
    let changed = client.value(look).await.unwrap();
    assert_ne!(before, changed);
    house.move_to(Side::Target).await;
    assert_eq!(client.value(look).await.unwrap(), changed);
    assert!(
        client
            .value("SHOW server_version_num")
            .await
            .unwrap()
            .starts_with("18")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_sees_nothing_of_our_questions() {
    let house = House::pair(14, 18).await;
    let mut raw = house.raw().await;
    raw.query("PREPARE mine AS SELECT 1").await;
    for clean in ["DEALLOCATE ALL", "DISCARD ALL", "SELECT 1"] {
        house.relay.prepare_twins(PATIENCE).await;
        house.relay.drop_twins(PATIENCE).await;
        let said = raw.query("SELECT count(*) FROM pg_prepared_statements WHERE name <> 'mine'");
        let said = said.await;
        assert_eq!(tags(&said), "TDCZ");
        let row = said.iter().find(|message| message.tag == b'D').unwrap();
        assert!(row.body.ends_with(b"0"));
        assert!(tags(&raw.query(clean).await).ends_with("CZ"));
    }
    assert!(
        !house
            .source
            .log()
            .contains("pointsman_state\" does not exist")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_drops_the_kept_question_is_read_all_the_same() {
    let house = House::pair(14, 18).await;
    let client = house.client().await;
    for (drops, is_seen) in [
        ("DISCARD ALL", true),
        ("DEALLOCATE ALL", true),
        ("DEALLOCATE pointsman_state", false),
        ("DO $$BEGIN EXECUTE 'DEALLOCATE ALL'; END$$", false),
    ] {
        client.batch_execute("SELECT 1").await.unwrap();
        assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
        let known = house.source.log().matches("does not exist").count();
        client.batch_execute(drops).await.unwrap();
        client.batch_execute("SET work_mem = '15MB'").await.unwrap();
        assert_eq!(
            house.relay.refresh_changed(PATIENCE).await.ready,
            1,
            "{drops}"
        );
        let complaints = house.source.log().matches("does not exist").count();
        assert_eq!(complaints == known, is_seen, "{drops}");
    }
    house.move_to(Side::Target).await;
    assert_eq!(client.value("SHOW work_mem").await.unwrap(), "15MB");
}

async fn statements_prepared_by_sql_are_carried(from: u32, to: u32) {
    let house = House::pair(from, to).await;
    let client = house.client().await;
    for prepare in [
        "PREPARE typed(int, text) AS SELECT $2 || $1::text",
        "prepare \"Odd name\" AS SELECT current_setting('server_version_num');",
        "PREPARE gone AS SELECT 1",
    ] {
        client.batch_execute(prepare).await.unwrap();
    }
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable.len()), (1, 0), "{report:?}");

    // What is prepared or dropped between the preparation and the hold is so on the target too.
    client.batch_execute("DEALLOCATE gone").await.unwrap();
    let late = "PREPARE late AS SELECT 'late'";
    client.batch_execute(late).await.unwrap();
    let list = "SELECT string_agg(name || statement || parameter_types::text || from_sql, ',' \
        ORDER BY name) FROM pg_prepared_statements WHERE from_sql";
    let before = client.value(list).await.unwrap();
    assert!(
        before.contains("late") && !before.contains("gone"),
        "{before}"
    );
    house.move_to(Side::Target).await;
    assert_eq!(client.value(list).await.unwrap(), before);
    let mut values = Vec::new();
    for run in [
        "EXECUTE typed(7, 'x')",
        "EXECUTE late",
        "EXECUTE \"Odd name\"",
    ] {
        values.push(client.value(run).await.unwrap());
    }
    let version = values.pop().unwrap();
    assert_eq!(values, ["x7", "late"]);
    assert!(version.starts_with(&to.to_string()), "{version}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_prepared_by_sql_are_carried_from_14_to_17() {
    statements_prepared_by_sql_are_carried(14, 17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_prepared_by_sql_are_carried_from_12_to_18() {
    statements_prepared_by_sql_are_carried(12, 18).await;
}

async fn what_cannot_be_carried_is_named(major: u32) {
    let house = House::pair(major, 18).await;
    let cases = [
        (
            "CREATE TEMP TABLE t (id int)",
            Unmovable::TemporaryTable,
            "DROP TABLE t",
        ),
        (
            "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            Unmovable::TemporaryTable,
            "DROP FUNCTION pg_temp.f()",
        ),
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            Unmovable::HeldCursor,
            "CLOSE c",
        ),
        (
            "PREPARE other AS SELECT 1; DEALLOCATE other; PREPARE p AS SELECT 1",
            Unmovable::PreparedStatement,
            "DEALLOCATE p",
        ),
    ];
    let client = house.client().await;
    for (make, reason, unmake) in cases {
        client.batch_execute(make).await.unwrap();
        let report = house.relay.prepare_twins(PATIENCE).await;
        let unmovable = report
            .unmovable
            .into_iter()
            .flat_map(|(_id, reasons)| reasons);
        assert_eq!(unmovable.collect::<Vec<_>>(), [reason], "{make}");
        client.batch_execute(unmake).await.unwrap();
        let report = house.relay.prepare_twins(PATIENCE).await;
        assert_eq!((report.ready, report.unmovable.len()), (1, 0), "{unmake}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_is_named_on_12() {
    what_cannot_be_carried_is_named(12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_is_named_on_17() {
    what_cannot_be_carried_is_named(17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_moved_against_the_report_is_ended_and_told_why() {
    let house = House::pair(14, 18).await;
    let mut raw = house.raw().await;
    raw.query("CREATE TEMP TABLE t (id int)").await;
    house.move_to(Side::Target).await;
    raw.send(&super::house::query("SELECT * FROM t")).await;
    let error = raw.error().await;
    assert!(error.starts_with("FATAL 57P01"), "{error}");
    assert!(error.ends_with("temporary table"), "{error}");
    assert!(raw.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn replication_connections_and_other_databases_are_named() {
    let house = House::pair(14, 18).await;
    house
        .source
        .psql("postgres", "CREATE DATABASE elsewhere")
        .unwrap();
    let elsewhere = format!("postgres://postgres@{}/elsewhere", house.address);
    let _client = integration::server::PgClient::connect(&elsewhere)
        .await
        .unwrap();
    let endpoint = house.url("postgres", "x").parse().unwrap();
    let replication = [("replication".to_owned(), "database".to_owned())];
    let mut walsender = pgwal::wire::Conn::connect_own(&endpoint, &replication)
        .await
        .unwrap();
    walsender.query("IDENTIFY_SYSTEM").await.unwrap();
    let report = house.relay.prepare_twins(PATIENCE).await;
    let mut reasons: Vec<String> = report
        .unmovable
        .iter()
        .flat_map(|(_id, reasons)| reasons.iter().map(ToString::to_string))
        .collect();
    reasons.sort();
    assert_eq!(reasons, ["another database", "replication"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_the_target_lacks_is_named_with_the_targets_own_reason() {
    let house = House::pair(14, 18).await;
    house
        .source
        .psql("postgres", "CREATE ROLE only_here LOGIN")
        .unwrap();
    let url = house.url("only_here", "x");
    let _client = integration::server::PgClient::connect(&url).await.unwrap();
    let report = house.relay.prepare_twins(PATIENCE).await;
    let (_id, reasons) = report.unmovable.first().unwrap();
    let reason = reasons.first().unwrap().to_string();
    assert!(
        reason.contains("role \"only_here\" does not exist"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_ids_that_a_fence_must_spare_are_known() {
    let house = House::pair(14, 18).await;
    let client = house.client().await;
    let pid: i32 = client
        .value("SELECT pg_backend_pid()")
        .await
        .unwrap()
        .parse()
        .unwrap();
    house.relay.prepare_twins(PATIENCE).await;
    assert!(house.relay.source_pids().contains(&pid));
    assert_eq!(
        house.relay.backend_pids(Side::Target).len(),
        2,
        "its twin and our own"
    );
    house.move_to(Side::Target).await;
    assert_ne!(
        client.value("SELECT pg_backend_pid()").await.unwrap(),
        pid.to_string()
    );
    assert!(
        house.relay.source_pids().contains(&pid),
        "it is kept until it is closed"
    );
    house.relay.close_source_connections(PATIENCE).await;
    assert!(!house.relay.source_pids().contains(&pid));
}

async fn session_authorization_is_carried(from: u32, to: u32) {
    let house = House::pair(from, to).await;
    for server in [&house.source, house.target.as_ref().unwrap()] {
        server
            .psql(
                "postgres",
                "CREATE ROLE plain; CREATE ROLE taken; GRANT taken TO plain",
            )
            .unwrap();
    }
    let who = "SELECT concat_ws(' ', session_user, current_user, current_setting('role'), \
        current_setting('log_min_messages'))";
    let cases = [
        ("SET SESSION AUTHORIZATION plain", "plain plain none"),
        (
            "SET SESSION AUTHORIZATION plain; SET ROLE taken",
            "plain taken taken",
        ),
        ("SET ROLE taken", "postgres taken taken"),
    ];
    let mut clients = Vec::new();
    for (set, expected) in cases {
        let client = house.client().await;
        // Only a superuser may set this.
        client
            .batch_execute("SET log_min_messages = 'error'")
            .await
            .unwrap();
        client.batch_execute(set).await.unwrap();
        clients.push((client, format!("{expected} error")));
    }
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable.len()), (3, 0), "{report:?}");
    house.move_to(Side::Target).await;
    for (client, expected) in &clients {
        assert_eq!(&client.value(who).await.unwrap(), expected);
        let reset = "RESET SESSION AUTHORIZATION; RESET ROLE";
        client.batch_execute(reset).await.unwrap();
        assert!(
            client
                .value(who)
                .await
                .unwrap()
                .starts_with("postgres postgres none")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_authorization_and_role_are_carried_from_14_to_17() {
    session_authorization_is_carried(14, 17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn session_authorization_and_role_are_carried_from_12_to_18() {
    session_authorization_is_carried(12, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_object_descriptors_and_exported_snapshots_are_waited_for_with_their_transaction() {
    let house = House::pair(14, 17).await;
    let open = "BEGIN; SELECT lo_open(lo_create(0), x'20000'::int)";
    for state in [open, "BEGIN; SELECT pg_export_snapshot()"] {
        let client = house.client().await;
        client.batch_execute(state).await.unwrap();
        let report = house.relay.prepare_twins(Duration::from_millis(200)).await;
        assert_eq!((report.ready, report.pending.len()), (0, 1), "{report:?}");
        let sessions = house.relay.sessions();
        let session = sessions.first().unwrap();
        assert_eq!(session.state.as_str(), "idle in transaction", "{state}");
        assert!(session.transaction_age.is_some());
        let mut held = house.switch.hold(Side::Target).unwrap();
        let drained = timeout(Duration::from_millis(100), held.drain()).await;
        assert!(drained.is_err(), "it is waited for: {state}");
        drop(held);
        // Its end closes the descriptor and forgets the snapshot: nothing is left to carry.
        client.batch_execute("COMMIT").await.unwrap();
        let report = house.relay.prepare_twins(PATIENCE).await;
        assert_eq!((report.ready, report.unmovable.len()), (1, 0), "{report:?}");
        drop(client);
        house
            .until("it is gone", |relay| relay.sessions().is_empty())
            .await;
    }
}
