//! TLS to the servers: what each word of `sslmode` demands, and a movement of servers that take
//! nothing else.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration::proxy::{Proxy, ProxyOptions};
use integration::server::{PgOptions, PgServer, psql};
use pgwal::wire::{Conn, Endpoint};
use router::words;

/// Connections in clear only for the harness.
const ONLY_TLS: &str = "host all postgres 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 trust\n\
    hostssl replication all 127.0.0.1/32 trust\nhostnossl all all 127.0.0.1/32 reject\n";

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// An authority and its certificate for `localhost`, in the server's data folder; the authority's
/// file.
async fn give_certificate(server: &PgServer) -> PathBuf {
    let folder = server.data_dir();
    openssl(
        &folder,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
         -keyout ca.key -out ca.crt -subj /CN=authority",
    );
    openssl(
        &folder,
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key \
         -out server.csr -subj /CN=localhost",
    );
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        &folder,
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 \
         -extfile names -out server.crt",
    );
    let owner = std::fs::metadata(&folder).unwrap();
    for name in ["server.crt", "server.key", "ca.crt"] {
        let file = folder.join(name);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    server
        .execute("postgres", "ALTER SYSTEM SET ssl = on")
        .await
        .unwrap();
    server.reload().unwrap();
    let begun = Instant::now();
    while server.psql("postgres", "SHOW ssl").unwrap() != "on" {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{}",
            server.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    folder.join("ca.crt")
}

async fn server(major: u32) -> (PgServer, PathBuf) {
    let options = PgOptions::default().without_fsync().hba(ONLY_TLS);
    let server = PgServer::start(major, options).await.unwrap();
    let role = "CREATE ROLE app SUPERUSER REPLICATION LOGIN";
    server.execute("postgres", role).await.unwrap();
    let authority = give_certificate(&server).await;
    (server, authority)
}

fn url(server: &PgServer, host: &str, parameters: &str) -> String {
    let port = server.port();
    format!("postgres://app@{host}:{port}/postgres?{parameters}")
}

/// The TLS version of a connection of each kind, or why there is none.
async fn versions(url: &str) -> Result<Vec<String>, String> {
    let endpoint: Endpoint = url.parse().unwrap();
    let sql = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl";
    let control = endpoint.connect_sql("tls test").await;
    let control = control.map_err(|error| words(&error));
    let mut conn = match Conn::connect_own(&endpoint, &[]).await {
        Ok(conn) => conn,
        Err(error) => {
            assert!(control.is_err(), "only one kind of connection works");
            return Err(words(&error));
        }
    };
    let row = control?.query_one(sql, &[]).await.unwrap();
    let rows = conn.query(sql).await.unwrap();
    let other = rows[0][0].clone().unwrap();
    Ok(vec![row.get(0), String::from_utf8(other.to_vec()).unwrap()])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_demands_what_libpq_says() {
    for major in [12, 18] {
        let (server, authority) = server(major).await;
        let roots = format!("sslrootcert={}", authority.display());
        let tls = Ok(vec!["TLSv1.3".to_owned(), "TLSv1.3".to_owned()]);
        for (host, parameters) in [
            ("localhost", "sslmode=prefer".to_owned()),
            ("127.0.0.1", "sslmode=require".to_owned()),
            ("127.0.0.1", format!("sslmode=require&{roots}")),
            ("127.0.0.1", format!("sslmode=verify-ca&{roots}")),
            ("localhost", format!("sslmode=verify-full&{roots}")),
        ] {
            assert_eq!(
                versions(&url(&server, host, &parameters)).await,
                tls,
                "{parameters}"
            );
        }
        for (host, parameters, reason) in [
            ("localhost", "sslmode=disable".to_owned(), "pg_hba.conf"),
            (
                "127.0.0.1",
                format!("sslmode=verify-full&{roots}"),
                "certificate",
            ),
            (
                "localhost",
                "sslmode=verify-full&sslrootcert=system".to_owned(),
                "certificate",
            ),
            (
                "localhost",
                "sslmode=verify-ca&sslrootcert=/none".to_owned(),
                "/none",
            ),
        ] {
            let error = versions(&url(&server, host, &parameters))
                .await
                .unwrap_err();
            assert!(error.contains(reason), "{parameters}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_where_tls_is_demanded() {
    let options = PgOptions::default().without_fsync();
    let server = PgServer::start(17, options).await.unwrap();
    let port = server.port();
    let connect = async |mode: &str| {
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode={mode}");
        let endpoint: Endpoint = url.parse().unwrap();
        endpoint.connect_sql("tls test").await
    };
    connect("prefer").await.unwrap();
    let error = words(&connect("require").await.unwrap_err());
    assert!(error.contains("ssl = on"), "{error}");
}

/// Control queries, `pg_dump`, the copy, the stream and the clients' own connections.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_take_only_tls_are_moved() {
    let (source, source_authority) = server(14).await;
    let (target, target_authority) = server(17).await;
    let rows = "CREATE TABLE t (id int PRIMARY KEY, note text);
        INSERT INTO t SELECT n, repeat(md5(n::text), 40) FROM generate_series(1, 20000) n";
    source.execute("postgres", rows).await.unwrap();
    let verify = |server: &PgServer, authority: &Path| {
        let roots = format!("sslmode=verify-full&sslrootcert={}", authority.display());
        url(server, "localhost", &roots)
    };
    let options = ProxyOptions::new(
        verify(&source, &source_authority),
        Some(verify(&target, &target_authority)),
    )
    .key("cutover.drain_timeout = \"30s\"")
    .key("cutover.max_pause = \"60s\"");
    let proxy = Proxy::start(options).await.unwrap();
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    let through = proxy.url("app", "postgres");
    // More than any buffer, in both directions.
    let copy = "INSERT INTO t SELECT id + 20000, note FROM t; SELECT sum(length(note)) FROM t";
    assert!(psql(&through, copy).unwrap().ends_with("51200000"));
    let all = psql(&through, "SELECT string_agg(note, '' ORDER BY id) FROM t").unwrap();
    assert_eq!(all.len(), 51_200_000);
    proxy.done(&["cutover"]).await.unwrap();
    let facts = "SELECT current_setting('server_version_num')::int / 10000, version,
        (SELECT count(*) FROM t) FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(psql(&through, facts).unwrap(), "17|TLSv1.3|40000");
}

/// The files of a certificate for the proxy.
fn proxy_certificate(folder: &Path) {
    openssl(
        folder,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
         -keyout proxy.key -out proxy.crt -subj /CN=localhost -addext subjectAltName=DNS:localhost",
    );
}

/// A proxy with a certificate in front of a server where `app` has a password.
async fn proxy_with_certificate(folder: &Path, keys: &[&str]) -> (PgServer, Proxy) {
    proxy_certificate(folder);
    let options = PgOptions::default().without_fsync().with_scram();
    let server = PgServer::start(17, options).await.unwrap();
    let role = "CREATE ROLE app LOGIN PASSWORD 'secret'";
    server.execute("postgres", role).await.unwrap();
    let mut options = ProxyOptions::new(server.url("postgres", "postgres"), None)
        .key(format!("tls.certificate = {:?}", folder.join("proxy.crt")))
        .key(format!("tls.key = {:?}", folder.join("proxy.key")));
    for key in keys {
        options = options.key(*key);
    }
    let proxy = Proxy::start(options).await.unwrap();
    (server, proxy)
}

fn ask(proxy: &Proxy, parameters: &str, sql: &str) -> Result<String, String> {
    let url = format!(
        "postgres://app:secret@localhost:{}/postgres?{parameters}",
        proxy.port()
    );
    psql(&url, sql).map_err(|error| format!("{error:#}"))
}

/// psql binds its log-in to the certificate, and is refused when it must and cannot.
#[tokio::test(flavor = "multi_thread")]
async fn clients_come_in_tls_and_bind_their_log_in_to_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, proxy) = proxy_with_certificate(folder.path(), &[]).await;
    let roots = format!("sslrootcert={}", folder.path().join("proxy.crt").display());
    let large = "SELECT length(repeat('x', 20000000)), repeat('x', 20000000)";
    for parameters in [
        "sslmode=disable".to_owned(),
        "sslmode=require".to_owned(),
        "sslmode=require&channel_binding=require".to_owned(),
        format!("sslmode=verify-full&channel_binding=require&{roots}"),
    ] {
        let answer = ask(&proxy, &parameters, large).unwrap();
        assert_eq!(answer.len(), 20_000_009, "{parameters}");
    }
    let error = ask(
        &proxy,
        "sslmode=disable&channel_binding=require",
        "SELECT 1",
    )
    .unwrap_err();
    assert!(error.contains("channel binding"), "{error}");
    let url = format!(
        "postgres://app:wrong@localhost:{}/postgres?sslmode=require",
        proxy.port()
    );
    let error = format!("{:#}", psql(&url, "SELECT 1").unwrap_err());
    assert!(error.contains("password authentication failed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_clients_are_refused_where_tls_is_required() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["tls.clients = \"require\""];
    let (_server, proxy) = proxy_with_certificate(folder.path(), &keys).await;
    assert_eq!(ask(&proxy, "sslmode=prefer", "SELECT 1").unwrap(), "1");
    let error = ask(&proxy, "sslmode=disable", "SELECT 1").unwrap_err();
    assert!(error.contains("only with TLS"), "{error}");
}

/// A session goes on while the certificate is replaced, and new ones see the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_at_a_hang_up_signal() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, proxy) = proxy_with_certificate(folder.path(), &[]).await;
    let old = std::fs::read(folder.path().join("proxy.crt")).unwrap();
    std::fs::write(folder.path().join("old.crt"), old).unwrap();
    let verify = |file: &str| {
        let file = folder.path().join(file);
        format!("sslmode=verify-full&sslrootcert={}", file.display())
    };
    ask(&proxy, &verify("proxy.crt"), "SELECT 1").unwrap();
    proxy_certificate(folder.path());
    ask(&proxy, &verify("old.crt"), "SELECT 1").unwrap();
    proxy.hang_up().unwrap();
    let begun = Instant::now();
    while ask(&proxy, &verify("proxy.crt"), "SELECT 1").is_err() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{}",
            proxy.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // One that cannot be used changes nothing.
    std::fs::write(folder.path().join("proxy.key"), "no key").unwrap();
    proxy.hang_up().unwrap();
    while !proxy.log().contains("what was read before stays") {
        assert!(
            begun.elapsed() < Duration::from_secs(240),
            "{}",
            proxy.log()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ask(&proxy, &verify("proxy.crt"), "SELECT 1").unwrap();
}
