//! How a session's statements are read (`sql_mode`) goes over with it.

use binlog::session::Unmovable;
use binlog::wire::{Conn, SqlConn};
use bytes::Bytes;
use integration::mysql::Version;

use super::house::{House, PATIENCE, ask, in_shop, port};

const INIT_DB: u8 = 0x02;
const PREPARE: u8 = 0x16;
const EXECUTE: u8 = 0x17;
const QUERY: u8 = 0x03;

/// By mode it has a string or a column in front, then a disjunction or a concatenation, then one
/// character or two.
const TEXT: &str = r#"SELECT CONCAT("v", '|', 'a' || 'b', '|', '\\') FROM one"#;

/// What that is.
const MODES: [(&str, &str); 5] = [
    ("", r"v|0|\"),
    ("ANSI_QUOTES", r"7|0|\"),
    ("PIPES_AS_CONCAT", r"v|ab|\"),
    ("NO_BACKSLASH_ESCAPES", r"v|0|\\"),
    (
        "ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES",
        r"7|ab|\\",
    ),
];

/// A session of each mode that has the text prepared, too.
struct Session {
    text: SqlConn,
    prepared: Conn,
    statement: Bytes,
    expected: &'static str,
}

impl Session {
    async fn new(house: &House, mode: &str, expected: &'static str) -> Self {
        let set = format!("SET SESSION sql_mode = '{mode}'");
        let text = house.client().await;
        text.execute(&set).await.unwrap();
        let endpoint = house.endpoint("app", "secret", "DISABLED");
        let mut prepared = Conn::connect(&endpoint, in_shop()).await.unwrap();
        send(&mut prepared, QUERY, set.as_bytes()).await;
        assert_eq!(prepared.read_packet().await.unwrap()[0], 0);
        send(&mut prepared, PREPARE, TEXT.as_bytes()).await;
        let first = prepared.read_packet().await.unwrap();
        assert_eq!(first[0], 0, "{first:?}");
        // The only column's definition.
        prepared.read_packet().await.unwrap();
        Self {
            text,
            prepared,
            statement: first.slice(1..5),
            expected,
        }
    }

    async fn reads_as_ever(&mut self) {
        assert_eq!(ask(&self.text, TEXT).await, self.expected);
        let mut body = self.statement.to_vec();
        body.extend([0, 1, 0, 0, 0]);
        send(&mut self.prepared, EXECUTE, &body).await;
        let columns = self.prepared.read_packet().await.unwrap();
        assert_eq!(*columns, [1], "{columns:?}");
        self.prepared.read_packet().await.unwrap();
        let row = self.prepared.read_packet().await.unwrap();
        // Behind the header, the NULL bitmap and the length.
        assert_eq!(row[3..], *self.expected.as_bytes());
        self.prepared.read_packet().await.unwrap();
    }
}

async fn send(conn: &mut Conn, command: u8, body: &[u8]) {
    conn.queue_command(&[command], body);
    conn.flush().await.unwrap();
}

async fn prepares(house: &House, before: &[(u8, &str)], sql: &str, after: &[(u8, &str)]) -> Conn {
    let endpoint = house.endpoint("app", "secret", "DISABLED");
    let mut conn = Conn::connect(&endpoint, in_shop()).await.unwrap();
    let prepare = [(PREPARE, sql)];
    for (command, text) in before.iter().chain(&prepare).chain(after) {
        send(&mut conn, *command, text.as_bytes()).await;
        let first = conn.read_packet().await.unwrap();
        assert_eq!(first[0], 0, "{first:?}");
        if *command == PREPARE && u16::from_le_bytes([first[5], first[6]]) > 0 {
            conn.read_packet().await.unwrap();
        }
    }
    conn
}

/// A table `one` in two databases, with another value in each.
async fn with_two_databases(from: Version, to: Version) -> House {
    let house = House::pair(from, to).await;
    let target = house.target.as_ref().unwrap();
    for (server, database, value) in [(&house.source, "shop", 1), (target, "shop", 1)]
        .into_iter()
        .chain([(&house.source, "other", 2), (target, "other", 2)])
    {
        server
            .sql(&format!(
                "CREATE DATABASE IF NOT EXISTS {database}; GRANT ALL ON {database}.* TO app"
            ))
            .unwrap();
        let table =
            format!("CREATE TABLE one (v int PRIMARY KEY); INSERT INTO one VALUES ({value});\n");
        server.script(database, &table).unwrap();
    }
    house
}

/// A twin would read a statement in the session's present database and mode.
async fn is_not_read_otherwise(from: Version, to: Version) {
    let house = with_two_databases(from, to).await;
    const ONE: &str = "SELECT v FROM one";
    let set = |text: &'static str| (QUERY, text);
    let unread = [
        prepares(&house, &[], ONE, &[set("USE other")]).await,
        prepares(&house, &[], ONE, &[(INIT_DB, "other")]).await,
        prepares(&house, &[], ONE, &[(INIT_DB, "other"), (INIT_DB, "shop")]).await,
        prepares(&house, &[], ONE, &[set("SET sql_mode = 'ANSI_QUOTES'")]).await,
        prepares(
            &house,
            &[],
            ONE,
            &[set("SET autocommit = 1, @@sql_mode = ''")],
        )
        .await,
        prepares(&house, &[], ONE, &[set("SET NAMES latin1")]).await,
        prepares(
            &house,
            &[],
            ONE,
            &[set("SET collation_connection = latin1_bin")],
        )
        .await,
    ];
    let mut as_ever = [
        prepares(
            &house,
            &[set("SET sql_mode = ''"), set("USE other")],
            ONE,
            &[],
        )
        .await,
        prepares(&house, &[(INIT_DB, "other")], ONE, &[]).await,
        prepares(
            &house,
            &[],
            ONE,
            &[(INIT_DB, "shop"), set("SET autocommit = 1")],
        )
        .await,
    ];
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(
        (report.ready, report.unmovable.len()),
        (as_ever.len(), unread.len()),
        "{report:?}"
    );
    for (_session, reasons) in &report.unmovable {
        assert_eq!(reasons, &[Unmovable::PreparedStatement]);
    }
    house.move_points().await;
    for (conn, expected) in as_ever.iter_mut().zip(["2", "2", "1"]) {
        send(conn, EXECUTE, &[1, 0, 0, 0, 0, 1, 0, 0, 0]).await;
        for _head in 0..2 {
            conn.read_packet().await.unwrap();
        }
        let row = conn.read_packet().await.unwrap();
        assert_eq!(
            i32::from_le_bytes([row[2], row[3], row[4], row[5]]).to_string(),
            expected
        );
    }
    drop(unread);
}

#[tokio::test]
async fn no_statement_of_mysql_is_read_in_another_database_or_mode_than_its_own() {
    Box::pin(is_not_read_otherwise(Version::MySql97, Version::MySql97)).await;
}

#[tokio::test]
async fn no_statement_of_mariadb_is_read_in_another_database_or_mode_than_its_own() {
    Box::pin(is_not_read_otherwise(
        Version::MariaDb1011,
        Version::MariaDb118,
    ))
    .await;
}

async fn keeps_its_mode(from: Version, to: Version) {
    let house = House::pair(from, to).await;
    let target = house.target.as_ref().unwrap();
    for server in [&house.source, target] {
        let table = "CREATE TABLE one (v int PRIMARY KEY); INSERT INTO one VALUES (7);\n";
        server.script("shop", table).unwrap();
    }
    let mut sessions = Vec::new();
    for (mode, expected) in MODES {
        let mut session = Session::new(&house, mode, expected).await;
        session.reads_as_ever().await;
        sessions.push(session);
    }
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!(report.ready, 2 * MODES.len(), "{report:?}");
    house.move_points().await;
    for session in &mut sessions {
        assert_eq!(port(&session.text).await, target.port());
        session.reads_as_ever().await;
    }
}

#[tokio::test]
async fn each_session_of_mysql_reads_its_statements_as_ever_on_the_target() {
    keeps_its_mode(Version::MySql97, Version::MySql97).await;
}

#[tokio::test]
async fn each_session_of_mariadb_reads_its_statements_as_ever_on_the_target() {
    keeps_its_mode(Version::MariaDb1011, Version::MariaDb118).await;
}
