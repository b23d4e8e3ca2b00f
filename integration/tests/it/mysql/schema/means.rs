//! What definitions need of the target beside its version: the check names what it lacks, a start
//! refuses it before any row, and goes on when it is there.

use binlog::check::{self, CheckOptions, Level};
use binlog::schema::initial::InitialOptions;
use binlog::wire::SqlConn;
use integration::mysql::{MySqlOptions, Version};

use super::{Pair, done, endpoint};

/// What the check fails for, as it says it.
async fn fails(pair: &Pair) -> String {
    let (source, target) = pair.endpoints();
    let options = CheckOptions {
        migration_id: Some("t1".to_owned()),
        ..CheckOptions::default()
    };
    let found = check::run(&source, &target, &options).await;
    let fails = found.iter().filter(|one| one.level == Level::Fail);
    fails
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The check and the start refuse in these words.
async fn refused(pair: &Pair, words: &[&str], first: &str) {
    let said = fails(pair).await;
    for word in words {
        assert!(said.contains(word), "no FAIL says {word}: {said}");
    }
    let error = pair.initial(InitialOptions::new("t1")).run().await;
    let error = router::words(&error.unwrap_err());
    assert!(error.contains(first), "{error}");
    assert!(error.contains("cannot be carried to the target"), "{error}");
}

/// Nothing speaks of these words any more, and everything arrives.
async fn arrives(pair: &Pair, words: &[&str]) {
    let said = fails(pair).await;
    for word in words {
        assert!(!said.contains(word), "{said}");
    }
    done(pair.initial(InitialOptions::new("t1")).run().await);
}

async fn run(client: &SqlConn, statements: &[&str]) {
    for sql in statements {
        let ran = client.execute(sql).await;
        assert!(ran.is_ok(), "{sql}: {ran:?}");
    }
}

async fn one(client: &SqlConn, sql: &str) -> String {
    let row = client.query_first(sql).await.unwrap();
    let text = row.as_ref().and_then(|row| row.text(0));
    text.unwrap_or_default().to_owned()
}

/// A zone as `mysql_tzinfo_to_sql` writes one.
const ZONE: [&str; 3] = [
    "INSERT INTO mysql.time_zone (Time_zone_id, Use_leap_seconds) VALUES (4711, 'N')",
    "INSERT INTO mysql.time_zone_name (Name, Time_zone_id) VALUES ('Europe/Berlin', 4711)",
    "INSERT INTO mysql.time_zone_transition_type
     (Time_zone_id, Transition_type_id, `Offset`, Is_DST, Abbreviation)
     VALUES (4711, 0, 3600, 0, 'CET')",
];

#[tokio::test]
async fn an_event_waits_for_a_target_that_knows_its_time_zone() {
    for (from, to) in [
        (Version::MySql97, Version::MySql97),
        (Version::MySql56, Version::MySql97),
        (Version::MariaDb1011, Version::MariaDb118),
        (Version::MySql97, Version::MariaDb118),
    ] {
        let pair = Pair::start(from, to).await;
        let source = endpoint(&pair.source).connect_sql("test").await.unwrap();
        run(&source, &ZONE).await;
        run(
            &source,
            &[
                "CREATE DATABASE shop CHARACTER SET latin1",
                "SET time_zone = 'Europe/Berlin'",
                "CREATE EVENT shop.nightly ON SCHEDULE EVERY 1 DAY STARTS '2031-01-01 03:00:00' \
                 DISABLE DO DO 1",
                "SET time_zone = '+05:30'",
                "CREATE EVENT shop.known ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1",
            ],
        )
        .await;
        let named = "event shop.nightly";
        let words = [named, "time zone Europe/Berlin", "mysql_tzinfo_to_sql"];
        refused(&pair, &words, named).await;
        assert!(!fails(&pair).await.contains("shop.known"));

        let target = endpoint(&pair.target).connect_sql("test").await.unwrap();
        run(&target, &ZONE).await;
        arrives(&pair, &[named]).await;
        let zone = "SELECT CONCAT(TIME_ZONE, ' ', STARTS) FROM information_schema.EVENTS
                    WHERE EVENT_NAME = 'nightly'";
        let here = one(&source, zone).await;
        assert_eq!(here, "Europe/Berlin 2031-01-01 03:00:00");
        assert_eq!(here, one(&target, zone).await, "{from} to {to}");
    }
}

const ENCRYPTED: [&str; 7] = [
    "CREATE DATABASE open",
    "CREATE TABLE open.secret (a int PRIMARY KEY) ENCRYPTION = 'y'",
    "CREATE TABLE open.plain (a int PRIMARY KEY)",
    "CREATE TABLESPACE vault ADD DATAFILE 'vault.ibd' ENCRYPTION = 'Y'",
    "CREATE TABLE open.kept (a int PRIMARY KEY) TABLESPACE vault ENCRYPTION = 'Y'",
    "CREATE DATABASE closed DEFAULT ENCRYPTION 'Y'",
    "CREATE TABLE closed.by_default (a int PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 2",
];

#[tokio::test]
async fn encrypted_tables_of_mysql_wait_for_a_keyring() {
    let keys = MySqlOptions::default().with_keys();
    let mut pair = Pair::start_with(
        Version::MySql97,
        Version::MySql97,
        keys.clone(),
        MySqlOptions::default(),
    )
    .await;
    let source = endpoint(&pair.source).connect_sql("test").await.unwrap();
    run(&source, &ENCRYPTED).await;
    let words = [
        "table open.secret",
        "table open.kept",
        "table closed.by_default",
        "database closed",
        "keyring",
    ];
    refused(&pair, &words, "database closed").await;
    assert!(!fails(&pair).await.contains("open.plain"));

    pair.target.restart_with(keys).await.unwrap();
    arrives(&pair, &["keyring"]).await;
    let target = endpoint(&pair.target).connect_sql("test").await.unwrap();
    let encrypted = "SELECT GROUP_CONCAT(TABLE_NAME ORDER BY TABLE_NAME)
                     FROM information_schema.TABLES
                     WHERE TABLE_SCHEMA IN ('open', 'closed') AND CREATE_OPTIONS LIKE '%Y%'";
    assert_eq!(one(&target, encrypted).await, "by_default,kept,secret");
    let database = "SELECT GROUP_CONCAT(SCHEMA_NAME) FROM information_schema.SCHEMATA
                    WHERE DEFAULT_ENCRYPTION = 'YES'";
    assert_eq!(one(&target, database).await, "closed");
}

#[tokio::test]
async fn encrypted_tables_of_mysql_arrive_plain_on_mariadb() {
    let pair = Pair::start_with(
        Version::MySql97,
        Version::MariaDb118,
        MySqlOptions::default().with_keys(),
        MySqlOptions::default(),
    )
    .await;
    let source = endpoint(&pair.source).connect_sql("test").await.unwrap();
    run(&source, &ENCRYPTED).await;
    arrives(&pair, &["encrypt", "ENCRYPTION"]).await;
    let target = endpoint(&pair.target).connect_sql("test").await.unwrap();
    let tables = "SELECT GROUP_CONCAT(TABLE_NAME ORDER BY TABLE_NAME)
                  FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ('open', 'closed')";
    assert_eq!(one(&target, tables).await, "by_default,kept,plain,secret");
}

#[tokio::test]
async fn encrypted_tables_of_mariadb_wait_for_keys() {
    let keys = MySqlOptions::default().with_keys();
    for (from, to) in [
        (Version::MariaDb1011, Version::MariaDb118),
        (Version::MariaDb118, Version::MariaDb118),
    ] {
        let none = MySqlOptions::default();
        let mut pair = Pair::start_with(from, to, keys.clone(), none).await;
        let source = endpoint(&pair.source).connect_sql("test").await.unwrap();
        let statements = [
            "CREATE DATABASE shop",
            "CREATE TABLE shop.secret (a int PRIMARY KEY) ENCRYPTED = yes ENCRYPTION_KEY_ID = 7",
            "CREATE TABLE shop.usual (a int PRIMARY KEY) `ENCRYPTED` = 'YES'",
            "CREATE TABLE shop.plain (a int PRIMARY KEY) ENCRYPTED = NO",
        ];
        run(&source, &statements).await;
        let words = ["table shop.secret", "table shop.usual", "manages no keys"];
        refused(&pair, &words, "table shop.secret").await;
        assert!(!fails(&pair).await.contains("shop.plain"));

        pair.target.restart_with(keys.clone()).await.unwrap();
        arrives(&pair, &["shop.secret", "shop.usual"]).await;
        let target = endpoint(&pair.target).connect_sql("test").await.unwrap();
        let encrypted = "SELECT GROUP_CONCAT(NAME, ':', CURRENT_KEY_ID ORDER BY NAME)
                         FROM information_schema.INNODB_TABLESPACES_ENCRYPTION
                         WHERE NAME LIKE 'shop/%' AND ENCRYPTION_SCHEME = 1";
        let here = one(&source, encrypted).await;
        assert!(here.contains("shop/secret:7"), "{here}");
        assert_eq!(one(&target, encrypted).await, here, "{from} to {to}");
    }
}

/// A system on the ellipsoid of WGS 84, with a name of its own.
fn system(number: u32, name: &str, radius: u32) -> String {
    format!(
        "CREATE OR REPLACE SPATIAL REFERENCE SYSTEM {number} NAME '{name}' DEFINITION \
         'GEOGCS[\"{name}\",DATUM[\"World\",SPHEROID[\"WGS 84\",{radius},298.257223563]],\
         PRIMEM[\"Greenwich\",0],UNIT[\"degree\",0.017453292519943278],\
         AXIS[\"Lat\",NORTH],AXIS[\"Lon\",EAST]]'"
    )
}

#[tokio::test]
async fn geometries_wait_for_their_own_reference_systems() {
    let pair = Pair::start(Version::MySql97, Version::MySql97).await;
    let source = endpoint(&pair.source).connect_sql("test").await.unwrap();
    let target = endpoint(&pair.target).connect_sql("test").await.unwrap();
    let missing = system(4_000_001, "missing", 6_378_137);
    let other = system(4_000_002, "other", 6_378_137);
    let otherwise = system(4_000_002, "other", 6_378_000);
    run(&source, &[&missing, &other]).await;
    run(&target, &[&otherwise]).await;
    let statements = [
        "CREATE DATABASE shop",
        "CREATE TABLE shop.a (i int PRIMARY KEY, p point NOT NULL SRID 4000001, SPATIAL KEY (p))",
        "CREATE TABLE shop.b (i int PRIMARY KEY, q geometry SRID 4000002)",
        "CREATE TABLE shop.c (i int PRIMARY KEY, p point NOT NULL SRID 4326)",
        "CREATE TABLE shop.d (i int PRIMARY KEY, any_of point, srid int)",
        "INSERT INTO shop.a VALUES (1, ST_GeomFromText('POINT(1 2)', 4000001))",
        "INSERT INTO shop.d VALUES (1, ST_GeomFromText('POINT(1 2)', 4000001), 4000001)",
    ];
    run(&source, &statements).await;
    let words = [
        "table shop.a: column p is of spatial reference system 4000001, which the target does not have",
        "table shop.b: column q is of spatial reference system 4000002, which the target defines otherwise",
        "CREATE OR REPLACE SPATIAL REFERENCE SYSTEM 4000001",
    ];
    refused(&pair, &words, "table shop.a").await;
    let said = fails(&pair).await;
    assert!(
        !said.contains("shop.c") && !said.contains("shop.d"),
        "{said}"
    );
    let (from, to) = pair.endpoints();
    let found = check::run(&from, &to, &CheckOptions::default()).await;
    let warned = found.iter().any(|one| {
        let text = one.to_string();
        one.level == Level::Warn
            && text.contains("shop.d: column any_of")
            && text.contains("4000001")
    });
    assert!(warned, "{found:#?}");

    run(&target, &[&missing, &other]).await;
    arrives(&pair, &["shop.a", "shop.b"]).await;
    let point = "SELECT CONCAT(ST_SRID(p), ST_AsText(p)) FROM shop.a";
    assert_eq!(one(&target, point).await, one(&source, point).await);
    let point = "SELECT CONCAT(ST_SRID(any_of), ST_AsText(any_of)) FROM shop.d";
    assert_eq!(one(&target, point).await, one(&source, point).await);
}
