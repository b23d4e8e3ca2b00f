//! Text of every character set that a server knows, and times whatever the servers' time zones are.

use std::fmt::Write as _;

use integration::mysql::{MySqlOptions, Version};

use super::{Pair, contents};

/// 5.6 stores bytes that are no letters of a character set; newer servers rightly refuse them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Any,
    OfLetters,
}

/// A table for each character set, with letters of many scripts (those that it lacks become `?`),
/// the first letters of its own pages, and what escapes and lines are made of.
async fn every_character_set_arrives(from: Version, to: Version, local_infile: &str, bytes: Bytes) {
    let options = MySqlOptions::default().set("local_infile", local_infile);
    let pair = Pair::start_with(from, to, MySqlOptions::default(), options).await;
    let known = |server: &integration::mysql::MySqlServer| {
        let query = "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS ORDER BY 1";
        let told = server.sql(query).unwrap();
        let names = told.split_whitespace();
        // 8.0 and later say what `utf8` always was.
        names
            .map(|name| name.replace("utf8mb3", "utf8"))
            .collect::<Vec<String>>()
    };
    let there = known(&pair.target);
    let sets: Vec<String> = known(&pair.source)
        .into_iter()
        .filter(|name| there.contains(name))
        .collect();
    assert!(sets.len() > 35, "{sets:?}");
    let mut script =
        "SET NAMES utf8mb4; SET sql_mode = ''; CREATE DATABASE shop; USE shop;\n".to_owned();
    for set in &sets {
        // A collation that all servers have.
        let collation = if set == "binary" {
            String::new()
        } else {
            format!("COLLATE {set}_bin")
        };
        writeln!(
            script,
            "CREATE TABLE `t_{set}` (id int PRIMARY KEY, a text, b varchar(60), c char(9), d enum('a','z'), e set('a','z')) CHARACTER SET {set} {collation};
             INSERT IGNORE INTO `t_{set}` SELECT n, w, w, LEFT(w, 5), 'z', 'a,z' FROM (
               SELECT 1 AS n, CONVERT('aé ß Ж λ א ไ 日本 功 한 ქ Ա ž ı €😀' USING utf8mb4) AS w UNION ALL SELECT 2, '' UNION ALL SELECT 3, '\\\\ \\n\\t\\r\\0\\'\"\\\\N' UNION ALL SELECT 4, NULL) AS words;"
        )
        .unwrap();
        if bytes == Bytes::Any {
            writeln!(
                script,
                "INSERT IGNORE INTO `t_{set}` (id, b) SELECT 10, CONVERT(UNHEX('A1A2B0C4E4F6DFFE808E5C') USING {set});"
            )
            .unwrap();
        }
    }
    pair.source.script("", &script).unwrap();
    pair.copy().await;
    let (source, target) = pair.endpoints();
    let source = source.connect_sql("test").await.unwrap();
    let target = target.connect_sql("test").await.unwrap();
    for set in &sets {
        let table = format!("shop.`t_{set}`");
        let columns = "id, HEX(a), HEX(b), HEX(c), d + 0, e + 0";
        let sent = contents(&source, &table, columns).await;
        assert_eq!(sent, contents(&target, &table, columns).await, "{set}");
        assert!(sent.len() >= 4, "{set}");
    }
}

#[tokio::test]
async fn every_character_set_arrives_on_mysql_9_7() {
    every_character_set_arrives(Version::MySql97, Version::MySql97, "1", Bytes::Any).await;
}

#[tokio::test]
async fn every_character_set_arrives_by_inserts_from_mysql_5_6() {
    every_character_set_arrives(Version::MySql56, Version::MySql97, "0", Bytes::OfLetters).await;
}

#[tokio::test]
async fn every_character_set_arrives_on_mariadb() {
    every_character_set_arrives(
        Version::MariaDb1011,
        Version::MariaDb118,
        "1",
        Bytes::OfLetters,
    )
    .await;
}

#[tokio::test]
async fn every_character_set_arrives_on_mysql_from_mariadb() {
    every_character_set_arrives(Version::MariaDb118, Version::MySql97, "1", Bytes::OfLetters).await;
}

/// A TIMESTAMP is the same instant, whatever zone either server is in.
async fn times_do_not_depend_on_time_zones(from: Version, to: Version) {
    let zone = |zone: &str| MySqlOptions::default().set("default-time-zone", zone);
    let target = zone("-08:00").set("local_infile", "1");
    let pair = Pair::start_with(from, to, zone("+05:30"), target).await;
    pair.source
        .script(
            "",
            "CREATE DATABASE shop; USE shop;
             CREATE TABLE t (id int PRIMARY KEY, ts timestamp NOT NULL DEFAULT '2024-06-01 12:00:00', dt datetime DEFAULT '2024-06-01 12:00:00');
             INSERT INTO t (id, ts, dt) VALUES (1, '2024-03-31 02:30:00', '2024-03-31 02:30:00'), (2, '1970-01-01 05:30:01', '1970-01-01 00:00:00'), (3, '2038-01-19 08:44:07', '9999-12-31 23:59:59');
             INSERT INTO t (id) VALUES (4);",
        )
        .unwrap();
    pair.copy().await;
    // A default is the same instant too: a TIMESTAMP's is shown in the session's zone.
    let all = "SET time_zone = '+00:00'; INSERT INTO shop.t (id) VALUES (5);
               SELECT id, UNIX_TIMESTAMP(ts), ts, dt FROM shop.t ORDER BY id";
    let sent = pair.source.sql(all).unwrap();
    assert_eq!(sent, pair.target.sql(all).unwrap());
    assert!(sent.contains("1\t1711832400\t"), "{sent}");
}

#[tokio::test]
async fn times_do_not_depend_on_the_servers_time_zones_on_mysql() {
    times_do_not_depend_on_time_zones(Version::MySql56, Version::MySql97).await;
}

#[tokio::test]
async fn times_do_not_depend_on_the_servers_time_zones_on_mariadb() {
    times_do_not_depend_on_time_zones(Version::MariaDb1011, Version::MariaDb118).await;
}
