//! Log-ins through the relay end as they do at the server itself.

use binlog::wire::{Capabilities, Conn, ConnectError, ConnectOptions, Endpoint, SqlConn};
use integration::mysql::Version;

use super::house::{House, ask, in_shop};

/// How a log-in and a first question end: 0, or the server's error.
async fn outcome(
    endpoint: &Endpoint,
    options: ConnectOptions,
) -> Result<(u16, Option<SqlConn>), ConnectError> {
    let conn = match Conn::connect(endpoint, options).await {
        Ok(conn) => conn,
        Err(error) => match error.server() {
            Some(server) => return Ok((server.code, None)),
            None => return Err(error),
        },
    };
    let client = SqlConn::new(conn, "a server".to_owned());
    let asked = client.query("SELECT 1").await;
    let code = asked.err().and_then(|error| error.code()).unwrap_or(0);
    Ok((code, Some(client)))
}

/// How two log-ins end of which the first stays, for accounts that may be there only once; none is left
/// behind.
async fn two_at_a_time(
    house: &House,
    user: &str,
    endpoint: &Endpoint,
    options: &ConnectOptions,
) -> (u16, u16) {
    let (first, kept) = outcome(endpoint, options.clone()).await.unwrap();
    if kept.is_none() {
        // A server counts one that it refused for a moment longer than its client knows.
        house.wait_until_alone(user).await;
    }
    let (second, also) = outcome(endpoint, options.clone()).await.unwrap();
    for client in [kept, also].into_iter().flatten() {
        client.close().await;
    }
    house.wait_until_alone(user).await;
    (first, second)
}

/// A relay in front of a server with accounts of many kinds.
async fn with_accounts(version: Version) -> House {
    let house = House::new(version).await;
    for sql in [
        "CREATE USER blank@'%' IDENTIFIED BY ''",
        "CREATE USER ''@'%' IDENTIFIED BY ''",
        "CREATE USER once@'%' IDENTIFIED BY 'x'",
        "GRANT SELECT ON shop.* TO once@'%'",
        "CREATE USER expired@'%' IDENTIFIED BY 'x'",
    ] {
        house.source.sql(sql).unwrap();
    }
    if version != Version::MySql56 {
        for sql in [
            "CREATE USER locked@'%' IDENTIFIED BY 'x' ACCOUNT LOCK",
            "ALTER USER once@'%' WITH MAX_USER_CONNECTIONS 1",
        ] {
            house.source.sql(sql).unwrap();
        }
    }
    house
        .source
        .sql("ALTER USER expired@'%' PASSWORD EXPIRE")
        .or_else(|_old| house.source.sql("SELECT 1"))
        .unwrap();
    house
}

async fn ends_as_at_the_server(version: Version) {
    let house = with_accounts(version).await;
    let sandbox = Capabilities::CAN_HANDLE_EXPIRED_PASSWORDS;
    let with = |capabilities: Capabilities| ConnectOptions {
        capabilities: ConnectOptions::default().capabilities | capabilities,
        ..ConnectOptions::default()
    };
    let nothing = Capabilities::NONE;
    for (user, password, options) in [
        ("app", "secret", with(nothing)),
        ("app", "wrong", with(nothing)),
        ("app", "", with(nothing)),
        ("blank", "", with(nothing)),
        ("blank", "x", with(nothing)),
        ("whoever", "", with(nothing)),
        ("whoever", "x", with(nothing)),
        ("locked", "x", with(nothing)),
        ("locked", "wrong", with(nothing)),
        ("expired", "x", with(nothing)),
        ("expired", "x", with(sandbox)),
        ("once", "x", in_shop()),
        (
            "once",
            "x",
            ConnectOptions {
                database: Some("mysql".into()),
                ..with(nothing)
            },
        ),
    ] {
        for tls in ["DISABLED", "PREFERRED"] {
            let direct = format!(
                "mysql://{user}:{password}@127.0.0.1:{}/?ssl-mode={tls}",
                house.source.port()
            );
            let direct: Endpoint = direct.parse().unwrap();
            let through = house.endpoint(user, password, tls);
            let mut outcomes = Vec::new();
            for endpoint in [direct, through] {
                let both = two_at_a_time(&house, user, &endpoint, &options);
                outcomes.push(Box::pin(both).await);
            }
            let [direct, through] = outcomes[..] else {
                panic!("two ways");
            };
            assert_eq!(direct, through, "{version} {user}:{password} {tls}");
        }
    }
}

#[tokio::test]
async fn log_ins_to_mysql_9_7_end_as_at_the_server_itself() {
    ends_as_at_the_server(Version::MySql97).await;
}

#[tokio::test]
async fn log_ins_to_mysql_5_6_end_as_at_the_server_itself() {
    ends_as_at_the_server(Version::MySql56).await;
}

#[tokio::test]
async fn log_ins_to_mariadb_11_8_end_as_at_the_server_itself() {
    ends_as_at_the_server(Version::MariaDb118).await;
}

#[tokio::test]
async fn an_account_of_sha256_password_logs_in_by_its_own_method() {
    let house = House::new(Version::MySql97).await;
    house
        .source
        .sql(
            "CREATE USER old@'%' IDENTIFIED WITH sha256_password BY 'word'; \
             CREATE USER none@'%' IDENTIFIED WITH sha256_password BY ''",
        )
        .unwrap();
    for tls in ["DISABLED", "REQUIRED", "DISABLED"] {
        let endpoint = house.endpoint("old", "word", tls);
        let conn = Conn::connect(&endpoint, ConnectOptions::default()).await;
        let conn = conn.unwrap();
        assert_eq!(conn.auth_plugin(), "sha256_password");
        let client = SqlConn::new(conn, "the relay".to_owned());
        assert_eq!(ask(&client, "SELECT CURRENT_USER()").await, "old@%");
        let endpoint = house.endpoint("old", "wrong", tls);
        let error = Conn::connect(&endpoint, ConnectOptions::default()).await;
        assert_eq!(error.expect_err("wrong").server().unwrap().code, 1045);
        let endpoint = house.endpoint("none", "", tls);
        let conn = Conn::connect(&endpoint, ConnectOptions::default()).await;
        conn.unwrap();
    }
}

#[tokio::test]
async fn methods_of_mariadb_that_no_proxy_can_pass_on_are_refused_by_name() {
    let house = House::new(Version::MariaDb118).await;
    for sql in [
        "INSTALL SONAME 'auth_ed25519'",
        "INSTALL SONAME 'auth_parsec'",
        "CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('x')",
        "CREATE USER parsec@'%' IDENTIFIED VIA parsec USING PASSWORD('x')",
        "CREATE USER sock@'%' IDENTIFIED VIA unix_socket",
        "CREATE USER other@'%' IDENTIFIED VIA ed25519 USING PASSWORD('x') \
         OR mysql_native_password USING PASSWORD('x')",
        "CREATE USER either@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('x') \
         OR ed25519 USING PASSWORD('x')",
    ] {
        house.source.sql(sql).unwrap();
    }
    for (user, plugin) in [
        ("ed", "'ed25519'"),
        ("parsec", "'parsec'"),
        ("sock", "'unix_socket'"),
        // The server asks by it before it asks by the other.
        ("other", "'ed25519'"),
    ] {
        let endpoint = house.endpoint(user, "x", "PREFERRED");
        let error = Conn::connect(&endpoint, ConnectOptions::default()).await;
        let error = error.expect_err("not through a proxy");
        let server = error.server().unwrap();
        assert_eq!(server.code, 1524);
        assert!(server.message.contains(plugin), "{server:?}");
        assert!(server.message.contains("mysql_native_password"));
    }
    let endpoint = house.endpoint("either", "x", "PREFERRED");
    Conn::connect(&endpoint, ConnectOptions::default())
        .await
        .unwrap();
}
