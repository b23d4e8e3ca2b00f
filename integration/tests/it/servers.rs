//! The harness itself: every version starts, stops, crashes and comes back.

use integration::server::{PgOptions, PgServer};

async fn starts_and_keeps_its_data(major: u32) {
    let mut server = PgServer::start(major, PgOptions::default()).await.unwrap();
    let client = server.client("postgres").await.unwrap();
    let version: u32 = client
        .value("SHOW server_version_num")
        .await
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(version / 10_000, major);
    assert_eq!(client.value("SHOW wal_level").await.unwrap(), "logical");
    client
        .batch_execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)")
        .await
        .unwrap();

    server.restart().await.unwrap();
    server.kill9().unwrap();
    server.restart().await.unwrap();
    assert_eq!(
        server
            .psql("postgres", "SELECT count(*) FROM kept")
            .unwrap(),
        "1"
    );

    server.pause().unwrap();
    server.resume().unwrap();
    assert_eq!(server.psql("postgres", "SELECT 1").unwrap(), "1");
}

macro_rules! starts {
    ($($name:ident: $major:literal),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            starts_and_keeps_its_data($major).await;
        })*
    };
}

starts! {
    version_12_starts_and_keeps_its_data: 12,
    version_14_starts_and_keeps_its_data: 14,
    version_15_starts_and_keeps_its_data: 15,
    version_16_starts_and_keeps_its_data: 16,
    version_17_starts_and_keeps_its_data: 17,
    version_18_starts_and_keeps_its_data: 18,
}

#[tokio::test]
async fn a_server_that_is_dropped_leaves_no_folder() {
    let server = PgServer::start(17, PgOptions::default().without_fsync())
        .await
        .unwrap();
    let dir = server.dir().to_path_buf();
    drop(server);
    assert!(!dir.exists());
}

#[tokio::test]
async fn scram_is_asked_of_everybody_but_the_superuser() {
    let server = PgServer::start(14, PgOptions::default().without_fsync().with_scram());
    let server = server.await.unwrap();
    server
        .psql("postgres", "CREATE ROLE app LOGIN PASSWORD 'secret'")
        .unwrap();
    let right = server.url_with_password("app", "secret", "postgres");
    let wrong = server.url_with_password("app", "wrong", "postgres");
    assert_eq!(
        integration::server::psql(&right, "SELECT current_user").unwrap(),
        "app"
    );
    assert!(integration::server::psql(&wrong, "SELECT 1").is_err());
}

#[tokio::test]
async fn a_version_that_was_not_fetched_says_what_to_run() {
    let error = PgServer::start(7, PgOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("fetch.sh"), "{error}");
}
