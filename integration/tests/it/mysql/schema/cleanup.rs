//! Nothing of ours is left on either server, whatever the end.

use binlog::schema::cleanup::{self, FenceFate};
use integration::mysql::{MySqlOptions, MySqlServer, Version};

use super::Pair;

/// Everything that a catalog can tell of what we might leave.
fn traces(server: &MySqlServer) -> String {
    let databases = server
        .sql("SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA ORDER BY 1")
        .unwrap();
    let accounts = server
        .sql("SELECT User, Host FROM mysql.user ORDER BY 1, 2")
        .unwrap();
    let tables = server
        .sql("SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ('shop', 'kept', 'pointsman') ORDER BY 1, 2")
        .unwrap();
    let others = server
        .sql("SELECT ROUTINE_NAME FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA IN ('shop', 'kept') UNION ALL SELECT EVENT_NAME FROM information_schema.EVENTS ORDER BY 1")
        .unwrap();
    let grants = server
        .sql("SHOW GRANTS FOR 'known'@'%'")
        .unwrap_or_default();
    let settings = server
        .sql("SELECT @@GLOBAL.read_only, @@GLOBAL.event_scheduler, @@GLOBAL.local_infile")
        .unwrap();
    format!("{databases}\n{accounts}\n{tables}\n{others}\n{grants}\n{settings}")
}

async fn leaves_no_trace(version: Version) {
    let pair = Pair::start_with(
        version,
        version,
        MySqlOptions::default(),
        MySqlOptions::default(),
    )
    .await;
    pair.source
        .script(
            "",
            "CREATE DATABASE shop CHARACTER SET latin1; CREATE DATABASE kept CHARACTER SET latin1;
             CREATE TABLE shop.t (id int PRIMARY KEY, e varchar(9)); INSERT INTO shop.t VALUES (1, 'x');
             CREATE TABLE kept.t (id int PRIMARY KEY); CREATE VIEW kept.v AS SELECT id FROM kept.t;
             CREATE PROCEDURE shop.p() SELECT 1; CREATE FUNCTION kept.f() RETURNS int DETERMINISTIC RETURN 1;
             CREATE EVENT kept.e ON SCHEDULE EVERY 1 DAY DO DELETE FROM kept.t;
             CREATE USER app@'%' IDENTIFIED BY 'secret'; GRANT SELECT ON shop.* TO app@'%';
             CREATE USER known@'%'; GRANT SELECT, INSERT ON shop.t TO known@'%';",
        )
        .unwrap();
    pair.target
        .sql("CREATE DATABASE kept CHARACTER SET utf8mb4; CREATE USER known@'%'")
        .unwrap();
    let before = (traces(&pair.source), traces(&pair.target));
    let (source, target) = pair.endpoints();

    pair.copy().await;
    assert_ne!(traces(&pair.target), before.1);
    let report = cleanup::abort(&source, &target).await.unwrap();
    assert!(report.left.is_empty(), "{report:?}");
    assert_eq!((traces(&pair.source), traces(&pair.target)), before);
    let again = cleanup::abort(&source, &target).await.unwrap();
    assert_eq!(again, cleanup::CleanupReport::default());

    pair.copy().await;
    let report = cleanup::finish(&source, &target, FenceFate::Lift)
        .await
        .unwrap();
    assert!(report.left.is_empty(), "{report:?}");
    assert_eq!(traces(&pair.source), before.0);
    let ours = "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'pointsman'";
    assert_eq!(pair.target.sql(ours).unwrap(), "0");
    assert_eq!(pair.target.sql("SELECT e FROM shop.t").unwrap(), "x");
}

#[tokio::test]
async fn abort_and_finish_leave_no_trace_on_mysql_9_7() {
    leaves_no_trace(Version::MySql97).await;
}

#[tokio::test]
async fn abort_and_finish_leave_no_trace_on_mariadb_11_8() {
    leaves_no_trace(Version::MariaDb118).await;
}

#[tokio::test]
async fn a_target_with_tables_is_refused_by_their_names_and_not_touched() {
    let pair = Pair::start(Version::MySql97, Version::MySql97).await;
    for server in [&pair.source, &pair.target] {
        server
            .sql("CREATE DATABASE shop; CREATE TABLE shop.orders (id int PRIMARY KEY)")
            .unwrap();
    }
    pair.target
        .sql("INSERT INTO shop.orders VALUES (7)")
        .unwrap();
    let copy = pair.initial(binlog::schema::initial::InitialOptions::new("t1"));
    let error = router::words(&copy.run().await.unwrap_err());
    assert!(error.contains("shop.orders"), "{error}");
    let (source, target) = pair.endpoints();
    cleanup::abort(&source, &target).await.unwrap();
    assert_eq!(pair.target.sql("SELECT id FROM shop.orders").unwrap(), "7");
}
