//! The comparison of both sides: equal under load, and every damage is found.

use std::time::Duration;

use integration::proxy::Said;
use serde_json::Value;

use super::stage::{DATABASE, PATIENCE, Stage};

/// More tables and kinds of values than the stage has: what might have another text on another server.
const VALUES: &str = "
CREATE TABLE kinds (
    id bigint PRIMARY KEY, small smallint, f4 real, f8 double precision, n numeric, m money, b bytea,
    t text, v varchar(20), c char(10), q \"char\", bits varbit, ok boolean, d date, at time, atz timetz,
    ts timestamp, tz timestamptz, span interval, u uuid, j json, jb jsonb, x xml, a integer[],
    aa text[][], ip inet, mac macaddr, p point, r int4range, ts_v tsvector, nm name, o oid, s state,
    net cents, home place
);
INSERT INTO kinds (id) VALUES (0), (-9223372036854775808), (9223372036854775807), (4294967296);
INSERT INTO kinds SELECT n, n, n / 3.0, 1 / 3.0, n / 7.0, n, decode(md5(n::text), 'hex'),
    'ein Zweizeiler' || chr(10) || 'mit Umläuten 🚂', 'v' || n, 'c' || n, 'x', B'1011', n % 2 = 0,
    date '2000-01-01' + n, '12:34:56.789', '12:34:56+02', timestamp '1999-12-31 23:59:59.999999',
    timestamptz '2024-03-31 01:59:59+01', interval '1 year 2 mons -3 days 04:05:06.7', md5(n::text)::uuid,
    '{\"b\": 1,  \"a\":2}', '{\"b\": 1,  \"a\":2}', '<a>b</a>', ARRAY[n, NULL], '{{a,\"b c\"},{NULL,\"\"}}',
    '10.0.0.1/8', '08:00:2b:01:02:03', '(1.5,-0)', '[1,5)', 'fat cat', 'a name', n, 'paid', n,
    ROW('street', n)::place FROM generate_series(1, 300) AS n;
UPDATE kinds SET f4 = 'NaN', f8 = '-Infinity', n = 'NaN', d = 'infinity', ts = '-infinity' WHERE id = 5;
UPDATE kinds SET f8 = '-0', t = '', a = '{}', n = 1.10 WHERE id = 6;
CREATE TABLE empty_one (id integer PRIMARY KEY, t text);
CREATE TABLE twins (a integer, b text);
INSERT INTO twins SELECT n % 10, 'the same' FROM generate_series(1, 100) AS n;
CREATE TABLE no_columns ();
INSERT INTO no_columns SELECT FROM generate_series(1, 3);
CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE folded_keys (k text COLLATE folded PRIMARY KEY, v integer);
INSERT INTO folded_keys VALUES ('Straße', 1), ('ÉCLAIR', 2), ('b', 3), (' b', 4);
CREATE TABLE wide_key (a text, b date, c integer, PRIMARY KEY (b, a, c));
INSERT INTO wide_key SELECT 'a, b=' || n % 3, date '2024-01-01' + n, n FROM generate_series(1, 50) AS n;
CREATE TABLE child (id integer PRIMARY KEY, parent integer CONSTRAINT child_of REFERENCES empty_one);
CREATE TABLE parent2 (id integer PRIMARY KEY);
INSERT INTO parent2 SELECT generate_series(1, 10);
CREATE TABLE child2 (id integer PRIMARY KEY, parent integer CONSTRAINT child2_of REFERENCES parent2);
INSERT INTO child2 SELECT n, n FROM generate_series(1, 10) AS n;
";

async fn verify(stage: &Stage) -> (Said, Value) {
    let said = stage.proxy.cli(&["verify", "--json"]).await.unwrap();
    let report = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("{error}: {said}\n{}", stage.proxy.log()));
    (said, report)
}

/// Everything is equal; gives the report.
async fn assert_equal(stage: &Stage) -> Value {
    let (said, report) = verify(stage).await;
    assert_eq!(said.code, 0, "{report:#}");
    assert_eq!(report["outcome"], "equal", "{report:#}");
    report
}

fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array();
    let tables = tables.unwrap_or_else(|| panic!("no tables in {report:#}"));
    let found = tables.iter().find(|table| table["name"] == name);
    found.unwrap_or_else(|| panic!("no table {name} in {report:#}"))
}

async fn filled(from: u32, to: u32) -> Stage {
    let stage = Stage::new(from, to).await;
    let client = stage.source.client(DATABASE).await.unwrap();
    client.batch_execute("SET ROLE app").await.unwrap();
    client.batch_execute(VALUES).await.unwrap();
    drop(client);
    stage.stream().await;
    stage
}

async fn equal_under_load(from: u32, to: u32) {
    let stage = filled(from, to).await;
    let load = stage.load(4).await;
    for _ in 0..4 {
        let before = load.commits();
        let report = assert_equal(&stage).await;
        let kinds = table(&report, "public.kinds");
        assert_eq!(kinds["rows"], 304, "{kinds}");
        assert_eq!(table(&report, "public.empty_one")["rows"], 0);
        assert_eq!(table(&report, "public.twins")["rows"], 100);
        let held = report["held_ms"].as_f64().unwrap();
        assert!(held < 20_000.0, "{held}");
        load.more_commits(load.commits() - before + 20, PATIENCE)
            .await
            .unwrap();
    }
    let status = stage.proxy.status().await.unwrap();
    assert_eq!(status["last_verify"]["outcome"], "equal", "{status:#}");
    assert_eq!(status["last_verify"]["tables"], serde_json::json!([]));
    drop(load);
    for server in [&stage.source, &stage.target] {
        let client = server.client(DATABASE).await.unwrap();
        let left = "SELECT count(*)::text FROM pg_stat_activity \
                    WHERE application_name LIKE 'pointsman verify%'";
        assert_eq!(client.value(left).await.unwrap(), "0");
        let slots = "SELECT count(*)::text FROM pg_replication_slots WHERE temporary";
        assert_eq!(client.value(slots).await.unwrap(), "0");
    }
    stage.cutover().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_equal_under_load_from_the_oldest_to_the_newest() {
    equal_under_load(12, 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_equal_under_load_between_equal_versions() {
    equal_under_load(17, 17).await;
}

/// Each damage that is done to the target alone is found by its row.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_found_by_its_key_whatever_its_column() {
    let stage = filled(14, 18).await;
    assert_equal(&stage).await;
    let target = stage.target.client(DATABASE).await.unwrap();
    let damages = [
        "small = small + 1",
        "f4 = f4 + 0.001",
        "f8 = '-0'",
        "n = 1.10",
        "b = b || '\\x00'",
        "t = t || ' '",
        "t = ''",
        "t = NULL",
        "c = 'C7'",
        "q = 'a'",
        "ok = NOT ok",
        "tz = tz + '1 microsecond'",
        "j = '{\"b\": 1, \"a\":2}'",
        "jb = jb || '{\"c\": null}'",
        "a = ARRAY[7, 0]",
        "aa = '{{a,\"b c\"},{\"NULL\",\"\"}}'",
        "home.number = NULL",
        "s = 'open'",
        // The lower half takes what the upper one gives.
        "net = 4294967296",
    ];
    // In a schema that is not compared: a new table elsewhere would stop the migration.
    let before = "CREATE TABLE pointsman.kept AS SELECT * FROM kinds WHERE id = 7";
    target.batch_execute(before).await.unwrap();
    for damage in damages {
        let sql = format!("UPDATE kinds SET {damage} WHERE id = 7");
        let sql = format!("SET session_replication_role = replica; {sql}");
        if damage == "n = 1.10" {
            // What equality does not show is a difference all the same.
            target
                .batch_execute("UPDATE kinds SET n = 1.1 WHERE id = 6")
                .await
                .unwrap();
        } else {
            target.batch_execute(&sql).await.unwrap();
        }
        let (said, report) = verify(&stage).await;
        assert_eq!(said.code, 1, "{damage}: {report:#}");
        let kinds = table(&report, "public.kinds");
        assert_eq!(kinds["verdict"], "differs", "{damage}: {kinds:#}");
        assert_eq!(kinds["differing_rows"], 1, "{damage}: {kinds:#}");
        assert_eq!(kinds["first"][0]["difference"], "changed", "{damage}");
        let key = if damage == "n = 1.10" { "id=6" } else { "id=7" };
        assert_eq!(kinds["first"][0]["row"], key, "{damage}");
        let back = "UPDATE kinds SET n = 1.10 WHERE id = 6; DELETE FROM kinds WHERE id = 7; \
                    INSERT INTO kinds SELECT * FROM pointsman.kept";
        target.batch_execute(back).await.unwrap();
    }
    target
        .batch_execute("DROP TABLE pointsman.kept")
        .await
        .unwrap();
    assert_equal(&stage).await;
}

/// What is done to the target, what the report must say of it, and the table.
const DAMAGED_ROWS: &[(&str, &str, &str)] = &[
    (
        "DELETE FROM kinds WHERE id = 9",
        "missing: id=9",
        "public.kinds",
    ),
    (
        "INSERT INTO kinds (id) VALUES (-9)",
        "extra: id=-9",
        "public.kinds",
    ),
    (
        "UPDATE kinds SET id = 4294967297 WHERE id = 4294967296",
        "extra: id=4294967297",
        "public.kinds",
    ),
    (
        "INSERT INTO twins VALUES (1, 'the same')",
        "extra: (",
        "public.twins",
    ),
    (
        "DELETE FROM twins WHERE ctid = (SELECT min(ctid) FROM twins)",
        "missing: (",
        "public.twins",
    ),
    (
        "INSERT INTO no_columns DEFAULT VALUES",
        "extra: (",
        "public.no_columns",
    ),
    (
        "UPDATE folded_keys SET k = 'STRASSE' WHERE v = 1",
        "missing: k=Straße",
        "public.folded_keys",
    ),
    (
        "UPDATE wide_key SET c = 0 WHERE c = 5",
        "extra: b=2024-01-06, a=a, b=2, c=0",
        "public.wide_key",
    ),
    (
        "INSERT INTO child VALUES (1, 77)",
        "foreign key child_of of public.child: 1 row on the target without it",
        "public.child",
    ),
    (
        "DELETE FROM parent2 WHERE id = 4",
        "foreign key child2_of of public.child2: 1 row on the target without it",
        "public.parent2",
    ),
];

/// Rows, tables and definitions that somebody damaged, each found and named; all is equal again when
/// it is undone.
#[tokio::test(flavor = "multi_thread")]
async fn every_damage_to_rows_and_definitions_is_found_and_named() {
    let stage = filled(17, 17).await;
    let target = stage.target.client(DATABASE).await.unwrap();
    target
        .batch_execute("SET session_replication_role = replica")
        .await
        .unwrap();
    assert_equal(&stage).await;
    for &(damage, words, name) in DAMAGED_ROWS {
        keep(&stage, name).await;
        target.batch_execute(damage).await.unwrap();
        let said = stage.proxy.cli(&["verify"]).await.unwrap();
        assert_eq!(said.code, 1, "{damage}: {said}");
        assert!(said.stderr.contains(words), "{damage}: {said}");
        assert!(said.stderr.contains(name), "{damage}: {said}");
        give_back(&stage, name).await;
    }
    assert_equal(&stage).await;
    definitions(&stage).await;
    assert_equal(&stage).await;
}

/// Keeps a table's rows beside the database, to give them back.
async fn keep(stage: &Stage, name: &str) {
    let sql = format!(
        "DROP TABLE IF EXISTS pointsman.rows; CREATE TABLE pointsman.rows AS SELECT * FROM {name}"
    );
    let target = stage.target.client(DATABASE).await.unwrap();
    target.batch_execute(&sql).await.unwrap();
}

async fn give_back(stage: &Stage, name: &str) {
    let sql = format!(
        "SET session_replication_role = replica; DELETE FROM {name}; INSERT INTO {name} SELECT * \
         FROM pointsman.rows; DROP TABLE pointsman.rows"
    );
    let target = stage.target.client(DATABASE).await.unwrap();
    target.batch_execute(&sql).await.unwrap();
}

/// What is done to the target, the kind and the name of what differs then, and how it is undone.
const DAMAGED_DEFINITIONS: &[(&str, &str, &str, &str)] = &[
    (
        "DROP INDEX customer_email",
        "index",
        "public.customer_email",
        "CREATE UNIQUE INDEX customer_email ON customer (lower(email))",
    ),
    (
        "ALTER TABLE customer DISABLE TRIGGER touched",
        "trigger",
        "public.customer.touched",
        "ALTER TABLE customer ENABLE TRIGGER touched",
    ),
    (
        "ALTER TABLE child DISABLE TRIGGER ALL",
        "foreign key's check",
        "public.child.child_of",
        "ALTER TABLE child ENABLE TRIGGER ALL",
    ),
    (
        "ALTER TABLE child DROP CONSTRAINT child_of",
        "constraint",
        "public.child.child_of",
        "ALTER TABLE child ADD CONSTRAINT child_of FOREIGN KEY (parent) REFERENCES empty_one",
    ),
    (
        "ALTER TABLE kinds ALTER small SET DEFAULT 3",
        "column",
        "public.kinds.small",
        "ALTER TABLE kinds ALTER small DROP DEFAULT",
    ),
    (
        "ALTER TABLE kinds ALTER small SET NOT NULL; ",
        "column",
        "public.kinds.small",
        "ALTER TABLE kinds ALTER small DROP NOT NULL",
    ),
    (
        "ALTER SEQUENCE ticket INCREMENT 8",
        "sequence",
        "public.ticket",
        "ALTER SEQUENCE ticket INCREMENT 7",
    ),
    (
        "DROP VIEW sales CASCADE",
        "relation",
        "public.sales",
        "CREATE VIEW sales AS SELECT day, sum(net) AS net FROM purchase GROUP BY day; \
             ALTER VIEW sales OWNER TO app; \
             CREATE MATERIALIZED VIEW sales_kept AS SELECT * FROM sales",
    ),
    (
        "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RETURN NEW; END'",
        "function",
        "public.touch()",
        "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.data = coalesce(NEW.data, ''{}'') || ''{\"touched\": true}''; RETURN NEW; END'",
    ),
];

async fn definitions(stage: &Stage) {
    let target = stage.target.client(DATABASE).await.unwrap();
    let fill = "UPDATE kinds SET small = 0 WHERE small IS NULL";
    for &(damage, kind, name, undo) in DAMAGED_DEFINITIONS {
        if damage.contains("SET NOT NULL") {
            let source = stage.source.client(DATABASE).await.unwrap();
            source.batch_execute(fill).await.unwrap();
            assert_equal(stage).await;
        }
        target.batch_execute(damage).await.unwrap();
        let (said, report) = verify(stage).await;
        assert_eq!(said.code, 1, "{damage}: {report:#}");
        let found = report["schema"].as_array().unwrap();
        let named = |object: &&Value| object["kind"] == kind && object["name"] == name;
        assert!(
            found.iter().any(|object| named(&object)),
            "{damage}: {report:#}"
        );
        target.batch_execute(undo).await.unwrap();
    }
}

/// The watch of the schema looks for the same, every five seconds, and may be there first: then the
/// migration stops with that. What must never be said is that both sides are equal.
#[tokio::test(flavor = "multi_thread")]
async fn another_type_or_table_on_the_target_is_never_called_equal() {
    let damages = [
        (
            "ALTER TABLE wide_key ALTER c TYPE bigint",
            "public.wide_key",
            "column c",
        ),
        (
            "DROP TABLE twins",
            "public.twins",
            "the target has no such table",
        ),
    ];
    for (damage, name, words) in damages {
        let stage = filled(17, 18).await;
        assert_equal(&stage).await;
        let target = stage.target.client(DATABASE).await.unwrap();
        target.batch_execute(damage).await.unwrap();
        let said = stage.proxy.cli(&["verify"]).await.unwrap();
        assert_eq!(said.code, 1, "{damage}: {said}");
        if said.stderr.contains("the migration has stopped") {
            let status = stage.proxy.status().await.unwrap();
            assert!(status["failure"].to_string().contains(name), "{status:#}");
        } else {
            let line = said.stderr.lines();
            let line = line.filter(|line| line.contains("cannot be compared"));
            let line = line.collect::<Vec<_>>().join("\n");
            assert!(line.contains(name) && line.contains(words), "{said}");
        }
    }
}

/// A sequence that is behind is told, and is none of the differences: the cutover sets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_that_is_behind_is_told_until_the_cutover_sets_it() {
    let stage = filled(17, 18).await;
    let source = stage.source.client(DATABASE).await.unwrap();
    source
        .batch_execute("SELECT nextval('ticket')")
        .await
        .unwrap();
    let report = assert_equal(&stage).await;
    let behind = report["sequences_behind"].as_array().unwrap();
    let ticket = |line: &&Value| {
        let text = line.as_str().unwrap();
        text.starts_with("public.ticket (114 on the source, 107 on the target")
    };
    assert!(behind.iter().any(|line| ticket(&line)), "{report:#}");
}

/// Nothing is compared where there is nothing to compare, and it says so.
#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_to_compare_before_the_stream_and_after_the_switch() {
    let stage = Stage::new(17, 18).await;
    let said = stage.proxy.cli(&["verify"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.stderr.contains("there is no migration"), "{said}");
    stage.stream().await;
    stage.cutover().await;
    let said = stage.proxy.cli(&["verify"]).await.unwrap();
    assert_eq!(said.code, 1, "{said}");
    assert!(said.stderr.contains("the target serves"), "{said}");
}

/// A writing transaction that does not end is named, and the applier is not held for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_writing_transaction_is_waited_for_with_the_applier_at_work() {
    let stage = filled(17, 18).await;
    let mut writer = stage.source.client(DATABASE).await.unwrap();
    let open = writer.transaction().await.unwrap();
    open.batch_execute("INSERT INTO empty_one VALUES (1, 'open')")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let comparing = stage.proxy.cli(&["verify", "--json"]);
    let step = |status: &Value| status["step"].to_string().contains("writing transactions");
    let other = async {
        stage
            .proxy
            .wait_for("waiting for the writer", PATIENCE, step)
            .await
            .unwrap();
        // What others write arrives meanwhile.
        let client = stage.source.client(DATABASE).await.unwrap();
        let sql = "INSERT INTO twins VALUES (55, 'arrives')";
        client.batch_execute(sql).await.unwrap();
        let target = stage.target.client(DATABASE).await.unwrap();
        let there = "SELECT count(*)::text FROM twins WHERE a = 55";
        while target.value(there).await.unwrap() != "1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let again = stage.proxy.cli(&["verify"]).await.unwrap();
        assert!(again.stderr.contains("under way already"), "{again}");
        open.commit().await.unwrap();
    };
    let (said, ()) = tokio::join!(comparing, other);
    let said = said.unwrap();
    assert_eq!(said.code, 0, "{said}");
}

/// The operator's interrupt and a cutover both end it, and nothing of it stays on the servers.
#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_that_is_given_up_leaves_nothing_on_the_servers() {
    let stage = filled(17, 18).await;
    // A lock that a reader waits for keeps the comparison at work.
    let locked = stage.target.client(DATABASE).await.unwrap();
    let lock = "BEGIN; LOCK TABLE twins IN ACCESS EXCLUSIVE MODE";
    for by_cutover in [false, true] {
        locked.batch_execute(lock).await.unwrap();
        let mut child = super::commands::command(&stage.proxy, &["verify", "--json"]);
        let reading = |status: &Value| status["step"].to_string().contains("comparing");
        stage
            .proxy
            .wait_for("it reads", PATIENCE, reading)
            .await
            .unwrap();
        if by_cutover {
            let ended = async {
                let ended = child.wait().await.unwrap();
                // The abort itself waits for the lock.
                locked.batch_execute("ROLLBACK").await.unwrap();
                ended
            };
            let (aborted, ended) = tokio::join!(stage.proxy.cli(&["abort"]), ended);
            assert_eq!(ended.code(), Some(1));
            assert_eq!(aborted.unwrap().code, 0);
        } else {
            child.start_kill().unwrap();
            child.wait().await.unwrap();
        }
        let idle = |status: &Value| !status["step"].to_string().contains("verify");
        stage
            .proxy
            .wait_for("it is given up", PATIENCE, idle)
            .await
            .unwrap();
        for server in [&stage.source, &stage.target] {
            let client = server.client(DATABASE).await.unwrap();
            let left = "SELECT count(*)::text FROM pg_stat_activity \
                        WHERE application_name LIKE 'pointsman verify%'";
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while client.value(left).await.unwrap() != "0" {
                assert!(tokio::time::Instant::now() < deadline, "sessions are left");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        locked.batch_execute("ROLLBACK").await.unwrap();
        if !by_cutover {
            assert_equal(&stage).await;
        }
    }
}
