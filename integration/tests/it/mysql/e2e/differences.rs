//! What the two servers have otherwise: `check` names it, in each direction.

use integration::mysql::MySqlServer;
use integration::mysql::Version::{self, MariaDb118, MariaDb1011, MySql56, MySql97};
use integration::proxy::Proxy;

use super::stage::{configured, usual};

/// What `check` says of a source with these objects, and its exit code.
async fn check(from: Version, to: Version, sql: &str) -> (i32, String) {
    let (source, target) = tokio::join!(
        MySqlServer::start(from, usual()),
        MySqlServer::start(to, usual()),
    );
    let (source, target) = (source.unwrap(), target.unwrap());
    source
        .script("", &format!("CREATE DATABASE shop; USE shop;\n{sql}"))
        .unwrap();
    let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    let said = proxy.cli(&["check"]).await.unwrap();
    (said.code, said.to_string())
}

/// The findings of a level, each a line.
fn of<'a>(level: &str, said: &'a str) -> Vec<&'a str> {
    said.lines().filter(|line| line.contains(level)).collect()
}

/// Each of these is in one finding of the level, all words of it together.
fn names(said: &str, level: &str, wanted: &[&[&str]]) {
    let lines = of(level, said);
    for words in wanted {
        let found = lines
            .iter()
            .any(|line| words.iter().all(|word| line.contains(word)));
        assert!(found, "no {level} says {words:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_5_6_to_9_7_everything_that_is_gone_or_different_is_named() {
    let sql = "
        SET GLOBAL sql_mode = 'NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION';
        SET sql_mode = 'NO_AUTO_CREATE_USER';
        CREATE TABLE old (id INT PRIMARY KEY, t VARCHAR(20) CHARACTER SET utf8,
            d DATE NOT NULL DEFAULT '0000-00-00', at TIMESTAMP NOT NULL DEFAULT '0000-00-00 00:00:00')
            ENGINE = InnoDB;
        CREATE TABLE fine (id INT PRIMARY KEY, t VARCHAR(20) CHARACTER SET utf8mb4) ENGINE = InnoDB;
        CREATE PROCEDURE aged() SELECT 1;
        CREATE USER one@'%' IDENTIFIED BY 'a', two@'%' IDENTIFIED BY 'b', three@'%' IDENTIFIED BY 'c',
            four@'%' IDENTIFIED BY 'd', five@'%' IDENTIFIED BY 'e', six@'%' IDENTIFIED BY 'f',
            seven@'%' IDENTIFIED BY 'g', eight@'%' IDENTIFIED BY 'h';";
    let (code, said) = check(MySql56, MySql97, sql).await;
    assert_eq!(code, 0, "{said}");
    names(
        &said,
        "warn  target: ",
        &[
            &["sql_mode NO_AUTO_CREATE_USER", "which the source uses"],
            &["utf8mb3", "shop.old"],
            &["zero dates", "shop.old.at, shop.old.d"],
            &["explicit_defaults_for_timestamp", "innodb_strict_mode"],
            &[
                "eight@% (mysql_native_password)",
                "five@%",
                "four@%",
                "one@%",
                "seven@%",
                "six@%",
                "three@%",
                "two@%",
            ],
        ],
    );
    assert!(!said.contains("shop.fine"), "{said}");
    assert!(
        said.contains("IDENTIFIED WITH caching_sha2_password BY"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mariadb_11_8_to_mysql_everything_that_cannot_be_carried_is_refused_by_name() {
    let sql = "
        CREATE TABLE with_uuid (id UUID PRIMARY KEY);
        CREATE TABLE with_inet4 (id INT PRIMARY KEY, a INET4);
        CREATE TABLE with_inet6 (id INT PRIMARY KEY, a INET6);
        CREATE SEQUENCE counting;
        CREATE TABLE versioned (id INT PRIMARY KEY) WITH SYSTEM VERSIONING;
        CREATE TABLE sorted (id INT PRIMARY KEY, t VARCHAR(10) COLLATE utf8mb4_uca1400_swedish_ai_ci);
        CREATE TABLE fine (id INT PRIMARY KEY, t VARCHAR(10)) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
        SET sql_mode = 'ORACLE';
        DELIMITER //
        CREATE PACKAGE parcel AS FUNCTION one RETURN INT; END//
        CREATE PACKAGE BODY parcel AS FUNCTION one RETURN INT AS BEGIN RETURN 1; END; END//
        DELIMITER ;
        CREATE USER app@'%' IDENTIFIED BY 'a';";
    let (code, said) = check(MariaDb118, MySql97, sql).await;
    assert_eq!(code, 1, "{said}");
    names(
        &said,
        "FAIL  target: ",
        &[
            &["table shop.with_uuid", "column id has type UUID"],
            &["table shop.with_inet4", "column a has type INET4"],
            &["table shop.with_inet6", "column a has type INET6"],
            &["sequence shop.counting", "AUTO_INCREMENT"],
            &["table shop.versioned", "DROP SYSTEM VERSIONING"],
            &[
                "table shop.sorted",
                "utf8mb4_uca1400_swedish_ai_ci",
                "choose one",
            ],
            &["package shop.parcel", "make procedures of it"],
        ],
    );
    names(
        &said,
        "warn  target: ",
        &[&["app@% (mysql_native_password)"]],
    );
    assert!(!said.contains("shop.fine"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mysql_to_mariadb_everything_that_cannot_be_carried_is_refused_by_name() {
    let sql = "
        CREATE TABLE functional (id INT PRIMARY KEY, t VARCHAR(10), KEY lower_t ((LOWER(t))));
        CREATE TABLE places (id INT PRIMARY KEY, p POINT NOT NULL SRID 4326);
        CREATE TABLE loose (id INT PRIMARY KEY, CONSTRAINT positive CHECK (id > 0) NOT ENFORCED);
        CREATE TABLE sorted (id INT PRIMARY KEY, t VARCHAR(10) COLLATE utf8mb4_ja_0900_as_cs);
        CREATE TABLE fine (id INT PRIMARY KEY, t VARCHAR(10) COLLATE utf8mb4_unicode_ci);
        CREATE TABLE multi (id INT PRIMARY KEY, j JSON, KEY m ((CAST(j AS UNSIGNED ARRAY))));
        CREATE USER app@'%' IDENTIFIED BY 'a';";
    let (code, said) = check(MySql97, MariaDb118, sql).await;
    assert_eq!(code, 1, "{said}");
    names(
        &said,
        "FAIL  target: ",
        &[
            &["table shop.functional", "index lower_t", "generated column"],
            &["table shop.multi", "index m"],
            &["table shop.sorted", "utf8mb4_ja_0900_as_cs", "choose one"],
        ],
    );
    names(
        &said,
        "warn  target: ",
        &[
            &["table shop.loose", "positive", "not enforced"],
            &["table shop.places", "column p", "SRID"],
            &["app@% (caching_sha2_password)"],
        ],
    );
    assert!(!said.contains("shop.fine"), "{said}");
    assert!(
        said.contains("IDENTIFIED VIA mysql_native_password"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mariadb_10_11_to_11_8_what_is_not_carried_is_refused_by_name() {
    let sql = "
        CREATE SEQUENCE counting;
        CREATE TABLE versioned (id INT PRIMARY KEY) WITH SYSTEM VERSIONING;
        CREATE TABLE with_uuid (id UUID PRIMARY KEY);
        CREATE TABLE with_inet (id INT PRIMARY KEY, a INET6, b INET4);
        CREATE TABLE sorted (id INT PRIMARY KEY, t VARCHAR(10) COLLATE utf8mb4_uca1400_ai_ci);
        CREATE USER app@'%' IDENTIFIED BY 'a';";
    let (code, said) = check(MariaDb1011, MariaDb118, sql).await;
    assert_eq!(code, 1, "{said}");
    names(
        &said,
        "FAIL  source: ",
        &[
            &["sequences: shop.counting"],
            &["system-versioned tables: shop.versioned"],
        ],
    );
    for fine in ["with_uuid", "with_inet", "sorted", "app@%"] {
        assert!(!said.contains(fine), "{said}");
    }
}

/// What the advice says is enough: an account that the operator made is not named any more, and the
/// program's clients log in by it after the switch.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_another_method_that_the_operator_made_logs_in_after_the_switch() {
    let (source, target) = tokio::join!(
        MySqlServer::start(MariaDb118, usual()),
        MySqlServer::start(MySql97, usual()),
    );
    let (source, target) = (source.unwrap(), target.unwrap());
    source
        .sql(
            "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
             CREATE TABLE shop.t (id INT PRIMARY KEY) ENGINE = InnoDB;
             CREATE USER app@'%' IDENTIFIED BY 'a'; GRANT ALL ON shop.* TO app@'%';
             CREATE USER other@'%' IDENTIFIED BY 'b'; GRANT SELECT ON shop.* TO other@'%'",
        )
        .unwrap();
    target
        .sql("CREATE USER app@'%' IDENTIFIED WITH caching_sha2_password BY 'a'")
        .unwrap();
    let proxy = Proxy::start(configured(&source, &target)).await.unwrap();
    let said = proxy.done(&["check"]).await.unwrap();
    names(
        &said,
        "warn  target: ",
        &[&["to log in: other@% (mysql_native_password)"]],
    );
    assert!(!said.contains("app@%"), "{said}");
    proxy.done(&["start"]).await.unwrap();
    proxy.wait_for_phase("streaming").await.unwrap();
    let said = proxy.done(&["check"]).await.unwrap();
    names(&said, "warn  target: ", &[&["other@%"]]);
    proxy.done(&["cutover"]).await.unwrap();
    let client = |account: &str| {
        proxy
            .url(account, "shop")
            .parse::<binlog::wire::Endpoint>()
            .unwrap()
    };
    let app = Box::pin(client("app:a").connect_sql("test")).await.unwrap();
    app.execute("INSERT INTO shop.t VALUES (1)").await.unwrap();
    assert_eq!(target.sql("SELECT COUNT(*) FROM shop.t").unwrap(), "1");
    assert!(
        Box::pin(client("other:b").connect_sql("test"))
            .await
            .is_err()
    );

    // Opened as the advice says, it has its grants.
    target
        .sql("ALTER USER other@'%' IDENTIFIED WITH caching_sha2_password BY 'b' ACCOUNT UNLOCK")
        .unwrap();
    let other = Box::pin(client("other:b").connect_sql("test"))
        .await
        .unwrap();
    other.query("SELECT id FROM shop.t").await.unwrap();
}
