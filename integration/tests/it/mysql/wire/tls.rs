//! TLS to the servers: what each word of `ssl-mode` demands.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// An authority and its certificate for `127.0.0.1`.
fn certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    openssl(
        path,
        "req -x509 -newkey rsa:2048 -nodes -days 30 -keyout ca.key -out ca.crt -subj /CN=authority",
    );
    openssl(
        path,
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server",
    );
    std::fs::write(path.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        path,
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
         -extfile names -out server.crt",
    );
    openssl(path, "rsa -traditional -in server.key -out server-rsa.key");
    openssl(
        path,
        "req -x509 -newkey rsa:2048 -nodes -days 30 -keyout o.key -out other.crt -subj /CN=other",
    );
    folder
}

fn with_tls(folder: &Path) -> MySqlOptions {
    let file = |name: &str| folder.join(name).display().to_string();
    MySqlOptions::default()
        .set("ssl-ca", &file("ca.crt"))
        .set("ssl-cert", &file("server.crt"))
        .set("ssl-key", &file("server-rsa.key"))
}

/// The cipher of a control connection, or why there is none.
async fn cipher(server: &MySqlServer, host: &str, parameters: &str) -> Result<String, String> {
    let mut endpoint = endpoint(server, "root", parameters);
    endpoint.host = host.to_owned();
    let sql = endpoint.connect_sql("test").await;
    let sql = sql.map_err(|error| words(&error))?;
    let rows = sql
        .query("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        .await
        .unwrap();
    Ok(rows[0].text(1).unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_ssl_mode_demands_what_the_mysql_client_says() {
    let folder = certificates();
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    let (ca, other) = (file("ca.crt"), file("other.crt"));
    let (ca, other) = (ca.display(), other.display());
    for version in [Version::MySql97, Version::MariaDb1011, Version::MariaDb118] {
        let server = start(version, with_tls(folder.path())).await;
        for (parameters, host, encrypted) in [
            ("ssl-mode=DISABLED".to_owned(), "127.0.0.1", Some(false)),
            (String::new(), "127.0.0.1", Some(true)),
            ("ssl-mode=REQUIRED".to_owned(), "127.0.0.1", Some(true)),
            (format!("ssl-ca={ca}"), "127.0.0.1", Some(true)),
            (
                format!("ssl-mode=VERIFY_CA&ssl-ca={ca}"),
                "localhost",
                Some(true),
            ),
            (
                format!("ssl-mode=VERIFY_CA&ssl-ca={other}"),
                "127.0.0.1",
                None,
            ),
            ("ssl-mode=VERIFY_CA".to_owned(), "127.0.0.1", None),
            (
                format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"),
                "127.0.0.1",
                Some(true),
            ),
            (
                format!("ssl-mode=VERIFY_IDENTITY&ssl-ca={ca}"),
                "localhost",
                None,
            ),
            ("ssl-ca=/nowhere.pem".to_owned(), "127.0.0.1", None),
        ] {
            let got = cipher(&server, host, &parameters).await;
            let encrypts = got.as_ref().ok().map(|cipher| !cipher.is_empty());
            assert_eq!(
                encrypts, encrypted,
                "{version} {host} {parameters}: {got:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_asks_for_our_certificate_gets_it() {
    let folder = certificates();
    let path = folder.path();
    openssl(
        path,
        "req -newkey rsa:2048 -nodes -keyout me.key -out me.csr -subj /CN=me",
    );
    openssl(
        path,
        "x509 -req -in me.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out me.crt",
    );
    let file = |name: &str| path.join(name).display().to_string();
    for version in [Version::MySql97, Version::MariaDb1011, Version::MariaDb118] {
        let server = start(version, with_tls(path)).await;
        server
            .sql("CREATE USER me@'127.0.0.1' REQUIRE X509")
            .unwrap();
        let error = log_in(&endpoint(&server, "me", "")).await.unwrap_err();
        assert_eq!(error.server().unwrap().code, 1045, "{version}");
        let own = format!("ssl-cert={}&ssl-key={}", file("me.crt"), file("me.key"));
        let parameters = format!("{own}&ssl-mode=VERIFY_IDENTITY&ssl-ca={}", file("ca.crt"));
        let conn = log_in(&endpoint(&server, "me", &parameters)).await.unwrap();
        assert!(conn.is_private(), "{version}");
        // A key where a certificate should be.
        let wrong = format!("ssl-mode=REQUIRED&ssl-cert={0}&ssl-key={0}", file("me.key"));
        let error = words(&log_in(&endpoint(&server, "me", &wrong)).await.unwrap_err());
        assert!(error.contains("no usable certificate"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_tls_is_too_old_is_reached_in_clear_only_where_that_is_allowed() {
    let folder = certificates();
    let server = start(Version::MySql56, with_tls(folder.path())).await;
    let sql = endpoint(&server, "root", "ssl-mode=DISABLED")
        .connect_sql("test")
        .await;
    assert_eq!(cell(&sql.unwrap(), "SELECT @@have_ssl").await, "YES");
    assert_eq!(cipher(&server, "127.0.0.1", "").await, Ok(String::new()));
    let error = cipher(&server, "127.0.0.1", "ssl-mode=REQUIRED")
        .await
        .unwrap_err();
    assert!(error.contains("TLS 1.0"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let server = start(Version::MariaDb1011, MySqlOptions::default()).await;
    assert_eq!(cipher(&server, "127.0.0.1", "").await, Ok(String::new()));
    let error = cipher(&server, "127.0.0.1", "ssl-mode=REQUIRED")
        .await
        .unwrap_err();
    assert!(error.contains("offers no TLS"), "{error}");
}
