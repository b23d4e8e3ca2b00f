//! Clients that behave badly while a cutover is under way: each ends in a stated way, and nobody else
//! waits for them.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use integration::proxy::{Proxy, ProxyOptions};
use integration::server::PgClient;
use pgwal::wire::{Conn, Endpoint, Message, frontend};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stage::{DATABASE, PATIENCE, Stage, configured, empty_target, filled_source, usual};

/// Statements that one client sends into the hold without waiting for an answer.
const PIPELINED: usize = 500;

const VERSION: &str = "SELECT current_setting('server_version_num')";

async fn conn(stage: &Stage) -> Conn {
    let endpoint: Endpoint = stage.url().parse().unwrap();
    Conn::connect_own(&endpoint, &[]).await.unwrap()
}

fn query(sql: &str) -> BytesMut {
    let mut out = BytesMut::new();
    frontend::query(sql, &mut out).unwrap();
    out
}

/// Parse, Bind, Execute and Sync of a statement without parameters.
fn unit(sql: &str) -> BytesMut {
    let mut out = BytesMut::new();
    frontend::parse("", sql, [], &mut out).unwrap();
    out.put_slice(b"B\0\0\0\x0c\0\0\0\0\0\0\0\0");
    frontend::execute("", 0, &mut out).unwrap();
    frontend::sync(&mut out);
    out
}

async fn send(conn: &mut Conn, bytes: &[u8]) {
    conn.queue(bytes);
    conn.flush().await.unwrap();
}

/// Everything up to `ReadyForQuery`.
async fn until_ready(conn: &mut Conn) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        let next = timeout(PATIENCE, conn.read_message()).await.unwrap();
        let message = next.unwrap();
        assert_ne!(message.tag, b'E', "{message:?}");
        let ready = message.tag == b'Z';
        messages.push(message);
        if ready {
            return messages;
        }
    }
}

/// Whether an answer has a version of the target in its row.
fn is_from_17(messages: &[Message]) -> bool {
    let row = messages.iter().find(|message| message.tag == b'D').unwrap();
    row.body
        .windows(4)
        .any(|digits| digits == b"1700" || digits == b"1701")
}

/// A cancel request, as drivers send it: on a connection of its own, until that is closed.
async fn cancel(proxy: &Proxy, conn: &Conn) {
    let mut request = BytesMut::new();
    frontend::cancel_request(conn.backend_pid(), conn.cancel_key(), &mut request).unwrap();
    let address = ("127.0.0.1", proxy.port());
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(&request).await.unwrap();
    let mut rest = Vec::new();
    let closed = timeout(PATIENCE, socket.read_to_end(&mut rest));
    closed.await.unwrap().unwrap_or_default();
    assert_eq!(rest, b"");
}

async fn streaming(keys: &[&str]) -> Stage {
    let configure = |options: ProxyOptions| keys.iter().fold(options, |all, key| all.key(*key));
    let stage = Stage::with(14, 17, usual(), configure).await;
    let client = stage.client().await;
    let sql = "CREATE TABLE piped (n int PRIMARY KEY)";
    client.batch_execute(sql).await.unwrap();
    stage.stream().await;
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stall_leave_pipeline_or_cancel_in_the_hold_keep_nobody_waiting() {
    let stage = streaming(&["cutover.drain_timeout = \"60s\""]).await;
    let load = stage.load(2).await;
    let opener = stage.client().await;
    let mut early_half = conn(&stage).await;
    let mut late_half = conn(&stage).await;
    let mut leaving = conn(&stage).await;
    let mut piping = conn(&stage).await;
    let mut cancelling = conn(&stage).await;
    let asked = query(VERSION);
    let (first, second) = asked.split_at(9);
    // It stalls from before the cutover on.
    send(&mut early_half, first).await;
    load.reset_gap();
    let meanwhile = async {
        let sql = "BEGIN; INSERT INTO piped VALUES (-1)";
        stage.begin_before_the_drain(&opener, sql).await;
        send(&mut late_half, first).await;
        send(&mut leaving, &query("INSERT INTO piped VALUES (-2)")).await;
        for number in 0..PIPELINED {
            let sql = format!("INSERT INTO piped VALUES ({number})");
            piping.queue(&unit(&sql));
        }
        piping.flush().await.unwrap();
        send(&mut cancelling, &asked).await;
        cancel(&stage.proxy, &cancelling).await;
        let before = sessions(&stage).await;
        drop(leaving);
        let gone = |status: &serde_json::Value| status["sessions"]["total"].as_u64() < Some(before);
        stage
            .proxy
            .wait_for("it is gone", PATIENCE, gone)
            .await
            .unwrap();
        opener.batch_execute("COMMIT").await.unwrap();
    };
    let (said, ()) = tokio::join!(stage.proxy.cli(&["cutover"]), meanwhile);
    let said = said.unwrap();
    assert_eq!(said.code, 0, "{said}\n{}", stage.proxy.log());
    load.more_commits(20, PATIENCE).await.unwrap();

    // Nothing of who left ran; the rest ran once and in order, on the target.
    for _statement in 0..PIPELINED {
        until_ready(&mut piping).await;
    }
    let target = stage.target.client(DATABASE).await.unwrap();
    let counted = "SELECT count(*) || ' ' || min(n) FROM piped";
    let expected = format!("{} -1", PIPELINED + 1);
    assert_eq!(target.value(counted).await.unwrap(), expected);
    // A statement that waits is not cancelled by what comes while it waits.
    assert!(is_from_17(&until_ready(&mut cancelling).await));
    for half in [&mut early_half, &mut late_half] {
        send(half, second).await;
        assert!(is_from_17(&until_ready(half).await));
    }
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
}

async fn sessions(stage: &Stage) -> u64 {
    let status = stage.proxy.status().await.unwrap();
    status["sessions"]["total"].as_u64().unwrap()
}

/// A client that has asked for much and reads nothing of it.
async fn reads_nothing(stage: &Stage) -> Conn {
    let mut silent = conn(stage).await;
    let sql = "SELECT repeat('x', 1000000) FROM generate_series(1, 1000)";
    send(&mut silent, &query(sql)).await;
    let stuck = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'";
    let source = stage.source.client(DATABASE).await.unwrap();
    let waiting = async {
        while source.value(stuck).await.unwrap() == "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
    silent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_refuses_the_cutover_like_any_long_transaction() {
    let stage = streaming(&["cutover.drain_timeout = \"2s\""]).await;
    let load = stage.load(2).await;
    let silent = reads_nothing(&stage).await;
    let said = stage.proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("still running"), "{said}");
    assert_eq!(stage.serving_major(), 14);
    drop(silent);
    stage.cutover().await;
    load.more_commits(20, PATIENCE).await.unwrap();
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_ended_where_long_transactions_are() {
    let keys = [
        "cutover.on_long_transaction = \"end\"",
        "cutover.drain_timeout = \"2s\"",
    ];
    let stage = streaming(&keys).await;
    let mut silent = reads_nothing(&stage).await;
    let report = stage.cutover().await;
    assert_eq!(report["sessions_ended"], 1, "{report:#}");
    assert_eq!(stage.serving_major(), 17);
    // What it can still read ends; it is not left hanging.
    let end = async { while silent.read_message().await.is_ok() {} };
    timeout(PATIENCE, end).await.unwrap();
}

/// A target with room for fewer sessions than there are, and those sessions.
async fn crowded(keys: &[&str]) -> (Stage, Vec<PgClient>) {
    let source = filled_source(14, usual()).await;
    let target = empty_target(17, usual().set("max_connections", "16")).await;
    let options = keys
        .iter()
        .fold(configured(&source, &target), |all, key| all.key(*key));
    let proxy = Proxy::start(options).await.unwrap();
    let stage = Stage {
        source,
        target,
        proxy,
    };
    stage.stream().await;
    let mut clients = Vec::new();
    for _client in 0..30 {
        clients.push(stage.client().await);
    }
    (stage, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_has_no_room_for_every_session_refuses_the_cutover() {
    let (stage, mut clients) = crowded(&[]).await;
    let dry = stage.proxy.cli(&["cutover", "--dry-run"]).await.unwrap();
    assert!(dry.to_string().contains("53300"), "{dry}");
    let said = stage.proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("53300"), "{said}");
    for client in &clients {
        assert!(client.value(VERSION).await.unwrap().starts_with("14"));
    }
    // With fewer of them there is room.
    clients.truncate(3);
    stage.cutover().await;
    for client in &clients {
        assert!(client.value(VERSION).await.unwrap().starts_with("17"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_a_full_target_does_not_let_in_are_ended_where_the_operator_says_so() {
    let keys = ["cutover.on_unmovable = { not-let-in = \"end\" }"];
    let (stage, clients) = crowded(&keys).await;
    let report = stage.cutover().await;
    let ended = report["sessions_ended"].as_u64().unwrap();
    assert!((1..30).contains(&ended), "{report:#}");
    let mut alive = 0;
    for client in &clients {
        match client.value(VERSION).await {
            Ok(version) => {
                assert!(version.starts_with("17"), "{version}");
                alive += 1;
            }
            Err(error) => assert!(
                format!("{error:#}").contains("57P01") || client.is_closed(),
                "{error:#}"
            ),
        }
    }
    assert_eq!(alive + ended, 30);
}
