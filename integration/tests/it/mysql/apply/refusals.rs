//! Rules that only the target has: the row that breaks one is named, and nothing is committed.

use binlog::apply::ApplyError;
use integration::mysql::Version;

use super::pair::Pair;

/// A rule that somebody gives the target, and the number of the error by which it refuses a row.
struct Rule {
    alter: &'static str,
    change: &'static str,
    code: Option<u16>,
    /// The key of the row that breaks it.
    key: [&'static str; 2],
}

const TABLES: &str = "CREATE TABLE other (id INT PRIMARY KEY) ENGINE=InnoDB;
    CREATE TABLE t (k VARCHAR(9), id INT, v INT, w INT, PRIMARY KEY (k, id)) ENGINE=InnoDB;
    CREATE TABLE child (id INT PRIMARY KEY, tk VARCHAR(9), ti INT,
        FOREIGN KEY (tk, ti) REFERENCES t (k, id) ON DELETE CASCADE) ENGINE=InnoDB;
    CREATE TABLE late (k VARCHAR(9), id INT) ENGINE=InnoDB;
    INSERT INTO other VALUES (1);
    INSERT INTO t VALUES ('a', 1, 0, 1), ('b', 2, 0, 1), ('c', 3, 0, 1), ('d', 4, 0, 1), ('e', 5, 0, 1);
    INSERT INTO late VALUES ('c', 3)";

const CHECK: Rule = Rule {
    alter: "ALTER TABLE t ADD CONSTRAINT small CHECK (v < 10)",
    change: "BEGIN; INSERT INTO other VALUES (2); UPDATE t SET v = 9;
        INSERT INTO t VALUES ('f', 6, 1, 1), ('g', 7, 10, 1), ('h', 8, 1, 1), ('se-cret', 9, 77, 1); COMMIT",
    code: Some(3819),
    key: ["g", "7"],
};

const NOT_NULL: Rule = Rule {
    alter: "ALTER TABLE t MODIFY v INT NOT NULL",
    change: "BEGIN; INSERT INTO other VALUES (2); UPDATE t SET w = 9;
        UPDATE t SET v = NULL WHERE id = 4; COMMIT",
    code: None,
    key: ["d", "4"],
};

const FOREIGN_KEY: Rule = Rule {
    alter: "ALTER TABLE late ADD FOREIGN KEY (k, id) REFERENCES t (k, id)",
    change: "BEGIN; INSERT INTO other VALUES (2); UPDATE t SET w = 9; DELETE FROM t; COMMIT",
    code: Some(1451),
    key: ["c", "3"],
};

async fn refused(pair: &mut Pair, rule: &Rule) {
    pair.both(TABLES).await;
    let start = pair.applied.clone();
    pair.target.sql_in("d", rule.alter).unwrap();
    pair.change(rule.change);
    let error = Box::pin(pair.apply()).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
    let code = match &error {
        ApplyError::Refused(refusal) => refusal.source.code(),
        _value => None,
    };
    assert_eq!(code, rule.code, "{error:?}");
    assert!(error.to_string().contains("d.t"), "{error}");
    assert!(
        !format!("{error} {error:?}").contains("se-cret"),
        "{error:?}"
    );
    let key: Vec<_> = error.key().expect("a key").values().collect();
    assert_eq!(key, rule.key, "{error:?}");
    assert!(error.row().expect("a row").contains("`id`="), "{error:?}");
    let kept = "SELECT COUNT(*), SUM(w) FROM t UNION ALL SELECT COUNT(*), SUM(id) FROM other";
    let left = pair.target.sql_in("d", kept).unwrap();
    assert_eq!(left, "5\t5\n1\t1", "nothing is committed");
    pair.applied = start;
    for server in [&pair.source, &pair.target] {
        let drop = "SET foreign_key_checks = 0; DROP TABLE late, child, t, other";
        server.sql_in("d", drop).unwrap();
    }
}

/// By row events, then by SQL.
async fn all_refused(source: Version, target: Version, rules: &[Rule]) {
    let mut pair = Pair::start(source, target).await;
    for rule in rules {
        refused(&mut pair, rule).await;
    }
    pair.without_row_events().await;
    for rule in rules {
        refused(&mut pair, rule).await;
    }
}

#[tokio::test]
async fn a_row_that_breaks_a_rule_of_mysql_is_named() {
    all_refused(Version::MySql97, Version::MySql97, &[CHECK, NOT_NULL]).await;
}

/// The newest versions log what their foreign keys do, and then the target's are not asked.
#[tokio::test]
async fn a_row_that_breaks_a_foreign_key_of_mysql_is_named() {
    all_refused(Version::MySql56, Version::MySql97, &[FOREIGN_KEY]).await;
}

#[tokio::test]
async fn a_row_that_breaks_a_rule_of_mariadb_is_named() {
    let rules = [NOT_NULL, FOREIGN_KEY];
    all_refused(Version::MariaDb1011, Version::MariaDb118, &rules).await;
}
