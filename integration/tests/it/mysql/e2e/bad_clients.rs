//! Clients that behave badly while a cutover is under way: each ends in a stated way, and nobody else
//! waits for them.

use std::time::Duration;

use binlog::wire::command::{COM_QUERY, COM_STMT_EXECUTE, COM_STMT_PREPARE};
use binlog::wire::{Conn, ConnectOptions, Endpoint, Socket, SqlConn};
use bytes::{Bytes, BytesMut};
use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql97};
use integration::mysql::{MySqlOptions, MySqlServer};
use integration::proxy::{Proxy, ProxyOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::stage::{DATABASE, PATIENCE, Stage, configured, filled_source, usual};

/// Statements that one client sends into the hold without waiting for an answer.
const PIPELINED: usize = 300;

async fn conn(stage: &Stage) -> Conn {
    let endpoint: Endpoint = stage.url().parse().unwrap();
    let options = ConnectOptions {
        database: Some(Bytes::from_static(DATABASE.as_bytes())),
        ..ConnectOptions::named("a client")
    };
    Conn::connect(&endpoint, options).await.unwrap()
}

async fn client(stage: &Stage) -> SqlConn {
    SqlConn::new(conn(stage).await, "the proxy".to_owned())
}

async fn serving(client: &SqlConn) -> u32 {
    let row = client.query_first("SELECT @@server_id").await.unwrap();
    row.unwrap().parse(0).unwrap()
}

/// Polls until a server says so.
async fn until(server: &SqlConn, sql: &str, expected: &str) {
    let there = async {
        loop {
            let row = server.query_first(sql).await.unwrap().unwrap();
            if row.text(0) == Some(expected) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, there).await.unwrap();
}

async fn streaming(from: Version, to: Version, keys: &[&str]) -> Stage {
    let configure = |options: ProxyOptions| keys.iter().fold(options, |all, key| all.key(*key));
    let stage = Stage::with(from, to, usual(), configure).await;
    let sql = "CREATE TABLE piped (n int NOT NULL PRIMARY KEY) ENGINE = InnoDB";
    stage.source.sql_in(DATABASE, sql).unwrap();
    stage.stream().await;
    stage
}

/// Waits until a cutover has prepared the sessions, has the client begin a transaction then, and waits
/// until the drain waits for it.
async fn begin_before_the_drain(stage: &Stage, client: &SqlConn, target: &SqlConn) {
    let waits = "SELECT COUNT(*) FROM information_schema.processlist \
        WHERE INFO LIKE '%pointsman%movement%' AND STATE LIKE 'Waiting for table%'";
    until(target, waits, "1").await;
    client.execute("BEGIN").await.unwrap();
    client
        .execute("INSERT INTO piped VALUES (-1)")
        .await
        .unwrap();
    target.execute("UNLOCK TABLES").await.unwrap();
    let drains = |status: &serde_json::Value| status["step"].to_string().contains("draining");
    let drains = stage.proxy.wait_for("draining", PATIENCE, drains);
    drains.await.unwrap();
}

/// A packet with a command.
fn command(code: u8, body: &[u8]) -> BytesMut {
    let mut whole = BytesMut::new();
    let length = u32::try_from(body.len() + 1).unwrap().to_le_bytes();
    whole.extend_from_slice(&length[..3]);
    whole.extend_from_slice(&[0, code]);
    whole.extend_from_slice(body);
    whole
}

/// Its first and its second half.
fn halves(code: u8, body: &[u8]) -> (BytesMut, BytesMut) {
    let mut whole = command(code, body);
    let second = whole.split_off(whole.len() / 2 + 2);
    (whole, second)
}

/// Reads one packet, which is an OK.
async fn reads_ok(socket: &mut Socket) {
    let packet = async {
        let mut header = [0; 4];
        socket.read_exact(&mut header).await.unwrap();
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let mut body = vec![0; usize::try_from(length).unwrap()];
        socket.read_exact(&mut body).await.unwrap();
        body
    };
    let body = timeout(PATIENCE, packet).await.unwrap();
    assert_eq!(body[0], 0, "{body:?}");
}

async fn prepared(conn: &mut Conn, sql: &str) -> [u8; 4] {
    conn.queue_command(&[COM_STMT_PREPARE], sql.as_bytes());
    conn.flush().await.unwrap();
    let packet = conn.read_packet().await.unwrap();
    assert_eq!(packet[0], 0, "{packet:?}");
    [packet[1], packet[2], packet[3], packet[4]]
}

async fn misbehave_in_the_hold(from: Version, to: Version) {
    let stage = streaming(from, to, &["cutover.drain_timeout = \"60s\""]).await;
    let load = stage.load(2).await;
    let opener = client(&stage).await;
    let victim = conn(&stage).await;
    let victim_id = victim.thread_id();
    let victim = SqlConn::new(victim, "the proxy".to_owned());
    let killer = client(&stage).await;
    let mut leaving = conn(&stage).await;
    let mut piping = conn(&stage).await.into_parts().socket;
    let mut executing = conn(&stage).await;
    let statement = prepared(&mut executing, "DO 1").await;
    let mut run = statement.to_vec();
    run.extend([0, 1, 0, 0, 0]);
    // They stall from before the cutover on.
    let (first_query, second_query) = halves(COM_QUERY, b"DO 12345678");
    let (first_run, second_run) = halves(COM_STMT_EXECUTE, &run);
    let mut querying = conn(&stage).await.into_parts().socket;
    let mut executing = executing.into_parts().socket;
    querying.write_all(&first_query).await.unwrap();
    executing.write_all(&first_run).await.unwrap();
    let target = stage.target.connect().await.unwrap();
    target
        .execute("LOCK TABLES pointsman.movement READ")
        .await
        .unwrap();

    // Told, not seen in `status` a second time: the drain may be over before a look of its own.
    let (drains, draining) = oneshot::channel();
    let meanwhile = async {
        begin_before_the_drain(&stage, &opener, &target).await;
        drains.send(()).unwrap();
        leaving.queue_command(&[COM_QUERY], b"INSERT INTO piped VALUES (-2)");
        leaving.flush().await.unwrap();
        let mut all = BytesMut::new();
        for number in 0..PIPELINED {
            let sql = format!("INSERT INTO piped VALUES ({number})");
            all.extend_from_slice(&command(COM_QUERY, sql.as_bytes()));
        }
        piping.write_all(&all).await.unwrap();
        let before = sessions(&stage).await;
        drop(leaving);
        let gone = |status: &serde_json::Value| status["sessions"]["total"].as_u64() < Some(before);
        let gone = stage.proxy.wait_for("it is gone", PATIENCE, gone);
        gone.await.unwrap();
        opener.execute("COMMIT").await.unwrap();
    };
    // Both wait in the hold, or come just after it: the kill finds its victim on the other server.
    let kill = async {
        draining.await.unwrap();
        killer.execute(&format!("KILL {victim_id}")).await
    };
    let (said, (), killed) = tokio::join!(stage.proxy.cli(&["cutover"]), meanwhile, kill);
    let said = said.unwrap();
    assert_eq!(said.code, 0, "{said}\n{}", stage.proxy.log());
    killed.unwrap();
    assert!(victim.query("SELECT 1").await.is_err());
    assert_eq!(serving(&killer).await, stage.target.server_id());
    load.more_commits(20, PATIENCE).await.unwrap();

    // Nothing of who left ran; the rest ran once, on the target.
    for _statement in 0..PIPELINED {
        reads_ok(&mut piping).await;
    }
    let counted = "SELECT CONCAT(COUNT(*), ' ', MIN(n)) FROM shop.piped";
    let row = target.query_first(counted).await.unwrap().unwrap();
    let expected = format!("{} -1", PIPELINED + 1);
    assert_eq!(row.text(0), Some(expected.as_str()));
    for (socket, second) in [(&mut querying, second_query), (&mut executing, second_run)] {
        socket.write_all(&second).await.unwrap();
        reads_ok(socket).await;
    }
    let report = load.stop().await.unwrap();
    stage.assert_perfect(&report, &stage.target).await;
}

async fn sessions(stage: &Stage) -> u64 {
    let status = stage.proxy.status().await.unwrap();
    status["sessions"]["total"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn mysql_clients_that_stall_leave_pipeline_or_kill_in_the_hold_keep_nobody_waiting() {
    Box::pin(misbehave_in_the_hold(MySql97, MySql97)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_clients_that_stall_leave_pipeline_or_kill_in_the_hold_keep_nobody_waiting() {
    Box::pin(misbehave_in_the_hold(MariaDb1011, MariaDb118)).await;
}

/// A client that has asked for much and reads nothing of it.
async fn reads_nothing(stage: &Stage) -> Conn {
    let mut silent = conn(stage).await;
    let sql = "SELECT REPEAT('x', 1000000) FROM numbers";
    silent.queue_command(&[COM_QUERY], sql.as_bytes());
    silent.flush().await.unwrap();
    let source = stage.source.connect().await.unwrap();
    let stuck = "SELECT COUNT(*) FROM information_schema.processlist \
        WHERE USER = 'app' AND TIME >= 1 AND INFO LIKE 'SELECT REPEAT%'";
    until(&source, stuck, "1").await;
    silent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_client_that_never_reads_refuses_the_cutover_like_any_long_transaction() {
    let stage = streaming(MySql97, MySql97, &["cutover.drain_timeout = \"2s\""]).await;
    let silent = reads_nothing(&stage).await;
    let said = stage.proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("still running"), "{said}");
    assert_eq!(stage.serving().await, stage.source.server_id());
    drop(silent);
    stage.cutover().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_client_that_never_reads_is_ended_where_long_transactions_are() {
    let keys = [
        "cutover.on_long_transaction = \"end\"",
        "cutover.drain_timeout = \"2s\"",
    ];
    let stage = streaming(MySql97, MySql97, &keys).await;
    let mut silent = reads_nothing(&stage).await;
    let report = stage.cutover().await;
    assert_eq!(report["sessions_ended"], 1, "{report:#}");
    assert_eq!(stage.serving().await, stage.target.server_id());
    // What it can still read ends; it is not left hanging.
    let end = async { while silent.read_packet().await.is_ok() {} };
    timeout(PATIENCE, end).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_target_that_has_no_room_for_every_session_refuses_the_cutover() {
    let source = filled_source(MySql97, usual()).await;
    let target = crowded_target().await;
    let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    let stage = Stage {
        source,
        target,
        proxy,
    };
    stage.stream().await;
    let mut clients = Vec::new();
    for _client in 0..40 {
        clients.push(client(&stage).await);
    }
    let dry = stage.proxy.cli(&["cutover", "--dry-run"]).await.unwrap();
    assert!(dry.to_string().contains("1040"), "{dry}");
    let said = stage.proxy.cli(&["cutover"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.to_string().contains("1040"), "{said}");
    for client in &clients {
        assert_eq!(serving(client).await, stage.source.server_id());
    }
    // With fewer of them there is room.
    clients.truncate(3);
    stage.cutover().await;
    for client in &clients {
        assert_eq!(serving(client).await, stage.target.server_id());
    }
}

async fn crowded_target() -> MySqlServer {
    let options: MySqlOptions = usual().set("max-connections", "25");
    MySqlServer::start(MySql97, options).await.unwrap()
}
