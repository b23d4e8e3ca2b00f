//! Values of every type arrive exactly.

use integration::mysql::Version;

use super::pair::Pair;

/// Columns that every server has, with rows of their extremes.
const TABLE: &str = "CREATE TABLE t (
    id INT NOT NULL PRIMARY KEY, a TINYINT, b TINYINT UNSIGNED, c SMALLINT, d2 MEDIUMINT,
    e BIGINT UNSIGNED, f FLOAT, g DOUBLE, h DECIMAL(65,30), i DECIMAL(9,9), j BIT(1), k BIT(64),
    l DATE, m TIME, n TIME(6), o DATETIME, p DATETIME(3), q TIMESTAMP NULL, r TIMESTAMP(6) NULL,
    s YEAR, t CHAR(10), u CHAR(255) CHARACTER SET utf8, v VARCHAR(40), w VARCHAR(300),
    x BINARY(4), y VARBINARY(300), z TINYTEXT, aa TEXT CHARACTER SET latin1, ab MEDIUMTEXT,
    ac LONGBLOB, ad ENUM('a','b','it''s'), ae SET('x','y','z'), af POINT, ag VARCHAR(9) CHARACTER SET latin1
    ) ENGINE=InnoDB";

const ROWS: &str = "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO', time_zone = '+00:00'; INSERT INTO t VALUES
    (0, -128, 255, -32768, -8388608, 18446744073709551615, -1.5e-38, 1.7976931348623157e308,
     12345678901234567890123456789012345.012345678901234567890123456789, 0.000000001, b'1',
     0xFFFFFFFFFFFFFFFF, '9999-12-31', '-838:59:59', '-00:00:00.000001', '1000-01-01 00:00:00',
     '2024-02-29 23:59:59.999', '2038-01-19 03:14:07', '1970-01-01 00:00:01.000001', 2155,
     'trailing  ', 'ünïcödé', '🚂''\\\\\"', REPEAT('é', 300), 0x00FF, 0x00, '', 'é', REPEAT('x', 70000),
     REPEAT(0x00FF, 1000), 'it''s', 'x,z', ST_GeomFromText('POINT(1 -2.5)'), 'ÿ€'),
    (-1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
     NULL, NULL),
    (1, 0, 0, 1, 8388607, 0, 0.1, 0.1, -0.5, 0, b'0', 0, '0000-00-00', '838:59:59', '00:00:00.5',
     '0000-00-00 00:00:00', '2024-00-00 00:00:00', '0000-00-00 00:00:00', '2000-01-01', 0, '', '', '', '', '',
     '', '', '', '', '', '', '', NULL, '')";

async fn every_type_arrives(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both(TABLE).await;
    pair.change(ROWS);
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same_rows("t").lines().count(), 3);
    pair.change("SET sql_mode = ''; UPDATE t SET g = -3e-5, t = 'x', ae = 'y' WHERE id = 1; UPDATE t SET id = 7 WHERE id = 0; DELETE FROM t WHERE id = -1");
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same_rows("t").lines().count(), 2);
}

async fn every_type_arrives_by_sql(source: Version, target: Version) {
    let mut pair = Pair::start(source, target).await;
    pair.both(TABLE).await;
    pair.without_row_events().await;
    pair.change(ROWS);
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same_rows("t").lines().count(), 3);
    pair.change("DELETE FROM t WHERE id = 1");
    pair.change("SET sql_mode = ''; UPDATE t SET g = -3e-5, t = 'x', ae = 'y' WHERE id = 0; UPDATE t SET id = 7 WHERE id = -1");
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same_rows("t").lines().count(), 2);
}

macro_rules! directions {
    ($($name:ident, $by_sql:ident: $source:ident $target:ident;)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                every_type_arrives(Version::$source, Version::$target).await;
            }

            #[tokio::test]
            async fn $by_sql() {
                every_type_arrives_by_sql(Version::$source, Version::$target).await;
            }
        )*
    };
}

directions! {
    every_type_arrives_from_mysql_97_on_mysql_97, every_type_arrives_by_sql_from_mysql_97_on_mysql_97: MySql97 MySql97;
    every_type_arrives_from_mysql_56_on_mysql_97, every_type_arrives_by_sql_from_mysql_56_on_mysql_97: MySql56 MySql97;
    every_type_arrives_from_mysql_97_on_mysql_56, every_type_arrives_by_sql_from_mysql_97_on_mysql_56: MySql97 MySql56;
    every_type_arrives_from_mariadb_1011_on_mariadb_118, every_type_arrives_by_sql_from_mariadb_1011_on_mariadb_118: MariaDb1011 MariaDb118;
    every_type_arrives_from_mariadb_118_on_mysql_97, every_type_arrives_by_sql_from_mariadb_118_on_mysql_97: MariaDb118 MySql97;
    every_type_arrives_from_mysql_97_on_mariadb_118, every_type_arrives_by_sql_from_mysql_97_on_mariadb_118: MySql97 MariaDb118;
    every_type_arrives_from_mariadb_118_on_mariadb_1011, every_type_arrives_by_sql_from_mariadb_118_on_mariadb_1011: MariaDb118 MariaDb1011;
}

/// JSON with every kind of value, also those that only SQL makes.
const JSON: &str = r#"INSERT INTO j VALUES
    (1, '{"b": [1, -2, 70000, -5000000000, 18446744073709551615, true, null], "a": {"é": "x\\n\\"🚂", "": []}}'),
    (2, JSON_ARRAY(CAST('2024-02-29' AS DATE), CAST('-10:11:12.5' AS TIME(6)), CAST('2024-02-29 01:02:03' AS DATETIME),
        1.50, 0.1e0, 1e20, 1e0, 1.5e-7, 123456789012345e0, 1234567890123456e0, CAST('x' AS BINARY))),
    (3, NULL), (4, '"text"'), (5, CONCAT('["', REPEAT('long ', 20000), '", {"k": 1}]'))"#;

#[tokio::test]
async fn json_keeps_its_types_from_mysql_97_on_mysql_97() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    pair.both("CREATE TABLE j (id INT PRIMARY KEY, v JSON) ENGINE=InnoDB")
        .await;
    pair.change(JSON);
    Box::pin(pair.apply()).await.unwrap();
    pair.same("SELECT id, SHA2(v, 256), JSON_TYPE(JSON_EXTRACT(v, '$[0]')), JSON_TYPE(JSON_EXTRACT(v, '$[3]')) FROM j ORDER BY 1");
}

#[tokio::test]
async fn json_becomes_the_text_that_mysql_shows_on_mariadb_118() {
    let mut pair = Pair::start(Version::MySql97, Version::MariaDb118).await;
    pair.both("CREATE TABLE j (id INT PRIMARY KEY, v JSON) ENGINE=InnoDB")
        .await;
    pair.change(JSON);
    Box::pin(pair.apply()).await.unwrap();
    pair.same("SELECT id, CAST(v AS CHAR) FROM j WHERE id < 5 ORDER BY 1");
    pair.same("SELECT SHA2(v, 256) FROM j WHERE id = 5");
}

#[tokio::test]
async fn generated_invisible_and_vector_columns_arrive_on_mysql_97() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT AS (a + 1) VIRTUAL UNIQUE, c INT AS (a * 2) STORED,
            h INT INVISIBLE DEFAULT 5, v VECTOR(3), UNIQUE ((a * 3))) ENGINE=InnoDB",
    ).await;
    pair.change(
        "INSERT INTO t (id, a, v) VALUES (1, 10, STRING_TO_VECTOR('[1,2,3]')), (2, 20, NULL);
         INSERT INTO t (id, a, h) VALUES (3, 30, 7);
         BEGIN; UPDATE t SET a = 99 WHERE id = 1; UPDATE t SET a = 10 WHERE id = 2; UPDATE t SET a = 20 WHERE id = 1; COMMIT",
    );
    Box::pin(pair.apply())
        .await
        .unwrap_or_else(|error| panic!("{error}: {}", pair.target.log_tail()));
    assert_eq!(pair.same_rows("t").lines().count(), 3);
    pair.same("SELECT id, b FROM t FORCE INDEX (b) WHERE b > 0 ORDER BY b");
}

#[tokio::test]
async fn generated_and_own_types_arrive_on_mariadb_118() {
    let mut pair = Pair::start(Version::MariaDb1011, Version::MariaDb118).await;
    pair.both(
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b INT AS (a + 1) VIRTUAL, c INT AS (a * 2) STORED UNIQUE,
            h INT INVISIBLE DEFAULT 5, u UUID, i INET6, v VARCHAR(50) COMPRESSED, w TEXT COMPRESSED) ENGINE=InnoDB",
    ).await;
    pair.change(
        "INSERT INTO t (id, a, u, i, v, w) VALUES (1, 10, UUID(), '::1', 'abc', REPEAT('x', 1000)), (2, 20, NULL, NULL, NULL, NULL);
         BEGIN; UPDATE t SET a = 99 WHERE id = 1; UPDATE t SET a = 10 WHERE id = 2; UPDATE t SET a = 20 WHERE id = 1; COMMIT",
    );
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same_rows("t").lines().count(), 2);
}

#[tokio::test]
async fn a_column_of_another_type_or_set_on_the_target_is_converted_or_refused_by_name() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    let table =
        |types: &str| format!("DROP TABLE IF EXISTS t; CREATE TABLE t ({types}) ENGINE=InnoDB");
    let on = |server: &integration::mysql::MySqlServer, types: &str| {
        server.sql_in("d", &table(types)).unwrap();
    };
    pair.both("SET GLOBAL binlog_row_metadata = MINIMAL").await;
    on(
        &pair.source,
        "id INT PRIMARY KEY, a VARCHAR(30) CHARACTER SET latin1, b INT UNSIGNED",
    );
    on(
        &pair.target,
        "id BIGINT PRIMARY KEY, a VARCHAR(300), b BIGINT UNSIGNED",
    );
    pair.both("SELECT 1").await;
    pair.change("INSERT INTO t VALUES (-7, 'é€', 4294967295)");
    Box::pin(pair.apply()).await.unwrap();
    pair.same("SELECT * FROM t");

    on(
        &pair.source,
        "id INT PRIMARY KEY, a VARCHAR(30) CHARACTER SET sjis",
    );
    on(
        &pair.target,
        "id INT PRIMARY KEY, a VARCHAR(30) CHARACTER SET utf8mb4",
    );
    pair.both("SELECT 1").await;
    pair.change("INSERT INTO t VALUES (1, 'x')");
    let error = Box::pin(pair.apply()).await.unwrap_err();
    assert!(error.to_string().contains("d.t.a"), "{error}");

    on(&pair.source, "id INT PRIMARY KEY, a INT NULL");
    on(&pair.target, "id INT PRIMARY KEY, a INT NOT NULL");
    pair.both("SELECT 1").await;
    pair.change("INSERT INTO t VALUES (1, NULL)");
    let error = Box::pin(pair.apply()).await.unwrap_err();
    assert!(
        error.to_string().contains("d.t.a") && error.to_string().contains("NULL"),
        "{error}"
    );

    on(&pair.target, "id INT PRIMARY KEY, a INT, b INT");
    let error = Box::pin(pair.apply()).await.unwrap_err();
    assert!(
        error.to_string().contains("2 columns in the stream and 3"),
        "{error}"
    );
}

/// The server would close the connection on such a statement, each time anew.
#[tokio::test]
async fn a_row_beyond_the_targets_packet_limit_stops_by_name_where_rows_are_written_by_sql() {
    for version in [Version::MySql97, Version::MariaDb118] {
        let mut pair = Pair::start(version, version).await;
        pair.both("CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT) ENGINE=InnoDB")
            .await;
        pair.without_row_events().await;
        pair.target
            .sql("SET GLOBAL max_allowed_packet = 1048576")
            .unwrap();
        pair.change("INSERT INTO t VALUES (1, REPEAT('x', 900000))");
        let error = Box::pin(pair.apply()).await.unwrap_err();
        assert!(!error.is_transient(), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("`d`.`t`") || text.contains("d.t"), "{text}");
        assert!(text.contains("max_allowed_packet"), "{text}");
        pair.target
            .sql("SET GLOBAL max_allowed_packet = 67108864")
            .unwrap();
        Box::pin(pair.apply()).await.unwrap();
        assert_eq!(pair.same("SELECT LENGTH(v) FROM t"), "900000");
    }
}

/// The servers count a year among the numbers, and it is unsigned.
#[tokio::test]
async fn a_year_before_a_number_does_not_lend_it_its_sign() {
    for source in [Version::MySql97, Version::MariaDb1011, Version::MariaDb118] {
        let mut pair = Pair::start(source, Version::MySql97).await;
        pair.source
            .sql("SET GLOBAL binlog_row_metadata = FULL")
            .unwrap();
        let table = |number: &str| {
            format!(
                "CREATE TABLE t (a {number}, y YEAR, b {number}, c BIT(3), d {number} UNSIGNED) ENGINE=InnoDB"
            )
        };
        pair.source.sql_in("d", &table("INT")).unwrap();
        pair.target.sql_in("d", &table("BIGINT")).unwrap();
        pair.both("SELECT 1").await;
        pair.change("INSERT INTO t VALUES (-1, 2025, -2, b'101', 4294967295)");
        Box::pin(pair.apply()).await.unwrap();
        assert_eq!(
            pair.same("SELECT a, y, b, c + 0, d FROM t"),
            "-1\t2025\t-2\t5\t4294967295"
        );
    }
}
