//! `KILL` by the ids that clients know: those of greetings, and those of `CONNECTION_ID()`, before a
//! move and after it. An id that may be somebody else's by now kills nobody.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use binlog::wire::command::{
    COM_PROCESS_KILL, COM_QUERY, COM_STMT_CLOSE, COM_STMT_EXECUTE, COM_STMT_PREPARE,
};
use binlog::wire::{Capabilities, Conn, Socket, SqlConn};
use bytes::{BufMut, Bytes, BytesMut};
use integration::mysql::{MySqlServer, Version};
use tokio::time::timeout;

use super::house::{House, PATIENCE, ask, port, refusal};

/// Types of parameters.
const LONGLONG: u8 = 8;
const VAR_STRING: u8 = 253;

/// A client, the id of its greeting, and the one that its server told it.
struct Known {
    client: SqlConn,
    greeting: u32,
    told: u32,
}

impl Known {
    async fn new(house: &House) -> Self {
        let conn = house.conn().await;
        let greeting = conn.thread_id();
        let client = SqlConn::new(conn, "the relay".to_owned());
        let told = ask(&client, "SELECT CONNECTION_ID()").await;
        Self {
            client,
            greeting,
            told: told.parse().unwrap(),
        }
    }

    async fn lives(&self) -> bool {
        self.client.query("SELECT 1").await.is_ok()
    }
}

async fn move_all(house: &House) {
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.unmovable, []);
    house.move_points().await;
}

/// Kills until it works: a server forgets a session that is over by and by.
async fn kills_at_last(killer: &SqlConn, id: u32) {
    let killing = async {
        while killer.execute(&format!("KILL {id}")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, killing).await.unwrap();
}

/// Sends a command; the number of the error that it brings, or 0.
async fn sends(conn: &mut Conn, code: u8, body: &[u8]) -> u16 {
    conn.queue_command(&[code], body);
    conn.flush().await.unwrap();
    let packet = timeout(PATIENCE, conn.read_packet()).await.unwrap();
    let packet: Bytes = packet.unwrap();
    match packet[0] {
        0 => 0,
        0xff => u16::from_le_bytes([packet[1], packet[2]]),
        _other => panic!("{packet:?}"),
    }
}

async fn prepare(conn: &mut Conn, sql: &str) -> u32 {
    conn.queue_command(&[COM_STMT_PREPARE], sql.as_bytes());
    conn.flush().await.unwrap();
    let packet = conn.read_packet().await.unwrap();
    assert_eq!(packet[0], 0, "{packet:?}");
    let params = u16::from_le_bytes([packet[7], packet[8]]);
    let eof = !conn.capabilities().contains(Capabilities::DEPRECATE_EOF);
    for _definition in 0..params + u16::from(eof && params > 0) {
        conn.read_packet().await.unwrap();
    }
    u32::from_le_bytes([packet[1], packet[2], packet[3], packet[4]])
}

/// Runs a statement with an id as its parameter.
async fn kills_by(conn: &mut Conn, statement: u32, kind: Option<u8>, id: u32) -> u16 {
    let mut body = BytesMut::new();
    body.put_u32_le(statement);
    body.put_slice(&[0, 1, 0, 0, 0, 0]);
    match kind {
        Some(kind) => body.put_slice(&[1, kind, 0]),
        None => body.put_u8(0),
    }
    if kind == Some(VAR_STRING) {
        let digits = id.to_string();
        body.put_u8(u8::try_from(digits.len()).unwrap());
        body.put_slice(digits.as_bytes());
    } else {
        body.put_u64_le(u64::from(id));
    }
    sends(conn, COM_STMT_EXECUTE, &body).await
}

/// Makes the ids of a server's next connections higher.
async fn wears_off(server: &MySqlServer, ids: u32) {
    for _connection in 0..ids {
        server.connect().await.unwrap().close().await;
    }
}

/// Connects until one of the ids of before comes again.
async fn meets<T>(old: &[Known], mut next: impl AsyncFnMut() -> (T, u32)) -> (usize, T) {
    let highest = old.iter().map(|known| known.told).max().unwrap();
    loop {
        let (client, id) = next().await;
        if let Some(at) = old.iter().position(|known| known.told == id) {
            return (at, client);
        }
        assert!(id < highest, "none of them came again");
    }
}

async fn ids_of_before_hit_nobody_else(version: Version) {
    let house = House::pair(version, version).await;
    let target = house.target.as_ref().unwrap();
    wears_off(&house.source, 40).await;
    let mut old = Vec::new();
    for _session in 0..10 {
        old.push(Known::new(&house).await);
    }
    let mut killer = house.conn().await;
    // MySQL takes no parameters there.
    let by_statement = if version.is_mariadb() {
        Some(prepare(&mut killer, "KILL ?").await)
    } else {
        None
    };
    move_all(&house).await;
    for known in &old {
        assert_eq!(port(&known.client).await, target.port());
    }
    let (at, new) = meets(&old, async || {
        let known = Known::new(&house).await;
        let told = known.told;
        (known, told)
    })
    .await;
    let id = old[at].told;
    for sql in [format!("KILL {id}"), format!("KILL QUERY {id}")] {
        assert_eq!(sends(&mut killer, COM_QUERY, sql.as_bytes()).await, 1094);
    }
    if let Some(statement) = by_statement {
        let refused = kills_by(&mut killer, statement, Some(LONGLONG), id).await;
        assert_eq!(refused, 1094);
    }
    let refused = sends(&mut killer, COM_PROCESS_KILL, &id.to_le_bytes()).await;
    assert_eq!(refused, 1094);
    assert!(old[at].lives().await && new.lives().await);
    // Nor anybody who came to the server by another way.
    let (with, stranger) = meets(&old, async || {
        let client = target.connect().await.unwrap();
        let id = client.thread_id();
        (client, id)
    })
    .await;
    let killer = SqlConn::new(killer, "the relay".to_owned());
    let (code, message) = refusal(killer.query(&format!("KILL {}", old[with].told)).await);
    assert_eq!(code, 1094);
    assert!(message.contains("CONNECTION_ID()"), "{message}");
    assert!(old[with].lives().await);
    stranger.query("SELECT 1").await.unwrap();
    // The ids of the greetings name one session each.
    killer
        .execute(&format!("KILL {}", new.greeting))
        .await
        .unwrap();
    assert!(!new.lives().await && old[at].lives().await);
    kills_at_last(&killer, old[at].told).await;
    assert!(!old[at].lives().await);
}

#[tokio::test]
async fn ids_of_before_hit_nobody_else_on_mysql_9_7() {
    ids_of_before_hit_nobody_else(Version::MySql97).await;
}

#[tokio::test]
async fn ids_of_before_hit_nobody_else_on_mariadb_11_8() {
    ids_of_before_hit_nobody_else(Version::MariaDb118).await;
}

/// Whoever is silent since the switch has a connection to each server, and dies all the same.
async fn silent_sessions_are_killed(version: Version) {
    let house = House::pair(version, version).await;
    wears_off(&house.source, 40).await;
    let killer = house.client().await;
    let (greeted, told) = (Known::new(&house).await, Known::new(&house).await);
    let other = Known::new(&house).await;
    move_all(&house).await;
    for id in [greeted.greeting, told.told] {
        killer.execute(&format!("KILL {id}")).await.unwrap();
    }
    assert!(!greeted.lives().await && !told.lives().await);
    assert!(other.lives().await);
    let target = house.target.as_ref().unwrap();
    assert_eq!(port(&killer).await, target.port());
}

#[tokio::test]
async fn silent_sessions_are_killed_after_a_move_of_mysql_9_7() {
    silent_sessions_are_killed(Version::MySql97).await;
}

#[tokio::test]
async fn silent_sessions_are_killed_after_a_move_of_mariadb_11_8() {
    silent_sessions_are_killed(Version::MariaDb118).await;
}

/// Runs a statement without parameters.
async fn kills(conn: &mut Conn, statement: u32) -> u16 {
    let mut body = BytesMut::new();
    body.put_u32_le(statement);
    body.put_slice(&[0, 1, 0, 0, 0]);
    sends(conn, COM_STMT_EXECUTE, &body).await
}

async fn prepared_statements_kill(version: Version) {
    let house = House::pair(version, version).await;
    let mut killer = house.conn().await;
    let victim = Known::new(&house).await;
    let late = Known::new(&house).await;
    let by_text =
        async |killer: &mut Conn, id: u32| prepare(killer, &format!("KILL CONNECTION {id}")).await;
    let gone = by_text(&mut killer, victim.greeting).await;
    killer.queue_command(&[COM_STMT_CLOSE], &gone.to_le_bytes());
    let early = by_text(&mut killer, victim.greeting).await;
    let kept = by_text(&mut killer, late.greeting).await;
    assert_eq!(kills(&mut killer, early).await, 0);
    assert!(!victim.lives().await && late.lives().await);
    let by_command = Known::new(&house).await;
    move_all(&house).await;
    assert!(late.lives().await && by_command.lives().await);
    assert_eq!(kills(&mut killer, kept).await, 0);
    assert!(!late.lives().await);
    assert_eq!(kills(&mut killer, gone).await, 1243, "it was closed");
    let id = by_command.greeting.to_le_bytes();
    assert_eq!(sends(&mut killer, COM_PROCESS_KILL, &id).await, 0);
    assert!(!by_command.lives().await);
}

#[tokio::test]
async fn prepared_statements_kill_on_mysql_9_7() {
    prepared_statements_kill(Version::MySql97).await;
}

#[tokio::test]
async fn prepared_statements_kill_on_mariadb_11_8() {
    prepared_statements_kill(Version::MariaDb118).await;
}

/// Only MariaDB takes them.
#[tokio::test]
async fn parameters_name_whom_a_statement_kills() {
    let house = House::pair(Version::MariaDb118, Version::MariaDb118).await;
    let mut killer = house.conn().await;
    let kill = prepare(&mut killer, "KILL ?").await;
    let victim = Known::new(&house).await;
    let killed = kills_by(&mut killer, kill, Some(LONGLONG), victim.greeting).await;
    assert_eq!(killed, 0);
    assert!(!victim.lives().await);
    let mut victims = Vec::new();
    for _session in 0..3 {
        victims.push(Known::new(&house).await);
    }
    move_all(&house).await;
    // The types of the first time, and other ones.
    for (kind, victim) in [None, Some(VAR_STRING), Some(LONGLONG)]
        .iter()
        .zip(&victims)
    {
        assert!(victim.lives().await);
        assert_eq!(kills_by(&mut killer, kill, *kind, victim.greeting).await, 0);
        assert!(!victim.lives().await);
    }
}

async fn what_only_the_server_can_tell(version: Version) {
    let house = House::pair(version, version).await;
    let killer = house.client().await;
    let victim = Known::new(&house).await;
    let sql = format!("SET @whom = {}", victim.told);
    killer.execute(&sql).await.unwrap();
    killer.execute("KILL @whom").await.unwrap();
    assert!(!victim.lives().await);
    let victim = Known::new(&house).await;
    if version.is_mariadb() {
        // The number of a statement is no id of a session.
        let sql = format!("KILL QUERY ID {}", victim.greeting);
        let (code, _) = refusal(killer.query(&sql).await);
        assert_ne!(code, 1094);
    }
    move_all(&house).await;
    let (code, message) = refusal(killer.query("KILL @whom").await);
    assert_eq!(code, 1094);
    assert!(message.contains("as a number"), "{message}");
    assert!(victim.lives().await);
    let itself = Known::new(&house).await;
    itself
        .client
        .query("KILL CONNECTION_ID()")
        .await
        .expect_err("it is over");
    assert!(!itself.lives().await && victim.lives().await);
}

#[tokio::test]
async fn a_kill_whose_id_only_mysql_can_tell_is_refused_after_a_move() {
    what_only_the_server_can_tell(Version::MySql97).await;
}

#[tokio::test]
async fn a_kill_whose_id_only_mariadb_can_tell_is_refused_after_a_move() {
    what_only_the_server_can_tell(Version::MariaDb118).await;
}

/// A client's connection, as its kernel has it.
fn bare(conn: Conn) -> std::net::TcpStream {
    let Socket::Tcp(socket) = conn.into_parts().socket else {
        panic!("it is in clear");
    };
    socket.into_std().unwrap()
}

/// Whether everything on a connection is read and it is closed, right now.
fn is_closed(socket: &mut std::net::TcpStream) -> bool {
    let mut said = [0; 1024];
    loop {
        match socket.read(&mut said) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Servers close a connection before they answer the `KILL`, and pools count on it.
async fn a_killed_connection_is_closed_before_the_answer(version: Version) {
    let house = House::pair(version, version).await;
    let mut killer = house.conn().await;
    for _session in 0..40 {
        let victim = house.conn().await;
        let id = victim.thread_id();
        let mut victim = bare(victim);
        let kill = format!("KILL {id}");
        assert_eq!(sends(&mut killer, COM_QUERY, kill.as_bytes()).await, 0);
        assert!(is_closed(&mut victim));
    }
    // One's own is not waited for, nor that of a client that does not exist.
    let itself = house.conn().await;
    let id = itself.thread_id();
    let itself = SqlConn::new(itself, "the relay".to_owned());
    let before = Instant::now();
    itself
        .execute(&format!("KILL {id}"))
        .await
        .expect_err("it is over");
    let unknown = sends(&mut killer, COM_QUERY, b"KILL 1073740000").await;
    assert_eq!(unknown, 1094);
    assert!(before.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_killed_connection_is_closed_before_the_answer_of_mysql_9_7() {
    a_killed_connection_is_closed_before_the_answer(Version::MySql97).await;
}

#[tokio::test]
async fn a_killed_connection_is_closed_before_the_answer_of_mariadb_11_8() {
    a_killed_connection_is_closed_before_the_answer(Version::MariaDb118).await;
}
