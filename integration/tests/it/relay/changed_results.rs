//! Prepared statements that give other columns on the server that sessions go to.

use integration::server::{PgClient, PgServer};
use pgwal::session::Unmovable;
use pgwal::wire::ServerError;
use pgwal::wire::frame::Message;
use router::Side;

use super::house::{House, PATIENCE, Raw, extended, run_prepared, sync, tags};

/// Types whose numbers differ on both servers, and a table that looks the same on both.
const TYPES: &str = "\
CREATE TYPE mood AS ENUM ('fine'); CREATE DOMAIN word AS text; \
CREATE TYPE pair AS (a mood, b word); CREATE TYPE spans AS RANGE (subtype = int8); \
CREATE TABLE same (m mood, ms mood[], p pair, ps pair[], s spans, w word, ws word[]); \
INSERT INTO same VALUES ('fine', '{fine}', '(fine,x)', '{\"(fine,x)\"}', '[1,2)', 'x', '{x}'); ";

async fn set_up(server: &PgServer, sql: &str) {
    server.execute("postgres", sql).await.unwrap();
}

/// A source and a target with a table that differs.
async fn house(from: u32, to: u32) -> House {
    let house = House::pair(from, to).await;
    let here = "CREATE TABLE t (id int, name text, size int4); INSERT INTO t VALUES (1, 'one', 7)";
    let there =
        "CREATE TABLE t (id int8, name text, size float4); INSERT INTO t VALUES (1, 'one', 7)";
    set_up(&house.source, &format!("{TYPES}{here}")).await;
    let before = "CREATE TYPE first AS ENUM ('x'); CREATE DOMAIN second AS int; ";
    let target = house.target.as_ref().unwrap();
    set_up(target, &format!("{before}{TYPES}{there}")).await;
    house
}

/// What the server says, without what it says of its parameters.
async fn run(raw: &mut Raw, messages: &[u8]) -> Vec<Message> {
    raw.send(&[messages, &sync()].concat()).await;
    let mut said = raw.until_ready().await;
    said.retain(|message| message.tag != b'S');
    said
}

/// Whether it is the server's own error: drivers look at the routine, too.
fn is_refused(said: &[Message]) -> bool {
    let error = said.iter().find(|message| message.tag == b'E').unwrap();
    let has = |field: &[u8]| error.body.windows(field.len()).any(|part| part == field);
    let parsed = ServerError::parse(error.body.clone()).unwrap();
    assert_eq!(parsed.message, "cached plan must not change result type");
    tags(said) == "EZ" && parsed.sqlstate == "0A000" && has(b"RRevalidateCachedQuery\0")
}

async fn a_statement_that_gives_other_columns_is_refused(from: u32, to: u32, settings: &str) {
    let house = house(from, to).await;
    let mut raw = house.raw().await;
    assert!(!tags(&raw.query(settings).await).contains('E'));
    let statements = [
        ("kept", "SELECT * FROM public.same"),
        ("changed", "SELECT id FROM public.t"),
        ("name", "SELECT name FROM public.t"),
        ("none", "SET work_mem = '5MB'"),
    ];
    for (name, sql) in statements {
        let said = tags(&run(&mut raw, &extended(name, sql)).await);
        assert!(!said.contains('E'), "{name}: {said}");
    }
    raw.query("PREPARE by_sql AS SELECT id FROM public.t").await;
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable.len()), (1, 0), "{report:?}");
    // One that comes after the preparation.
    let late = extended("late", "SELECT name, id FROM public.t");
    assert!(!tags(&run(&mut raw, &late).await).contains('E'));
    house.move_to(Side::Target).await;

    for name in ["kept", "name"] {
        assert_eq!(
            tags(&run(&mut raw, &run_prepared(name)).await),
            "2TDCZ",
            "{name}"
        );
    }
    assert_eq!(tags(&run(&mut raw, &run_prepared("none")).await), "2nCZ");
    for name in ["changed", "late", "changed"] {
        assert!(
            is_refused(&run(&mut raw, &run_prepared(name)).await),
            "{name}"
        );
    }
    for _again in 0..2 {
        assert!(is_refused(&raw.query("EXECUTE by_sql").await));
    }
    // Nothing of how that is done is left.
    let left =
        "SELECT 1 WHERE pg_my_temp_schema() <> 0 OR current_setting('search_path') ~ '^pg_temp'";
    assert_eq!(tags(&raw.query(left).await), "TCZ");
    // The client does then what it does on one server.
    raw.query("DEALLOCATE by_sql").await;
    raw.query("PREPARE by_sql AS SELECT id FROM public.t").await;
    assert_eq!(tags(&raw.query("EXECUTE by_sql").await), "TDCZ");
    raw.query("DEALLOCATE late; DEALLOCATE by_sql").await;
    assert_eq!(tags(&run(&mut raw, &late).await), "12TDCZ");

    // On the way back what it was told first is true again, and what it was told since is not.
    assert_eq!(house.relay.close_source_connections(PATIENCE).await, 0);
    let report = house.relay.prepare_twins(PATIENCE).await;
    assert_eq!((report.ready, report.unmovable.len()), (1, 0), "{report:?}");
    house.move_to(Side::Source).await;
    for name in ["kept", "changed", "name"] {
        assert_eq!(
            tags(&run(&mut raw, &run_prepared(name)).await),
            "2TDCZ",
            "{name}"
        );
    }
    assert!(is_refused(&run(&mut raw, &run_prepared("late")).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_gives_other_columns_is_refused_from_14_to_18() {
    a_statement_that_gives_other_columns_is_refused(14, 18, "SELECT 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_gives_other_columns_is_refused_under_any_search_path() {
    let settings = "SET search_path = pg_catalog, pg_temp; SET default_transaction_read_only = on";
    a_statement_that_gives_other_columns_is_refused(12, 17, settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drivers_statement_with_parameters_is_refused_too() {
    let house = house(14, 18).await;
    let client = house.client().await;
    let changed = client.prepare("SELECT id FROM t WHERE id = $1 AND name = $2");
    let changed = changed.await.unwrap();
    let kept = client
        .prepare("SELECT w FROM same WHERE w = $1")
        .await
        .unwrap();
    let rows = client.query(&changed, &[&1_i32, &"one"]).await.unwrap();
    assert_eq!(rows[0].get::<_, i32>(0), 1);
    // The same four bytes would be another number there.
    let sized = client.prepare("UPDATE t SET size = $1").await.unwrap();
    assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
    house.move_to(Side::Target).await;
    let error = client.execute(&sized, &[&8_i32]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "0A000");
    let rows = client.query(&kept, &[&"x"]).await.unwrap();
    assert_eq!(rows[0].get::<_, &str>(0), "x");
    // The parameter is int8 there: four bytes do not fit, and the server says that first.
    let error = client.query(&changed, &[&1_i32, &"one"]).await.unwrap_err();
    assert!(error.code().is_some(), "{error}");
    let anew = client
        .prepare("SELECT id FROM t WHERE id = $1")
        .await
        .unwrap();
    let rows = client.query(&anew, &[&1_i64]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_new_version_gives_in_another_type_is_refused_as_well() {
    let house = House::pair(12, 17).await;
    let mut raw = house.raw().await;
    // double precision before 14, numeric since.
    run(
        &mut raw,
        &extended("e", "SELECT extract(epoch FROM now()) AS at"),
    )
    .await;
    run(&mut raw, &extended("same", "SELECT now()")).await;
    assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
    house.move_to(Side::Target).await;
    let same = tags(&run(&mut raw, &run_prepared("same")).await);
    assert_eq!(same, "2TDCZ");
    assert!(is_refused(&run(&mut raw, &run_prepared("e")).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_changed_statement_cannot_be_refused_is_listed() {
    let house = house(14, 18).await;
    let target = house.target.as_ref().unwrap();
    for server in [&house.source, target] {
        set_up(server, "CREATE ROLE app LOGIN; GRANT SELECT ON t TO app").await;
    }
    set_up(target, "REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC").await;
    let client = PgClient::connect(&house.url("app", "x")).await.unwrap();
    let statement = client.prepare("SELECT id FROM t").await.unwrap();
    let report = house.relay.prepare_twins(PATIENCE).await;
    let reasons = report
        .unmovable
        .into_iter()
        .flat_map(|(_id, reasons)| reasons);
    assert_eq!(reasons.collect::<Vec<_>>(), [Unmovable::PreparedStatement]);
    set_up(target, "GRANT TEMPORARY ON DATABASE postgres TO app").await;
    assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
    house.move_to(Side::Target).await;
    let error = client.query(&statement, &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "0A000");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_statements_cannot_be_compared_now_is_listed_and_served_on() {
    let house = house(14, 18).await;
    let mut raw = house.raw().await;
    for (name, sql) in [("one", "SELECT name FROM t"), ("two", "SELECT 2 FROM t")] {
        run(&mut raw, &extended(name, sql)).await;
    }
    let locker = house.source.client("postgres").await.unwrap();
    locker.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let report = house.relay.prepare_twins(PATIENCE).await;
    let reasons = report
        .unmovable
        .into_iter()
        .flat_map(|(_id, reasons)| reasons);
    let cancelled = Unmovable::Unreadable("57014".to_owned());
    assert_eq!(reasons.collect::<Vec<_>>(), [cancelled]);
    locker.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(tags(&run(&mut raw, &run_prepared("one")).await), "2TDCZ");
    assert_eq!(house.relay.prepare_twins(PATIENCE).await.ready, 1);
    house.move_to(Side::Target).await;
    assert_eq!(tags(&run(&mut raw, &run_prepared("two")).await), "2TDCZ");
}
