//! Large tables are read by several at once whatever their key is, and every row comes once.

use binlog::schema::initial::InitialOptions;
use integration::mysql::{MySqlOptions, MySqlServer, Version};

use super::{Pair, contents, done};

/// 2,000 rows each; the keys' orders are not those of their bytes.
const TABLES: &str = "
SET NAMES utf8mb4; SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES';
CREATE DATABASE shop; USE shop;
CREATE TABLE n (n int PRIMARY KEY); INSERT INTO n VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9);
CREATE TABLE numbers (id int PRIMARY KEY AUTO_INCREMENT, filler char(60) NOT NULL DEFAULT 'x');
INSERT INTO numbers (id) SELECT 1 + a.n + 10 * b.n + 100 * c.n + 1000 * d.n FROM n a, n b, n c, n d WHERE d.n < 2;
CREATE TABLE uuids (id char(36) CHARACTER SET utf8 NOT NULL PRIMARY KEY, n int, filler char(60)) DEFAULT CHARSET=utf8;
INSERT INTO uuids SELECT IF(id % 2, UUID(), UPPER(UUID())), id, filler FROM numbers;
CREATE TABLE hashes (id binary(16) NOT NULL PRIMARY KEY, filler char(60)); INSERT INTO hashes SELECT UNHEX(LEFT(SHA2(id, 256), 32)), filler FROM numbers;
CREATE TABLE words (a varchar(40) CHARACTER SET ucs2 COLLATE ucs2_unicode_ci NOT NULL, b decimal(20,3) NOT NULL, c datetime(3) NOT NULL, d enum('x','y') NOT NULL, filler char(60), PRIMARY KEY (a, b, c, d));
INSERT INTO words SELECT ELT(1 + id % 4, 'a', 'É', 'ß', 'z\\''), -id / 7, IF(id % 2, '2024-02-31 00:00:00.125', '0000-00-00 00:00:00'), 1 + id % 2, filler FROM numbers;
CREATE TABLE tenants (tenant bigint unsigned NOT NULL, id varbinary(64) NOT NULL, filler char(60), PRIMARY KEY (tenant, id)); INSERT INTO tenants SELECT 18446744073709551615 - id % 2, SHA2(id, 256), filler FROM numbers;
CREATE TABLE named (name varchar(20) NOT NULL, filler char(60), UNIQUE KEY (name)) DEFAULT CHARSET=latin1; INSERT INTO named SELECT id, filler FROM numbers;
CREATE TABLE moments (t timestamp(6) NOT NULL DEFAULT '0000-00-00 00:00:00', filler char(60), PRIMARY KEY (t)); INSERT INTO moments SELECT FROM_UNIXTIME(id * 1000.5), filler FROM numbers;
CREATE TABLE prefixes (b varbinary(200) NOT NULL, filler char(60), PRIMARY KEY (b(30))); INSERT INTO prefixes SELECT SHA2(id, 256), filler FROM numbers;
CREATE TABLE flags (e enum('a','b') NOT NULL, id int NOT NULL, filler char(60), PRIMARY KEY (e, id)); INSERT INTO flags SELECT 1 + id % 2, id, filler FROM numbers;
CREATE TABLE keyless (id int, filler char(60)); INSERT INTO keyless SELECT id, filler FROM numbers;
";

const CUT: &[&str] = &[
    "numbers", "uuids", "hashes", "words", "tenants", "named", "moments",
];
const WHOLE: &[&str] = &["prefixes", "flags", "keyless"];

/// How many queries read rows of a table.
fn reads(source: &MySqlServer, table: &str) -> usize {
    let query = format!(
        "SELECT COUNT(*) FROM mysql.general_log WHERE command_type = 'Query' AND user_host LIKE 'root%' \
         AND argument LIKE 'SELECT %filler` FROM `shop`.`{table}`%'"
    );
    source.sql(&query).unwrap().trim().parse().unwrap()
}

async fn every_row_comes_once(from: Version, to: Version) {
    let local = MySqlOptions::default().set("local_infile", "1");
    let logged = MySqlOptions::default().set("log_output", "TABLE");
    let pair = Pair::start_with(from, to, logged, local).await;
    pair.source.script("", TABLES).unwrap();
    let all: Vec<String> = CUT
        .iter()
        .chain(WHOLE)
        .map(|table| format!("shop.{table}"))
        .collect();
    let all = all.join(", ");
    pair.source.sql(&format!("ANALYZE TABLE {all}")).unwrap();
    pair.source.sql("SET GLOBAL general_log = 1").unwrap();
    let copy = pair.initial(InitialOptions {
        range_bytes: 1 << 15,
        ..InitialOptions::new("t1")
    });
    done(copy.run().await);
    pair.source.sql("SET GLOBAL general_log = 0").unwrap();
    for table in CUT {
        assert!(reads(&pair.source, table) > 2, "{table}");
    }
    for table in WHOLE {
        assert_eq!(reads(&pair.source, table), 1, "{table}");
    }
    let (source, target) = pair.endpoints();
    let source = source.connect_sql("test").await.unwrap();
    let target = target.connect_sql("test").await.unwrap();
    for table in CUT.iter().chain(WHOLE) {
        let name = format!("shop.{table}");
        let mut sent = contents(&source, &name, "*").await;
        let mut copied = contents(&target, &name, "*").await;
        sent.sort();
        copied.sort();
        assert!(sent == copied, "{table}");
        assert_eq!(sent.len(), 2_000, "{table}");
    }
}

#[tokio::test]
async fn tables_of_any_key_are_read_in_ranges_on_mysql_9_7() {
    every_row_comes_once(Version::MySql97, Version::MySql97).await;
}

#[tokio::test]
async fn tables_of_any_key_are_read_in_ranges_on_mysql_5_6() {
    every_row_comes_once(Version::MySql56, Version::MySql97).await;
}

#[tokio::test]
async fn tables_of_any_key_are_read_in_ranges_on_mariadb() {
    every_row_comes_once(Version::MariaDb1011, Version::MariaDb118).await;
}
