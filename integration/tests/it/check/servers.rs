//! Servers that cannot be used, or not with these settings, versions or contents.

use std::time::Duration;

use integration::server::PgServer;
use pgwal::check::{self, CheckOptions, Level};

use super::{endpoint, has, has_not, options, pair, run, slot, sql, start, text, worst};

#[tokio::test]
async fn two_plain_servers_pass() {
    for (from, to) in [(12, 18), (14, 17), (17, 17), (18, 18)] {
        let (source, target) = pair(from, to).await;
        sql(&source, "CREATE TABLE public.t (id int PRIMARY KEY)").await;
        let options = CheckOptions {
            pg_dump_dir: Some("/nowhere".into()),
            ..CheckOptions::default()
        };
        let findings = run(&source, &target, &options).await;
        let fails: Vec<_> = findings
            .iter()
            .filter(|one| one.level == Level::Fail)
            .collect();
        assert_eq!(fails.len(), 1, "{}", text(&findings));
        has(
            &findings,
            Level::Fail,
            &["pg_dump", "postgresql-client-17", "pg_dump_dir"],
        );
        has(
            &findings,
            Level::Ok,
            &["source: logged in", "postgres", "superuser"],
        );
        has(&findings, Level::Ok, &["target: the database is empty"]);
        has(
            &findings,
            Level::Ok,
            &["replication connection can be opened"],
        );
        has(&findings, Level::Ok, &["the database has", "how much disk"]);
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_told_with_its_reason() {
    let source = PgServer::start(14, options().with_scram()).await.unwrap();
    let good = source.url("postgres", "postgres");
    let check = |from: String, to: String| async move {
        check::run(&endpoint(&from), &endpoint(&to), &CheckOptions::default()).await
    };
    let create = "CREATE ROLE app LOGIN PASSWORD 'right'";
    let admin = source.client("postgres").await.unwrap();
    admin.batch_execute(create).await.unwrap();

    let findings = check(
        source.url_with_password("app", "wrong", "postgres"),
        good.clone(),
    )
    .await;
    let finding = has(
        &findings,
        Level::Fail,
        &["source:", "refuses the password of user app"],
    );
    assert!(
        finding.what.contains(&source.port().to_string()) && !text(&findings).contains("wrong")
    );

    let findings = check(good.clone(), source.url("postgres", "nothing_there")).await;
    has(
        &findings,
        Level::Fail,
        &["target:", "no database nothing_there", "CREATE DATABASE"],
    );

    let findings = check(
        "postgres://postgres@127.0.0.1:1/shop".to_owned(),
        good.clone(),
    )
    .await;
    has(
        &findings,
        Level::Fail,
        &["source:", "127.0.0.1:1", "listen_addresses"],
    );

    let findings = check(source.url("nobody_here", "postgres"), good.clone()).await;
    assert_eq!(worst(&findings), Level::Fail, "{}", text(&findings));
    has(&findings, Level::Fail, &["source:", "nobody_here"]);

    let findings = check(good.clone(), good).await;
    has(&findings, Level::Fail, &["the target is the source"]);
}

#[tokio::test]
async fn an_older_target_and_missing_minor_versions_are_named() {
    let (source, target) = pair(17, 14).await;
    let findings = run(&source, &target, &CheckOptions::default()).await;
    has(
        &findings,
        Level::Fail,
        &["target:", "out of range", "older than the source's 17"],
    );
    let (source, target) = pair(12, 14).await;
    let findings = run(&source, &target, &CheckOptions::default()).await;
    has(
        &findings,
        Level::Warn,
        &["12.22 can lose changes", "no version 12 has the correction"],
    );
}

/// What the narrow servers below are told, by words.
const NARROW: [(Level, &[&str]); 11] = [
    (
        Level::Fail,
        &[
            "wal_level is replica, not logical",
            "ALTER SYSTEM SET wal_level = 'logical'",
        ],
    ),
    (
        Level::Warn,
        &["1 of 1 replication slots", "max_replication_slots = 2"],
    ),
    (Level::Fail, &["1 of 1 WAL senders", "max_wal_senders = 2"]),
    (Level::Warn, &["max_slot_wal_keep_size is 64 MB", "[spool]"]),
    (Level::Warn, &["wal_sender_timeout is 2000 ms"]),
    (Level::Warn, &["idle_replication_slot_timeout"]),
    (Level::Warn, &["synchronous_commit is off for: the server"]),
    (Level::Warn, &["target: wal_level is replica", "rollback"]),
    (
        Level::Fail,
        &["target: max_active_replication_origins is 0"],
    ),
    (Level::Warn, &["max_connections = \"100\" (there: \"20\")"]),
    (Level::Warn, &["TimeZone", "Asia/Tokyo", "pg_reload_conf"]),
];

#[tokio::test]
async fn replication_settings_that_do_not_do_are_told_with_the_statement_to_run() {
    let narrow = options()
        .set("wal_level", "replica")
        .set("max_replication_slots", "1")
        .set("max_wal_senders", "1")
        .set("max_slot_wal_keep_size", "64MB")
        .set("wal_sender_timeout", "2s")
        .set("idle_replication_slot_timeout", "1h")
        .set("synchronous_commit", "off")
        .set("max_connections", "100");
    let source = PgServer::start(18, narrow).await.unwrap();
    let target = PgServer::start(
        18,
        options()
            .set("wal_level", "replica")
            .set("max_active_replication_origins", "0")
            .set("max_connections", "20")
            .set("TimeZone", "Asia/Tokyo"),
    )
    .await
    .unwrap();
    for server in [&source, &target] {
        server
            .execute("postgres", "CREATE DATABASE shop")
            .await
            .unwrap();
    }
    let findings = run(&source, &target, &CheckOptions::default()).await;
    for (level, words) in NARROW {
        has(&findings, level, words);
    }
}

#[tokio::test]
async fn a_target_with_something_in_it_or_of_another_kind_is_refused() {
    let (source, target) = (start(17).await, start(17).await);
    source
        .execute("postgres", "CREATE DATABASE shop TEMPLATE template0")
        .await
        .unwrap();
    let create = "CREATE DATABASE shop TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C'
                  LC_CTYPE 'C'";
    target.execute("postgres", create).await.unwrap();
    sql(
        &target,
        "CREATE TABLE public.mine (a int); CREATE SCHEMA theirs;
         CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
         SELECT pg_replication_origin_create('pointsman_00000000'); CREATE SCHEMA pointsman",
    )
    .await;
    sql(
        &source,
        "CREATE SCHEMA pointsman; CREATE PUBLICATION pointsman_00000000",
    )
    .await;
    slot(&source, "pointsman_00000000").await;
    let findings = run(&source, &target, &CheckOptions::default()).await;
    has(
        &findings,
        Level::Fail,
        &["not empty", "public.mine", "public.f()", "schema theirs"],
    );
    has(
        &findings,
        Level::Fail,
        &["the encoding is LATIN1, the source's UTF8", "template0"],
    );
    has(
        &findings,
        Level::Fail,
        &[
            "source: an earlier migration left slot pointsman_00000000",
            "publication pointsman_00000000",
            "schema pointsman",
            "pointsman abort",
        ],
    );
    has(
        &findings,
        Level::Fail,
        &[
            "target: an earlier migration left schema pointsman",
            "replication origin pointsman_00000000",
        ],
    );
    let under_way = CheckOptions {
        migration_id: Some("00000000".to_owned()),
        ..CheckOptions::default()
    };
    let findings = run(&source, &target, &under_way).await;
    has_not(&findings, "an earlier migration");
    has_not(&findings, "not empty");
    has_not(&findings, "of others");
}

#[tokio::test]
async fn a_collation_that_differs_is_named() {
    let (source, target) = (start(16).await, start(18).await);
    source
        .execute(
            "postgres",
            "CREATE DATABASE shop TEMPLATE template0 LOCALE 'C'",
        )
        .await
        .unwrap();
    let create = "CREATE DATABASE shop TEMPLATE template0 LOCALE_PROVIDER builtin
                  BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'";
    target.execute("postgres", create).await.unwrap();
    let findings = run(&source, &target, &CheckOptions::default()).await;
    let finding = has(
        &findings,
        Level::Warn,
        &["the collation is", "the source's is"],
    );
    assert!(
        finding.what.contains("provider builtin C.UTF-8"),
        "{finding}"
    );
    assert!(finding.what.contains("provider libc"), "{finding}");
}

#[tokio::test]
async fn an_extension_that_the_target_lacks_is_refused_by_name_and_version() {
    let (source, target) = pair(14, 17).await;
    // No other extension is in these servers: two that nobody has stand in for the real ones.
    sql(
        &source,
        "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable,
            extversion) VALUES (99001, 'made_up', 10, 11, false, '7.1');
         INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
            VALUES (99002, 'pg_cron', 10, 11, false, '1.6');
         INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
            VALUES (99003, 'timescaledb', 10, 11, false, '2');
         UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'plpgsql'",
    )
    .await;
    let findings = run(&source, &target, &CheckOptions::default()).await;
    has(
        &findings,
        Level::Fail,
        &["not available", "made_up 7.1", "pg_cron 1.6"],
    );
    has(
        &findings,
        Level::Warn,
        &["another version", "plpgsql 0.9 (there: 1.0)"],
    );
    has(
        &findings,
        Level::Warn,
        &["scheduled jobs: extension pg_cron", "cron.job"],
    );
    has(
        &findings,
        Level::Fail,
        &["tables of their own", "timescaledb"],
    );
}

#[tokio::test]
async fn a_server_that_hangs_is_told_and_the_other_still_checked() {
    let (source, target) = pair(14, 17).await;
    target.pause().unwrap();
    let mut to = endpoint(&target.url("postgres", "shop"));
    to.connect_timeout = Duration::from_millis(300);
    let from = endpoint(&source.url("postgres", "shop"));
    let findings = check::run(&from, &to, &CheckOptions::default()).await;
    target.resume().unwrap();
    has(
        &findings,
        Level::Fail,
        &["target:", "did not finish the log-in"],
    );
    has(&findings, Level::Ok, &["source: wal_level is logical"]);
}
