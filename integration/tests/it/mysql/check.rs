//! The preflight check on real servers: what is right is said to be, and what is wrong is named.

use binlog::check::{self, CheckOptions, Finding, KeylessTables, Level};
use binlog::schema::initial::{InitialCopy, InitialOptions};
use integration::mysql::{MySqlOptions, Version};

use super::ground::{Ground, endpoint, target_grants};

/// Options with the fixture's own sessions out of the way.
fn options() -> CheckOptions {
    CheckOptions {
        migration_id: Some("test".to_owned()),
        trusted_roles: vec!["root".to_owned()],
        ..CheckOptions::default()
    }
}

async fn findings(source: &Ground, target: &Ground, options: &CheckOptions) -> Vec<Finding> {
    let source = endpoint(&source.server.url("migrator", "shop"));
    let target = endpoint(&target.server.url("chief", ""));
    check::run(&source, &target, options).await
}

fn of(level: Level, findings: &[Finding]) -> Vec<String> {
    let these = findings.iter().filter(|finding| finding.level == level);
    these.map(ToString::to_string).collect()
}

fn fails_with(findings: &[Finding], words: &[&str]) {
    let fails = of(Level::Fail, findings);
    for word in words {
        let is_there = fails.iter().any(|fail| fail.contains(word));
        assert!(is_there, "no FAIL says {word}: {fails:#?}");
    }
}

#[tokio::test]
async fn two_servers_that_are_right_have_no_fail_with_the_documented_privileges() {
    for version in Version::ALL {
        let source = Ground::open(version).await;
        let target = Ground::open(version).await;
        let before = target
            .one("SELECT COUNT(*) FROM information_schema.TABLES")
            .await;
        let findings = findings(&source, &target, &options()).await;
        let fails = of(Level::Fail, &findings);
        // The event scheduler of MySQL 9.7 runs unless told otherwise; MariaDB's does not.
        assert_eq!(fails, Vec::<String>::new(), "{version}");
        for finding in &findings {
            let complete = finding.level == Level::Ok || !finding.fix.is_empty();
            assert!(complete, "{finding}");
        }
        let after = target
            .one("SELECT COUNT(*) FROM information_schema.TABLES")
            .await;
        assert_eq!(before, after, "a check changes nothing");
    }
}

#[tokio::test]
async fn a_source_whose_log_cannot_be_streamed_fails() {
    for version in Version::ALL {
        let with_log = MySqlOptions::default();
        let without = Ground::open_with(version, with_log.without_binlog()).await;
        let target = Ground::open(version).await;
        let found = findings(&without, &target, &options()).await;
        fails_with(&found, &["log_bin is off"]);

        let mixed = MySqlOptions::default()
            .set("binlog-format", "MIXED")
            .set("binlog-ignore-db", "shop");
        let mixed = Ground::open_with(version, mixed).await;
        let found = findings(&mixed, &target, &options()).await;
        fails_with(&found, &["binlog_format is MIXED", "binlog_ignore_db"]);
    }
}

#[tokio::test]
async fn parts_of_documents_without_the_values_before_fail() {
    let parts = |image: &str| {
        let parts = MySqlOptions::default().set("binlog-row-value-options", "PARTIAL_JSON");
        parts.set("binlog-row-image", image)
    };
    let target = Ground::open(Version::MySql97).await;
    for image in ["MINIMAL", "NOBLOB"] {
        let source = Ground::open_with(Version::MySql97, parts(image)).await;
        let found = findings(&source, &target, &options()).await;
        fails_with(&found, &["PARTIAL_JSON"]);
    }
    let source = Ground::open_with(Version::MySql97, parts("FULL")).await;
    let found = findings(&source, &target, &options()).await;
    assert_eq!(of(Level::Fail, &found), Vec::<String>::new());
}

#[tokio::test]
async fn missing_privileges_are_named_one_by_one_with_their_grant() {
    for version in Version::ALL {
        let ground = Ground::open(version).await;
        ground.run("CREATE USER poor@'%'").await.unwrap();
        let source = endpoint(&ground.server.url("poor", "shop"));
        let target = endpoint(&ground.server.url("poor", ""));
        let found = check::run(&source, &target, &options()).await;
        let grants = match version {
            Version::MySql97 => [
                "GRANT XA_RECOVER_ADMIN ON *.* TO 'poor'@'%'",
                "GRANT SYSTEM_VARIABLES_ADMIN ON *.*",
                "GRANT REPLICATION SLAVE ON *.*",
            ],
            Version::MySql56 => [
                "GRANT SUPER ON *.* TO 'poor'@'%'",
                "GRANT PROCESS ON *.*",
                "GRANT REPLICATION SLAVE ON *.*",
            ],
            Version::MariaDb1011 | Version::MariaDb118 => [
                "GRANT READ ONLY ADMIN ON *.* TO 'poor'@'%'",
                "GRANT SLAVE MONITOR ON *.*",
                "GRANT REPLICATION SLAVE ON *.*",
            ],
        };
        fails_with(&found, &grants);
        fails_with(&found, &["ON `pointsman`.* TO", "server_id is the same"]);
        // Each of them is one that the server takes.
        for finding in &found {
            if finding.fix.starts_with("GRANT ") {
                let granted = ground.run(&finding.fix).await;
                assert!(granted.is_ok(), "{version}: {}: {granted:?}", finding.fix);
            }
        }
        let found = check::run(&source, &target, &options()).await;
        let lacks = of(Level::Fail, &found);
        let lacks: Vec<_> = lacks.iter().filter(|one| one.contains("lacks")).collect();
        assert!(lacks.is_empty(), "{version}: {lacks:#?}");
    }
}

#[tokio::test]
async fn tables_that_do_not_move_are_named() {
    for version in Version::ALL {
        let source = Ground::open(version).await;
        let target = Ground::open(version).await;
        for sql in [
            "CREATE TABLE shop.keyless (a INT) ENGINE=InnoDB",
            "CREATE TABLE shop.old (a INT PRIMARY KEY) ENGINE=MyISAM",
            "CREATE TABLE shop.gone (a INT PRIMARY KEY) ENGINE=MEMORY",
        ] {
            source.run(sql).await.unwrap();
        }
        if version.is_mariadb() {
            source.run("CREATE SEQUENCE shop.numbers").await.unwrap();
        }
        let options = CheckOptions {
            keyless_tables: KeylessTables::Refuse,
            ..options()
        };
        let found = findings(&source, &target, &options).await;
        fails_with(
            &found,
            &["shop.keyless", "shop.old (MyISAM)", "shop.gone (MEMORY)"],
        );
        if version.is_mariadb() {
            fails_with(&found, &["shop.numbers"]);
        }
    }
}

#[tokio::test]
async fn a_target_that_is_not_empty_or_takes_no_writes_fails() {
    for version in Version::ALL {
        let source = Ground::open(version).await;
        let target = Ground::open(version).await;
        target.run("SET GLOBAL read_only = ON").await.unwrap();
        let first = CheckOptions {
            migration_id: None,
            ..options()
        };
        let found = findings(&source, &target, &first).await;
        fails_with(
            &found,
            &[
                "read_only is on",
                "left database pointsman",
                "not empty: shop",
            ],
        );
    }
}

#[tokio::test]
async fn what_would_pass_the_fence_is_told() {
    for version in Version::ALL {
        let source = Ground::open(version).await;
        let target = Ground::open(version).await;
        let app = source.connect("app").await;
        for sql in [
            "XA START 'left'",
            "INSERT INTO shop.entry (who) VALUES ('xa')",
            "XA END 'left'",
            "XA PREPARE 'left'",
        ] {
            app.execute(sql).await.unwrap();
        }
        let _chief = source.connect("chief").await;
        let found = findings(&source, &target, &options()).await;
        fails_with(&found, &["left"]);
        if version != Version::MySql97 {
            let warns = of(Level::Warn, &found).join("\n");
            assert!(warns.contains("user chief"), "{version}: {warns}");
            assert!(warns.contains("read_only = 1"), "{version}: {warns}");
        }
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_a_finding() {
    let target = Ground::open(Version::MariaDb118).await;
    let nobody = endpoint("mysql://migrator@127.0.0.1:1/shop");
    let there = endpoint(&target.server.url("nobody", ""));
    let found = check::run(&nobody, &there, &options()).await;
    assert_eq!(of(Level::Fail, &found).len(), 2, "{found:#?}");
    assert!(
        found[1].fix.contains("CREATE USER 'nobody'@'%'"),
        "{}",
        found[1]
    );
}

#[tokio::test]
async fn collations_and_log_ins_of_the_other_flavour_are_named() {
    let source = Ground::open(Version::MariaDb118).await;
    let target = Ground::open(Version::MySql97).await;
    source
        .run("CREATE TABLE shop.t (a INT PRIMARY KEY, b TEXT COLLATE utf8mb4_uca1400_ai_ci)")
        .await
        .unwrap();
    for (server, name) in [(&source, "maria"), (&target, "mine")] {
        server
            .run(&format!(
                "CREATE USER {name}@'%' IDENTIFIED BY 'p', {name}_open@'%'"
            ))
            .await
            .unwrap();
    }
    let found = findings(&source, &target, &options()).await;
    fails_with(&found, &["utf8mb4_uca1400"]);
    let warns = of(Level::Warn, &found).join("\n");
    assert!(warns.contains("maria@% (mysql_native_password)"), "{warns}");
    // No password is none in every method.
    assert!(!warns.contains("maria_open@%"), "{warns}");
    // It stands on the target already.
    assert!(!warns.contains("app@%"), "{warns}");

    let found = findings(&target, &source, &options()).await;
    let warns = of(Level::Warn, &found).join("\n");
    assert!(warns.contains("mine@% (caching_sha2_password)"), "{warns}");
    assert!(!warns.contains("mine_open@%"), "{warns}");
}

#[tokio::test]
async fn the_documented_privileges_are_enough_for_a_copy() {
    for version in Version::ALL {
        let source = Ground::open(version).await;
        let target = Ground::open(version).await;
        for sql in [
            "INSERT INTO shop.entry (who) VALUES ('one'), ('two')",
            "CREATE DEFINER = app@'%' VIEW shop.v AS SELECT who FROM shop.entry",
            "CREATE DEFINER = app@'%' PROCEDURE shop.p() SELECT 1",
            "CREATE DEFINER = app@'%' TRIGGER shop.g BEFORE INSERT ON shop.entry \
             FOR EACH ROW SET NEW.who = NEW.who",
            "CREATE DEFINER = app@'%' EVENT shop.e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
            "DROP DATABASE pointsman",
        ] {
            source.run(sql).await.unwrap();
        }
        for sql in [
            "DROP DATABASE shop",
            "DROP DATABASE pointsman",
            "CREATE USER mover@'%'",
            "GRANT ALL ON shop.* TO mover@'%' WITH GRANT OPTION",
            "GRANT ALL ON pointsman.* TO mover@'%'",
        ] {
            target.run(sql).await.unwrap();
        }
        for grant in target_grants(version) {
            let sql = format!("GRANT {grant} TO mover@'%'");
            target.run(&sql).await.unwrap();
        }
        let from = endpoint(&source.server.url("migrator", "shop"));
        let to = endpoint(&target.server.url("mover", ""));
        let options = CheckOptions {
            trusted_roles: vec!["root".to_owned()],
            ..CheckOptions::default()
        };
        let needs_trust = version != Version::MySql56;
        if needs_trust {
            let found = check::run(&from, &to, &options).await;
            fails_with(&found, &["SET GLOBAL log_bin_trust_function_creators = ON"]);
        }
        let trust = "SET GLOBAL log_bin_trust_function_creators = ON";
        target.run(trust).await.unwrap();
        let found = check::run(&from, &to, &options).await;
        assert_eq!(of(Level::Fail, &found), Vec::<String>::new(), "{version}");
        let copy = InitialCopy::new(from, to, InitialOptions::new("enough"));
        copy.run()
            .await
            .unwrap_or_else(|error| panic!("{version}: {}", router::words(&error)));
        assert_eq!(
            target.one("SELECT COUNT(*) FROM shop.entry").await,
            "2",
            "{version}"
        );
    }
}

/// The finding that says how the snapshot will be taken.
fn snapshot(findings: &[Finding]) -> String {
    let said = |finding: &&Finding| finding.what.contains("snapshot") || is_reload(finding);
    let found: Vec<_> = findings.iter().filter(said).collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].to_string()
}

fn is_reload(finding: &Finding) -> bool {
    finding.what.starts_with("source:") && finding.fix.contains("GRANT RELOAD")
}

#[tokio::test]
async fn the_way_to_a_snapshot_is_said_by_what_the_source_grants() {
    for version in Version::ALL {
        let durable = MySqlOptions::default()
            .set("innodb-flush-log-at-trx-commit", "1")
            .set("sync-binlog", "1");
        let source = Ground::open_with(version, durable).await;
        let target = Ground::open(version).await;
        let look = async || snapshot(&findings(&source, &target, &options()).await);
        let said = look().await;
        assert!(said.starts_with("ok"), "{said}");
        assert!(said.contains("FLUSH TABLES WITH READ LOCK"), "{said}");

        source
            .run("REVOKE RELOAD ON *.* FROM migrator@'%'")
            .await
            .unwrap();
        let without = look().await;
        source
            .run("GRANT LOCK TABLES ON shop.* TO migrator@'%'")
            .await
            .unwrap();
        let with_tables = look().await;
        match version {
            Version::MySql97 | Version::MySql56 => {
                assert!(without.starts_with("FAIL"), "{without}");
                assert!(without.contains("LOCK TABLES"), "{without}");
                assert!(with_tables.starts_with("warn"), "{with_tables}");
                assert!(with_tables.contains("LOCK TABLES .. READ"), "{with_tables}");
            }
            Version::MariaDb1011 | Version::MariaDb118 => {
                assert!(without.starts_with("warn"), "{without}");
                assert!(without.contains("without any lock"), "{without}");
                assert_eq!(with_tables, without);
            }
        }
    }
}

#[tokio::test]
async fn a_source_may_need_reload_for_more_than_the_snapshot() {
    let durable = MySqlOptions::default()
        .set("innodb-flush-log-at-trx-commit", "1")
        .set("sync-binlog", "1");
    let lazy = MySqlOptions::default().set("innodb-flush-log-at-trx-commit", "2");
    for (options_of_source, words) in [
        (durable.without_gtids(), "FLUSH BINARY LOGS"),
        (lazy, "FLUSH ENGINE LOGS"),
    ] {
        let source = Ground::open_with(Version::MySql97, options_of_source).await;
        let target = Ground::open(Version::MySql97).await;
        for sql in [
            "REVOKE RELOAD, BACKUP_ADMIN ON *.* FROM migrator@'%'",
            "GRANT LOCK TABLES ON shop.* TO migrator@'%'",
        ] {
            source.run(sql).await.unwrap();
        }
        let found = findings(&source, &target, &options()).await;
        fails_with(&found, &[words]);
        let warned = of(Level::Warn, &found);
        let words = "definition statements do not wait";
        assert!(warned.iter().any(|one| one.contains(words)), "{warned:#?}");
    }
}
