//! The harness itself.

use integration::server::{PgOptions, PgServer};

async fn answers(server: &PgServer) -> i64 {
    let client = server.client("postgres").await.unwrap();
    let sql = "SELECT pg_catalog.current_setting('server_version_num')::bigint / 10000";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn every_version_starts_answers_and_comes_back_after_a_kill() {
    for major in [12, 14, 16, 17, 18] {
        let mut server = PgServer::start(major, PgOptions::default()).await.unwrap();
        assert_eq!(answers(&server).await, i64::from(major));
        server.kill9().unwrap();
        server.restart().await.unwrap();
        assert_eq!(answers(&server).await, i64::from(major));
        server.restart().await.unwrap();
        assert_eq!(answers(&server).await, i64::from(major));
    }
}

#[tokio::test]
async fn a_version_that_was_not_fetched_says_what_to_run() {
    let error = PgServer::start(7, PgOptions::default())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("fetch.sh"), "{error}");
}
