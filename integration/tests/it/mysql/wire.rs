//! The wire against real servers: log-in by each method, statements and rows of any size,
//! statements that are given up, files that are loaded.

use std::time::Duration;

use binlog::wire::{
    Conn, ConnectError, ConnectOptions, Endpoint, SqlConn, SqlError, WireError, quote,
};
use bytes::Bytes;
use futures_util::stream;
use integration::mysql::{MySqlOptions, MySqlServer, Version};
use router::words;

mod compress;
mod tls;

const PASSWORD_IN_URL: &str = "p%C3%A4%20ss'%5Cword";

async fn start(version: Version, options: MySqlOptions) -> MySqlServer {
    MySqlServer::start(version, options).await.unwrap()
}

fn endpoint(server: &MySqlServer, user: &str, parameters: &str) -> Endpoint {
    let url = format!("{}?{parameters}", server.url(user, ""));
    url.parse().unwrap()
}

async fn root(server: &MySqlServer) -> SqlConn {
    endpoint(server, "root", "")
        .connect_sql("test")
        .await
        .unwrap()
}

async fn cell(sql: &SqlConn, query: &str) -> String {
    cell_at(sql, query, 0).await
}

async fn cell_at(sql: &SqlConn, query: &str, index: usize) -> String {
    let rows = sql.query(query).await.unwrap();
    rows[0].text(index).unwrap().to_owned()
}

/// Sends so many bytes, and lets the server send so many.
async fn echo(sql: &SqlConn, bytes: usize) {
    let query = format!("SELECT LENGTH('{}')", "x".repeat(bytes));
    assert_eq!(cell(sql, &query).await, bytes.to_string());
    let query = format!("SELECT REPEAT('y', {bytes})");
    assert_eq!(cell(sql, &query).await.len(), bytes);
}

async fn log_in(endpoint: &Endpoint) -> Result<Conn, ConnectError> {
    Box::pin(Conn::connect(endpoint, ConnectOptions::named("test"))).await
}

/// The methods that a version has for an account with a password.
fn methods(version: Version) -> &'static [&'static str] {
    match version {
        Version::MySql97 => &["caching_sha2_password", "sha256_password"],
        Version::MySql56 | Version::MariaDb1011 | Version::MariaDb118 => &["mysql_native_password"],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn we_log_in_by_every_method_in_clear_and_by_tls() {
    for version in Version::ALL {
        let server = start(version, MySqlOptions::default()).await;
        let admin = root(&server).await;
        for method in methods(version) {
            let account = format!("{method}_user");
            let account = account.get(..12).unwrap();
            let with = match version {
                Version::MySql97 => format!("WITH {method} "),
                Version::MySql56 | Version::MariaDb1011 | Version::MariaDb118 => String::new(),
            };
            let create = format!(
                "CREATE USER {} IDENTIFIED {with}BY 'pä ss''\\\\word'",
                quote::account(account, "127.0.0.1"),
            );
            admin.execute(&create).await.unwrap();
            let user = format!("{account}:{PASSWORD_IN_URL}");
            // Twice in clear: the second time the server remembers a password of caching_sha2.
            for mode in ["DISABLED", "DISABLED", "PREFERRED"] {
                let parameters = format!("ssl-mode={mode}");
                let conn = log_in(&endpoint(&server, &user, &parameters))
                    .await
                    .unwrap();
                assert_eq!(conn.auth_plugin(), *method, "{version}");
                conn.close().await;
            }
            let wrong = endpoint(&server, &format!("{account}:hidden"), "");
            let error = log_in(&wrong).await.unwrap_err();
            assert_eq!(error.server().unwrap().code, 1045, "{version}");
            let text = words(&error);
            assert!(!text.contains("hidden") && text.contains(account), "{text}");
        }
        // Without a password, where one is needed and where none is.
        let account = methods(version)[0].get(..5).unwrap();
        assert!(log_in(&endpoint(&server, account, "")).await.is_err());
        log_in(&endpoint(&server, "root", "")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_of_mariadb_that_we_do_not_have_is_refused_by_name() {
    let server = start(Version::MariaDb118, MySqlOptions::default()).await;
    let admin = root(&server).await;
    for (library, method) in [("auth_ed25519", "ed25519"), ("auth_parsec", "parsec")] {
        let install = format!("INSTALL SONAME '{library}'");
        admin.execute(&install).await.unwrap();
        let create = format!(
            "CREATE OR REPLACE USER e@'127.0.0.1' IDENTIFIED VIA {method} USING PASSWORD('x')"
        );
        admin.execute(&create).await.unwrap();
        let error = log_in(&endpoint(&server, "e:x", "")).await.unwrap_err();
        let text = words(&error);
        assert!(
            text.contains(method) && text.contains("not supported"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_ours_has_the_same_settings_whatever_the_servers_are() {
    let mut seen = Vec::new();
    for version in Version::ALL {
        let server = start(version, MySqlOptions::default()).await;
        let globals = "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES', \
             GLOBAL time_zone = '+05:00', GLOBAL completion_type = 'CHAIN', \
             GLOBAL wait_timeout = 10, GLOBAL net_write_timeout = 5, GLOBAL foreign_key_checks = 0, \
             GLOBAL sql_safe_updates = 1, GLOBAL sql_select_limit = 3, GLOBAL autocommit = 0, \
             GLOBAL max_join_size = 5, GLOBAL innodb_lock_wait_timeout = 1";
        server.sql(globals).unwrap();
        let isolation = "SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE";
        server.sql(isolation).unwrap();
        server.sql("CREATE USER plain@'127.0.0.1'").unwrap();
        // An account without any privilege can have them too.
        let plain = endpoint(&server, "plain", "")
            .connect_sql("test")
            .await
            .unwrap();
        let isolation = if plain.version().is_mysql_at_least(8, 0, 3)
            || plain.version().is_mariadb_at_least(11, 1, 1)
        {
            "transaction_isolation"
        } else {
            "tx_isolation"
        };
        let settings = format!(
            "SELECT CONCAT_WS('|', @@sql_mode, @@time_zone, @@completion_type, @@wait_timeout, \
             @@net_write_timeout, @@net_read_timeout, @@foreign_key_checks = 1, \
             @@sql_safe_updates = 1, @@sql_select_limit > 3, @@autocommit = 1, @@{isolation}, @@collation_connection, \
             @@character_set_client, @@character_set_results, @@lock_wait_timeout, @@sql_big_selects = 1, @@innodb_lock_wait_timeout, \
             @@group_concat_max_len)"
        );
        seen.push(cell(&plain, &settings).await);
        assert_eq!(
            cell(&plain, "SELECT CONNECTION_ID()").await,
            plain.thread_id().to_string()
        );
        let shown = plain.version().to_string();
        let (_flavour, numbers) = shown.split_once(' ').unwrap();
        let version = cell(&plain, "SELECT VERSION()").await;
        assert!(version.starts_with(numbers), "{version} {shown}");
    }
    assert!(
        seen[0].starts_with("NO_AUTO_VALUE_ON_ZERO|+00:00|NO_CHAIN|86400|"),
        "{}",
        seen[0]
    );
    assert!(
        seen.iter().all(|settings| *settings == seen[0]),
        "{seen:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_and_rows_beyond_16_mib_go_through() {
    for version in Version::ALL {
        let options = MySqlOptions::default().set("max-allowed-packet", "64M");
        let server = start(version, options).await;
        let sql = root(&server).await;
        // One frame, exactly one and an empty one, two frames.
        let head = "\u{3}SELECT LENGTH('')".len();
        let sizes = [
            1_000_000,
            0x00ff_ffff - head - 1,
            0x00ff_ffff - head,
            40_000_000,
        ];
        for bytes in sizes {
            echo(&sql, bytes).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_finds_a_packet_too_large_is_quoted() {
    for version in Version::ALL {
        let options = MySqlOptions::default().set("max-allowed-packet", "1M");
        let server = start(version, options).await;
        for mib in [2, 17, 40] {
            let sql = root(&server).await;
            let query = format!("SELECT LENGTH('{}')", "x".repeat(mib << 20));
            let error = sql.query(&query).await.unwrap_err();
            assert_eq!(error.code(), Some(1153), "{version}: {}", words(&error));
            assert!(sql.is_closed(), "{version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_is_given_up_closes_its_connection() {
    for version in Version::ALL {
        let server = start(version, MySqlOptions::default()).await;
        let sql = root(&server).await;
        let slow = tokio::time::timeout(Duration::from_millis(50), sql.query("SELECT SLEEP(60)"));
        assert!(slow.await.is_err());
        assert!(sql.is_closed(), "{version}");
        let error = sql.query("SELECT 1").await.unwrap_err();
        assert!(matches!(
            error,
            SqlError::Wire {
                source: WireError::Unusable,
                ..
            }
        ));
        let sql = root(&server).await;
        let mut rows = sql
            .query_streamed("SELECT 1 UNION ALL SELECT 2")
            .await
            .unwrap();
        assert_eq!(rows.next().await.unwrap().unwrap().text(0), Some("1"));
        drop(rows);
        assert!(sql.is_closed(), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_killed_says_so_and_does_not_hang() {
    for version in Version::ALL {
        let mut server = start(version, MySqlOptions::default()).await;
        let (sql, other) = (root(&server).await, root(&server).await);
        let kill = format!("KILL {}", sql.thread_id());
        let (slept, killed) = tokio::join!(sql.query("SELECT SLEEP(60)"), other.execute(&kill));
        killed.unwrap();
        slept.unwrap_err();
        assert!(sql.query("SELECT 1").await.is_err(), "{version}");
        server.kill9().unwrap();
        other.query("SELECT 1").await.unwrap_err();
        assert!(other.is_closed(), "{version}");
        let error = log_in(&endpoint(&server, "root", "")).await.unwrap_err();
        assert!(
            matches!(error, ConnectError::Unreachable { .. }),
            "{}",
            words(&error)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_bytes_survive_as_literals_in_any_mode() {
    for version in Version::ALL {
        let server = start(version, MySqlOptions::default()).await;
        let sql = root(&server).await;
        for mode in ["NO_AUTO_VALUE_ON_ZERO", "NO_BACKSLASH_ESCAPES,ANSI_QUOTES"] {
            sql.execute(&format!("SET sql_mode = '{mode}'"))
                .await
                .unwrap();
            for text in [
                "",
                "it's",
                "a\\",
                "\\'",
                "'",
                "\0\u{1a}\n\r\t",
                "🚂 ü \"`",
                "x' OR '1",
            ] {
                let got = cell(&sql, &format!("SELECT {}", quote::literal(text))).await;
                assert_eq!(got, text, "{version} {mode}");
            }
            let all: Vec<u8> = (0..=255).collect();
            let rows = sql.query(&format!("SELECT {}", quote::bytes(&all))).await;
            assert_eq!(
                rows.unwrap()[0].bytes(0),
                Some(&all[..]),
                "{version} {mode}"
            );
            let pattern = quote::like_literal("a_%!");
            let like = format!(
                "SELECT 'a_%!' LIKE {pattern} ESCAPE '!', 'abc!' LIKE {pattern} ESCAPE '!'"
            );
            let rows = sql.query(&like).await.unwrap();
            assert_eq!((rows[0].text(0), rows[0].text(1)), (Some("1"), Some("0")));
        }
        let name = "we`ird \"🚂".replace('🚂', "ü");
        let create = format!("CREATE DATABASE {}", quote::ident(&name));
        sql.execute(&create).await.unwrap();
        let table = quote::qualified(&name, "t`");
        sql.execute(&format!("CREATE TABLE {table} (a INT)"))
            .await
            .unwrap();
        let done = sql
            .execute(&format!("INSERT INTO {table} VALUES (1), (2)"))
            .await;
        assert_eq!(done.unwrap().affected_rows, 2, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_arrives_whole_or_not_at_all() {
    for version in Version::ALL {
        let options = MySqlOptions::default().set("local-infile", "1");
        let server = start(version, options).await;
        let sql = root(&server).await;
        for statement in [
            "CREATE DATABASE w",
            "CREATE TABLE w.t (a INT PRIMARY KEY, b VARBINARY(20)) ENGINE=InnoDB",
        ] {
            sql.execute(statement).await.unwrap();
        }
        let load = "LOAD DATA LOCAL INFILE 'x' INTO TABLE w.t CHARACTER SET binary";
        let data: String = (0..100_000).map(|i| format!("{i}\tv{i}\n")).collect();
        let pieces = data.as_bytes().chunks(77_777).map(Bytes::copy_from_slice);
        let done = sql.load_data(load, stream::iter(pieces.collect::<Vec<_>>()));
        assert_eq!(done.await.unwrap().affected_rows, 100_000, "{version}");
        // LOCAL means IGNORE: what is there already is skipped, and only the count tells.
        let again = sql.load_data(load, stream::iter([Bytes::from("7\tx\n100000\ty\n")]));
        assert_eq!(again.await.unwrap().affected_rows, 1, "{version}");

        // Given up in the middle, and refused by the server in the middle.
        let given_up = root(&server).await;
        let mut begun = given_up.begin_load(load).await.unwrap();
        begun.send(b"200000\tx\n").await.unwrap();
        drop(begun);
        assert!(given_up.is_closed());
        let refuse = "CREATE TRIGGER w.r BEFORE INSERT ON w.t FOR EACH ROW IF NEW.a = 300005 THEN \
             SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END IF";
        sql.execute(refuse).await.unwrap();
        let rows: String = (300_000..1_300_000).map(|i| format!("{i}\tx\n")).collect();
        let refused = sql.load_data(load, stream::iter([Bytes::from(rows)])).await;
        assert_eq!(refused.unwrap_err().code(), Some(1644), "{version}");
        assert_eq!(
            cell(&sql, "SELECT COUNT(*) FROM w.t WHERE a > 100000").await,
            "0"
        );

        let mut rows = sql
            .query_streamed("SELECT a, b FROM w.t ORDER BY a")
            .await
            .unwrap();
        assert_eq!(rows.columns().position("B"), Some(1));
        let mut count = 0_u32;
        while let Some(row) = rows.next().await.unwrap() {
            assert_eq!(row.parse::<u32>(0), Ok(count));
            count += 1;
        }
        assert_eq!(count, 100_001, "{version}");
        drop(rows);
        assert!(!sql.is_closed(), "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_servers_hide_the_values_they_repeat() {
    for version in Version::ALL {
        let server = start(version, MySqlOptions::default()).await;
        let sql = root(&server).await;
        sql.execute("CREATE DATABASE w").await.unwrap();
        sql.execute("CREATE TABLE w.t (a VARCHAR(40) PRIMARY KEY, b INT)")
            .await
            .unwrap();
        let insert = "INSERT INTO w.t VALUES ('hid''den for key ''x', 1)";
        sql.execute(insert).await.unwrap();
        for (code, statement) in [
            (1062, insert),
            (1064, "SELECT 'hidden' 'hidden' FROM FROM 'hidden'"),
            (1366, "INSERT INTO w.t VALUES ('y', 'hidden')"),
            (1690, "SELECT 9223372036854775807 + LENGTH('hidden')"),
        ] {
            sql.execute("SET sql_mode = 'STRICT_ALL_TABLES'")
                .await
                .unwrap();
            let error = sql.execute(statement).await.unwrap_err();
            assert_eq!(error.code(), Some(code), "{version}");
            let text = words(&error);
            assert!(
                text.contains("***") && !text.contains("hid"),
                "{version}: {text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_results_of_a_call_leave_the_connection_in_step() {
    for version in Version::ALL {
        let server = start(version, MySqlOptions::default()).await;
        let sql = root(&server).await;
        sql.execute("CREATE DATABASE w").await.unwrap();
        let create = "CREATE PROCEDURE w.p() BEGIN SELECT 1; SELECT 2 UNION SELECT 3; DO 1; END";
        sql.execute(create).await.unwrap();
        assert_eq!(cell(&sql, "CALL w.p()").await, "1", "{version}");
        sql.execute("CALL w.p()").await.unwrap();
        assert_eq!(cell(&sql, "SELECT 4").await, "4", "{version}");
        // Several statements in one are not switched on.
        assert_eq!(
            sql.query("DO 1; DO 1").await.unwrap_err().code(),
            Some(1064)
        );
    }
}
