//! What the operator chose for sessions that stand in the way of a cutover is what happens to them.

use std::time::Duration;

use integration::proxy::{ProxyOptions, Said};
use integration::server::PgClient;
use serde_json::Value;

use super::stage::{DATABASE, PATIENCE, Stage};

const TEMPORARY: &str = "CREATE TEMP TABLE mine (id int)";

async fn streaming(keys: &[&str]) -> Stage {
    let configure = |options: ProxyOptions| keys.iter().fold(options, |all, key| all.key(*key));
    let stage = Stage::with(14, 17, super::stage::usual(), configure).await;
    stage.stream().await;
    stage
}

async fn cutover(stage: &Stage) -> Said {
    stage.proxy.cli(&["cutover"]).await.unwrap()
}

/// Until a cutover says that it waits for this.
async fn waits_for(stage: &Stage, what: &str) {
    let waits = |status: &Value| {
        let step = status["step"].to_string();
        step.contains("waiting") && step.contains(what)
    };
    stage.proxy.wait_for(what, PATIENCE, waits).await.unwrap();
    assert_eq!(stage.proxy.status().await.unwrap()["phase"], "streaming");
}

/// Cuts over; what stands in the way goes only when it is waited for, and clients never wait.
async fn goes_while_waited_for(stage: &Stage, client: &PgClient, what: &str, end: &str) {
    let other = stage.client().await;
    let goes = async {
        waits_for(stage, what).await;
        other.batch_execute("SELECT 1").await.unwrap();
        assert_eq!(stage.serving_major(), 14);
        client.batch_execute(end).await.unwrap();
    };
    let (said, ()) = tokio::join!(cutover(stage), goes);
    assert_eq!(said.code, 0, "{said}");
    assert_eq!(stage.serving_major(), 17);
    client.batch_execute("SELECT 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_cannot_be_moved_is_waited_for() {
    let stage = streaming(&["cutover.on_unmovable_session = \"wait\""]).await;
    let client = stage.client().await;
    client.batch_execute(TEMPORARY).await.unwrap();
    let dry = stage.proxy.done(&["cutover", "--dry-run"]).await.unwrap();
    assert!(dry.contains("is waited for"), "{dry}");
    goes_while_waited_for(&stage, &client, "temporary table", "DROP TABLE mine").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_transaction_is_waited_for() {
    let keys = [
        "cutover.on_long_transaction = \"wait\"",
        "cutover.drain_timeout = \"300ms\"",
    ];
    let stage = streaming(&keys).await;
    let client = stage.client().await;
    client.batch_execute("BEGIN; SELECT 1").await.unwrap();
    goes_while_waited_for(&stage, &client, "transaction is still running", "COMMIT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_with_a_refusal_that_names_the_session() {
    let keys = [
        "cutover.on_unmovable_session = \"wait\"",
        "cutover.wait_timeout = \"1s\"",
    ];
    let stage = streaming(&keys).await;
    let client = stage.client().await;
    client.batch_execute(TEMPORARY).await.unwrap();
    let said = cutover(&stage).await;
    assert_eq!(said.code, 1, "{said}");
    let text = said.to_string();
    assert!(text.contains("cutover.wait_timeout"), "{text}");
    assert!(text.contains("temporary table"), "{text}");
    client
        .batch_execute("INSERT INTO mine VALUES (1)")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_moves_nobody() {
    let stage = streaming(&["cutover.on_unmovable_session = \"wait\""]).await;
    let client = stage.client().await;
    client.batch_execute(TEMPORARY).await.unwrap();
    tokio::select! {
        said = cutover(&stage) => panic!("{said}"),
        () = waits_for(&stage, "temporary table") => {}
    }
    // The command line program is dead now.
    let given_up = |status: &Value| {
        let reason = status["last_cutover"]["reason"].to_string();
        reason.contains("given up")
    };
    let status = stage.proxy.wait_for("given up", PATIENCE, given_up).await;
    assert_eq!(status.unwrap()["phase"], "streaming");
    client.batch_execute("DROP TABLE mine").await.unwrap();
    assert_eq!(stage.serving_major(), 14);
    stage.cutover().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_state_has_a_policy_of_its_own() {
    let keys = ["cutover.on_unmovable = { temporary-table = \"end\", held-cursor = \"refuse\" }"];
    let stage = streaming(&keys).await;
    let (ended, refusing) = (stage.client().await, stage.client().await);
    ended.batch_execute(TEMPORARY).await.unwrap();
    let held = "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT";
    refusing.batch_execute(held).await.unwrap();
    let said = cutover(&stage).await;
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("WITH HOLD cursor"), "{said}");
    let status = stage.proxy.status().await.unwrap();
    let policy = |reason: &str| {
        let sessions = status["sessions"]["unmovable"].as_array().unwrap();
        let session = sessions.iter().find(|one| one["reasons"][0] == reason);
        let session = session.unwrap();
        assert_eq!(
            (&session["user"], &session["database"]),
            (&"app".into(), &DATABASE.into())
        );
        session["policy"].clone()
    };
    assert_eq!(policy("temporary table"), "end");
    assert_eq!(policy("WITH HOLD cursor"), "refuse");
    refusing.batch_execute("CLOSE c").await.unwrap();
    let report = stage.cutover().await;
    assert_eq!(report["sessions_ended"], 1, "{report:#}");
    // The server's own error, on which drivers connect again.
    let error = ended.batch_execute("SELECT 1").await.unwrap_err();
    let code = error.code().map(|code| code.code().to_owned());
    assert!(code.is_none_or(|code| code == "57P01"), "{error}");
    tokio::time::timeout(Duration::from_secs(120), refusing.batch_execute("SELECT 1"))
        .await
        .unwrap()
        .unwrap();
}

/// A session that speaks the replication protocol.
async fn walsender(stage: &Stage) -> pgwal::wire::Conn {
    let replication = [("replication".to_owned(), "database".to_owned())];
    let url = stage.proxy.url("replicator:secret", DATABASE);
    let endpoint = url.parse().unwrap();
    let conn = pgwal::wire::Conn::connect_own(&endpoint, &replication);
    conn.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_that_cannot_be_carried_is_named_in_the_dry_run_and_in_status() {
    let stage = Stage::new(14, 17).await;
    let role = "CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'secret'";
    stage.source.execute("postgres", role).await.unwrap();
    stage.stream().await;
    let clients = [
        (TEMPORARY, "temporary table"),
        (
            "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT",
            "WITH HOLD cursor",
        ),
        ("SELECT 1", ""),
    ];
    let mut sessions = Vec::new();
    for (sql, _) in clients {
        let client = stage.client().await;
        client.batch_execute(sql).await.unwrap();
        sessions.push(client);
    }
    let _walsender = walsender(&stage).await;
    let elsewhere = stage.proxy.url("app:secret", "postgres");
    let _elsewhere = PgClient::connect(&elsewhere).await.unwrap();

    let said = stage.proxy.cli(&["cutover", "--dry-run"]).await.unwrap();
    let text = said.to_string();
    let status = stage.proxy.status().await.unwrap();
    let listed = status["sessions"]["unmovable"].as_array().unwrap();
    let expected = [
        "temporary table",
        "WITH HOLD cursor",
        "replication",
        "another database",
    ];
    assert_eq!(listed.len(), expected.len(), "{listed:#?}");
    for reason in expected {
        let refuses = format!("refuses the cutover: {reason}");
        assert!(text.contains(&refuses), "{reason}: {text}");
        let session = listed.iter().find(|one| one["reasons"][0] == reason);
        let session = session.unwrap_or_else(|| panic!("{reason}: {listed:#?}"));
        assert!(session["user"].is_string(), "{session}");
        assert!(session["age_seconds"].is_number(), "{session}");
        assert!(session["client"].is_string(), "{session}");
    }
    assert_eq!(text.matches(": moves").count(), 1, "{text}");
}

/// Descriptors of large objects and exported snapshots end with their transaction, so they wait with it.
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_with_its_transaction_is_drained_with_it() {
    let stage = streaming(&[]).await;
    let (reader, exporter) = (stage.client().await, stage.client().await);
    reader
        .batch_execute("BEGIN; SELECT lo_create(4000000); SELECT lo_open(4000000, 262144)")
        .await
        .unwrap();
    exporter
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()")
        .await
        .unwrap();
    let ends = async {
        let drains = |status: &Value| status["step"].to_string().contains("draining");
        let drains = stage.proxy.wait_for("draining", PATIENCE, drains);
        drains.await.unwrap();
        reader
            .batch_execute("SELECT loread(0, 1); ROLLBACK")
            .await
            .unwrap();
        exporter.batch_execute("COMMIT").await.unwrap();
    };
    let (said, ()) = tokio::join!(cutover(&stage), ends);
    assert_eq!(said.code, 0, "{said}");
    for client in [&reader, &exporter] {
        let version = client.value("SHOW server_version_num").await.unwrap();
        assert!(version.starts_with("17"), "{version}");
    }
}
