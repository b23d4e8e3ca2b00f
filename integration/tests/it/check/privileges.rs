//! Privileges that the roles of pointsman lack, and those that are enough.

use pgwal::check::{CheckOptions, Level, Verifiers};

use super::{has, pair, run_as, sql, text};

/// What a role without any privilege is told, by words.
const LACKS: [&[&str]; 12] = [
    &[
        "source:",
        "lacks REPLICATION",
        "ALTER ROLE \"weak\" REPLICATION",
    ],
    &[
        "source:",
        "cannot see other roles' sessions",
        "GRANT pg_monitor TO \"weak\"",
    ],
    &[
        "source:",
        "cannot end other roles' sessions",
        "GRANT pg_signal_backend TO \"weak\"",
    ],
    &[
        "source:",
        "does not own the database",
        "GRANT \"postgres\" TO \"weak\"",
    ],
    &[
        "source:",
        "may not create in the database",
        "ON DATABASE \"shop\" TO \"weak\"",
    ],
    &["source:", "may not be read: hidden.t", "GRANT SELECT"],
    &["source:", "does not own: hidden.t"],
    &[
        "source:",
        "inherit from \"weak\"",
        "heir",
        "REVOKE \"weak\" FROM \"heir\"",
    ],
    &["replication connection cannot be opened"],
    &["target:", "may not create in the database"],
    &["target:", "session_replication_role"],
    &[
        "target:",
        "roles that are not there yet",
        "app",
        "CREATE ROLE",
    ],
];

/// What only a way back needs.
const LACKS_FOR_A_WAY_BACK: [&[&str]; 3] = [
    &["source:", "session_replication_role", "rollback"],
    &["source:", "may not change rows of", "hidden.t", "rollback"],
    &["target:", "may not replicate", "rollback"],
];

#[tokio::test]
async fn each_missing_privilege_is_told_with_the_grant_that_gives_it() {
    for (from, to) in [(12, 12), (14, 14), (17, 18)] {
        let (source, target) = pair(from, to).await;
        sql(
            &source,
            "CREATE ROLE weak LOGIN; CREATE ROLE app LOGIN PASSWORD 'x';
             CREATE ROLE heir LOGIN IN ROLE weak; CREATE SCHEMA hidden;
             CREATE TABLE hidden.t (id int PRIMARY KEY)",
        )
        .await;
        sql(&target, "CREATE ROLE weak LOGIN").await;
        let findings = run_as("weak", &source, &target, &CheckOptions::default()).await;
        for words in LACKS {
            has(&findings, Level::Fail, words);
        }
        for words in LACKS_FOR_A_WAY_BACK {
            has(&findings, Level::Warn, words);
        }
        has(
            &findings,
            Level::Fail,
            &["source:", "may not read pg_authid", "[auth] query"],
        );
        has(&findings, Level::Warn, &["target:", "lacks CREATEROLE"]);
        match to {
            12 => has(
                &findings,
                Level::Fail,
                &["replication origins", "SUPERUSER"],
            ),
            _ => has(
                &findings,
                Level::Fail,
                &["pg_replication_origin_create", "GRANT EXECUTE"],
            ),
        };
        let decided = CheckOptions {
            nologin: vec!["app".to_owned()],
            verifiers: Verifiers::Query,
            ..CheckOptions::default()
        };
        let findings = run_as("weak", &source, &target, &decided).await;
        has(&findings, Level::Fail, &["may not set app to NOLOGIN"]);
        has(
            &findings,
            Level::Warn,
            &["source:", "may not read pg_authid"],
        );
    }
}

#[tokio::test]
async fn a_role_with_every_named_privilege_passes_without_being_a_superuser() {
    let (source, target) = pair(17, 18).await;
    sql(
        &source,
        "CREATE ROLE boss; CREATE ROLE mig LOGIN REPLICATION IN ROLE boss, pg_monitor,
            pg_signal_backend, pg_read_all_data;
         ALTER DATABASE shop OWNER TO boss; GRANT SELECT ON pg_catalog.pg_authid TO mig;
         SET ROLE boss; CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY)",
    )
    .await;
    sql(
        &target,
        "CREATE ROLE mig LOGIN CREATEROLE; ALTER DATABASE shop OWNER TO mig;
         GRANT SET ON PARAMETER session_replication_role TO mig;
         GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text),
            pg_replication_origin_drop(text), pg_replication_origin_oid(text),
            pg_replication_origin_session_setup(text),
            pg_replication_origin_xact_setup(pg_lsn, timestamptz) TO mig",
    )
    .await;
    let findings = run_as("mig", &source, &target, &CheckOptions::default()).await;
    let fails: Vec<_> = findings
        .iter()
        .filter(|one| one.level == Level::Fail && !one.what.contains("pg_dump"))
        .collect();
    assert!(fails.is_empty(), "{}", text(&findings));
}
