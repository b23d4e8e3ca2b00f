//! Every type, on every server, value by value.

use binlog::schema::initial::InitialOptions;
use integration::mysql::{MySqlOptions, Version};

use super::{Pair, contents, done};

/// What all servers know.
const COMMON: &str = r#"
SET NAMES utf8mb4; SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'; SET time_zone = '+00:00';
CREATE DATABASE shop CHARACTER SET latin1 COLLATE latin1_german1_ci;
USE shop;
CREATE TABLE numbers (id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, a tinyint, b smallint unsigned,
  c mediumint, d int, e bigint unsigned, f float, g double, h decimal(65,30), i float(7,2), j double(15,3), k bit(1), l bit(64), y year)
  AUTO_INCREMENT=500;
INSERT INTO numbers VALUES (0,-128,65535,-8388608,-2147483648,18446744073709551615,3.4028235e38,1.7976931348623157e308,
  12345678901234567890123456789012345.123456789012345678901234567890,12345.67,123456789.123,b'1',b'1111111111111111111111111111111111111111111111111111111111111111',0),
  (1,NULL,NULL,NULL,NULL,NULL,1.17549435e-38,5e-324,NULL,-0.01,-0.001,b'0',b'0',2155),
  (2,0,0,0,0,0,0.1,0.1,0,0,0,NULL,NULL,1901),
  (3,1,1,1,1,1,16777217,0.30000000000000004,-1,1.1,1.1,b'1',b'101',NULL),
  (4,1,1,1,1,1,-0.0,-0.0,-1,1.1,1.1,b'1',b'101',2000),
  (5,1,1,1,1,1,123456.789,2.2250738585072014e-308,-1,1.1,1.1,b'1',b'101',2000),
  (18446744073709551614,1,1,1,1,1,9.99e-10,9007199254740993,-1,1.1,1.1,b'1',b'101',2000);
CREATE TABLE times (id int NOT NULL PRIMARY KEY, a date, b datetime(6), c timestamp(6) NULL, d time(6), e datetime, f timestamp NOT NULL DEFAULT '0000-00-00 00:00:00' ON UPDATE CURRENT_TIMESTAMP);
INSERT INTO times VALUES (1,'0000-00-00','0000-00-00 00:00:00','0000-00-00 00:00:00','-838:59:59','2024-02-31 00:00:00','0000-00-00 00:00:00'),
  (2,'9999-12-31','9999-12-31 23:59:59.999999','2038-01-19 03:14:07.999999','838:59:59','2024-00-00 00:00:00','1970-01-01 00:00:01'),
  (3,NULL,NULL,NULL,'-00:00:00.000001',NULL,'2024-03-31 02:30:00');
CREATE TABLE texts (id int NOT NULL PRIMARY KEY, a char(5), b varchar(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, c varchar(50) CHARACTER SET utf8 COLLATE utf8_bin,
  d text CHARACTER SET ucs2 COLLATE ucs2_general_ci, e varchar(20) CHARACTER SET utf16 COLLATE utf16_bin, f varchar(20) CHARACTER SET utf32 COLLATE utf32_bin, g varchar(20) CHARACTER SET sjis,
  h varchar(20) CHARACTER SET gbk, i longtext CHARACTER SET koi8r, j binary(4), k varbinary(300), l longblob, m varchar(20) CHARACTER SET big5,
  n enum('a','b,','it''s','1','2','','é') , o set('x','y','1','é'), p enum('0','1') CHARACTER SET ucs2 COLLATE ucs2_bin, q varchar(20) CHARACTER SET cp1251, r tinytext);
INSERT INTO texts VALUES (1,'é ','😀\n\t\\''"','ß','日本\\','😀','😀',CONVERT(_ucs2 0x8868 USING sjis),CONVERT(_ucs2 0x4E5C USING gbk),'Ж',x'00',x'0009000A5C0D1A27','\\N',CONVERT(_ucs2 0x529F USING big5),'it''s','x,é','0','Ж',''),
  (2,'','','','','','','','','','','','','','','','1','',NULL),
  (3,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'N');
INSERT IGNORE INTO texts (id, n, o, p) VALUES (4,'nonsense','1','nonsense'),(5,'1','1,x,y,é','1'),(6,'é','','0'),(7,4,3,2);
UPDATE texts SET k = REPEAT(x'00FF5C0A', 75), l = REPEAT(x'5C0A0900FF', 100000) WHERE id = 2;
CREATE TABLE shapes (id int NOT NULL PRIMARY KEY, g geometry, p point, l linestring);
INSERT INTO shapes VALUES (1,ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))'),ST_GeomFromText('POINT(1.5 -2.25)', 4326),NULL),(2,NULL,NULL,ST_GeomFromText('LINESTRING(0 0,1e-300 2)'));
CREATE TABLE keyless (a int, b varchar(10));
INSERT INTO keyless VALUES (1,'x'),(1,'x'),(NULL,NULL);
CREATE TABLE empty_one (a int PRIMARY KEY);
CREATE TABLE `we``ird 'na\\me` (`a``b` int PRIMARY KEY COMMENT 'it''s (a), \\ comment', `select` int, KEY `k``ey` (`select`)) COMMENT='x) y';
INSERT INTO `we``ird 'na\\me` VALUES (1,2);
CREATE TABLE parent (id int PRIMARY KEY, u int UNIQUE, loop_id int, CONSTRAINT self FOREIGN KEY (loop_id) REFERENCES parent (id));
CREATE TABLE child (id int PRIMARY KEY, p int, CONSTRAINT c1 FOREIGN KEY (p) REFERENCES parent (u) ON DELETE CASCADE ON UPDATE SET NULL);
INSERT INTO parent VALUES (1,10,1),(2,20,1); INSERT INTO child VALUES (1,10),(2,NULL);
CREATE TABLE parts (id int, y int, PRIMARY KEY (id, y)) PARTITION BY RANGE (y) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO parts VALUES (1,5),(2,50);
CREATE TABLE composite (a int, b varchar(20) CHARACTER SET latin1, c int AUTO_INCREMENT, PRIMARY KEY (b, a), KEY (c), FULLTEXT KEY (b)) AUTO_INCREMENT=77;
INSERT INTO composite VALUES (1,'ö',7),(2,'ö',9);
CREATE VIEW v2 AS SELECT id FROM numbers; CREATE VIEW v1 AS SELECT id FROM v2; CREATE SQL SECURITY INVOKER VIEW v0 AS SELECT v1.id, 'é' AS e FROM v1 WITH CASCADED CHECK OPTION;
"#;

/// `DELIMITER` is the CLI's.
const PROGRAMS: &str = r#"
DELIMITER //
SET NAMES utf8mb4//
SET sql_mode='ANSI_QUOTES,NO_BACKSLASH_ESCAPES'//
CREATE PROCEDURE p1(IN "a b" int) COMMENT 'it''s' BEGIN SELECT '\', "a b", 'é'; END//
SET sql_mode=''//
CREATE FUNCTION f1(x int) RETURNS varchar(20) CHARSET utf8 DETERMINISTIC RETURN CONCAT(x, 'é')//
CREATE TRIGGER t1 BEFORE INSERT ON empty_one FOR EACH ROW SET NEW.a = NEW.a + 1//
CREATE TRIGGER t2 AFTER UPDATE ON keyless FOR EACH ROW BEGIN INSERT INTO empty_one VALUES (1); END//
CREATE EVENT e1 ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO INSERT INTO keyless VALUES (9,'event')//
CREATE EVENT e2 ON SCHEDULE EVERY 1 DAY DISABLE COMMENT 'ENABLE' DO SELECT 1//
DELIMITER ;
"#;

const MYSQL_8: &str = r#"
CREATE DATABASE newer CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci; USE newer; SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
CREATE TABLE g (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED, v varchar(30) GENERATED ALWAYS AS (CONCAT('é', a)) VIRTUAL, i int INVISIBLE DEFAULT 7,
  j json, d datetime DEFAULT (NOW()), KEY (s), KEY fx ((a + 1)), KEY hidden (a) INVISIBLE, CHECK (a < 100), CONSTRAINT soft CHECK (a > 5) NOT ENFORCED);
INSERT INTO g (id, a, i, j) VALUES (1, 1, 5, '{"a": [1, 2.5, "é", null, true, {"b": "\\"x\\\\"}], "big": 18446744073709551615}'), (2, NULL, NULL, NULL), (3, 3, 3, '"x\\ny"');
CREATE TABLE sp (id int PRIMARY KEY, p point NOT NULL SRID 4326, SPATIAL KEY (p)); INSERT INTO sp VALUES (1, ST_GeomFromText('POINT(10 20)', 4326));
SET sql_generate_invisible_primary_key = 1; CREATE TABLE gipk (a int); INSERT INTO gipk VALUES (5),(6); SET sql_generate_invisible_primary_key = 0;
CREATE TABLE vec (id int PRIMARY KEY, v vector(3)); INSERT INTO vec VALUES (1, STRING_TO_VECTOR('[1,2.5,-3e-10]'));
CREATE TABLE subparts (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (YEAR(d)) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (2000), PARTITION p1 VALUES LESS THAN MAXVALUE);
INSERT INTO subparts VALUES (1,'1999-01-01'),(2,'2020-01-01');
"#;

const MARIADB: &str = r#"
CREATE DATABASE newer CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci; USE newer; SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
CREATE TABLE g (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED, v varchar(30) GENERATED ALWAYS AS (CONCAT('é', a)) VIRTUAL, i int INVISIBLE DEFAULT 7,
  j json, d datetime DEFAULT NOW(), u uuid, n6 inet6, n4 inet4, KEY (s), KEY ig (a) IGNORED, CHECK (a < 100));
INSERT INTO g (id, a, i, j, u, n6, n4) VALUES (1, 1, 5, '{"a":   [1, 2.5, "é"]}', '123e4567-e89b-12d3-a456-426655440000', '2001:db8::ff00:42:8329', '10.0.0.1'), (2, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE comp (id int PRIMARY KEY, t text COMPRESSED, b varchar(100) COMPRESSED CHARACTER SET latin1) PAGE_COMPRESSED=1; INSERT INTO comp VALUES (1, REPEAT('é', 500), REPEAT('ö', 90));
"#;

/// What MySQL says otherwise than MariaDB.
const OTHERWISE_MYSQL: &str = r#"
CREATE DATABASE other CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci; USE other; SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
CREATE TABLE g (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED, v varchar(30) GENERATED ALWAYS AS (CONCAT('é', a)) VIRTUAL, i int INVISIBLE DEFAULT 7,
  j json, t varchar(20), d datetime DEFAULT (NOW()), KEY (s), KEY hidden (a) INVISIBLE, CHECK (a < 100), CONSTRAINT soft CHECK (a > 5) NOT ENFORCED);
INSERT INTO g (id, a, i, j, t) VALUES (1, 1, 5, '{"a": [1, 2.5, "é", null, true]}', 'É'), (2, NULL, NULL, NULL, NULL);
CREATE TABLE sp (id int PRIMARY KEY, p point NOT NULL SRID 4326, SPATIAL KEY (p)); INSERT INTO sp VALUES (1, ST_GeomFromText('POINT(10 20)', 4326));
SET sql_generate_invisible_primary_key = 1; CREATE TABLE gipk (a int); INSERT INTO gipk VALUES (5),(6);
"#;

/// What MariaDB says otherwise than MySQL.
const OTHERWISE_MARIADB: &str = r#"
CREATE DATABASE other CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_ai_ci; USE other; SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
CREATE TABLE g (id int PRIMARY KEY, a int, s int GENERATED ALWAYS AS (a * 2) STORED, v varchar(30) GENERATED ALWAYS AS (CONCAT('é', a)) VIRTUAL, i int INVISIBLE DEFAULT 7,
  j json, t text DEFAULT 'x', u varchar(40) DEFAULT UUID(), ts timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(), KEY (s), KEY ig (a) IGNORED, CHECK (a < 100)) COLLATE utf8mb4_unicode_ci;
CREATE TABLE g2 (id int PRIMARY KEY, a varchar(9) COLLATE utf8mb4_uca1400_nopad_ai_ci, CHECK (id < 100), CHECK (a <> 'ß')) COLLATE utf8mb4_general_ci;
INSERT INTO g (id, a, i, j) VALUES (1, 1, 5, '{"a":   [1, 2.5, "é"]}'), (2, NULL, NULL, NULL); INSERT INTO g2 VALUES (1, 'Ü');
"#;

/// Sends every statement and compares definitions and contents afterwards.
async fn arrives_exactly(from: Version, to: Version, target: MySqlOptions) {
    let pair = Pair::start_with(from, to, MySqlOptions::default(), target).await;
    pair.source.script("", COMMON).unwrap();
    pair.source.script("shop", PROGRAMS).unwrap();
    let more = match (from, from.is_mariadb() == to.is_mariadb()) {
        (Version::MySql97, true) => MYSQL_8,
        (Version::MariaDb1011 | Version::MariaDb118, true) => MARIADB,
        (Version::MySql97, false) => OTHERWISE_MYSQL,
        (Version::MariaDb1011 | Version::MariaDb118, false) => OTHERWISE_MARIADB,
        (Version::MySql56, _) => "",
    };
    pair.source.script("", more).unwrap();
    let copy = pair.initial(InitialOptions {
        range_bytes: 1 << 14,
        ..InitialOptions::new("t1")
    });
    let finished = done(copy.run().await);
    let (source, target) = pair.endpoints();
    let (source, target) = (
        source.connect_sql("test").await.unwrap(),
        target.connect_sql("test").await.unwrap(),
    );
    assert!(finished.catalog.tables.len() > 10);
    for table in &finished.catalog.tables {
        let name = table.name.quoted();
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| {
                let quoted = binlog::wire::quote::ident(&column.name);
                match column.data_type.as_str() {
                    "float" | "double" => format!("{quoted} * 1E0"),
                    "enum" | "set" => format!("{quoted} + 0, {quoted}"),
                    _other => quoted,
                }
            })
            .collect();
        let columns = columns.join(", ");
        assert_eq!(
            contents(&source, &name, &columns).await,
            contents(&target, &name, &columns).await,
            "{name}"
        );
        if from == to {
            let show = format!("SHOW CREATE TABLE {name}");
            let source = source.query_first(&show).await.unwrap().unwrap();
            let target = target.query_first(&show).await.unwrap().unwrap();
            // A column's character set is told once it was named, even if it is the table's.
            let plain = |text: Option<&str>| text.unwrap().replace(" CHARACTER SET latin1", "");
            assert_eq!(plain(source.text(1)), plain(target.text(1)));
        }
        let key = (table.name.schema.clone(), table.name.name.clone());
        assert!(finished.watermarks.contains_key(&key), "{name}");
    }
    programs_arrive(&pair);
}

/// Routines, triggers and views as they were; events disabled, and those that ran remembered.
fn programs_arrive(pair: &Pair) {
    let programs = "SELECT (SELECT GROUP_CONCAT(ROUTINE_NAME, SQL_MODE ORDER BY 1) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA='shop'),
        (SELECT GROUP_CONCAT(TRIGGER_NAME, EVENT_OBJECT_TABLE ORDER BY 1) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA='shop'),
        (SELECT GROUP_CONCAT(TABLE_NAME, SECURITY_TYPE, CHECK_OPTION ORDER BY 1) FROM information_schema.VIEWS WHERE TABLE_SCHEMA='shop')";
    assert_eq!(
        pair.source.sql(programs).unwrap(),
        pair.target.sql(programs).unwrap()
    );
    assert_eq!(
        pair.target
            .sql("SELECT EVENT_NAME, STATUS FROM information_schema.EVENTS ORDER BY 1")
            .unwrap(),
        "e1\tDISABLED\ne2\tDISABLED"
    );
    assert_eq!(
        pair.target
            .sql("SELECT event_name FROM pointsman.saved_event")
            .unwrap(),
        "e1"
    );
    assert_eq!(pair.target.sql("SELECT shop.f1(7)").unwrap(), "7é");
}

#[tokio::test]
async fn all_types_arrive_exactly_from_mysql_9_7() {
    arrives_exactly(
        Version::MySql97,
        Version::MySql97,
        MySqlOptions::default().set("local_infile", "1"),
    )
    .await;
}

#[tokio::test]
async fn all_types_arrive_exactly_by_insert_where_load_data_is_not_allowed() {
    arrives_exactly(
        Version::MySql97,
        Version::MySql97,
        MySqlOptions::default().set("local_infile", "0"),
    )
    .await;
}

#[tokio::test]
async fn all_types_arrive_exactly_from_mysql_5_6() {
    arrives_exactly(
        Version::MySql56,
        Version::MySql97,
        MySqlOptions::default().set("local_infile", "1"),
    )
    .await;
}

#[tokio::test]
async fn all_types_arrive_exactly_from_mariadb_10_11() {
    arrives_exactly(
        Version::MariaDb1011,
        Version::MariaDb118,
        MySqlOptions::default(),
    )
    .await;
}

#[tokio::test]
async fn all_types_arrive_exactly_from_mariadb_11_8_by_insert() {
    arrives_exactly(
        Version::MariaDb118,
        Version::MariaDb118,
        MySqlOptions::default().set("local_infile", "0"),
    )
    .await;
}

#[tokio::test]
async fn all_types_arrive_exactly_from_mysql_9_7_on_mariadb_11_8() {
    arrives_exactly(
        Version::MySql97,
        Version::MariaDb118,
        MySqlOptions::default(),
    )
    .await;
}

#[tokio::test]
async fn all_types_arrive_exactly_from_mariadb_11_8_on_mysql_9_7() {
    arrives_exactly(
        Version::MariaDb118,
        Version::MySql97,
        MySqlOptions::default().set("local_infile", "1"),
    )
    .await;
}

/// The copy refuses this table of database `shop`, with this word in its reason.
async fn refuses(from: Version, to: Version, table: &str, word: &str) {
    let pair = Pair::start(from, to).await;
    let make = format!("CREATE DATABASE shop CHARACTER SET latin1; USE shop; {table}");
    pair.source.sql(&make).unwrap();
    let error = pair.initial(InitialOptions::new("t1")).run().await;
    let error = router::words(&error.unwrap_err());
    assert!(error.contains(word) && error.contains("shop."), "{error}");
}

#[tokio::test]
async fn what_mariadb_does_not_have_is_refused_by_name() {
    let (from, to) = (Version::MySql97, Version::MariaDb118);
    let functional = "CREATE TABLE t (a int PRIMARY KEY, b int, KEY fx ((b + 1)))";
    refuses(from, to, functional, "fx").await;
}

#[tokio::test]
async fn what_mysql_does_not_have_is_refused_by_name() {
    let (from, to) = (Version::MariaDb118, Version::MySql97);
    for (table, word) in [
        ("CREATE TABLE t (a int PRIMARY KEY, u uuid)", "UUID"),
        (
            "CREATE TABLE t (a int PRIMARY KEY, u varchar(9) COLLATE utf8mb4_uca1400_ai_ci)",
            "uca1400",
        ),
        ("CREATE SEQUENCE t", "sequence"),
        (
            "CREATE TABLE t (a int PRIMARY KEY) WITH SYSTEM VERSIONING",
            "VERSIONING",
        ),
    ] {
        refuses(from, to, table, word).await;
    }
}

#[tokio::test]
async fn a_table_without_transactions_is_refused_by_name() {
    let myisam = "CREATE TABLE t (a int PRIMARY KEY) ENGINE=MyISAM";
    refuses(Version::MySql56, Version::MySql97, myisam, "MyISAM").await;
}
