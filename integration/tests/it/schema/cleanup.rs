//! Nothing of ours stays behind: the catalogs of both servers before and after.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use integration::server::PgServer;
use pgwal::schema::cleanup::{self, CleanupReport, FenceFate};
use pgwal::schema::error::SchemaError;
use pgwal::schema::initial::InitialStep;

use super::{KITCHEN_SINK, Pair, run, told};

/// What stands on the target before: things that an abort must not touch.
const FURNITURE: &str = "
CREATE ROLE reader LOGIN PASSWORD 'another-secret';
CREATE ROLE resident LOGIN;
CREATE SCHEMA resident;
CREATE TABLE resident.things (id integer PRIMARY KEY);
CREATE FUNCTION resident.f() RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION pg_trgm;
GRANT USAGE ON SCHEMA public TO resident;
GRANT CONNECT ON DATABASE postgres TO resident;
ALTER ROLE resident SET work_mem = '8MB';
COMMENT ON SCHEMA public IS 'before';
ALTER DEFAULT PRIVILEGES FOR ROLE resident GRANT SELECT ON TABLES TO reader";

/// Everything that a migration may change, as words. NULL privileges stand for the default ones.
const TRACES: &str = "
SELECT 'object ' || i.type || ' ' || i.identity FROM (
    SELECT 'pg_class'::regclass AS c, oid FROM pg_class WHERE relkind NOT IN ('t', 'i')
    UNION ALL SELECT 'pg_namespace'::regclass, oid FROM pg_namespace
    UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type
    UNION ALL SELECT 'pg_extension'::regclass, oid FROM pg_extension
    UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast
    UNION ALL SELECT 'pg_operator'::regclass, oid FROM pg_operator
    UNION ALL SELECT 'pg_collation'::regclass, oid FROM pg_collation
    UNION ALL SELECT 'pg_event_trigger'::regclass, oid FROM pg_event_trigger
    UNION ALL SELECT 'pg_publication'::regclass, oid FROM pg_publication
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext) x
CROSS JOIN LATERAL pg_identify_object(x.c, x.oid, 0) i
WHERE x.oid >= 16384 AND i.identity !~ '^(pg_toast|pg_temp)' OR i.identity = 'public'
UNION ALL
SELECT concat_ws(' ', 'identity', oid::regclass, relreplident) FROM pg_class
WHERE relkind IN ('r', 'p') AND oid >= 16384
UNION ALL
SELECT 'slot ' || slot_name FROM pg_replication_slots
UNION ALL
SELECT 'origin ' || roname FROM pg_replication_origin
UNION ALL
SELECT concat_ws(' ', 'role', rolname, rolsuper, rolcanlogin, rolpassword, rolconnlimit)
FROM pg_authid WHERE rolname !~ '^pg_'
UNION ALL
SELECT 'member ' || pg_get_userbyid(roleid) || ' ' || pg_get_userbyid(member) FROM pg_auth_members
UNION ALL
SELECT concat_ws(' ', 'setting', setdatabase, pg_get_userbyid(setrole), setconfig)
FROM pg_db_role_setting
UNION ALL
SELECT concat_ws(' ', 'schema', nspname, pg_get_userbyid(nspowner),
                 obj_description(n.oid, 'pg_namespace'), a.grantee::regrole, a.privilege_type,
                 a.is_grantable)
FROM pg_namespace n, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a
WHERE nspname = 'public' OR n.oid >= 16384
UNION ALL
SELECT concat_ws(' ', 'database', datname, pg_get_userbyid(datdba), a.grantee::regrole,
                 a.privilege_type, a.is_grantable)
FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) a
UNION ALL
SELECT concat_ws(' ', 'default', pg_get_userbyid(defaclrole), defaclnamespace, defaclobjtype,
                 a.grantee::regrole, a.privilege_type)
FROM pg_default_acl, aclexplode(defaclacl) a";

async fn traces(server: &PgServer) -> BTreeSet<String> {
    let client = server.client("postgres").await.unwrap();
    client.batch_execute("SET search_path = ''").await.unwrap();
    let rows = client.query(TRACES, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn assert_equal(what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>) {
    let gone: Vec<_> = before.difference(after).collect();
    let new: Vec<_> = after.difference(before).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "{what}: gone {gone:#?} new {new:#?}"
    );
}

async fn abort(pair: &Pair) -> Result<CleanupReport, SchemaError> {
    let (source, target) = pair.endpoints();
    cleanup::abort(&source, &target).await
}

async fn furnished(source: u32, target: u32) -> (Pair, BTreeSet<String>, BTreeSet<String>) {
    let pair = Pair::start(source, target).await;
    pair.source.execute("postgres", KITCHEN_SINK).await.unwrap();
    pair.target.execute("postgres", FURNITURE).await.unwrap();
    let before = (traces(&pair.source).await, traces(&pair.target).await);
    (pair, before.0, before.1)
}

async fn an_abort_leaves_no_trace(source: u32, target: u32) {
    let (pair, source_before, target_before) = furnished(source, target).await;
    run(&pair.copy(pair.options())).await;
    assert_ne!(traces(&pair.source).await, source_before);
    let report = abort(&pair).await.unwrap();
    assert_eq!(report.left, [""; 0], "{report:#?}");
    assert_equal("source", &source_before, &traces(&pair.source).await);
    assert_equal("target", &target_before, &traces(&pair.target).await);
    let again = abort(&pair).await.unwrap();
    assert_eq!(again, CleanupReport::default());
    // And it may begin anew.
    run(&pair.copy(pair.options())).await;
}

#[tokio::test]
async fn an_abort_leaves_no_trace_from_14_on_17() {
    an_abort_leaves_no_trace(14, 17).await;
}

#[tokio::test]
async fn an_abort_leaves_no_trace_from_12_on_18() {
    an_abort_leaves_no_trace(12, 18).await;
}

#[tokio::test]
async fn an_abort_leaves_no_trace_from_15_on_16() {
    an_abort_leaves_no_trace(15, 16).await;
}

#[tokio::test]
async fn an_abort_leaves_no_trace_at_any_step() {
    let (pair, source_before, target_before) = furnished(14, 17).await;
    for step in [
        InitialStep::Source,
        InitialStep::Slot,
        InitialStep::Roles,
        InitialStep::Structure,
        InitialStep::Rows,
        InitialStep::Indexes,
        InitialStep::Views,
    ] {
        let copy = pair.copy(pair.options());
        let begun = Instant::now();
        let watch = async {
            while copy.step() < step || begun.elapsed() < Duration::from_millis(20) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = watch => {}
            done = copy.run() => assert!(done.is_ok()),
        }
        let report = abort(&pair).await.unwrap();
        assert_eq!(report.left, [""; 0], "{step:?} {report:#?}");
        assert_equal("source", &source_before, &traces(&pair.source).await);
        assert_equal("target", &target_before, &traces(&pair.target).await);
    }
}

#[tokio::test]
async fn a_finish_leaves_the_source_as_it_was_and_the_target_without_us() {
    let (pair, source_before, _) = furnished(14, 17).await;
    run(&pair.copy(pair.options())).await;
    let (source, target) = pair.endpoints();
    let report = cleanup::finish(&source, &target, FenceFate::Lift)
        .await
        .unwrap();
    assert_eq!(report.left, [""; 0], "{report:#?}");
    assert_equal("source", &source_before, &traces(&pair.source).await);
    let ours: Vec<String> = traces(&pair.target)
        .await
        .into_iter()
        .filter(|trace| trace.contains("pointsman"))
        .collect();
    assert_eq!(ours, [""; 0]);
    let (source, target) = pair.clients().await;
    let identities = "SELECT string_agg(concat_ws(' ', oid::regclass, relreplident), ','
                                        ORDER BY oid::regclass::text)
                      FROM pg_class WHERE relkind = 'r' AND relnamespace = 'shop'::regnamespace";
    let there: String = source.query_one(identities, &[]).await.unwrap().get(0);
    let here: String = target.query_one(identities, &[]).await.unwrap().get(0);
    assert_eq!(there, here);
    assert!(there.contains("keyless d"), "{there}");
}

#[tokio::test]
async fn an_unreachable_server_is_named_and_cleaned_later() {
    let (mut pair, source_before, target_before) = furnished(14, 17).await;
    run(&pair.copy(pair.options())).await;
    pair.target.stop().unwrap();
    let report = abort(&pair).await.unwrap();
    assert_eq!(report.left.len(), 1, "{report:#?}");
    assert!(
        report.left[0].starts_with("target: everything of ours"),
        "{report:#?}"
    );
    assert_equal("source", &source_before, &traces(&pair.source).await);
    pair.target.restart().await.unwrap();
    let report = abort(&pair).await.unwrap();
    assert_eq!(report.left, [""; 0], "{report:#?}");
    assert_equal("target", &target_before, &traces(&pair.target).await);
}

#[tokio::test]
async fn an_abort_is_refused_once_the_target_serves() {
    let (pair, _, _) = furnished(14, 17).await;
    run(&pair.copy(pair.options())).await;
    let switched = "INSERT INTO pointsman.movement VALUES (1, 'target', 'switched')";
    pair.target.execute("postgres", switched).await.unwrap();
    let before = (traces(&pair.source).await, traces(&pair.target).await);
    let error = abort(&pair).await.unwrap_err();
    assert!(
        matches!(error, SchemaError::AlreadySwitched { epoch: 1 }),
        "{}",
        told(&error)
    );
    assert_equal("source", &before.0, &traces(&pair.source).await);
    assert_equal("target", &before.1, &traces(&pair.target).await);
}
