//! Documents of which only the changed parts are logged (`binlog_row_value_options=PARTIAL_JSON`).

use std::fmt::Write as _;

use integration::mysql::Version;

use super::pair::Pair;

/// What every session begins with that logs parts.
const PARTIAL: &str = "SET SESSION binlog_row_value_options = PARTIAL_JSON;";

const TABLE: &str = "CREATE TABLE j (id INT PRIMARY KEY, a JSON, n INT, b JSON NOT NULL, c JSON)
    ENGINE=InnoDB";

/// Small, deep, wide and large documents, with values that only SQL makes; NULL.
const ROWS: &str = r#"INSERT INTO j VALUES
    (1, '{"a": [1, 2, {"b": [10, {"c": [true, null, "x"]}, 30]}], "name": "long enough to be worth leaving out", "é \\"q\\" . [": 5}',
        1, '[1, 2, 3, "long enough to be worth leaving out"]', NULL),
    (2, JSON_OBJECT('d', CAST(1.50 AS DECIMAL(5,2)), 't', CAST('2024-02-29 01:02:03.5' AS DATETIME(6)), 's', REPEAT('long ', 100),
        'y', CAST('2024-02-29' AS DATE), 'z', CAST('-10:11:12' AS TIME), 'raw', CAST(x'00FF' AS BINARY)), 2, '{}', '"text"'),
    (3, NULL, 3, JSON_ARRAY(REPEAT('y', 100)), JSON_OBJECT('k', REPEAT('z', 300)));
    SET SESSION cte_max_recursion_depth = 10000;
    INSERT INTO j SELECT 4, (WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 2000)
        SELECT JSON_ARRAYAGG(JSON_OBJECT('n', n, 'text', REPEAT('w', 40), 'list', JSON_ARRAY(n, n * 70000, CONCAT('c', n)))) FROM r),
        4, JSON_OBJECT('big', REPEAT('v', 70000), 'after', 1), NULL"#;

const CHANGES: &str = r#"
    UPDATE j SET a = JSON_SET(a, '$.a[2].b[1].c[0]', false, '$.new', 'x'), b = JSON_REMOVE(b, '$[0]') WHERE id = 1;
    UPDATE j SET a = JSON_REPLACE(a, '$."é \\"q\\" . ["', 6, '$.a[last].b[last]', -70000), b = JSON_SET(b, '$[99]', CAST('2020-01-01' AS DATE)), n = n + 1 WHERE id = 1;
    UPDATE j SET a = JSON_SET(a, '$.d', CAST('-12.345' AS DECIMAL(10,5)), '$.t', CAST('10:11:12.5' AS TIME(6)), '$.y', NULL), b = JSON_SET(b, '$.k', 1), c = JSON_REPLACE(c, '$', 'other') WHERE id = 2;
    UPDATE j SET a = JSON_SET(a, '$.x', 1), c = JSON_SET(c, '$.k2', JSON_ARRAY(1.5, 2e0, CAST('2021-01-01 00:00:00' AS DATETIME))), n = 30 WHERE id = 3;
    UPDATE j SET a = JSON_SET(a, '$[1000].text', REPEAT('q', 50000), '$[0].list[1]', 'word', '$[1999].n', 5000000000, '$[1500]', JSON_OBJECT('k', NULL)) WHERE id = 4;
    UPDATE j SET a = JSON_REMOVE(a, '$[1]', '$[1000].text', '$[last]'), b = JSON_REMOVE(b, '$.big'), n = 40 WHERE id = 4;
    UPDATE j SET b = JSON_SET(b, '$.big2', REPEAT('u', 66000), '$.after', -5) WHERE id = 4;
    UPDATE j SET n = n + 1;
    UPDATE j SET a = JSON_REMOVE(a, '$.a[2].b[1].c', '$.new'), c = '{}' WHERE id = 1;
    UPDATE j SET c = JSON_SET(c, '$.a', JSON_OBJECT('deep', JSON_ARRAY(JSON_ARRAY(1)))), id = 11 WHERE id = 1;
    UPDATE j SET c = JSON_SET(c, '$.a.deep[0][1]', 2, '$.a.deep[0][0]', 'first') WHERE id = 11;
    UPDATE j SET a = NULL WHERE id = 2; UPDATE j SET a = JSON_ARRAY(1) WHERE id = 2;
    UPDATE j SET a = JSON_SET(a, '$[0]', 'very, very long text to make it worth it', '$[5]', 2) WHERE id = 2"#;

/// Everything of `j`, its values' types too where both sides have them.
fn same_documents(pair: &Pair) {
    pair.same("SELECT id, n, LENGTH(a), LENGTH(b), LENGTH(c) FROM j ORDER BY id");
    pair.same("SELECT id, SHA2(CAST(a AS CHAR), 256), SHA2(CAST(b AS CHAR), 256), SHA2(CAST(c AS CHAR), 256) FROM j ORDER BY id");
    pair.same("SELECT id, a, b, c FROM j WHERE id <> 4 ORDER BY id");
    if !pair.target.version().is_mariadb() {
        for path in [
            "$.d",
            "$.t",
            "$.y",
            "$.z",
            "$.raw",
            "$[0].n",
            "$[1998].list[2]",
            "$[0]",
        ] {
            pair.same(&format!(
                "SELECT id, JSON_TYPE(a -> '{path}') FROM j ORDER BY id"
            ));
        }
        for path in ["$[3]", "$.after", "$.k"] {
            pair.same(&format!(
                "SELECT id, JSON_TYPE(b -> '{path}') FROM j ORDER BY id"
            ));
        }
        pair.same(
            "SELECT id, JSON_TYPE(c -> '$.k2[0]'), JSON_TYPE(c -> '$.k2[2]') FROM j ORDER BY id",
        );
    }
}

fn has_parts(pair: &Pair) {
    let events = pair.source.sql("SHOW BINLOG EVENTS LIMIT 5000").unwrap();
    assert!(events.contains("Update_rows_partial"), "{events}");
}

async fn parts_arrive(target: Version) {
    let mut pair = Pair::start(Version::MySql97, target).await;
    pair.both(TABLE).await;
    pair.change(ROWS);
    Box::pin(pair.apply()).await.unwrap();
    same_documents(&pair);
    // Rows that the target has.
    pair.change(&format!("{PARTIAL}{CHANGES}"));
    has_parts(&pair);
    Box::pin(pair.apply()).await.unwrap();
    same_documents(&pair);
    // Rows that come, change and go in one window, compressed as well.
    pair.change(&format!("{PARTIAL} SET SESSION binlog_transaction_compression = ON; DELETE FROM j; {ROWS}; {CHANGES}"));
    Box::pin(pair.apply()).await.unwrap();
    same_documents(&pair);
    pair.change("DELETE FROM j");
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same("SELECT COUNT(*) FROM j"), "0");
}

#[tokio::test]
async fn parts_of_documents_arrive_on_mysql_97() {
    parts_arrive(Version::MySql97).await;
}

#[tokio::test]
async fn parts_of_documents_arrive_on_mariadb_118() {
    parts_arrive(Version::MariaDb118).await;
}

/// Rows of a table without a key are found by all their values, whatever form those have.
async fn without_a_key(target: Version) {
    let mut pair = Pair::start(Version::MySql97, target).await;
    pair.both("CREATE TABLE k (a JSON, n INT) ENGINE=InnoDB")
        .await;
    pair.change(
        r#"INSERT INTO k VALUES ('{"a": "a long text, a long text", "b": [1, 2, "three and more"]}', 1),
           ('{"a": "a long text, a long text", "b": [1, 2, "three and more"]}', 1), ('[1]', 2), (NULL, 3)"#,
    );
    Box::pin(pair.apply()).await.unwrap();
    let changes = r#"UPDATE k SET a = JSON_SET(a, '$.a', 'short') WHERE n = 1 LIMIT 1;
           UPDATE k SET a = JSON_REMOVE(a, '$.b[2]'), n = n + 10 WHERE n = 1;
           UPDATE k SET a = JSON_SET(a, '$.a', 'short again') WHERE n = 11 LIMIT 1;
           INSERT INTO k VALUES ('{"k": "another text of some length", "l": "another"}', 5);
           UPDATE k SET a = JSON_SET(a, '$.l', 'x') WHERE n = 5;
           UPDATE k SET a = JSON_SET(a, '$.k', 'y') WHERE n = 5;"#;
    let shown = "SELECT a, n FROM k ORDER BY n, CAST(a AS CHAR)";
    // What the source changes in place it logs so in later images, with parts or without.
    for options in ["PARTIAL_JSON", ""] {
        pair.change(&format!(
            "SET SESSION binlog_row_value_options = '{options}'; {changes}"
        ));
        Box::pin(pair.apply()).await.unwrap();
        pair.same(shown);
        pair.change("UPDATE k SET n = 1 WHERE n = 11; DELETE FROM k WHERE n = 5");
        Box::pin(pair.apply()).await.unwrap();
        pair.same(shown);
    }
}

#[tokio::test]
async fn documents_of_rows_without_a_key_arrive_on_mysql_97() {
    without_a_key(Version::MySql97).await;
}

#[tokio::test]
async fn documents_of_rows_without_a_key_arrive_on_mariadb_118() {
    without_a_key(Version::MariaDb118).await;
}

/// Random statements over a few documents, always the same ones.
fn random_changes(count: u32) -> String {
    let mut state = 0x2545_f491_u32;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        usize::try_from(state).unwrap() % below
    };
    let mut sql = PARTIAL.to_owned();
    for _ in 0..count {
        let mut path = |legs: u32| {
            let mut path = "$".to_owned();
            for _ in 0..legs {
                let leg = ["a", "b", "\"c d\"", "[0]", "[1]", "[last]", "[7]"][random(7)];
                let dot = if leg.starts_with('[') { "" } else { "." };
                write!(path, "{dot}{leg}").unwrap();
            }
            path
        };
        let (one, two) = (path(1), path(2));
        let three = path(3);
        let values = [
            "1",
            "-70000",
            "5000000000",
            "NULL",
            "true",
            "'short'",
            "REPEAT('long', 60)",
            "1.25",
            "JSON_ARRAY(1, 'two', JSON_OBJECT('a', 3))",
            "JSON_OBJECT('a', JSON_ARRAY(), 'b', 'x')",
            "CAST('2024-02-29' AS DATE)",
            "CAST('01:02:03.4' AS TIME(6))",
            "JSON_ARRAY()",
        ];
        let mut value = || values[random(13)];
        let (first, second) = (value(), value());
        let function = match random(4) {
            0 => format!("JSON_SET(v, '{one}', {first}, '{three}', {second})"),
            1 => format!("JSON_REPLACE(v, '{two}', {first}, '{one}', {second})"),
            2 => format!("JSON_REMOVE(v, '{two}')"),
            _three => format!("JSON_REMOVE(JSON_SET(v, '{three}', {first}), '{one}')"),
        };
        let id = random(6);
        write!(sql, "UPDATE r SET v = {function} WHERE id = {id};").unwrap();
    }
    sql
}

#[tokio::test]
async fn random_changes_of_documents_arrive_on_mysql_97_and_mariadb_118() {
    for target in [Version::MySql97, Version::MariaDb118] {
        let mut pair = Pair::start(Version::MySql97, target).await;
        pair.both("CREATE TABLE r (id INT PRIMARY KEY, v JSON) ENGINE=InnoDB")
            .await;
        pair.change(
            r#"INSERT INTO r VALUES (0, '{}'), (1, '[]'), (2, '{"a": {"a": [1, 2, 3], "b": 1}, "b": [[1], [2]], "c d": "x"}'),
               (3, '[1, [2, [3, [4]]], {"a": {"b": {"c d": 5}}}]'), (4, JSON_OBJECT('a', REPEAT('x', 66000), 'b', '[]')), (5, NULL)"#,
        );
        pair.change(&random_changes(400));
        has_parts(&pair);
        Box::pin(pair.apply()).await.unwrap();
        pair.same("SELECT id, SHA2(CAST(v AS CHAR), 256) FROM r ORDER BY id");
        pair.same("SELECT id, v FROM r WHERE LENGTH(v) < 10000 ORDER BY id");
    }
}

#[tokio::test]
async fn documents_under_a_multi_valued_index_arrive_on_mysql_97() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    pair.both(
        "CREATE TABLE m (id INT PRIMARY KEY, v JSON, g INT AS (v ->> '$.n') VIRTUAL UNIQUE,
            INDEX tags ((CAST(v -> '$.tags' AS UNSIGNED ARRAY)))) ENGINE=InnoDB",
    )
    .await;
    pair.change(&format!(
        r#"{PARTIAL} INSERT INTO m (id, v) VALUES (1, '{{"n": 1, "tags": [1, 2], "text": "long enough to be worth leaving out"}}'),
            (2, '{{"n": 2, "tags": [2, 3], "text": "long enough to be worth leaving out"}}');
        UPDATE m SET v = JSON_SET(v, '$.n', 9, '$.tags[2]', 7) WHERE id = 1;
        UPDATE m SET v = JSON_SET(v, '$.n', 1, '$.tags[0]', 7) WHERE id = 2;
        UPDATE m SET v = JSON_SET(v, '$.n', 2) WHERE id = 1"#
    ));
    Box::pin(pair.apply()).await.unwrap();
    pair.same("SELECT id, v, g FROM m ORDER BY id");
    let found = pair.same("SELECT id FROM m WHERE 7 MEMBER OF (v -> '$.tags') ORDER BY id");
    assert_eq!(found, "1\n2");
}

#[tokio::test]
async fn parts_of_a_document_that_is_not_logged_stop_with_the_table_and_the_setting() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    pair.both(TABLE).await;
    pair.change(ROWS);
    Box::pin(pair.apply()).await.unwrap();
    pair.change(&format!(
        "{PARTIAL} SET SESSION binlog_row_image = MINIMAL; UPDATE j SET a = JSON_SET(a, '$.name', 'x') WHERE id = 1"
    ));
    let error = Box::pin(pair.apply()).await.unwrap_err();
    let said = format!("{:#}", anyhow::Error::from(error));
    assert!(
        said.contains("d.j") && said.contains("binlog_row_image"),
        "{said}"
    );
}
