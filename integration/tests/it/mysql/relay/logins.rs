//! Who is let in, and how.

use std::process::Command;

use binlog::session::ClientTls;
use binlog::wire::{Conn, ConnectOptions};
use integration::mysql::Version;

use super::house::{House, ask, in_shop};

async fn lets_in_by_every_way(version: Version) {
    let house = House::new(version).await;
    house
        .source
        .sql("CREATE USER 'empty'@'%' IDENTIFIED BY ''")
        .unwrap();
    // Twice each: in full, and the fast way where there is one.
    for tls in ["DISABLED", "DISABLED", "REQUIRED", "REQUIRED"] {
        let endpoint = house.endpoint("app", "secret", tls);
        let conn = Conn::connect(&endpoint, in_shop()).await.unwrap();
        assert_eq!(conn.is_private(), tls == "REQUIRED");
        let client = binlog::wire::SqlConn::new(conn, "the relay".to_owned());
        assert_eq!(
            ask(&client, "SELECT USER(), DATABASE()").await,
            "app@127.0.0.1\tshop"
        );
        client.close().await;
    }
    for (user, password, using) in [
        ("app", "wrong", "YES"),
        ("nobody", "x", "YES"),
        ("empty", "x", "YES"),
    ] {
        let endpoint = house.endpoint(user, password, "DISABLED");
        let refused = Conn::connect(&endpoint, ConnectOptions::default()).await;
        let error = refused.expect_err("a wrong password");
        let server = error.server().expect("told by an error packet");
        assert_eq!(server.code, 1045, "{version} {user}");
        assert_eq!(
            server.message,
            format!("Access denied for user '{user}'@'127.0.0.1' (using password: {using})")
        );
    }
    let endpoint = house.endpoint("empty", "", "PREFERRED");
    Conn::connect(&endpoint, ConnectOptions::default())
        .await
        .unwrap();
    // A database that is not there is refused in the server's words.
    let options = ConnectOptions {
        database: Some("nowhere".into()),
        ..ConnectOptions::default()
    };
    let endpoint = house.endpoint("app", "secret", "DISABLED");
    let error = Conn::connect(&endpoint, options)
        .await
        .expect_err("no such");
    assert!(matches!(error.server().unwrap().code, 1044 | 1049));
}

#[tokio::test]
async fn mysql_9_7_clients_log_in_fast_and_in_full_with_and_without_tls() {
    lets_in_by_every_way(Version::MySql97).await;
}

#[tokio::test]
async fn mysql_5_6_clients_log_in_by_the_native_method() {
    lets_in_by_every_way(Version::MySql56).await;
}

#[tokio::test]
async fn mariadb_11_8_clients_log_in_by_the_native_method() {
    lets_in_by_every_way(Version::MariaDb118).await;
}

#[tokio::test]
async fn an_account_whose_method_cannot_pass_a_proxy_is_refused_by_name() {
    let house = House::new(Version::MariaDb1011).await;
    house
        .source
        .sql("CREATE USER sock@'%' IDENTIFIED VIA unix_socket")
        .unwrap();
    let endpoint = house.endpoint("sock", "x", "DISABLED");
    let error = Conn::connect(&endpoint, ConnectOptions::default())
        .await
        .expect_err("not through a proxy");
    let server = error.server().unwrap();
    assert!(server.message.contains("'unix_socket'"), "{server:?}");
}

#[tokio::test]
async fn a_native_account_gives_its_password_when_the_target_needs_it() {
    let house = House::pair(Version::MariaDb118, Version::MySql97).await;
    let client = house.client().await;
    let report = house.relay.prepare_twins(super::house::PATIENCE).await;
    assert_eq!(report.ready, 1, "{report:?}");
    house.move_points().await;
    assert_eq!(
        super::house::port(&client).await,
        house.target.as_ref().unwrap().port()
    );
}

/// Runs a client's program through the relay.
fn cli(house: &House, version: Version, more: &[&str], sql: &str) -> (bool, String) {
    let output = Command::new(version.cli().unwrap())
        .args(["-h127.0.0.1", "-uapp", "-psecret", "--batch", "-N"])
        .arg(format!("-P{}", house.address.port()))
        .args(more)
        .args(["shop", "-e", sql])
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        text = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    (output.status.success(), text.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mysql_program_works_with_tls_and_in_clear() {
    let house = House::new(Version::MySql97).await;
    let tls = &["--ssl-mode=REQUIRED"][..];
    let clear = &["--ssl-mode=DISABLED", "--get-server-public-key"][..];
    for more in [tls, clear, tls] {
        let said = cli(&house, Version::MySql97, more, "SELECT 1; SELECT 2");
        assert_eq!(said, (true, "1\n2".to_owned()), "{more:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_programs_take_our_own_certificate_for_the_servers() {
    let house = House::new(Version::MariaDb118).await;
    // This one checks certificates by default.
    let verified = cli(
        &house,
        Version::MariaDb118,
        &["--ssl-verify-server-cert"],
        "SELECT 1",
    );
    assert_eq!(verified, (true, "1".to_owned()));
    assert!(cli(&house, Version::MariaDb1011, &["--skip-ssl"], "SELECT 1").0);
}

#[tokio::test]
async fn without_tls_none_is_offered() {
    let house = House::over(Version::MariaDb118, None, |options| {
        options.tls = ClientTls::Off;
    })
    .await;
    let endpoint = house.endpoint("app", "secret", "REQUIRED");
    Conn::connect(&endpoint, in_shop())
        .await
        .expect_err("there is no TLS");
    house.conn().await;
}
