//! Objects of the source that are moved otherwise than expected, and that a check changes nothing.

use pgwal::check::{CheckOptions, KeylessTables, LargeObjects, Level};
use pgwal::wire::SqlConn;

use super::{has, has_not, pair, run, slot, sql};
use crate::fence_fixture::connect;

const MESSY: &str = "
CREATE SCHEMA app;
CREATE TABLE app.keyless (a int);
CREATE TABLE app.deferred (a int PRIMARY KEY DEFERRABLE, b int UNIQUE DEFERRABLE);
CREATE TABLE app.fine (a int PRIMARY KEY, b int, c int GENERATED ALWAYS AS (a + 1) STORED NOT NULL);
CREATE TABLE app.by_generated (a int, c int GENERATED ALWAYS AS (a + 1) STORED NOT NULL UNIQUE);
ALTER TABLE app.by_generated REPLICA IDENTITY USING INDEX by_generated_c_key;
CREATE UNLOGGED TABLE app.scratch (a int PRIMARY KEY);
CREATE TABLE app.child (PRIMARY KEY (a)) INHERITS (app.fine);
CREATE MATERIALIZED VIEW app.summary AS SELECT 1 AS one;
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER always BEFORE INSERT ON app.fine FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.fine ENABLE ALWAYS TRIGGER always;
CREATE TRIGGER replica BEFORE INSERT ON app.fine FOR EACH ROW EXECUTE FUNCTION app.touch();
ALTER TABLE app.fine ENABLE REPLICA TRIGGER replica;
CREATE TRIGGER plain BEFORE INSERT ON app.fine FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE RULE quiet AS ON DELETE TO app.keyless DO ALSO SELECT 1;
CREATE RULE loud AS ON UPDATE TO app.keyless DO ALSO SELECT 1;
ALTER TABLE app.keyless ENABLE ALWAYS RULE loud;
CREATE FUNCTION app.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION app.on_ddl();
CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE app.distant (a int) SERVER far;
CREATE TABLE app.unchecked (a int PRIMARY KEY);
ALTER TABLE app.unchecked ADD CONSTRAINT positive CHECK (a > 0) NOT VALID;
SELECT lo_create(0);
CREATE PUBLICATION others FOR TABLE app.fine;
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE ROLE trusting LOGIN; CREATE ROLE root2 LOGIN SUPERUSER;
SET password_encryption = 'md5'; CREATE ROLE old_hash LOGIN PASSWORD 'x';
ALTER ROLE trusting SET synchronous_commit = off";

/// What the messy database is told, by words.
const EXPECTED: [(Level, &[&str]); 24] = [
    (
        Level::Warn,
        &["without a usable key: app.deferred, app.keyless"],
    ),
    (Level::Warn, &["deferrable primary keys: app.deferred_pkey"]),
    (
        Level::Warn,
        &["deferrable unique", "app.deferred_b_key", "verify"],
    ),
    (
        Level::Fail,
        &["key has a generated column: app.by_generated"],
    ),
    (Level::Warn, &["unlogged tables: app.scratch", "SET LOGGED"]),
    (Level::Warn, &["children by inheritance: app.fine"]),
    (Level::Warn, &["materialized views: app.summary", "REFRESH"]),
    (
        Level::Fail,
        &[
            "triggers that are enabled",
            "always on app.fine, replica on app.fine",
        ],
    ),
    (Level::Warn, &["rules on tables: quiet on app.keyless"]),
    (
        Level::Fail,
        &["rules that are enabled ALWAYS", "loud on app.keyless"],
    ),
    (Level::Warn, &["event triggers: watch", "DISABLE"]),
    (Level::Warn, &["foreign tables: app.distant"]),
    (Level::Ok, &["NOT VALID: positive on app.unchecked"]),
    (
        Level::Ok,
        &["generated columns: app.by_generated, app.child, app.fine"],
    ),
    (Level::Fail, &["1 large objects", "--accept large-objects"]),
    (
        Level::Warn,
        &[
            "publications of others",
            "others",
            "everything (FOR ALL TABLES)",
        ],
    ),
    (
        Level::Warn,
        &[
            "slots of others: other_slot",
            "pg_drop_replication_slot('other_slot')",
        ],
    ),
    (Level::Warn, &["roles without a password: trusting"]),
    (
        Level::Warn,
        &["superusers that can log in: root2", "nologin"],
    ),
    (Level::Warn, &["md5 passwords: old_hash", "scram-sha-256"]),
    (
        Level::Warn,
        &["synchronous_commit is off for: role trusting"],
    ),
    (Level::Ok, &["not there yet: old_hash, trusting"]),
    (Level::Warn, &["tablespaces are used: fast"]),
    (Level::Ok, &["other databases", "other"]),
];

#[tokio::test]
async fn objects_that_are_moved_otherwise_or_not_at_all_are_named() {
    for major in [12, 18] {
        let (source, target) = pair(major, 18).await;
        source
            .execute("postgres", "CREATE DATABASE other")
            .await
            .unwrap();
        sql(&source, MESSY).await;
        slot(&source, "other_slot").await;
        let tablespace = source.dir().join("space");
        std::fs::create_dir(&tablespace).unwrap();
        let owned = std::process::Command::new("chown")
            .arg("--reference")
            .args([source.data_dir(), tablespace.clone()])
            .status();
        assert!(owned.unwrap().success());
        let place = tablespace.display();
        sql(
            &source,
            &format!("CREATE TABLESPACE fast LOCATION '{place}'"),
        )
        .await;
        sql(
            &source,
            "CREATE TABLE app.placed (a int PRIMARY KEY) TABLESPACE fast",
        )
        .await;
        let findings = run(&source, &target, &CheckOptions::default()).await;
        for (level, words) in EXPECTED {
            has(&findings, level, words);
        }
        has_not(&findings, "plain on app.fine");
    }
}

#[tokio::test]
async fn what_the_operator_has_decided_changes_the_level() {
    let (source, target) = pair(14, 17).await;
    sql(&source, MESSY).await;
    let decided = CheckOptions {
        keyless_tables: KeylessTables::Refuse,
        large_objects: LargeObjects::Accept,
        tables: pgwal::schema::catalog::TableFilter::new(
            Vec::new(),
            vec!["app.deferred".to_owned()],
        ),
        trusted_roles: vec!["root2".to_owned()],
        ..CheckOptions::default()
    };
    let findings = run(&source, &target, &decided).await;
    has(
        &findings,
        Level::Fail,
        &["usable key: app.keyless", "keyless_tables = \"full\""],
    );
    has(&findings, Level::Warn, &["1 large objects", "accepted"]);
    has(
        &findings,
        Level::Ok,
        &["no superuser but the role of pointsman"],
    );
}

/// Everything that a check could have changed.
async fn trace(client: &SqlConn) -> Vec<String> {
    let sql = "
        SELECT 'class ' || oid || relname FROM pg_class
        UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots
        UNION ALL SELECT 'publication ' || pubname FROM pg_publication
        UNION ALL SELECT 'role ' || r::text FROM pg_authid r
        UNION ALL SELECT 'database ' || datname || coalesce(datacl::text, '') FROM pg_database
        UNION ALL SELECT 'setting ' || s::text FROM pg_db_role_setting s
        UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin
        UNION ALL SELECT 'xid ' || coalesce(backend_xid::text, '') FROM pg_stat_activity
            WHERE backend_xid IS NOT NULL
        ORDER BY 1";
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_check_changes_nothing_on_either_server() {
    let (source, target) = pair(17, 18).await;
    sql(&source, MESSY).await;
    let (from, to) = (
        connect(&source.url("postgres", "shop")).await,
        connect(&target.url("postgres", "shop")).await,
    );
    let xid = "SELECT pg_current_xact_id()::text::int8";
    let before = (trace(&from).await, trace(&to).await);
    let first: i64 = from.query_one(xid, &[]).await.unwrap().get(0);
    run(&source, &target, &CheckOptions::default()).await;
    let second: i64 = from.query_one(xid, &[]).await.unwrap().get(0);
    assert_eq!(second, first + 1, "no transaction of the check took an id");
    assert_eq!((trace(&from).await, trace(&to).await), before);
}
