//! What cannot be copied is refused in words, with nothing changed; and the application is never
//! stuck behind us.

use std::time::{Duration, Instant};

use integration::server::{PgOptions, PgServer};
use pgwal::schema::catalog::TableFilter;
use pgwal::schema::initial::{InitialCopy, InitialOptions, InitialStep};
use pgwal::schema::patience::LockPatience;
use pgwal::schema::setup::KeylessPolicy;
use pgwal::wire::{Endpoint, Secret};

use super::{Pair, run, told};

/// The error's words, after making sure that neither server has anything of ours.
async fn refused(pair: &Pair, options: InitialOptions) -> String {
    let text = told(&pair.copy(options).run().await.map(drop).unwrap_err());
    for server in [&pair.source, &pair.target] {
        let client = server.client("postgres").await.unwrap();
        let ours = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'pointsman')
                         + (SELECT count(*) FROM pg_publication)
                         + (SELECT count(*) FROM pg_replication_slots)";
        assert_eq!(
            client.query_one(ours, &[]).await.unwrap().get::<_, i64>(0),
            0
        );
    }
    text
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_is_made() {
    let pair = Pair::start(14, 17).await;
    let schema = "CREATE SCHEMA shop;
        CREATE TABLE shop.customers (id integer PRIMARY KEY);
        CREATE TABLE shop.orders (id integer PRIMARY KEY, c integer REFERENCES shop.customers);
        CREATE TABLE shop.bare (x integer)";
    pair.source.execute("postgres", schema).await.unwrap();

    let mut options = pair.options();
    options.keyless = KeylessPolicy::Refuse;
    let text = refused(&pair, options).await;
    assert!(
        text.contains("shop.bare") && text.contains("keyless_tables"),
        "{text}"
    );

    let mut options = pair.options();
    options.filter = TableFilter::new(Vec::new(), vec!["shop.cust*".to_owned()]);
    let text = refused(&pair, options).await;
    assert!(
        text.contains("shop.orders") && text.contains("shop.customers"),
        "{text}"
    );

    let mut options = pair.options();
    options.pg_dump_dir = Some("/nonexistent".into());
    let text = refused(&pair, options).await;
    assert!(
        text.contains("pg_dump") && text.contains("install"),
        "{text}"
    );

    let standing = "CREATE SCHEMA shop; CREATE TABLE shop.mine (a integer);
                    CREATE EXTENSION hstore";
    pair.target.execute("postgres", standing).await.unwrap();
    let text = refused(&pair, pair.options()).await;
    assert!(
        text.contains("not empty") && text.contains("shop.mine"),
        "{text}"
    );

    pair.target
        .execute("postgres", "DROP SCHEMA shop CASCADE")
        .await
        .unwrap();
    let elsewhere = "CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext";
    pair.source.execute("postgres", elsewhere).await.unwrap();
    let text = refused(&pair, pair.options()).await;
    assert!(
        text.contains("ALTER EXTENSION hstore SET SCHEMA ext"),
        "{text}"
    );
}

#[tokio::test]
async fn excluded_tables_are_made_and_stay_empty() {
    let pair = Pair::start(14, 17).await;
    let schema = "CREATE TABLE kept (id integer PRIMARY KEY); INSERT INTO kept VALUES (1);
                  CREATE TABLE left_out (id integer PRIMARY KEY); INSERT INTO left_out VALUES (1)";
    pair.source.execute("postgres", schema).await.unwrap();
    let mut options = pair.options();
    options.filter = TableFilter::new(Vec::new(), vec!["public.left_out".to_owned()]);
    let done = run(&pair.copy(options)).await;
    assert_eq!(done.watermarks.len(), 1);
    let (source, target) = pair.clients().await;
    let counts = "SELECT (SELECT count(*) FROM kept) * 10 + (SELECT count(*) FROM left_out)";
    assert_eq!(
        target
            .query_one(counts, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        10
    );
    let published = "SELECT string_agg(tablename, ',' ORDER BY tablename)
                     FROM pg_publication_tables WHERE pubname = 'pointsman_0123abcd'";
    let published: String = source.query_one(published, &[]).await.unwrap().get(0);
    assert_eq!(published, "kept,marker");
}

#[tokio::test]
async fn a_locked_table_holds_the_application_up_for_a_moment_only() {
    let pair = Pair::start(14, 17).await;
    let schema = "CREATE TABLE bare (x integer)";
    pair.source.execute("postgres", schema).await.unwrap();
    let (holder, _) = pair.clients().await;
    let (reader, _) = pair.clients().await;
    holder
        .batch_execute("BEGIN; SELECT * FROM bare")
        .await
        .unwrap();
    let mut options = pair.options();
    options.patience = LockPatience {
        lock_timeout: Duration::from_millis(200),
        attempts: 1000,
    };
    let copy = pair.copy(options);
    let application = async {
        while copy.step() < InitialStep::Source {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let begun = Instant::now();
        let mut slowest = Duration::ZERO;
        while begun.elapsed() < Duration::from_secs(2) {
            let statement = Instant::now();
            let read = reader.batch_execute("SELECT * FROM bare");
            tokio::time::timeout(Duration::from_secs(120), read)
                .await
                .expect("the application is held up")
                .unwrap();
            slowest = slowest.max(statement.elapsed());
        }
        assert_eq!(copy.step(), InitialStep::Source);
        holder.batch_execute("COMMIT").await.unwrap();
        slowest
    };
    let (_, slowest) = tokio::join!(run(&copy), application);
    // Without the timeout it would wait for the holder, which ends only afterwards.
    assert!(slowest < Duration::from_secs(60), "{slowest:?}");
}

#[tokio::test]
async fn passwords_open_both_servers_and_no_verifier_gets_into_a_log() {
    let options = || {
        PgOptions::default()
            .without_fsync()
            .with_scram()
            .set("log_statement", "all")
    };
    let source = PgServer::start(14, options()).await.unwrap();
    let target = PgServer::start(17, options()).await.unwrap();
    let mover = "CREATE ROLE mover SUPERUSER REPLICATION LOGIN PASSWORD 'a:b\\c ''d'";
    for server in [&source, &target] {
        server.execute("postgres", mover).await.unwrap();
    }
    let schema = "CREATE ROLE app LOGIN PASSWORD 'app-secret';
                  CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1)";
    source.execute("postgres", schema).await.unwrap();
    let endpoint = |server: &PgServer| -> Endpoint {
        let endpoint: Endpoint = server.url("mover", "postgres").parse().unwrap();
        endpoint.with_password(Secret::new("a:b\\c 'd"))
    };
    let mut options = InitialOptions::new("0123abcd");
    options.pg_dump_dir = Some(integration::binaries::client_bin(14).unwrap());
    run(&InitialCopy::new(
        endpoint(&source),
        endpoint(&target),
        options,
    ))
    .await;
    let app = "postgres://app:app-secret@127.0.0.1:";
    integration::server::PgClient::connect(&format!("{app}{}/postgres", target.port()))
        .await
        .unwrap();
    for server in [&source, &target] {
        assert!(
            !server.log().contains("SCRAM-SHA-256$"),
            "{}",
            server.major()
        );
    }
}

#[tokio::test]
async fn a_thousand_small_tables_are_copied_without_many_locks_at_once() {
    let pair = Pair::start(14, 17).await;
    let source = pair.source.client("postgres").await.unwrap();
    for chunk in (0..1000).collect::<Vec<_>>().chunks(100) {
        let tables: String = chunk
            .iter()
            .map(|n| format!("CREATE TABLE t{n} (id serial PRIMARY KEY, x text); INSERT INTO t{n} (x) VALUES ('{n}');"))
            .collect();
        source.batch_execute(&tables).await.unwrap();
    }
    let done = run(&pair.copy(pair.options())).await;
    assert_eq!(done.watermarks.len(), 1000);
    super::same::assert_same_rows(&pair, &done).await;
    let (source, target) = pair.endpoints();
    let report = pgwal::schema::cleanup::abort(&source, &target)
        .await
        .unwrap();
    assert_eq!(report.left, [""; 0]);
}
