//! Sessions that change their server: held, released, moved, or named as what cannot be moved.

use std::time::Duration;

use integration::server::{PgClient, PgOptions, PgServer};
use pgwal::session::{RelayOptions, SessionState};
use pgwal::wire::frontend;
use router::Side;
use tokio::time::timeout;

use super::house::{
    House, PATIENCE, Raw, extended, query, run_prepared, startup, sync, tags, until,
};

const VERSION: &str = "SHOW server_version_num";

async fn sessions_move_with_their_connection_open(from: u32, to: u32) {
    let house = House::pair(from, to).await;
    let mut clients = Vec::new();
    for _client in 0..6 {
        clients.push(house.client().await);
    }
    for client in &clients {
        assert!(
            client
                .value(VERSION)
                .await
                .unwrap()
                .starts_with(&from.to_string())
        );
    }
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(
        (report.ready, report.unmovable.len(), report.pending.len()),
        (6, 0, 0)
    );

    house.move_to(Side::Target).await;
    for client in &clients {
        assert!(
            client
                .value(VERSION)
                .await
                .unwrap()
                .starts_with(&to.to_string())
        );
    }
    let late = house.client().await;
    assert!(
        late.value(VERSION)
            .await
            .unwrap()
            .starts_with(&to.to_string())
    );
    assert_eq!(house.relay.close_source_connections(PATIENCE).await, 0);
    let ours = "SELECT count(*) FROM pg_stat_activity \
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let alone = async { while house.source.psql("postgres", ours).unwrap() != "0" {} };
    timeout(PATIENCE, alone).await.unwrap();

    // And back.
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.ready, 7);
    house.move_to(Side::Source).await;
    for client in clients.iter().chain([&late]) {
        assert!(
            client
                .value(VERSION)
                .await
                .unwrap()
                .starts_with(&from.to_string())
        );
    }
    assert_eq!(house.relay.close_source_connections(PATIENCE).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_move_from_14_to_18_and_back_with_their_connection_open() {
    sessions_move_with_their_connection_open(14, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_move_from_12_to_17_and_back_with_their_connection_open() {
    sessions_move_with_their_connection_open(12, 17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_during_the_hold_waits_and_is_answered_by_the_new_server() {
    let house = House::pair(14, 18).await;
    let mut raw = house.raw().await;
    let mut silent = house.raw().await;
    house.relay.prepare_twins(PATIENCE).await;
    let mut held = house.switch.hold(Side::Target).unwrap();
    raw.send(&query("SHOW server_version_num")).await;
    house
        .until("the session waits", |relay| {
            relay
                .sessions()
                .iter()
                .any(|session| session.state == SessionState::Waiting)
        })
        .await;
    let mut late = Raw::connect(house.address).await;
    late.send(&startup(frontend::PROTOCOL_3_0)).await;
    assert!(
        timeout(Duration::from_millis(100), late.stream.readable())
            .await
            .is_err()
    );
    timeout(PATIENCE, held.drain()).await.unwrap();
    held.into_drained()
        .unwrap()
        .fenced()
        .caught_up()
        .switch()
        .release();

    let said = raw.until_ready().await;
    assert_eq!(said.first().unwrap().tag, b'S', "{}", tags(&said));
    let announced = said
        .iter()
        .any(|message| message.body.starts_with(b"server_version\x0018"));
    assert!(announced, "the new version is announced");
    let row = said.iter().find(|message| message.tag == b'D').unwrap();
    assert!(row.body.windows(2).any(|digits| digits == b"18"));
    assert!(tags(&late.until_ready().await).ends_with("KZ"));
    // A session that is silent goes over when it is asked to.
    assert_eq!(house.relay.close_source_connections(PATIENCE).await, 0);
    assert!(
        house
            .relay
            .sessions()
            .iter()
            .all(|session| session.side == Side::Target)
    );
    let said = silent.query("SELECT 1").await;
    assert!(tags(&said).ends_with("TDCZ"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_given_up_changes_nothing() {
    let house = House::pair(17, 18).await;
    let mut raw = house.raw().await;
    house.relay.prepare_twins(PATIENCE).await;
    let pid = house.relay.sessions().first().unwrap().backend_pid;
    let held = house.switch.hold(Side::Target).unwrap();
    raw.send(&query("SELECT pg_backend_pid()")).await;
    house
        .until("the session waits", |relay| {
            relay
                .sessions()
                .iter()
                .all(|session| session.state == SessionState::Waiting)
        })
        .await;
    drop(held);
    let said = raw.until_ready().await;
    assert_eq!(tags(&said), "TDCZ");
    let row = said.iter().find(|message| message.tag == b'D').unwrap();
    assert!(row.body.ends_with(pid.to_string().as_bytes()));
    house.relay.drop_twins(PATIENCE).await;
    assert!(
        house
            .relay
            .sessions()
            .iter()
            .all(|session| !session.twin_ready)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_transaction_keeps_the_drain_waiting_and_goes_on_meanwhile() {
    let house = House::pair(17, 18).await;
    let mut raw = house.raw().await;
    raw.query("BEGIN").await;
    let mut held = house.switch.hold(Side::Target).unwrap();
    assert!(
        timeout(Duration::from_millis(100), held.drain())
            .await
            .is_err()
    );
    assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");
    assert_eq!(
        house.relay.sessions().first().unwrap().state,
        SessionState::IdleInTransaction
    );
    raw.query("COMMIT").await;
    timeout(PATIENCE, held.drain()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_pipelines_without_end_is_drained_between_two_messages() {
    let house = House::pair(17, 18).await;
    let raw = house.raw().await;
    house.relay.prepare_twins(PATIENCE).await;
    let (mut reading, mut writing) = raw.stream.into_split();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut batch = extended("", "SELECT 1");
        batch.extend_from_slice(&sync());
        while tokio::io::AsyncWriteExt::write_all(&mut writing, &batch)
            .await
            .is_ok()
        {}
    });
    tasks.spawn(async move {
        tokio::io::copy(&mut reading, &mut tokio::io::sink())
            .await
            .unwrap_or_default();
    });
    house
        .until("it runs", |_relay| house.switch.running() == 1)
        .await;
    house.move_to(Side::Target).await;
    house
        .until("it runs on the target", |relay| {
            relay
                .sessions()
                .iter()
                .all(|session| session.side == Side::Target)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_it_waits_is_gone_at_once() {
    let house = House::pair(17, 18).await;
    let mut raw = house.raw().await;
    let mut arriving = Raw::connect(house.address).await;
    let held = house.switch.hold(Side::Target).unwrap();
    raw.send(&query("SELECT 1")).await;
    arriving.send(&startup(frontend::PROTOCOL_3_0)).await;
    house
        .until("it waits", |relay| {
            relay
                .sessions()
                .iter()
                .all(|session| session.state == SessionState::Waiting)
        })
        .await;
    drop((raw, arriving));
    house
        .until("it is gone", |relay| {
            relay.sessions().is_empty() && relay.clients() == 0
        })
        .await;
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_follows_the_session_to_its_new_server() {
    let house = House::pair(14, 18).await;
    let client = house.client().await;
    let cancel = client.cancel_token();
    house.relay.prepare_twins(PATIENCE).await;
    house.move_to(Side::Target).await;
    let sleeping = client.simple_query("SELECT pg_sleep(60)");
    let target = house.target.as_ref().unwrap();
    let cancelling = async {
        let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(60)' \
            AND state = 'active'";
        let watcher = target.client("postgres").await.unwrap();
        while watcher.value(active).await.unwrap() == "0" {}
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    let both = async { tokio::join!(sleeping, cancelling) };
    let (slept, ()) = timeout(PATIENCE, both).await.unwrap();
    assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_both_servers_when_they_hold_the_same_verifier() {
    let options = PgOptions::default().without_fsync().with_scram();
    let source = PgServer::start(14, options.clone()).await.unwrap();
    let target = PgServer::start(18, options).await.unwrap();
    source
        .execute("postgres", "CREATE ROLE app LOGIN PASSWORD 'secret'")
        .await
        .unwrap();
    let verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = 'app'";
    let verifier = source.psql("postgres", verifier).unwrap();
    let create = format!("CREATE ROLE app LOGIN PASSWORD '{verifier}'");
    target.execute("postgres", &create).await.unwrap();
    let house = House::over(source, Some(target), |_options| {}).await;
    let url = house.url("app", "secret");
    let client = PgClient::connect(&url).await.unwrap();
    assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
    house.move_to(Side::Target).await;
    let who = client.value("SELECT current_user || current_setting('server_version_num')");
    assert!(who.await.unwrap().starts_with("app18"));
    // The verifier is now looked up on the target.
    let late = PgClient::connect(&url).await.unwrap();
    assert!(late.value(VERSION).await.unwrap().starts_with("18"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_that_was_closed_by_its_server_is_opened_again() {
    let house = House::pair(14, 18).await;
    let client = house.client().await;
    assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let target = house.target.as_ref().unwrap();
    let twins = house.relay.backend_pids(Side::Target);
    target.psql("postgres", end).unwrap();
    // It is asked to end only; until it has, the relay may take it for alive.
    until("the twin's server process is gone", || {
        let gone = |pid| !std::path::Path::new(&format!("/proc/{pid}")).exists();
        twins.iter().all(gone)
    })
    .await;
    house.move_to(Side::Target).await;
    assert!(client.value(VERSION).await.unwrap().starts_with("18"));
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_named_and_unnamed_work_on_after_the_move() {
    let house = House::pair(14, 18).await;
    let mut raw = house.raw().await;
    let mut prepare = extended("named", "SELECT current_setting('server_version_num')");
    prepare.extend_from_slice(&sync());
    raw.send(&prepare).await;
    assert_eq!(tags(&raw.until_ready().await), "12TDCZ");
    let mut unnamed = bytes::BytesMut::new();
    frontend::parse("", "SELECT 'unnamed'", [], &mut unnamed).unwrap();
    frontend::sync(&mut unnamed);
    raw.send(&unnamed).await;
    assert_eq!(tags(&raw.until_ready().await), "1Z");

    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.ready, 1, "{report:?}");
    // Our own question left the unnamed statement alone.
    let mut again = run_prepared("");
    again.extend_from_slice(&sync());
    raw.send(&again).await;
    assert_eq!(tags(&raw.until_ready().await), "2TDCZ");

    house.move_to(Side::Target).await;
    raw.send(&again).await;
    let said = raw.until_ready().await;
    assert!(tags(&said).ends_with("2TDCZ"), "{}", tags(&said));
    let mut named = run_prepared("named");
    named.extend_from_slice(&sync());
    raw.send(&named).await;
    let said = raw.until_ready().await;
    let row = said.iter().find(|message| message.tag == b'D').unwrap();
    assert!(row.body.windows(2).any(|digits| digits == b"18"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_in_every_protocol_notices_none_of_many_movements() {
    let house = House::pair(14, 18).await;
    for server in [&house.source, house.target.as_ref().unwrap()] {
        let table = "CREATE TABLE pgbench_accounts AS SELECT aid, 0 AS abalance \
            FROM generate_series(1, 100000) aid; CREATE INDEX ON pgbench_accounts (aid); \
            CREATE TABLE pgbench_branches AS SELECT 1 AS bid; ANALYZE";
        server.psql("postgres", table).unwrap();
    }
    for mode in ["simple", "extended", "prepared"] {
        let mut movements = 0;
        while movements < 3 {
            movements += moved_under_pgbench(&house, mode).await;
        }
    }
}

/// Moves the points to and fro while pgbench runs; how often.
async fn moved_under_pgbench(house: &House, mode: &str) -> u32 {
    let port = house.address.port().to_string();
    {
        let mut running = tokio::process::Command::new("pgbench")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "postgres",
                "-n",
                "-S",
                "-c",
                "8",
            ])
            .args(["-T", "3", "-M", mode, "postgres"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        house
            .until("pgbench runs", |relay| relay.sessions().len() == 8)
            .await;
        let mut movements = 0;
        while running.try_wait().unwrap().is_none() {
            house.relay.prepare_twins(PATIENCE).await;
            let to = house.switch.serving().unwrap().other();
            house.move_to(to).await;
            house.relay.close_source_connections(PATIENCE).await;
            movements += 1;
        }
        let output = running.wait_with_output().await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{mode}: {errors}");
        assert!(
            !errors.contains("FATAL") && !errors.contains("aborted"),
            "{mode}: {errors}"
        );
        movements
    }
}

#[tokio::test]
async fn a_client_that_names_no_database_goes_to_the_one_that_was_moved() {
    let options = PgOptions::default().without_fsync();
    let source = PgServer::start(16, options.clone()).await.unwrap();
    let target = PgServer::start(17, options).await.unwrap();
    target
        .execute("postgres", "CREATE DATABASE moved")
        .await
        .unwrap();
    let moved = target.url("postgres", "moved").parse().unwrap();
    let set = |options: &mut RelayOptions| options.target = Some(moved);
    let house = House::over(source, Some(target), set).await;
    // The server takes the role's name for it, which is the name of the database on the source.
    let url = format!("postgres://postgres:x@{}", house.address);
    let before = PgClient::connect(&url).await.unwrap();
    house.relay.prepare_twins(PATIENCE).await;
    house.move_to(Side::Target).await;
    let after = PgClient::connect(&url).await.unwrap();
    for client in [before, after] {
        let database = client.value("SELECT current_database()").await.unwrap();
        assert_eq!(database, "moved");
    }
}

#[tokio::test]
async fn a_log_in_during_the_hold_waits_even_if_the_lookup_has_no_connection_yet() {
    let house = House::pair(16, 17).await;
    let mut held = house.switch.hold(Side::Target).unwrap();
    let url = house.url("postgres", "x");
    let log_in = PgClient::connect(&url);
    tokio::pin!(log_in);
    let early = timeout(Duration::from_millis(300), &mut log_in).await;
    assert!(early.is_err(), "nobody is let in during a hold");
    assert_eq!(
        house.relay.source_pids(),
        [0; 0],
        "nothing is opened on the source"
    );
    let backends =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pointsman log-in'";
    assert_eq!(house.source.psql("postgres", backends).unwrap(), "0");
    held.drain().await;
    let drained = held.into_drained().unwrap();
    drained.fenced().caught_up().switch().release();
    let client = timeout(PATIENCE, log_in).await.unwrap().unwrap();
    assert!(client.value(VERSION).await.unwrap().starts_with("17"));
}
