//! Row images: replica identities, key changes, TOAST, TRUNCATE, origins.

use super::fixture::Source;
use super::on_versions;

on_versions! {
    truncate_comes_with_all_its_tables_and_options,
    an_unchanged_toast_value_arrives_as_unchanged,
    each_replica_identity_brings_its_old_image,
    values_come_as_the_settings_of_our_sessions_write_them,
    a_transaction_of_another_origin_says_so,
}

async fn truncate_comes_with_all_its_tables_and_options(major: u32) {
    let tables = "CREATE TABLE a (id serial PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
                  CREATE TABLE child (id int PRIMARY KEY, a int REFERENCES a)";
    let (source, start) = Source::start(major, tables).await;
    source.run("INSERT INTO a DEFAULT VALUES").await;
    source.run("TRUNCATE a, b RESTART IDENTITY CASCADE").await;
    source.run("TRUNCATE b").await;
    source
        .run("BEGIN; INSERT INTO b VALUES (1); TRUNCATE b; INSERT INTO b VALUES (2); COMMIT")
        .await;
    let mut lines = source.open(start).await;
    assert_eq!(lines.transaction().await.lines, ["a +(1)"]);
    assert_eq!(
        lines.transaction().await.lines,
        ["truncate a,b,child cascade restart"]
    );
    assert_eq!(lines.transaction().await.lines, ["truncate b"]);
    assert_eq!(
        lines.transaction().await.lines,
        ["b +(1)", "truncate b", "b +(2)"]
    );
    lines.stream.close().await;
}

async fn an_unchanged_toast_value_arrives_as_unchanged(major: u32) {
    let tables = "CREATE TABLE t (id int PRIMARY KEY, n int, big text);
                  ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
                  CREATE TABLE f (LIKE t INCLUDING ALL); ALTER TABLE f REPLICA IDENTITY FULL;";
    let (source, start) = Source::start(major, tables).await;
    for table in ["t", "f"] {
        source
            .run(&format!(
                "INSERT INTO {table} VALUES (1, 1, repeat('x', 10000))"
            ))
            .await;
        source.run(&format!("UPDATE {table} SET n = 2")).await;
        source.run(&format!("UPDATE {table} SET id = 2")).await;
        source
            .run(&format!("UPDATE {table} SET big = repeat('y', 9000)"))
            .await;
    }
    let mut lines = source.open(start).await;
    let mut all = Vec::new();
    for _ in 0..8 {
        all.extend(lines.transaction().await.lines);
    }
    let expected = [
        "t +(1,1,10000 bytes)",
        "t =(1,2,unchanged)",
        "t key(1,null,null)=(2,2,unchanged)",
        "t =(2,2,9000 bytes)",
        "f +(1,1,10000 bytes)",
        "f full(1,1,10000 bytes)=(1,2,unchanged)",
        "f full(1,2,10000 bytes)=(2,2,unchanged)",
        "f full(2,2,10000 bytes)=(2,2,9000 bytes)",
    ];
    assert_eq!(all, expected);
    lines.stream.close().await;
}

async fn each_replica_identity_brings_its_old_image(major: u32) {
    let tables = "CREATE TABLE d (id int PRIMARY KEY, k int NOT NULL UNIQUE, v text);
                  CREATE TABLE f (LIKE d); ALTER TABLE f REPLICA IDENTITY FULL;
                  CREATE TABLE i (LIKE d INCLUDING ALL);
                  ALTER TABLE i REPLICA IDENTITY USING INDEX i_k_key";
    let (source, start) = Source::start(major, tables).await;
    for table in ["d", "f", "i"] {
        source
            .run(&format!(
                "BEGIN; INSERT INTO {table} VALUES (1, 10, 'a'), (2, 20, NULL); \
                 UPDATE {table} SET v = 'b' WHERE id = 1; UPDATE {table} SET id = 3 WHERE id = 2; \
                 UPDATE {table} SET k = 30 WHERE id = 3; DELETE FROM {table} WHERE id = 1; COMMIT"
            ))
            .await;
    }
    let mut lines = source.open(start).await;
    let both = |t: &str| [format!("{t} +(1,10,a)"), format!("{t} +(2,20,null)")];
    let expected = |table: &str, changes: [&str; 4]| {
        let changes = changes.map(|change| format!("{table} {change}"));
        both(table).into_iter().chain(changes).collect::<Vec<_>>()
    };
    let default = [
        "=(1,10,b)",
        "key(2,null,null)=(3,20,null)",
        "=(3,30,null)",
        "-key(1,null,null)",
    ];
    assert_eq!(lines.transaction().await.lines, expected("d", default));
    let full = [
        "full(1,10,a)=(1,10,b)",
        "full(2,20,null)=(3,20,null)",
        "full(3,20,null)=(3,30,null)",
        "-full(1,10,b)",
    ];
    assert_eq!(lines.transaction().await.lines, expected("f", full));
    let index = [
        "=(1,10,b)",
        "=(3,20,null)",
        "key(null,20,null)=(3,30,null)",
        "-key(null,10,null)",
    ];
    assert_eq!(lines.transaction().await.lines, expected("i", index));
    lines.stream.close().await;
}

/// The walsender's session must write what our SQL sessions read, whatever the server's settings.
async fn values_come_as_the_settings_of_our_sessions_write_them(major: u32) {
    let tables =
        "CREATE TABLE t (d date, i interval, f float8, b bytea, z timestamptz, c regclass)";
    let (source, start) = Source::start(major, tables).await;
    source
        .run(
            "ALTER DATABASE postgres SET DateStyle = 'German'; \
             ALTER DATABASE postgres SET IntervalStyle = 'sql_standard'; \
             ALTER DATABASE postgres SET extra_float_digits = -5; \
             ALTER DATABASE postgres SET bytea_output = 'escape'; \
             ALTER DATABASE postgres SET TimeZone = 'Asia/Tokyo'",
        )
        .await;
    let insert = "INSERT INTO t VALUES ('2026-11-22', '1 day 2 hours', 0.1::float8 + 0.2::float8, \
                  '\\x00ff', '2026-11-22 00:00:00+00', 't')";
    source.run(insert).await;
    let mut lines = source.open(start).await;
    let expected = "t +(2026-11-22,1 day 02:00:00,0.30000000000000004,\\x00ff,\
                    2026-11-22 00:00:00+00,public.t)";
    assert_eq!(lines.transaction().await.lines, [expected]);
    lines.stream.close().await;
}

async fn a_transaction_of_another_origin_says_so(major: u32) {
    let (source, start) = Source::start(major, "CREATE TABLE t (id int PRIMARY KEY)").await;
    source
        .run("SELECT pg_replication_origin_create('elsewhere')")
        .await;
    source
        .run("SELECT pg_replication_origin_session_setup('elsewhere'); INSERT INTO t VALUES (1)")
        .await;
    source
        .run("SELECT pg_replication_origin_session_reset()")
        .await;
    source.run("INSERT INTO t VALUES (2)").await;
    let mut lines = source.open(start).await;
    assert_eq!(
        lines.transaction().await.lines,
        ["origin elsewhere", "t +(1)"]
    );
    assert_eq!(lines.transaction().await.lines, ["t +(2)"]);
    lines.stream.close().await;
}
