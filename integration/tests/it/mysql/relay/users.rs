//! `COM_CHANGE_USER` and `COM_RESET_CONNECTION` through the relay end as at the server itself:
//! before a move, inside a hold, and behind it.

use std::time::Duration;

use binlog::wire::auth::SHA256_PLUGIN;
use binlog::wire::auth::caching_sha2::{self, Sha2Key};
use binlog::wire::auth::native::{self, NativeKey};
use binlog::wire::command::{
    COM_CHANGE_USER, COM_QUERY, COM_RESET_CONNECTION, COM_STMT_EXECUTE, COM_STMT_PREPARE,
};
use binlog::wire::handshake::{AUTH_MORE_DATA, AUTH_SWITCH, AuthSwitch};
use binlog::wire::{Capabilities, Conn, Endpoint};
use bytes::{BufMut, BytesMut};
use integration::mysql::Version;
use tokio::time::timeout;

use super::house::{House, PATIENCE, in_shop};

const TLS: &str = "REQUIRED";

/// What a session has that another user must not find.
const STATE: &str = "SELECT CURRENT_USER(), DATABASE(), @a, @@group_concat_max_len, \
     @@character_set_client, @@collation_connection";

/// What came of something: nothing to tell, or an error's number and words, or the end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Came {
    Ok,
    Error(u16, String),
    Closed,
}

/// Asks to be another user, by what the client takes for that user's method.
async fn change_user(conn: &mut Conn, user: &str, password: &str, database: &str) -> Came {
    let mut body = BytesMut::new();
    body.put_slice(user.as_bytes());
    body.put_slice(&[0, 0]);
    body.put_slice(database.as_bytes());
    body.put_u8(0);
    body.put_u16_le(33);
    // No account has it, so that every server begins the exchange anew.
    body.put_slice(b"dialog\0\0");
    conn.queue_command(&[COM_CHANGE_USER], &body);
    conn.flush().await.unwrap();
    let mut key: Option<Sha2Key> = None;
    loop {
        let Ok(packet) = timeout(PATIENCE, conn.read_packet()).await.unwrap() else {
            return Came::Closed;
        };
        match (packet[0], packet.get(1)) {
            (0, _) => return Came::Ok,
            (0xff, _) => return error(&packet),
            (AUTH_SWITCH, _) => {
                let switch = AuthSwitch::parse(&packet).unwrap();
                let scramble = switch.scramble().unwrap();
                if password.is_empty() {
                    conn.queue_answer(&[]);
                } else if switch.plugin == native::PLUGIN {
                    conn.queue_answer(&NativeKey::from_password(password).answer(&scramble));
                } else if switch.plugin == SHA256_PLUGIN {
                    assert!(conn.is_private());
                    conn.queue_answer(&[password.as_bytes(), &[0]].concat());
                } else {
                    assert_eq!(switch.plugin, caching_sha2::PLUGIN);
                    let with = key.insert(Sha2Key::from_password(password));
                    conn.queue_answer(&with.answer(&scramble));
                }
                conn.flush().await.unwrap();
            }
            (AUTH_MORE_DATA, Some(&caching_sha2::FAST_AUTH_OK)) => {}
            (AUTH_MORE_DATA, Some(&caching_sha2::FULL_AUTH)) => {
                assert!(conn.is_private());
                conn.queue_answer(&[password.as_bytes(), &[0]].concat());
                conn.flush().await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

fn error(packet: &[u8]) -> Came {
    let code = u16::from_le_bytes([packet[1], packet[2]]);
    Came::Error(code, String::from_utf8_lossy(&packet[9..]).into_owned())
}

/// The cells of the first row of a query, or what came of it instead.
async fn first_row(conn: &mut Conn, sql: &str) -> Result<Vec<String>, Came> {
    conn.queue_command(&[COM_QUERY], sql.as_bytes());
    if conn.flush().await.is_err() {
        return Err(Came::Closed);
    }
    let mut read = async || timeout(PATIENCE, conn.read_packet()).await.unwrap().ok();
    let first = read().await.ok_or(Came::Closed)?;
    match first[0] {
        0 => return Err(Came::Ok),
        0xff => return Err(error(&first)),
        _columns => {}
    }
    for _definition in 0..first[0] {
        read().await.ok_or(Came::Closed)?;
    }
    let mut row = None;
    loop {
        let packet = read().await.ok_or(Came::Closed)?;
        if packet[0] == 0xfe && packet.len() < 64 {
            if let Some(row) = row {
                return Ok(row);
            }
            continue;
        }
        row.get_or_insert_with(|| cells(&packet));
    }
}

fn cells(mut row: &[u8]) -> Vec<String> {
    let mut cells = Vec::new();
    while let Some((&length, rest)) = row.split_first() {
        if length == 0xfb {
            cells.push("NULL".to_owned());
            row = rest;
        } else {
            let (cell, rest) = rest.split_at(usize::from(length));
            cells.push(String::from_utf8_lossy(cell).into_owned());
            row = rest;
        }
    }
    cells
}

/// Leaves traces in a session.
async fn settle_in(conn: &mut Conn, lock: &str) {
    for sql in [
        "SET @a = 5, SESSION group_concat_max_len = 777",
        "SET NAMES latin1",
        "CREATE TEMPORARY TABLE tt (a int)",
        &format!("DO GET_LOCK('{lock}', 1)"),
    ] {
        assert_eq!(first_row(conn, sql).await, Err(Came::Ok), "{sql}");
    }
}

/// A wish to be another user in a session with traces of the old one, and what is found then.
async fn wish(
    endpoint: &Endpoint,
    (user, password, database): (&str, &str, &str),
) -> (Came, [Result<Vec<String>, Came>; 3]) {
    let mut conn = Conn::connect(endpoint, in_shop()).await.unwrap();
    let lock = format!("{user}{password}{database}{}", endpoint.port);
    settle_in(&mut conn, &lock).await;
    let came = change_user(&mut conn, user, password, database).await;
    let found = [
        first_row(&mut conn, STATE).await,
        first_row(&mut conn, "SELECT COUNT(*) FROM shop.tt").await,
        first_row(&mut conn, &format!("SELECT IS_FREE_LOCK('{lock}')")).await,
    ];
    (came, found)
}

async fn ends_as_at_the_server(version: Version) {
    let house = House::new(version).await;
    house.source.create_user("other", "word", "shop").unwrap();
    house.source.create_user("empty", "", "shop").unwrap();
    let tls = if version == Version::MySql97 {
        TLS
    } else {
        "DISABLED"
    };
    let port = house.source.port();
    let direct: Endpoint = format!("mysql://app:secret@127.0.0.1:{port}/?ssl-mode={tls}")
        .parse()
        .unwrap();
    let relay = house.endpoint("app", "secret", TLS);
    for case in [
        ("other", "word", "shop"),
        ("other", "word", ""),
        ("empty", "", "shop"),
        ("other", "wrong", "shop"),
        ("other", "", "shop"),
        ("nobody", "x", "shop"),
        ("other", "word", "nowhere"),
        ("other", "word", "mysql"),
    ] {
        let expected = wish(&direct, case).await;
        assert_eq!(wish(&relay, case).await, expected, "{version} {case:?}");
    }
    // Again and again.
    let mut both = Vec::new();
    for endpoint in [direct, relay] {
        let mut conn = Conn::connect(&endpoint, in_shop()).await.unwrap();
        let mut came = Vec::new();
        while came.len() < 5 && came.last() != Some(&Came::Closed) {
            came.push(change_user(&mut conn, "other", "", "shop").await);
        }
        let goes_on = first_row(&mut conn, "SELECT CURRENT_USER()").await;
        both.push((came, goes_on));
    }
    assert_eq!(both[1], both[0], "{version}");
}

#[tokio::test]
async fn a_change_of_the_user_ends_as_at_mysql_9_7_itself() {
    ends_as_at_the_server(Version::MySql97).await;
}

/// This client cannot change its user at MySQL 5.6 itself, which asks by no challenge of its own.
#[tokio::test]
async fn a_change_of_the_user_ends_at_mysql_5_6_as_it_does_at_later_ones() {
    let house = House::new(Version::MySql56).await;
    house.source.create_user("other", "word", "shop").unwrap();
    let relay = house.endpoint("app", "secret", TLS);
    let (came, found) = wish(&relay, ("other", "word", "shop")).await;
    assert_eq!(came, Came::Ok);
    let state = found[0].as_ref().unwrap();
    assert_eq!(state[..4], ["other@%", "shop", "NULL", "1024"]);
    assert!(matches!(found[1], Err(Came::Error(1146, _))), "{found:?}");
    assert_eq!(found[2], Ok(vec!["1".to_owned()]), "the lock is free");
    for (case, code) in [
        (("other", "wrong", "shop"), 1045),
        (("nobody", "x", "shop"), 1045),
        (("other", "word", "mysql"), 1044),
    ] {
        let (came, found) = wish(&relay, case).await;
        assert!(matches!(came, Came::Error(is, _) if is == code), "{came:?}");
        assert_eq!(
            found,
            [Err(Came::Closed), Err(Came::Closed), Err(Came::Closed)]
        );
    }
}

#[tokio::test]
async fn a_change_of_the_user_ends_as_at_mariadb_11_8_itself() {
    ends_as_at_the_server(Version::MariaDb118).await;
}

#[tokio::test]
async fn a_change_of_the_user_ends_as_at_mariadb_10_11_itself() {
    ends_as_at_the_server(Version::MariaDb1011).await;
}

/// Prepares a statement without parameters and with one column.
async fn prepare(conn: &mut Conn) -> u32 {
    conn.queue_command(&[COM_STMT_PREPARE], b"SELECT 1");
    conn.flush().await.unwrap();
    let packet = conn.read_packet().await.unwrap();
    assert_eq!(packet[0], 0, "{packet:?}");
    let eof = !conn.capabilities().contains(Capabilities::DEPRECATE_EOF);
    for _definition in 0..1 + u8::from(eof) {
        conn.read_packet().await.unwrap();
    }
    u32::from_le_bytes([packet[1], packet[2], packet[3], packet[4]])
}

/// The number of the error that running a statement brings.
async fn execute(conn: &mut Conn, id: u32) -> Came {
    let mut body = BytesMut::new();
    body.put_u32_le(id);
    body.put_slice(&[0, 1, 0, 0, 0]);
    conn.queue_command(&[COM_STMT_EXECUTE], &body);
    conn.flush().await.unwrap();
    let first = conn.read_packet().await.unwrap();
    if first[0] == 0xff {
        return error(&first);
    }
    let mut ends = 0;
    let wanted = if conn.capabilities().contains(Capabilities::DEPRECATE_EOF) {
        1
    } else {
        2
    };
    while ends < wanted {
        let packet = conn.read_packet().await.unwrap();
        ends += u8::from(packet[0] == 0xfe && packet.len() < 64);
    }
    Came::Ok
}

fn is_unknown(came: &Came) -> bool {
    matches!(came, Came::Error(1243, _))
}

async fn user_and_port(conn: &mut Conn) -> (String, u16) {
    let row = first_row(conn, "SELECT CURRENT_USER(), @@port").await;
    let row = row.unwrap();
    (row[0].clone(), row[1].parse().unwrap())
}

async fn client(house: &House) -> Conn {
    let endpoint = house.endpoint("app", "secret", TLS);
    Conn::connect(&endpoint, in_shop()).await.unwrap()
}

/// A pair of servers with two accounts.
async fn pair(from: Version, to: Version) -> (House, u16) {
    let house = House::pair(from, to).await;
    let target = house.target.as_ref().unwrap();
    for server in [&house.source, target] {
        server.create_user("other", "word", "shop").unwrap();
    }
    let port = target.port();
    (house, port)
}

async fn all_are_ready(house: &House, count: usize) {
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, &report.unmovable[..]), (count, &[][..]));
}

/// Moves the points while a command waits for the release; what came of it.
async fn across<T>(house: &House, command: impl Future<Output = T>) -> T {
    let to = house.switch.serving().unwrap().other();
    let mut held = house.switch.hold(to).unwrap();
    timeout(PATIENCE, held.drain()).await.unwrap();
    let drained = held.into_drained().unwrap();
    house.relay.refresh_changed(PATIENCE).await;
    let mut command = std::pin::pin!(command);
    let early = timeout(Duration::from_millis(100), &mut command).await;
    assert!(early.is_err(), "it waits for the release");
    drained.fenced().caught_up().switch().release();
    timeout(PATIENCE, command).await.unwrap()
}

async fn users_change_around_a_move(from: Version, to: Version) {
    let (house, target) = pair(from, to).await;
    // Before the hold: the twin of the old user is none of the new one's.
    let mut early = client(&house).await;
    let old = prepare(&mut early).await;
    settle_in(&mut early, "early").await;
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.unmovable.len(), 1, "{report:?}");
    let changed = change_user(&mut early, "other", "word", "shop").await;
    assert_eq!(changed, Came::Ok);
    assert!(is_unknown(&execute(&mut early, old).await));
    let sql = "SET @a = 7, SESSION group_concat_max_len = 999";
    assert_eq!(first_row(&mut early, sql).await, Err(Came::Ok));
    let kept = prepare(&mut early).await;
    let state = first_row(&mut early, STATE).await.unwrap();
    assert_eq!(state[..4], ["other@%", "shop", "7", "999"]);
    // In the hold: nothing is left of what the twin was given.
    let mut late = client(&house).await;
    assert_eq!(first_row(&mut late, "SET @a = 1").await, Err(Came::Ok));
    let old = prepare(&mut late).await;
    all_are_ready(&house, 2).await;
    let changed = across(&house, change_user(&mut late, "other", "word", "")).await;
    assert_eq!(changed, Came::Ok);
    let state = first_row(&mut late, STATE).await.unwrap();
    assert_eq!(state[..3], ["other@%", "NULL", "NULL"]);
    assert!(is_unknown(&execute(&mut late, old).await));
    assert_eq!(user_and_port(&mut late).await.1, target);
    let state = first_row(&mut early, STATE).await.unwrap();
    assert_eq!(state[..4], ["other@%", "shop", "7", "999"]);
    assert_eq!(execute(&mut early, kept).await, Came::Ok);
    assert_eq!(user_and_port(&mut early).await.1, target);
    // Behind it: back to the first user, and no further with a wrong password.
    let changed = change_user(&mut early, "app", "secret", "shop").await;
    assert_eq!(changed, Came::Ok);
    assert!(is_unknown(&execute(&mut early, kept).await));
    let state = first_row(&mut early, STATE).await.unwrap();
    assert_eq!(state[..3], ["app@%", "shop", "NULL"]);
    assert_eq!(user_and_port(&mut early).await.1, target);
    let refused = change_user(&mut early, "other", "wrong", "shop").await;
    assert!(matches!(refused, Came::Error(1045, _)), "{refused:?}");
    let goes_on = first_row(&mut early, "SELECT CURRENT_USER()").await;
    let expected = if to.is_mariadb() {
        Ok(vec!["app@%".to_owned()])
    } else {
        Err(Came::Closed)
    };
    assert_eq!(goes_on, expected);
}

#[tokio::test]
async fn users_change_around_a_move_of_mysql_9_7() {
    users_change_around_a_move(Version::MySql97, Version::MySql97).await;
}

#[tokio::test]
async fn users_change_around_a_move_of_mariadb_11_8() {
    users_change_around_a_move(Version::MariaDb118, Version::MariaDb118).await;
}

/// The second user proves itself by another method on the target.
#[tokio::test]
async fn users_change_around_a_move_from_mysql_5_6_to_9_7() {
    users_change_around_a_move(Version::MySql56, Version::MySql97).await;
}

async fn reset(conn: &mut Conn) -> Came {
    conn.write_packet(&[COM_RESET_CONNECTION]).await.unwrap();
    let packet = conn.read_packet().await.unwrap();
    if packet[0] == 0 {
        Came::Ok
    } else {
        error(&packet)
    }
}

async fn sessions_are_reset_around_a_move(version: Version) {
    let (house, target) = pair(version, version).await;
    const MODE: &str = "SELECT @@SESSION.sql_mode, @@GLOBAL.sql_mode";
    let mut new = client(&house).await;
    assert_eq!(reset(&mut new).await, Came::Ok);
    let fresh = first_row(&mut new, STATE).await.unwrap();
    let mode = first_row(&mut new, MODE).await;
    drop(new);
    let traces = async |conn: &mut Conn| {
        for sql in [
            "SET @a = 5, SESSION group_concat_max_len = 777",
            "SET SESSION sql_mode = ''",
        ] {
            assert_eq!(first_row(conn, sql).await, Err(Came::Ok), "{sql}");
        }
        prepare(conn).await
    };
    let is_fresh = async |conn: &mut Conn, old| {
        assert_eq!(first_row(conn, STATE).await.as_ref(), Ok(&fresh));
        assert_eq!(first_row(conn, MODE).await, mode);
        assert!(is_unknown(&execute(conn, old).await));
    };
    // Between the preparation and the hold.
    let mut early = client(&house).await;
    let old_early = traces(&mut early).await;
    let mut late = client(&house).await;
    let old_late = traces(&mut late).await;
    all_are_ready(&house, 2).await;
    assert_eq!(reset(&mut early).await, Came::Ok);
    // In the hold.
    assert_eq!(across(&house, reset(&mut late)).await, Came::Ok);
    for (conn, old) in [(&mut early, old_early), (&mut late, old_late)] {
        is_fresh(conn, old).await;
        assert_eq!(user_and_port(conn).await, ("app@%".to_owned(), target));
    }
    // Behind it.
    let old = traces(&mut early).await;
    assert_eq!(reset(&mut early).await, Came::Ok);
    is_fresh(&mut early, old).await;
}

#[tokio::test]
async fn sessions_of_mysql_9_7_are_reset_around_a_move() {
    sessions_are_reset_around_a_move(Version::MySql97).await;
}

#[tokio::test]
async fn sessions_of_mariadb_11_8_are_reset_around_a_move() {
    sessions_are_reset_around_a_move(Version::MariaDb118).await;
}
