//! TLS on the clients' leg: certificates that are replaced, clients that must come in TLS, and
//! clients that must show a certificate.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use binlog::session::{ClientTls, ListenerTls, TlsDemand};
use binlog::wire::{Conn, ConnectError, Endpoint};
use integration::mysql::{MySqlOptions, MySqlServer, Version};
use integration::proxy::{Proxy, ProxyOptions};

use super::house::{House, PATIENCE, in_shop};

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// A certificate for `localhost`, of an authority of its own.
fn certificate(folder: &Path, name: &str) {
    let curve = "ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder,
        &format!(
            "req -x509 -newkey {curve} -days 30 -keyout {name}-ca.key -out {name}-ca.crt \
             -subj /CN={name}-authority"
        ),
    );
    openssl(
        folder,
        &format!("req -newkey {curve} -keyout {name}.key -out {name}.csr -subj /CN=localhost"),
    );
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        folder,
        &format!(
            "x509 -req -in {name}.csr -CA {name}-ca.crt -CAkey {name}-ca.key -CAcreateserial \
             -days 30 -extfile names -out {name}.crt"
        ),
    );
}

fn listener(folder: &Path, client_ca: Option<&str>, demand: TlsDemand) -> ClientTls {
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let authorities = client_ca.map(read);
    let (certificate, key) = (read("proxy.crt"), read("proxy.key"));
    let tls = ListenerTls::from_pem(&certificate, &key, authorities.as_deref(), demand).unwrap();
    ClientTls::Given(Arc::new(tls))
}

/// Logs in as a client that takes only this certificate.
async fn verified(port: u16, folder: &Path, file: &str) -> Result<Conn, ConnectError> {
    let roots = folder.join(file);
    let endpoint: Endpoint = format!(
        "mysql://app:secret@localhost:{port}/?ssl-mode=VERIFY_IDENTITY&ssl-ca={}",
        roots.display()
    )
    .parse()
    .unwrap();
    Conn::connect(&endpoint, in_shop()).await
}

/// What the program of a client says, through the relay.
fn cli(version: Version, port: u16, folder: &Path, more: &[&str]) -> Result<String, String> {
    let output = Command::new(version.cli().unwrap())
        .current_dir(folder)
        .args(["-h127.0.0.1", "-uapp", "-psecret", "--batch", "-N"])
        .arg(format!("-P{port}"))
        .args(more)
        .args(["shop", "-e", "SELECT 1"])
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

async fn refuses_clear_clients(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), "proxy");
    let house = House::over(version, None, |options| {
        options.tls = listener(folder.path(), None, TlsDemand::Require);
    })
    .await;
    let endpoint = house.endpoint("app", "secret", "DISABLED");
    let error = Conn::connect(&endpoint, in_shop()).await;
    let error = error.expect_err("a client in clear");
    let server = error.server().expect("told by an error packet");
    assert_eq!((server.code, server.sqlstate.as_str()), (3159, "08004"));
    assert!(server.message.contains("only with TLS"), "{server:?}");
    let endpoint = house.endpoint("app", "secret", "PREFERRED");
    assert!(
        Conn::connect(&endpoint, in_shop())
            .await
            .unwrap()
            .is_private()
    );
}

#[tokio::test]
async fn clients_of_mysql_in_clear_are_refused_where_tls_is_required() {
    refuses_clear_clients(Version::MySql97).await;
}

#[tokio::test]
async fn clients_of_mariadb_in_clear_are_refused_where_tls_is_required() {
    refuses_clear_clients(Version::MariaDb118).await;
}

async fn wants_certificates_of_clients(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["proxy", "client", "stranger"] {
        certificate(folder.path(), name);
    }
    let house = House::over(version, None, |options| {
        options.tls = listener(folder.path(), Some("client-ca.crt"), TlsDemand::Require);
    })
    .await;
    let port = house.address.port();
    let mode = match version.is_mariadb() {
        true => "--ssl",
        false => "--ssl-mode=REQUIRED",
    };
    let with = |name: &str| {
        let (certificate, key) = (
            format!("--ssl-cert={name}.crt"),
            format!("--ssl-key={name}.key"),
        );
        let roots = "--ssl-ca=proxy-ca.crt";
        cli(
            version,
            port,
            folder.path(),
            &[mode, roots, &certificate, &key],
        )
    };
    assert_eq!(with("client").as_deref(), Ok("1"));
    with("stranger").expect_err("a certificate of an unknown authority");
    cli(
        version,
        port,
        folder.path(),
        &[mode, "--ssl-ca=proxy-ca.crt"],
    )
    .expect_err("no certificate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_mysql_show_the_certificate_that_is_asked_of_them() {
    wants_certificates_of_clients(Version::MySql97).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_mariadb_show_the_certificate_that_is_asked_of_them() {
    wants_certificates_of_clients(Version::MariaDb118).await;
}

/// A client that proves the certificate by its password takes the new one as well as the old one.
async fn takes_a_new_certificate_at_a_hang_up_signal(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificate(folder, "proxy");
    let server = MySqlServer::start(version, MySqlOptions::default())
        .await
        .unwrap();
    server.sql("CREATE DATABASE shop").unwrap();
    server.create_user("app", "secret", "shop").unwrap();
    let options = ProxyOptions::new(server.url("root", "shop"), None)
        .key(format!("tls.certificate = {:?}", folder.join("proxy.crt")))
        .key(format!("tls.key = {:?}", folder.join("proxy.key")));
    let proxy = Proxy::start(options).await.unwrap();
    let port = proxy.port();
    let mut before = verified(port, folder, "proxy-ca.crt").await.unwrap();
    std::fs::copy(folder.join("proxy-ca.crt"), folder.join("old-ca.crt")).unwrap();
    certificate(folder, "proxy");
    verified(port, folder, "old-ca.crt").await.unwrap();
    verified(port, folder, "proxy-ca.crt")
        .await
        .expect_err("it is not told to read it yet");
    proxy.hang_up().unwrap();
    let begun = Instant::now();
    while verified(port, folder, "proxy-ca.crt").await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    verified(port, folder, "old-ca.crt")
        .await
        .expect_err("the old certificate is gone");
    if version == Version::MariaDb118 {
        let said = cli(version, port, folder, &["--ssl-verify-server-cert"]);
        assert_eq!(said.as_deref(), Ok("1"));
    }
    // One that cannot be used changes nothing.
    std::fs::write(folder.join("proxy.key"), "no key").unwrap();
    proxy.hang_up().unwrap();
    while !proxy.log().contains("what was read before stays") {
        assert!(begun.elapsed() < 2 * PATIENCE, "{}", proxy.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    verified(port, folder, "proxy-ca.crt").await.unwrap();
    // Who came before is served on.
    before.write_packet(&[0x0e]).await.unwrap();
    before.read_ok().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_mysql_see_a_new_certificate_after_a_hang_up_signal() {
    takes_a_new_certificate_at_a_hang_up_signal(Version::MySql97).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_mariadb_see_a_new_certificate_after_a_hang_up_signal() {
    takes_a_new_certificate_at_a_hang_up_signal(Version::MariaDb118).await;
}
