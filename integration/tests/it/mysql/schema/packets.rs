//! Definitions that are longer than the packets that the target takes: the check and a start name
//! them, and those that fit arrive.

use std::fmt::Write as _;

use binlog::check::{self, CheckOptions, Level};
use binlog::schema::initial::InitialOptions;
use integration::mysql::{MySqlOptions, Version};
use router::words;

use super::{Pair, done};

/// What the target takes, and how long objects are that it does not.
const PACKET: usize = 262_144;
const LONG: usize = 300_000;

/// Objects that fit one by one, and not two of them in one statement.
const HALF: usize = 150_000;

fn long_objects(version: Version) -> Vec<(&'static str, String)> {
    let text = "x".repeat(LONG);
    let trigger = "CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW SET @a =";
    let mut objects = vec![
        (
            "procedure shop.p",
            format!("CREATE PROCEDURE p() SELECT '{text}'"),
        ),
        ("trigger shop.r", format!("{trigger} '{text}'")),
    ];
    // MariaDB makes no such tables.
    if version == Version::MySql97 {
        let comment = "x".repeat(LONG / 300);
        let mut columns = String::new();
        for n in 0..300 {
            write!(columns, ", c{n} INT COMMENT '{n}{comment}'").unwrap();
        }
        objects.push((
            "table shop.wide",
            format!("CREATE TABLE wide (id INT PRIMARY KEY{columns})"),
        ));
    }
    objects
}

async fn named_and_carried(version: Version) {
    let options = || MySqlOptions::default().set("max_allowed_packet", "16777216");
    let pair = Pair::start_with(version, version, options(), options()).await;
    let shop = "CREATE DATABASE shop; USE shop; CREATE TABLE t (id INT PRIMARY KEY)";
    pair.source.sql(shop).unwrap();
    for name in ["half", "other_half"] {
        let half = format!("CREATE PROCEDURE {name}() SELECT '{}'", "x".repeat(HALF));
        pair.source.script("shop", &format!("{half};")).unwrap();
    }
    for (_name, sql) in long_objects(version) {
        pair.source.script("shop", &format!("{sql};")).unwrap();
    }
    let packets = format!("SET GLOBAL max_allowed_packet = {PACKET}");
    pair.target.sql(&packets).unwrap();
    let (source, target) = pair.endpoints();
    let options = CheckOptions {
        migration_id: Some("t1".to_owned()),
        ..CheckOptions::default()
    };
    let found = check::run(&source, &target, &options).await;
    let fails = found.iter().filter(|one| one.level == Level::Fail);
    let fails: Vec<String> = fails.map(ToString::to_string).collect();
    for (name, _sql) in long_objects(version) {
        let is_named = |fail: &&String| fail.contains(name) && fail.contains("max_allowed_packet");
        assert_eq!(
            fails.iter().filter(is_named).count(),
            1,
            "{name}: {fails:#?}"
        );
    }
    assert!(!fails.concat().contains("half"), "{fails:#?}");
    assert!(!fails.concat().contains("xxxx"), "no text of theirs");

    let error = pair.initial(InitialOptions::new("t1")).run().await;
    let error = error.unwrap_err();
    let told = words(&error);
    let limit = format!("max_allowed_packet on the target is {PACKET}");
    assert!(told.contains(&limit), "{told}");
    let named = |(name, _sql): &(&str, String)| told.contains(name);
    assert!(long_objects(version).iter().any(named), "{told}");
    assert!(!error.may_pass());

    // Those that fit are carried under the same limit.
    let gone = "DROP PROCEDURE p; DROP TRIGGER r; DROP TABLE IF EXISTS wide;";
    pair.source.script("shop", gone).unwrap();
    done(pair.initial(InitialOptions::new("t1")).run().await);
    let routines = "SELECT ROUTINE_NAME, LENGTH(ROUTINE_DEFINITION) FROM information_schema.ROUTINES \
                    WHERE ROUTINE_SCHEMA = 'shop' ORDER BY 1";
    let (here, there) = (pair.source.sql(routines), pair.target.sql(routines));
    assert_eq!(here.unwrap(), there.unwrap());
}

#[tokio::test]
async fn definitions_beyond_the_targets_packets_are_named_on_mysql_9_7() {
    named_and_carried(Version::MySql97).await;
}

#[tokio::test]
async fn definitions_beyond_the_targets_packets_are_named_on_mariadb_11_8() {
    named_and_carried(Version::MariaDb118).await;
}
