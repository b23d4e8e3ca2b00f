//! Several statements and results, cursors, long data, XA, a session's own end: on every server
//! that has them, before and after the points are moved.

use std::time::Duration;

use binlog::session::LocalInfile;
use binlog::wire::command::COM_QUERY;
use binlog::wire::{Capabilities, Conn, ConnectOptions, SqlConn, TlsMode};
use bytes::{BufMut, Bytes, BytesMut};
use integration::mysql::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::house::{House, PATIENCE, ask, in_shop, port};

const MORE_RESULTS: u16 = 8;
const CURSOR_EXISTS: u16 = 0x40;
const LAST_ROW_SENT: u16 = 0x80;

async fn client(house: &House) -> Conn {
    client_without(house, Capabilities::default()).await
}

async fn client_without(house: &House, unknown: Capabilities) -> Conn {
    let capabilities = ConnectOptions::default().capabilities
        | Capabilities::MULTI_STATEMENTS
        | Capabilities::PS_MULTI_RESULTS;
    let options = ConnectOptions {
        capabilities: capabilities.without(unknown),
        ..in_shop()
    };
    let endpoint = house.endpoint("app", "secret", "DISABLED");
    Conn::connect(&endpoint, options).await.unwrap()
}

/// One result: its rows as they came, or the number of an error; and the flags.
#[derive(Debug, PartialEq)]
enum Result {
    Rows(Vec<Bytes>),
    Done,
    Error(u16),
}

/// The flags of an OK or EOF packet with small numbers.
fn flags(packet: &[u8]) -> u16 {
    u16::from_le_bytes([packet[3], packet[4]])
}

fn is_end(packet: &[u8]) -> bool {
    packet[0] == 0xfe && packet.len() < 64
}

async fn rows(conn: &mut Conn) -> (Vec<Bytes>, u16) {
    let mut rows = Vec::new();
    loop {
        let packet = conn.read_packet().await.unwrap();
        if is_end(&packet) {
            return (rows, flags(&packet));
        }
        assert_ne!(packet[0], 0xff, "{packet:?}");
        rows.push(packet);
    }
}

async fn result(conn: &mut Conn) -> (Result, u16) {
    let first = conn.read_packet().await.unwrap();
    match first[0] {
        0 => (Result::Done, flags(&first)),
        0xff => (Result::Error(u16::from_le_bytes([first[1], first[2]])), 0),
        columns => {
            for _definition in 0..columns {
                conn.read_packet().await.unwrap();
            }
            if !conn.capabilities().contains(Capabilities::DEPRECATE_EOF) {
                let end = conn.read_packet().await.unwrap();
                if flags(&end) & CURSOR_EXISTS != 0 {
                    return (Result::Rows(Vec::new()), flags(&end));
                }
            }
            let (rows, flags) = rows(conn).await;
            (Result::Rows(rows), flags)
        }
    }
}

async fn results(conn: &mut Conn) -> Vec<Result> {
    let mut all = Vec::new();
    loop {
        let (result, flags) = result(conn).await;
        all.push(result);
        if flags & MORE_RESULTS == 0 {
            return all;
        }
    }
}

async fn query(conn: &mut Conn, sql: &str) -> Vec<Result> {
    conn.queue_command(&[0x03], sql.as_bytes());
    conn.flush().await.unwrap();
    results(conn).await
}

/// A row of one short text.
fn text(text: &'static str) -> Result {
    let mut row = BytesMut::new();
    row.put_u8(u8::try_from(text.len()).unwrap());
    row.put_slice(text.as_bytes());
    Result::Rows(vec![row.freeze()])
}

/// Prepares a statement: its id.
async fn prepare(conn: &mut Conn, sql: &str) -> u32 {
    conn.queue_command(&[0x16], sql.as_bytes());
    conn.flush().await.unwrap();
    let packet = conn.read_packet().await.unwrap();
    assert_eq!(packet[0], 0, "{packet:?}");
    let eof = !conn.capabilities().contains(Capabilities::DEPRECATE_EOF);
    for at in [5, 7] {
        let count = u16::from_le_bytes([packet[at], packet[at + 1]]);
        let ends = u16::from(eof && count > 0);
        for _definition in 0..count + ends {
            conn.read_packet().await.unwrap();
        }
    }
    u32::from_le_bytes([packet[1], packet[2], packet[3], packet[4]])
}

/// Waits until no session has something open.
async fn idle(house: &House) {
    let idle = async {
        while house.switch.running() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, idle).await.unwrap();
}

/// A pair with a table of ten numbers on both sides.
async fn pair(from: Version, to: Version) -> House {
    let house = House::pair(from, to).await;
    for server in [&house.source, house.target.as_ref().unwrap()] {
        server
            .script(
                "shop",
                "CREATE TABLE n (n int PRIMARY KEY);\n\
                 INSERT INTO n VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);\n\
                 DELIMITER //\nCREATE PROCEDURE two() BEGIN SELECT 'a'; SELECT 'b'; END//\n\
                 CREATE PROCEDURE nulls() BEGIN\n\
                 DECLARE v int; DECLARE c CURSOR FOR SELECT n FROM n ORDER BY n;\n\
                 OPEN c; FETCH c INTO v; SELECT NULL, v; FETCH c INTO v; SELECT NULL, v; CLOSE c;\n\
                 END//\n\
                 DELIMITER ;\n",
            )
            .unwrap();
    }
    house
}

/// MariaDB's flags tell the client of a cursor that only the routine knows.
async fn cursor_of_a_routine(conn: &mut Conn, house: &House) {
    let call = "CALL nulls()";
    let id = prepare(conn, call).await;
    let mut execute = BytesMut::new();
    execute.put_u32_le(id);
    execute.put_slice(&[0, 1, 0, 0, 0]);
    for (command, body) in [(0x03, call.as_bytes()), (0x17, &execute)] {
        conn.queue_command(&[command], body);
        conn.flush().await.unwrap();
        for _result in 0..2 {
            let columns = conn.read_packet().await.unwrap();
            assert_eq!(*columns, [2], "{command:#x}");
            let deprecated = conn.capabilities().contains(Capabilities::DEPRECATE_EOF);
            for _definition in 0..if deprecated { 2 } else { 3 } {
                conn.read_packet().await.unwrap();
            }
            let (rows, _flags) = rows(conn).await;
            assert_eq!(rows.len(), 1, "{command:#x}");
        }
        let done = conn.read_packet().await.unwrap();
        assert_eq!(done[0], 0, "{command:#x}: {done:?}");
        idle(house).await;
    }
    conn.queue_command(&[0x19], &id.to_le_bytes());
    conn.flush().await.unwrap();
}

async fn speaks(conn: &mut Conn, house: &House) {
    let several = query(conn, "SELECT 'a'; DO 1; SELECT 'b'").await;
    assert_eq!(several, [text("a"), Result::Done, text("b")]);
    // What follows an error is not run.
    let cut = query(conn, "SELECT 'a'; SELECT * FROM nowhere; SELECT 'b'").await;
    assert_eq!(cut, [text("a"), Result::Error(1146)]);
    let called = query(conn, "CALL two(); SELECT 'c'").await;
    assert_eq!(called, [text("a"), text("b"), Result::Done, text("c")]);
    idle(house).await;
    cursor_of_a_routine(conn, house).await;
    cursor(conn, house).await;
    long_data(conn, house).await;
}

/// Rows by and by; an open cursor keeps the session where it is.
async fn cursor(conn: &mut Conn, house: &House) {
    let id = prepare(conn, "SELECT n FROM n WHERE n < 10 ORDER BY n").await;
    let mut body = BytesMut::new();
    body.put_u32_le(id);
    body.put_slice(&[1, 1, 0, 0, 0]);
    conn.queue_command(&[0x17], &body);
    conn.flush().await.unwrap();
    let (opened, flags) = result(conn).await;
    assert_eq!(
        (opened, flags & CURSOR_EXISTS),
        (Result::Rows(Vec::new()), CURSOR_EXISTS)
    );
    assert_eq!(house.switch.running(), 1, "a cursor is open");
    let mut numbers = Vec::new();
    loop {
        let mut body = BytesMut::new();
        body.put_u32_le(id);
        body.put_u32_le(4);
        conn.queue_command(&[0x1c], &body);
        conn.flush().await.unwrap();
        let (fetched, flags) = rows(conn).await;
        // A header, a bitmap, and the number.
        numbers.extend(fetched.iter().map(|row| row[2]));
        if flags & LAST_ROW_SENT != 0 {
            break;
        }
    }
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    conn.queue_command(&[0x19], &id.to_le_bytes());
    conn.flush().await.unwrap();
    idle(house).await;
}

/// A parameter in pieces; they keep the session where it is until they are used.
async fn long_data(conn: &mut Conn, house: &House) {
    let id = prepare(conn, "SELECT LENGTH(?)").await;
    for piece in ["x".repeat(300_000), "y".repeat(70_000), "z".to_owned()] {
        let mut body = BytesMut::new();
        body.put_u32_le(id);
        body.put_u16_le(0);
        body.put_slice(piece.as_bytes());
        conn.queue_command(&[0x18], &body);
    }
    conn.flush().await.unwrap();
    let mut body = BytesMut::new();
    body.put_u32_le(id);
    body.put_slice(&[0, 1, 0, 0, 0, 0, 1, 0xfc, 0]);
    conn.queue_command(&[0x17], &body);
    conn.flush().await.unwrap();
    let (measured, _) = result(conn).await;
    let Result::Rows(rows) = measured else {
        panic!("{measured:?}");
    };
    let length = u32::from_le_bytes(rows[0][2..6].try_into().unwrap());
    assert_eq!(length, 370_001);
    conn.queue_command(&[0x19], &id.to_le_bytes());
    conn.flush().await.unwrap();
    idle(house).await;
}

/// An XA transaction is one transaction to its end, whatever `autocommit` says.
async fn two_phases(conn: &mut Conn, house: &House, name: &str) {
    for sql in ["XA START", "INSERT INTO n SELECT MAX(n) + 1 FROM n; XA END"] {
        let all = query(conn, &format!("{sql} '{name}'")).await;
        assert!(all.iter().all(|one| *one == Result::Done), "{sql}: {all:?}");
        assert_eq!(house.switch.running(), 1, "{sql}");
    }
    for sql in ["XA PREPARE", "XA COMMIT"] {
        let all = query(conn, &format!("{sql} '{name}'")).await;
        assert_eq!(all, [Result::Done], "{sql}");
    }
    idle(house).await;
}

async fn without_autocommit(conn: &mut Conn, house: &House) {
    assert_eq!(query(conn, "SET autocommit = 0").await, [Result::Done]);
    idle(house).await;
    query(conn, "SELECT COUNT(*) FROM n").await;
    assert_eq!(house.switch.running(), 1, "a read began a transaction");
    assert_eq!(query(conn, "COMMIT").await, [Result::Done]);
    idle(house).await;
    assert_eq!(query(conn, "SET autocommit = 1").await, [Result::Done]);
}

/// A session that ends itself by the id that its server told it.
async fn ends_itself(house: &House) {
    let conn = house.conn().await;
    let suicide = SqlConn::new(conn, "the relay".to_owned());
    let killed = suicide.query("KILL CONNECTION_ID()").await;
    // Old servers have the number only.
    let killed = match killed {
        Err(error) if error.code() == Some(1064) => {
            let id = ask(&suicide, "SELECT CONNECTION_ID()").await;
            suicide.query(&format!("KILL {id}")).await
        }
        other => other,
    };
    killed.expect_err("it is over");
    suicide.query("SELECT 1").await.expect_err("it is over");
}

async fn corners(from: Version, to: Version) {
    let house = pair(from, to).await;
    let mut conn = client(&house).await;
    let mut older = client_without(&house, Capabilities::DEPRECATE_EOF).await;
    for conn in [&mut conn, &mut older] {
        speaks(conn, &house).await;
    }
    two_phases(&mut conn, &house, "before").await;
    without_autocommit(&mut conn, &house).await;
    ends_itself(&house).await;
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.unmovable, []);
    house.move_points().await;
    for conn in [&mut conn, &mut older] {
        speaks(conn, &house).await;
    }
    two_phases(&mut conn, &house, "after").await;
    without_autocommit(&mut conn, &house).await;
    ends_itself(&house).await;
    let client = SqlConn::new(conn, "the relay".to_owned());
    assert_eq!(port(&client).await, house.target.as_ref().unwrap().port());
}

#[tokio::test]
async fn mysql_9_7_speaks_all_of_its_protocol_before_and_after_a_move() {
    corners(Version::MySql97, Version::MySql97).await;
}

#[tokio::test]
async fn mariadb_11_8_speaks_all_of_its_protocol_before_and_after_a_move() {
    corners(Version::MariaDb118, Version::MariaDb118).await;
}

#[tokio::test]
async fn mysql_5_6_speaks_all_of_its_protocol_before_and_after_a_move() {
    corners(Version::MySql56, Version::MySql97).await;
}

async fn passes_large_packets(version: Version) {
    let house = House::new(version).await;
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
async fn packets_of_more_than_16_mib_pass_both_ways_on_mysql_9_7() {
    passes_large_packets(Version::MySql97).await;
}

#[tokio::test]
async fn packets_of_more_than_16_mib_pass_both_ways_on_mysql_5_6() {
    passes_large_packets(Version::MySql56).await;
}

async fn offers_what_passes(version: Version) {
    let house = House::new(version).await;
    let conn = house.conn().await;
    let offered = conn.server_capabilities();
    for (name, capability) in [
        ("compression", Capabilities::COMPRESS),
        ("zstd", Capabilities::ZSTD_COMPRESSION),
        ("query attributes", Capabilities::QUERY_ATTRIBUTES),
        ("several factors", Capabilities::MULTI_FACTOR_AUTHENTICATION),
        (
            "optional metadata",
            Capabilities::OPTIONAL_RESULTSET_METADATA,
        ),
        ("files", Capabilities::LOCAL_FILES),
        (
            "bulk operations",
            Capabilities::MARIADB_STMT_BULK_OPERATIONS,
        ),
        ("extended metadata", Capabilities::MARIADB_EXTENDED_METADATA),
        ("cached metadata", Capabilities::MARIADB_CACHE_METADATA),
    ] {
        assert!(!offered.contains(capability), "{version} {name}");
    }
    for capability in [Capabilities::MULTI_STATEMENTS, Capabilities::SSL] {
        assert!(offered.contains(capability));
    }
}

#[tokio::test]
async fn nothing_is_offered_that_cannot_be_relayed() {
    for version in [Version::MySql97, Version::MySql56, Version::MariaDb118] {
        offers_what_passes(version).await;
    }
}

#[tokio::test]
async fn files_pass_to_mysql_only_where_the_configuration_allows_it() {
    let sql = "LOAD DATA LOCAL INFILE 'x' INTO TABLE t";
    for version in [Version::MySql97, Version::MySql56] {
        let house = House::over(version, None, |options| {
            options.local_infile = LocalInfile::Relayed;
        })
        .await;
        house
            .source
            .sql("SET GLOBAL local_infile = 1; CREATE TABLE shop.t (a int)")
            .unwrap();
        let refusing = house.client().await;
        // This client did not say that it has files.
        refusing.query(sql).await.expect_err("not offered");
        let options = ConnectOptions {
            capabilities: ConnectOptions::default().capabilities | Capabilities::LOCAL_FILES,
            ..in_shop()
        };
        let endpoint = house.endpoint("app", "secret", "PREFERRED");
        let conn = Conn::connect(&endpoint, options).await.unwrap();
        let client = SqlConn::new(conn, "the relay".to_owned());
        let mut load = client.begin_load(sql).await.unwrap();
        load.send(b"1\n2\n").await.unwrap();
        assert_eq!(load.finish().await.unwrap().affected_rows, 2);
        assert_eq!(ask(&client, "SELECT SUM(a) FROM t").await, "3");
    }
}

#[tokio::test]
async fn clients_beyond_the_limit_are_told_so_and_may_come_when_others_left() {
    let house = House::over(Version::MariaDb118, None, |options| {
        options.clients_max = 2;
    })
    .await;
    let first = house.client().await;
    let second = house.client().await;
    let endpoint = house.endpoint("app", "secret", "DISABLED");
    let error = Conn::connect(&endpoint, in_shop()).await;
    assert_eq!(error.expect_err("too many").server().unwrap().code, 1040);
    assert_eq!(ask(&first, "SELECT 1").await, "1");
    second.close().await;
    let freed = async {
        while house.relay.clients() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, freed).await.unwrap();
    house.client().await;
}

/// A client that does not read slows its server down; nobody else, and no memory, suffers.
#[tokio::test]
async fn a_client_that_does_not_read_is_its_own_problem() {
    let house = House::new(Version::MySql97).await;
    let bystander = house.client().await;
    let mut stalled = house.conn().await;
    house
        .source
        .script(
            "shop",
            "CREATE TABLE n (n int PRIMARY KEY);\nINSERT INTO n VALUES (0), (1), \
            (2), (3), (4), (5), (6), (7), (8), (9);\n",
        )
        .unwrap();
    // 10 GB: what is not read is not made.
    let endless = "SELECT REPEAT('x', 100000) FROM n a, n b, n c, n d, n e";
    stalled.queue_command(&[0x03], endless.as_bytes());
    stalled.flush().await.unwrap();
    let mut socket = stalled.into_parts().socket;
    let mut some = vec![0; 200_000];
    timeout(PATIENCE, socket.read_exact(&mut some))
        .await
        .unwrap()
        .unwrap();
    for _question in 0..50 {
        assert_eq!(ask(&bystander, "SELECT 1").await, "1");
    }
    let id = house.relay.sessions()[1].id;
    assert!(house.relay.end_session(id).await);
    let gone = async {
        while house.relay.sessions().len() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    assert_eq!(ask(&bystander, "SELECT 1").await, "1");
    socket.shutdown().await.unwrap();
}

/// MySQL looks now and then whether the client of a statement that sleeps or waits is still there.
async fn left_in_a_statement(tls: TlsMode) {
    let house = House::over(Version::MySql97, None, |options| {
        options.source.tls = tls;
    })
    .await;
    let mut client = house.conn().await;
    client.queue_command(&[COM_QUERY], b"SELECT SLEEP(1000)");
    client.flush().await.unwrap();
    let sleeps = "SELECT COUNT(*) FROM information_schema.processlist WHERE STATE = 'User sleep'";
    let sleeping = async {
        while house.source.sql(sleeps).unwrap().trim() != "1" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, sleeping).await.unwrap();
    let encrypted = "SELECT COUNT(*) FROM performance_schema.threads JOIN performance_schema.status_by_thread \
        USING (THREAD_ID) WHERE PROCESSLIST_USER = 'app' AND VARIABLE_NAME = 'Ssl_cipher' AND VARIABLE_VALUE <> ''";
    let expected = if tls == TlsMode::Disabled { "0" } else { "1" };
    assert_eq!(house.source.sql(encrypted).unwrap().trim(), expected);
    drop(client);
    house.wait_until_alone("app").await;
}

#[tokio::test]
async fn mysql_notices_in_tls_that_a_client_left_in_a_statement() {
    left_in_a_statement(TlsMode::Required).await;
}

#[tokio::test]
async fn mysql_notices_in_clear_that_a_client_left_in_a_statement() {
    left_in_a_statement(TlsMode::Disabled).await;
}
