//! What goes on in the source while it is checked.

use integration::server::PgServer;
use pgwal::check::{CheckOptions, Level};
use pgwal::wire::SqlConn;

use super::{has, has_not, pair, run, sql};
use crate::fence_fixture::{connect, until};

/// Two servers, with a table, an application's role and an application's superuser on the source.
async fn busy_pair() -> (PgServer, PgServer) {
    let (source, target) = pair(14, 17).await;
    sql(
        &source,
        "CREATE TABLE public.t (id int PRIMARY KEY); CREATE ROLE root2 SUPERUSER LOGIN;
         CREATE ROLE app LOGIN; GRANT ALL ON TABLE public.t TO app",
    )
    .await;
    (source, target)
}

async fn session(server: &PgServer, user: &str, database: &str, statements: &str) -> SqlConn {
    let client = connect(&server.url(user, database)).await;
    client.batch_execute(statements).await.unwrap();
    client
}

#[tokio::test]
async fn transactions_that_a_start_or_a_fence_would_meet_are_named() {
    let (source, target) = busy_pair().await;
    let two_phases = "BEGIN; INSERT INTO public.t VALUES (1); PREPARE TRANSACTION 'two phases'";
    let prepared = session(&source, "app", "shop", two_phases).await;
    let far = "CREATE TABLE public.far (a int);
               BEGIN; INSERT INTO public.far VALUES (1); PREPARE TRANSACTION 'far'";
    let other = session(&source, "postgres", "postgres", far).await;
    let open = "BEGIN; INSERT INTO public.t VALUES (2)";
    let app = session(&source, "app", "shop", open).await;
    // A transaction counts as long after five seconds.
    until("the open transaction is old", || async {
        let sql = "SELECT clock_timestamp() - xact_start > interval '5.1 s' FROM pg_stat_activity
                   WHERE pid = $1";
        let row = other.query_one(sql, &[&app.backend_pid()]).await.unwrap();
        row.get(0)
    })
    .await;
    drop(prepared);
    let findings = run(&source, &target, &CheckOptions::default()).await;
    let words = [
        "prepared transactions: two phases of app",
        "ROLLBACK PREPARED",
    ];
    has(&findings, Level::Fail, &words);
    has(
        &findings,
        Level::Warn,
        &["in other databases", "far in postgres"],
    );
    let words = [
        "long writing transactions",
        "of app in shop",
        "pg_terminate_backend",
    ];
    has(&findings, Level::Warn, &words);
}

#[tokio::test]
async fn those_whom_no_fence_stops_are_named() {
    let (source, target) = busy_pair().await;
    let subscription = "CREATE SUBSCRIPTION feed CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p
                        WITH (connect = false, slot_name = 'x')";
    let root2 = session(&source, "root2", "shop", subscription).await;
    let findings = run(&source, &target, &CheckOptions::default()).await;
    has(&findings, Level::Warn, &["disabled subscriptions: feed"]);
    has(
        &findings,
        Level::Fail,
        &["superusers are connected: root2", "nologin"],
    );

    root2
        .batch_execute("ALTER SUBSCRIPTION feed ENABLE")
        .await
        .unwrap();
    let ours = CheckOptions {
        ours: vec![root2.backend_pid()],
        ..CheckOptions::default()
    };
    let findings = run(&source, &target, &ours).await;
    has(
        &findings,
        Level::Fail,
        &["subscriptions write into this database: feed", "DISABLE"],
    );
    has_not(&findings, "superusers are connected");
    root2
        .batch_execute("ALTER SUBSCRIPTION feed DISABLE")
        .await
        .unwrap();
}
