//! The comparison of catalogs and contents: it must see what it is for, on every version.

use integration::server::{PgOptions, PgServer};
use integration::{binaries, catalog, contents};

#[tokio::test]
async fn every_kind_of_trace_is_seen_on_every_version() {
    for major in binaries::MAJORS {
        let server = PgServer::start(major, PgOptions::default().without_fsync());
        let server = server.await.unwrap();
        let client = server.client("postgres").await.unwrap();
        client
            .batch_execute("CREATE TABLE public.t (id int PRIMARY KEY)")
            .await
            .unwrap();
        let before = catalog::read(&client).await.unwrap();
        assert_eq!(catalog::read(&client).await.unwrap(), before);
        let traces = "CREATE PUBLICATION p FOR TABLE public.t;
            ALTER TABLE public.t REPLICA IDENTITY FULL;
            REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
            CREATE ROLE r;
            CREATE SCHEMA pointsman;
            SELECT pg_replication_origin_create('o');
            SELECT pg_create_physical_replication_slot('s')";
        client.batch_execute(traces).await.unwrap();
        let seen = catalog::differences(&before, &catalog::read(&client).await.unwrap()).join("\n");
        for kind in [
            "+ publication:",
            "+ published table:",
            "+ relation: public.t r postgres p f",
            "- database privilege: postgres - CONNECT f",
            "+ role: r",
            "+ schema: pointsman",
            "+ replication origin:",
            "+ replication slot:",
        ] {
            assert!(seen.contains(kind), "{major}: {kind} is not in\n{seen}");
        }
    }
}

#[tokio::test]
async fn contents_are_equal_across_versions_and_differ_by_one_value() {
    let old = PgServer::start(12, PgOptions::default().without_fsync())
        .await
        .unwrap();
    let new = PgServer::start(18, PgOptions::default().without_fsync())
        .await
        .unwrap();
    let sql = "CREATE TABLE t AS SELECT n AS id, n / 7.0 AS x, n / 3.0::float8 AS y, now() AS at
        FROM generate_series(1, 100) AS n; UPDATE t SET at = '2026-01-01 12:00+02'";
    for server in [&old, &new] {
        server.execute("postgres", sql).await.unwrap();
    }
    let source = contents::read(&old.client("postgres").await.unwrap())
        .await
        .unwrap();
    let target = contents::read(&new.client("postgres").await.unwrap())
        .await
        .unwrap();
    assert_eq!(
        contents::differences(&source, &target),
        Vec::<String>::new()
    );

    new.execute("postgres", "UPDATE t SET x = x + 1 WHERE id = 50")
        .await
        .unwrap();
    let target = contents::read(&new.client("postgres").await.unwrap())
        .await
        .unwrap();
    assert_eq!(contents::differences(&source, &target).len(), 1);
}
