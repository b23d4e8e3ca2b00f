//! Values of every type arrive exactly.

use binlog::apply::Method;
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
    pair.target
        .sql("CREATE USER plain IDENTIFIED BY 'p'; GRANT ALL ON d.* TO plain; GRANT ALL ON pointsman.* TO plain; FLUSH PRIVILEGES")
        .unwrap();
    pair.target
        .sql("DELETE FROM mysql.user WHERE User = ''; FLUSH PRIVILEGES")
        .unwrap_or_default();
    pair.target_url = pair.target.url_with_password("plain", "p", "");
    let applier = Box::pin(pair.applier()).await.unwrap();
    assert_eq!(applier.method(), Some(Method::Sql));
    drop(applier);
    pair.change(ROWS);
    // An empty enumeration value is an error to strict servers; it needs row events.
    pair.change("DELETE FROM t WHERE id = 1");
    Box::pin(pair.apply()).await.unwrap();
    assert_eq!(pair.same_rows("t").lines().count(), 2);
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
