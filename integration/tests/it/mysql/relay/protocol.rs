//! The protocol's corners through the relay.

use std::time::{Duration, Instant};

use binlog::session::LocalInfile;
use binlog::wire::auth::native::NativeKey;
use binlog::wire::command::{COM_BINLOG_DUMP, COM_PROCESS_KILL, COM_RESET_CONNECTION};
use binlog::wire::handshake::AuthSwitch;
use binlog::wire::{Conn, ConnectOptions, SqlConn};
use bytes::{BufMut, Bytes, BytesMut};
use integration::mysql::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::house::{House, PATIENCE, ask, in_shop, port, refusal};

/// Prepares a statement; its id.
async fn prepare(conn: &mut Conn, sql: &str) -> u32 {
    conn.queue_command(&[0x16], sql.as_bytes());
    conn.flush().await.unwrap();
    let packet = conn.read_packet().await.unwrap();
    assert_eq!(packet[0], 0, "{packet:?}");
    let definitions =
        u16::from_le_bytes([packet[5], packet[6]]) + u16::from_le_bytes([packet[7], packet[8]]);
    for _definition in 0..definitions {
        conn.read_packet().await.unwrap();
    }
    u32::from_le_bytes([packet[1], packet[2], packet[3], packet[4]])
}

/// Executes a statement with one number; the number in its only row.
async fn execute(conn: &mut Conn, id: u32, types: bool, value: i64) -> Result<i64, Bytes> {
    let mut body = BytesMut::new();
    body.put_u32_le(id);
    body.put_slice(&[0, 1, 0, 0, 0, 0]);
    if types {
        body.put_slice(&[1, 8, 0]);
    } else {
        body.put_u8(0);
    }
    body.put_i64_le(value);
    conn.queue_command(&[0x17], &body);
    conn.flush().await.unwrap();
    let first = conn.read_packet().await.unwrap();
    if first[0] == 0xff {
        return Err(first);
    }
    conn.read_packet().await.unwrap();
    let row = conn.read_packet().await.unwrap();
    conn.read_packet().await.unwrap();
    let number = row[2..10].try_into().unwrap();
    Ok(i64::from_le_bytes(number))
}

async fn keeps_statements(from: Version, to: Version) {
    let house = House::pair(from, to).await;
    let mut conn = house.conn().await;
    let one = prepare(&mut conn, "SELECT CAST(? AS SIGNED) + 1").await;
    let closed = prepare(&mut conn, "SELECT CAST(? AS SIGNED) + 0").await;
    let two = prepare(&mut conn, "SELECT CAST(? AS SIGNED) + 2").await;
    conn.queue_command(&[0x19], &closed.to_le_bytes());
    assert_eq!(execute(&mut conn, one, true, 10).await, Ok(11));
    assert_eq!(execute(&mut conn, one, false, 20).await, Ok(21));
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.ready, 1, "{report:?}");
    house.move_points().await;
    // The types that were sent once are known there too, by the same id.
    assert_eq!(execute(&mut conn, one, false, 30).await, Ok(31));
    assert_eq!(execute(&mut conn, two, true, 30).await, Ok(32));
    assert_eq!(execute(&mut conn, one, false, 40).await, Ok(41));
    let three = prepare(&mut conn, "SELECT CAST(? AS SIGNED) + 3").await;
    assert!(three != one && three != two);
    assert_eq!(execute(&mut conn, three, true, 30).await, Ok(33));
    let unknown = execute(&mut conn, closed, true, 1).await;
    let unknown = unknown.expect_err("it was closed");
    assert_eq!(u16::from_le_bytes([unknown[1], unknown[2]]), 1243);
    let client = SqlConn::new(conn, "the relay".to_owned());
    assert_eq!(port(&client).await, house.target.as_ref().unwrap().port());
}

#[tokio::test]
async fn mysql_prepared_statements_keep_their_ids_and_types() {
    keeps_statements(Version::MySql97, Version::MySql97).await;
}

#[tokio::test]
async fn mariadb_prepared_statements_keep_their_ids_and_types() {
    keeps_statements(Version::MariaDb1011, Version::MariaDb118).await;
}

async fn kills_by_our_ids(version: Version) {
    let house = House::pair(version, version).await;
    let killer = house.client().await;
    for by_command in [false, true] {
        let victim = house.conn().await;
        let id = victim.thread_id();
        let victim = SqlConn::new(victim, "the relay".to_owned());
        if by_command {
            let mut killer = house.conn().await;
            killer.queue_command(&[COM_PROCESS_KILL], &id.to_le_bytes());
            killer.flush().await.unwrap();
            assert_eq!(killer.read_packet().await.unwrap()[0], 0);
        } else {
            killer.execute(&format!("KILL {id}")).await.unwrap();
        }
        assert!(victim.query("SELECT 1").await.is_err());
    }
    // An id that is nobody's is refused by the server.
    let (code, _) = refusal(killer.query("KILL QUERY 1234567890").await);
    assert_eq!(code, 1094);
    // After the move the same id means the session's new connection.
    let victim = house.conn().await;
    let id = victim.thread_id();
    let victim = SqlConn::new(victim, "the relay".to_owned());
    house.relay.prepare_twins(PATIENCE).await;
    house.move_points().await;
    port(&victim).await;
    let sleeping = async { victim.query("SELECT SLEEP(30)").await };
    let killing = async {
        loop {
            killer.execute(&format!("KILL QUERY {id}")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        slept = tokio::time::timeout(PATIENCE, sleeping) => {
            // MySQL says 1, MariaDB fails with 1317.
            slept.unwrap().map(drop).unwrap_or_default();
        }
        () = killing => {}
    }
}

#[tokio::test]
async fn mysql_sessions_are_killed_by_the_ids_that_clients_know() {
    kills_by_our_ids(Version::MySql97).await;
}

#[tokio::test]
async fn mariadb_sessions_are_killed_by_the_ids_that_clients_know() {
    kills_by_our_ids(Version::MariaDb118).await;
}

#[tokio::test]
async fn packets_of_more_than_16_mib_pass_both_ways() {
    let house = House::new(Version::MariaDb118).await;
    house
        .source
        .sql("SET GLOBAL max_allowed_packet = 67108864")
        .unwrap();
    let client = house.client().await;
    for length in [0xff_ffff - 14, 0xff_ffff - 12, 20_000_000] {
        let sql = format!("SELECT '{}', 1", "x".repeat(length));
        let rows = client.query(&sql).await.unwrap();
        assert_eq!(rows[0].bytes(0).unwrap().len(), length);
        assert_eq!(rows[0].text(1), Some("1"));
    }
    assert_eq!(ask(&client, "SELECT 2").await, "2");
}

#[tokio::test]
async fn a_reset_connection_forgets_statements_and_what_hindered_a_move() {
    let house = House::pair(Version::MariaDb118, Version::MariaDb118).await;
    let mut conn = house.conn().await;
    prepare(&mut conn, "SELECT ?").await;
    conn.write_packet(b"\x03CREATE TEMPORARY TABLE tt (a int)")
        .await
        .unwrap();
    conn.read_ok().await.unwrap();
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.unmovable.len(), 1, "{report:?}");
    conn.write_packet(&[COM_RESET_CONNECTION]).await.unwrap();
    conn.read_ok().await.unwrap();
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable), (1, Vec::new()));
}

/// Asks to log in as `other` on the same connection; the method and challenge that come back.
async fn change_user(conn: &mut Conn) -> AuthSwitch {
    let mut body = BytesMut::new();
    body.put_slice(b"other\0\0shop\0");
    body.put_u16_le(45);
    body.put_slice(b"mysql_native_password\0");
    body.put_u8(0);
    conn.queue_command(&[0x11], &body);
    conn.flush().await.unwrap();
    let switch = conn.read_packet().await.unwrap();
    AuthSwitch::parse(&switch).unwrap()
}

#[tokio::test]
async fn a_client_may_log_in_as_another_user_on_the_same_connection() {
    let house = House::new(Version::MariaDb118).await;
    house.source.create_user("other", "word", "shop").unwrap();
    let mut conn = house.conn().await;
    let switch = change_user(&mut conn).await;
    let key = NativeKey::from_password("word");
    conn.queue_answer(&key.answer(&switch.scramble().unwrap()));
    conn.flush().await.unwrap();
    conn.read_ok().await.unwrap();
    let client = SqlConn::new(conn, "the relay".to_owned());
    assert_eq!(
        ask(&client, "SELECT CURRENT_USER(), DATABASE()").await,
        "other@%\tshop"
    );
    assert_eq!(house.relay.sessions()[0].user, "other");
    // Without the password it is refused, in the server's words.
    let mut conn = house.conn().await;
    change_user(&mut conn).await;
    conn.queue_answer(&[]);
    conn.flush().await.unwrap();
    let refused = conn.read_packet().await.unwrap();
    let code = u16::from_le_bytes([refused[1], refused[2]]);
    assert_eq!((refused[0], code), (0xff, 1045));
}

#[tokio::test]
async fn files_are_loaded_only_where_the_configuration_allows_it() {
    let refusing = House::new(Version::MariaDb118).await;
    refusing.source.sql("CREATE TABLE shop.t (a int)").unwrap();
    let sql = "LOAD DATA LOCAL INFILE 'x' INTO TABLE t";
    let (code, _) = refusal(refusing.client().await.query(sql).await);
    assert!(matches!(code, 1148 | 4166), "{code}");

    let house = House::over(Version::MariaDb118, None, |options| {
        options.local_infile = LocalInfile::Relayed;
    })
    .await;
    house.source.sql("CREATE TABLE shop.t (a int)").unwrap();
    let options = ConnectOptions {
        capabilities: ConnectOptions::default().capabilities
            | binlog::wire::Capabilities::LOCAL_FILES,
        ..in_shop()
    };
    let endpoint = house.endpoint("app", "secret", "REQUIRED");
    let conn = Conn::connect(&endpoint, options).await.unwrap();
    let client = SqlConn::new(conn, "the relay".to_owned());
    let mut load = client.begin_load(sql).await.unwrap();
    load.send(b"1\n2\n").await.unwrap();
    load.send(b"3\n").await.unwrap();
    assert_eq!(load.finish().await.unwrap().affected_rows, 3);
    assert_eq!(ask(&client, "SELECT SUM(a) FROM t").await, "6");
}

#[tokio::test]
async fn replication_and_unknown_commands_are_refused_with_an_error() {
    let house = House::new(Version::MySql97).await;
    for code in [COM_BINLOG_DUMP, 0x77] {
        let mut conn = house.conn().await;
        conn.queue_command(&[code], &[0; 20]);
        conn.flush().await.unwrap();
        let packet = conn.read_packet().await.unwrap();
        assert_eq!(
            (packet[0], u16::from_le_bytes([packet[1], packet[2]])),
            (0xff, 1047)
        );
    }
}

#[tokio::test]
async fn garbage_is_answered_by_an_error_and_others_go_on() {
    let house = House::over(Version::MariaDb118, None, |options| {
        options.login_timeout = Duration::from_secs(2);
    })
    .await;
    // Two seconds may be too few for a log-in on a starved machine.
    let begun = Instant::now();
    let bystander = loop {
        let endpoint = house.endpoint("app", "secret", "DISABLED");
        match Conn::connect(&endpoint, in_shop()).await {
            Ok(conn) => break SqlConn::new(conn, "the relay".to_owned()),
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    for garbage in [
        &[0xff, 0xff, 0xff, 1][..],
        &[4, 0, 0, 1, 1, 2, 3, 4],
        &[4, 0, 0, 9, 1, 2, 3, 4],
        b"GET / HTTP/1.1\r\n\r\n",
        // Silence.
        &[],
    ] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let mut greeting = vec![0; 1024];
        let greeted = stream.read(&mut greeting).await.unwrap();
        assert_eq!(greeting[..greeted].get(4), Some(&10));
        stream.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        read.unwrap().unwrap_or_default();
        assert_eq!(answer.get(4), Some(&0xff), "{garbage:?}");
    }
    assert_eq!(ask(&bystander, "SELECT 1").await, "1");
    // After the log-in too: a command that does not begin with packet 0, and one without a code.
    let house = House::new(Version::MariaDb118).await;
    let bystander = house.client().await;
    for garbage in [&[1, 0, 0, 5, 0x0e][..], &[0, 0, 0, 0]] {
        let parts = house.conn().await.into_parts();
        let mut socket = parts.socket;
        socket.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
        read.unwrap().unwrap();
        assert_eq!(answer.get(4), Some(&0xff), "{garbage:?}");
    }
    assert_eq!(ask(&bystander, "SELECT 1").await, "1");
    assert_eq!(house.relay.sessions().len(), 1);
}
