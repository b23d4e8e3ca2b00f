//! What clients do all day, through the relay.

use std::process::Command;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use pgwal::wire::frontend;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, NoTls};

use super::conversations::conversations;
use super::house::{House, PATIENCE, Raw, extended, query, startup, sync, tags};

fn pgbench(house: &House, arguments: &[&str]) -> String {
    let port = house.address.port().to_string();
    let output = Command::new("pgbench")
        .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"])
        .args(arguments)
        .arg("postgres")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

async fn pgbench_runs_in_every_protocol(major: u32) {
    let house = House::new(major).await;
    pgbench(&house, &["-i", "-q", "-s", "1"]);
    for mode in ["simple", "extended", "prepared"] {
        pgbench(&house, &["-n", "-M", mode, "-c", "4", "-t", "50"]);
    }
    let client = house.client().await;
    let count = client
        .value("SELECT count(*) FROM pgbench_history")
        .await
        .unwrap();
    assert_eq!(count, "600");
    house
        .until("all but one session are gone", |relay| {
            relay.sessions().len() == 1
        })
        .await;
    house
        .until("their sockets too", |relay| relay.clients() == 1)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs_in_every_protocol_on_14() {
    pgbench_runs_in_every_protocol(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs_in_every_protocol_on_18() {
    pgbench_runs_in_every_protocol(18).await;
}

/// Everything a server says to these conversations, sent without waiting, until it closes.
async fn everything_said(port: u16) -> Vec<(u8, bytes::Bytes)> {
    let mut raw = Raw::log_in(("127.0.0.1", port), frontend::PROTOCOL_3_0).await;
    for (_name, steps) in conversations() {
        for step in steps {
            raw.send(&step).await;
        }
    }
    let mut goodbye = BytesMut::new();
    frontend::terminate(&mut goodbye);
    raw.send(&goodbye).await;
    let mut said = Vec::new();
    while let Some(message) = raw.next().await {
        said.push((message.tag, message.body));
    }
    said
}

async fn every_byte_is_the_servers(major: u32) {
    let house = House::new(major).await;
    let direct = everything_said(house.source.port()).await;
    let through = everything_said(house.address.port()).await;
    assert_eq!(direct.len(), through.len());
    for (number, (direct, through)) in direct.iter().zip(&through).enumerate() {
        assert_eq!(direct, through, "message {number}");
    }
    assert!(direct.len() > 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_that_14_says_arrives_untouched() {
    every_byte_is_the_servers(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_that_18_says_arrives_untouched() {
    every_byte_is_the_servers(18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_seen_idle_after_each_kind_of_conversation() {
    let house = House::new(18).await;
    let mut raw = house.raw().await;
    for (name, steps) in conversations() {
        for step in steps {
            raw.send(&step).await;
        }
        raw.send(&query("SELECT 'the end'")).await;
        loop {
            let said = raw.until_ready().await;
            if said
                .iter()
                .any(|message| message.body.ends_with(b"the end"))
            {
                break;
            }
        }
        house
            .until(name, |_relay| house.switch.running() == 0)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copied_rows_are_the_same_through_the_relay() {
    let house = House::new(14).await;
    let through = house.url("postgres", "x");
    let direct = house.source.url("postgres", "postgres");
    let psql = |url: &str, sql: &str| integration::server::psql(url, sql).unwrap();
    psql(
        &through,
        "CREATE TABLE wide AS SELECT n, repeat(md5(n::text), 20) AS t \
        FROM generate_series(1, 50000) n; CREATE TABLE again (LIKE wide)",
    );
    let out = |url: &str| psql(url, "COPY (SELECT * FROM wide ORDER BY n) TO STDOUT");
    let rows = out(&through);
    assert!(rows == out(&direct), "the copied rows differ");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{rows}\n")).unwrap();
    psql(
        &through,
        &format!("\\copy again FROM '{}'", file.path().display()),
    );
    let differing = "SELECT count(*) FROM (SELECT * FROM wide EXCEPT SELECT * FROM again) d";
    assert_eq!(psql(&direct, differing), "0");
    assert_eq!(psql(&direct, "SELECT count(*) FROM again"), "50000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_request_reaches_the_sessions_own_query_and_no_other() {
    let house = House::new(18).await;
    let client = house.client().await;
    let other = house.client().await;
    let cancel = client.cancel_token();
    // Nothing runs: nothing is cancelled, now or later.
    let mut idle = Raw::connect(house.address).await;
    idle.send(&startup(frontend::PROTOCOL_3_0)).await;
    let welcome = idle.until_ready().await;
    let key = welcome.iter().find(|message| message.tag == b'K').unwrap();
    let (pid, key) = key.body.split_at(4);
    let mut request = BytesMut::new();
    let pid = i32::from_be_bytes(pid.try_into().unwrap());
    frontend::cancel_request(pid, key, &mut request).unwrap();
    let mut raw = Raw::connect(house.address).await;
    raw.send(&request).await;
    assert!(raw.next().await.is_none(), "it is taken");
    assert_eq!(tags(&idle.query("SELECT 1").await), "TDCZ");

    let sleeping = client.simple_query("SELECT pg_sleep(60)");
    let cancelling = async {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'";
        while other.value(busy).await.unwrap() == "0" {}
        // A wrong key of the right session does nothing.
        let pid = house.relay.sessions().first().unwrap().backend_pid;
        let mut wrong = BytesMut::new();
        frontend::cancel_request(pid, &[1, 2, 3, 4], &mut wrong).unwrap();
        let mut raw = Raw::connect(house.address).await;
        raw.send(&wrong).await;
        assert!(raw.next().await.is_none());
        assert_eq!(other.value(busy).await.unwrap(), "1");
        cancel.cancel_query(NoTls).await.unwrap();
    };
    let (slept, ()) = timeout(PATIENCE, async { tokio::join!(sleeping, cancelling) })
        .await
        .unwrap();
    assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
    assert_eq!(client.value("SELECT 2").await.unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn notifications_arrive_with_the_process_id_that_the_sender_was_given() {
    let house = House::new(14).await;
    let sender = house.client().await;
    let url = house.url("postgres", "x");
    let (listener, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let (heard, mut hearing) = tokio::sync::mpsc::channel(4);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message {
                heard.send(notification).await.unwrap();
            }
        }
    });
    listener.batch_execute("LISTEN news").await.unwrap();
    sender.batch_execute("NOTIFY news, 'hello'").await.unwrap();
    let notification = timeout(PATIENCE, hearing.recv()).await.unwrap().unwrap();
    assert_eq!(notification.payload(), "hello");
    let pid = sender.value("SELECT pg_backend_pid()").await.unwrap();
    assert_eq!(notification.process_id().to_string(), pid);
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// P8: memory does not grow with a message.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_100_mb_is_streamed_both_ways_and_never_kept() {
    let house = House::new(18).await;
    let mut raw = house.raw().await;
    let before = resident_bytes();
    let megabytes = 100;

    raw.send(&query(&format!(
        "SELECT repeat('x', {megabytes} * 1024 * 1024)"
    )))
    .await;
    // A slow reader: the server must wait, and we must not swallow what it cannot send.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut chunk = vec![0; 64 * 1024];
    let (mut total, mut end) = (0, Vec::new());
    while !end.ends_with(b"Z\0\0\0\x05I") {
        let read = timeout(PATIENCE, raw.stream.read(&mut chunk)).await;
        let read = read.unwrap().unwrap();
        assert_ne!(read, 0, "the connection ended after {total} bytes");
        total += read;
        end.extend_from_slice(&chunk[..read]);
        end.drain(..end.len().saturating_sub(6));
    }
    assert!(total > megabytes * 1024 * 1024, "{total}");

    let mut header = BytesMut::new();
    let sql = "SELECT length('";
    header.put_u8(b'Q');
    let length = 4 + sql.len() + megabytes * 1024 * 1024 + 3;
    header.put_i32(i32::try_from(length).unwrap());
    header.put_slice(sql.as_bytes());
    raw.send(&header).await;
    for _part in 0..megabytes * 16 {
        raw.send(&chunk.iter().map(|_byte| b'y').collect::<Vec<_>>())
            .await;
    }
    raw.send(b"')\0").await;
    let answer = raw.until_ready().await;
    assert!(tags(&answer).ends_with("DCZ"), "{}", tags(&answer));
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 40 * 1024 * 1024, "grew by {grown} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_writing_still_gets_its_answers() {
    let house = House::new(17).await;
    let mut raw = house.raw().await;
    raw.send(&query("SELECT 'last words', pg_sleep(0.2)")).await;
    tokio::io::AsyncWriteExt::shutdown(&mut raw.stream)
        .await
        .unwrap();
    assert_eq!(tags(&raw.until_ready().await), "TDCZ");
    assert!(raw.next().await.is_none());
    house
        .until("the session is gone", |relay| relay.sessions().is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_terminated_has_the_last_word() {
    let house = House::new(16).await;
    let mut raw = house.raw().await;
    let pid = house.relay.sessions().first().unwrap().backend_pid;
    house
        .source
        .psql("postgres", &format!("SELECT pg_terminate_backend({pid})"))
        .unwrap();
    let said = raw.error().await;
    assert_eq!(
        said,
        "FATAL 57P01: terminating connection due to administrator command"
    );
    assert!(raw.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_come_one_at_a_time_are_understood() {
    let house = House::new(18).await;
    let mut raw = Raw::connect(house.address).await;
    raw.stream.set_nodelay(true).unwrap();
    let mut all = startup(frontend::PROTOCOL_3_0).to_vec();
    all.extend_from_slice(&query("SELECT 42"));
    all.extend_from_slice(&extended("named", "SELECT 43"));
    all.extend_from_slice(&sync());
    for byte in all {
        raw.send(&[byte]).await;
    }
    assert!(tags(&raw.until_ready().await).starts_with('R'));
    assert_eq!(tags(&raw.until_ready().await), "TDCZ");
    assert_eq!(tags(&raw.until_ready().await), "12TDCZ");
}
