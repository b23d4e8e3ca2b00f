//! Every kind of definition statement, with the program gone before the target carries it out and
//! gone again behind it: it takes effect once.

use std::time::Duration;

use binlog::apply::{ApplyError, DdlWhy};
use integration::mysql::{MySqlServer, Version};
use tokio::net::TcpListener;

use super::log;
use super::pair::Pair;
use crate::mysql::cut::{Cut, wire};

/// How long anything may take on a starved machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tables that the statements are about.
const TABLES: &str = "
    CREATE TABLE t (id INT PRIMARY KEY, v INT) ENGINE=InnoDB;
    CREATE TABLE e (id INT PRIMARY KEY, v INT) ENGINE=InnoDB;
    INSERT INTO t VALUES (1, 1), (2, 2);
    CREATE TABLE a (id INT PRIMARY KEY) ENGINE=InnoDB;
    CREATE TABLE b (id INT PRIMARY KEY) ENGINE=InnoDB;
    CREATE TABLE px (id INT PRIMARY KEY) ENGINE=InnoDB;
    INSERT INTO px VALUES (3);
    CREATE TABLE p (id INT PRIMARY KEY) ENGINE=InnoDB PARTITION BY RANGE (id) (
        PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20),
        PARTITION p2 VALUES LESS THAN (30));
    INSERT INTO p VALUES (1), (11), (21)";

/// Statements that every server understands, each about what those before it left.
const EVERYWHERE: &[&str] = &[
    "CREATE TABLE n (id INT PRIMARY KEY, v INT) ENGINE=InnoDB",
    "CREATE TABLE n2 LIKE n",
    "ALTER TABLE n ADD COLUMN w INT",
    "ALTER TABLE n ADD COLUMN x INT, RENAME TO m",
    "CREATE INDEX i ON m (v)",
    "DROP INDEX i ON m",
    "RENAME TABLE n2 TO n3",
    "RENAME TABLE t TO tmp, e TO t, tmp TO e",
    "TRUNCATE TABLE e",
    "ALTER TABLE p ADD PARTITION (PARTITION p3 VALUES LESS THAN (40))",
    "ALTER TABLE p REORGANIZE PARTITION p2, p3 INTO (PARTITION p2 VALUES LESS THAN (40))",
    "ALTER TABLE p TRUNCATE PARTITION p1",
    "ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE px",
    "ALTER TABLE p DROP PARTITION p1",
    "ALTER TABLE p REMOVE PARTITIONING",
    "CREATE VIEW s AS SELECT id FROM t",
    "CREATE VIEW s2 AS SELECT id FROM t",
    "ALTER VIEW s AS SELECT v FROM t",
    "CREATE OR REPLACE VIEW s AS SELECT id, v FROM t",
    "DROP VIEW s, s2",
    "CREATE PROCEDURE r() SELECT 1",
    "ALTER PROCEDURE r COMMENT 'x'",
    "CREATE FUNCTION f() RETURNS INT DETERMINISTIC RETURN 1",
    "DROP FUNCTION f",
    "DROP PROCEDURE r",
    "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET NEW.v = 1",
    "DROP TRIGGER g",
    "CREATE EVENT ev ON SCHEDULE EVERY 1 DAY DO SELECT 1",
    "ALTER EVENT ev RENAME TO ev2",
    "DROP EVENT ev2",
    "DROP TABLE a, b",
    "DROP TABLE n3",
    "ALTER DATABASE d DEFAULT CHARACTER SET latin1",
    "DROP DATABASE d",
    "CREATE DATABASE d",
];

/// Statements about accounts, which servers of one family repeat.
const ACCOUNTS: &[&str] = &[
    "CREATE USER u1, u2",
    "GRANT SELECT ON d.* TO u1",
    "REVOKE SELECT ON d.* FROM u1",
    "CREATE ROLE r1",
    "GRANT r1 TO u1",
    "REVOKE r1 FROM u1",
    "ALTER USER u1 ACCOUNT LOCK",
    "DROP ROLE r1",
    "DROP USER u1, u2",
];

/// Where the program goes: a statement that does not reach the target any more.
#[derive(Debug, Clone, Copy)]
enum Gone {
    /// What begins is written down, and nothing has begun.
    Before,
    /// It took effect, and that is not written down.
    Behind,
}

impl Gone {
    fn cut(self, statement: &str) -> Cut {
        let is_ours = statement.contains("pointsman");
        let verb = statement.split(' ').next().unwrap_or_default();
        let is_here = match self {
            Self::Before => {
                let verbs = [
                    "CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE", "GRANT", "REVOKE",
                ];
                !is_ours && verbs.contains(&verb)
            }
            Self::Behind => statement.starts_with("UPDATE pointsman.ddl_intent"),
        };
        if is_here { Cut::Before } else { Cut::Nowhere }
    }
}

/// Runs the applier until it goes.
async fn apply_until(pair: &mut Pair, gone: Gone) {
    pair.start_again();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let ours = listener.local_addr().unwrap().port();
    let theirs = pair.target.port();
    let url = pair.target_url.clone();
    let through = url.replace(&format!(":{theirs}"), &format!(":{ours}"));
    assert_ne!(url, through);
    pair.target_url = format!("{through}?ssl-mode=DISABLED");
    let run = async {
        let mut applier = Box::pin(pair.applier()).await.unwrap();
        let stream = log::behind(&pair.source, &pair.applied).await;
        let ran = Box::pin(applier.run_stream(stream)).await;
        // Its connection may be cut off before we hear of it.
        assert!(ran.unwrap_err().is_transient());
        std::future::pending::<()>().await;
    };
    let cut = tokio::time::timeout(
        PATIENCE,
        wire(&listener, theirs, move |sql: &str| gone.cut(sql)),
    );
    tokio::select! {
        () = run => {}
        cut = cut => cut.expect("the applier comes to the statement"),
    }
    pair.target_url = url;
    let state = pair.target.sql("SELECT state FROM pointsman.ddl_intent");
    assert_eq!(state.unwrap(), "begun");
}

/// Names of everything, which all versions tell alike.
const FACTS: &str = "
    SELECT 'database', SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, '' FROM information_schema.SCHEMATA
        WHERE SCHEMA_NAME = 'd'
    UNION ALL SELECT 'column', TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION
        FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'd'
    UNION ALL SELECT 'index', TABLE_NAME, INDEX_NAME, COLUMN_NAME
        FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = 'd'
    UNION ALL SELECT 'partition', TABLE_NAME, IFNULL(PARTITION_NAME, ''), IFNULL(PARTITION_DESCRIPTION, '')
        FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = 'd' AND PARTITION_NAME IS NOT NULL
    UNION ALL SELECT 'routine', ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_COMMENT
        FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'd'
    UNION ALL SELECT 'trigger', TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_STATEMENT
        FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = 'd'
    UNION ALL SELECT 'event', EVENT_NAME, '', '' FROM information_schema.EVENTS WHERE EVENT_SCHEMA = 'd'
    UNION ALL SELECT 'grant', GRANTEE, PRIVILEGE_TYPE, '' FROM information_schema.SCHEMA_PRIVILEGES
        WHERE TABLE_SCHEMA = 'd'
    UNION ALL SELECT 'account', User, Host, '' FROM mysql.user WHERE User LIKE '_1' OR User LIKE '_2'";

/// What is on a server.
async fn facts(server: &MySqlServer) -> Vec<String> {
    let conn = server.connect().await.unwrap();
    let mut facts = Vec::new();
    for row in conn.query(FACTS).await.unwrap() {
        let words: Vec<_> = (0..4).map(|at| row.text(at).unwrap_or("NULL")).collect();
        facts.push(words.join(" "));
    }
    for table in ["t", "e", "p", "px"] {
        // One that is not there is among the names.
        let rows = conn.query(&format!("SELECT * FROM d.{table}")).await;
        for row in rows.unwrap_or_default() {
            facts.push(format!("{table} has {:?} {:?}", row.text(0), row.text(1)));
        }
    }
    facts.sort_unstable();
    facts
}

async fn same(pair: &Pair, what: &str) {
    let (source, target) = tokio::join!(facts(&pair.source), facts(&pair.target));
    assert_eq!(source, target, "{what}");
}

/// On the source, whose database may just be gone.
fn change(pair: &Pair, statement: &str) {
    let database = if statement.contains("DATABASE d") {
        ""
    } else {
        "USE d; "
    };
    pair.source.sql(&format!("{database}{statement}")).unwrap();
}

async fn once_each(source: Version, target: Version, lists: &[&[&str]]) {
    let mut pair = Pair::start(source, target).await;
    pair.both(TABLES).await;
    for statement in lists.concat() {
        let before = pair.applied.clone();
        change(&pair, statement);
        apply_until(&mut pair, Gone::Before).await;
        apply_until(&mut pair, Gone::Behind).await;
        let applied = |result: Result<(), ApplyError>| {
            result.unwrap_or_else(|error| panic!("{statement}: {error}"));
        };
        applied(Box::pin(pair.apply()).await);
        same(&pair, statement).await;

        // It is written down as done, and the progress behind it is not.
        pair.applied = before;
        applied(Box::pin(pair.apply()).await);
        same(&pair, statement).await;
    }
}

#[tokio::test]
async fn every_definition_takes_effect_once_whenever_the_program_goes_from_mysql_97_to_97() {
    once_each(Version::MySql97, Version::MySql97, &[EVERYWHERE, ACCOUNTS]).await;
}

#[tokio::test]
async fn every_definition_takes_effect_once_whenever_the_program_goes_from_mysql_56_to_97() {
    once_each(Version::MySql56, Version::MySql97, &[EVERYWHERE]).await;
}

#[tokio::test]
async fn every_definition_takes_effect_once_whenever_the_program_goes_from_mariadb_1011_to_118() {
    let replaced: &[&str] = &[
        "CREATE TABLE c (id INT PRIMARY KEY)",
        "CREATE OR REPLACE TABLE c (id INT PRIMARY KEY, v INT)",
        "DROP TABLE c",
    ];
    let lists = [EVERYWHERE, replaced, ACCOUNTS];
    once_each(Version::MariaDb1011, Version::MariaDb118, &lists).await;
}

/// A server that does a statement in several steps and is killed between them leaves the first ones
/// done: the rest is done, and only that.
#[tokio::test]
async fn what_a_killed_mariadb_left_half_done_is_finished() {
    let mut pair = Pair::start(Version::MariaDb118, Version::MariaDb118).await;
    pair.both(TABLES).await;
    pair.both("CREATE VIEW v1 AS SELECT 1; CREATE VIEW v2 AS SELECT 1")
        .await;
    for (statement, half) in [
        ("DROP TABLE a, b", "DROP TABLE d.a"),
        ("DROP VIEW v1, v2", "DROP VIEW d.v1"),
        (
            "CREATE OR REPLACE TABLE t (id INT PRIMARY KEY)",
            "DROP TABLE d.t",
        ),
        ("CREATE USER u1, u2", "CREATE USER u1"),
        ("DROP USER u1, u2", "DROP USER u1"),
        ("DROP DATABASE d", "DROP TABLE d.e"),
    ] {
        change(&pair, statement);
        apply_until(&mut pair, Gone::Before).await;
        pair.target.kill9().unwrap();
        pair.target.restart().await.unwrap();
        pair.target.sql(half).unwrap();
        let resumed = Box::pin(pair.apply()).await;
        resumed.unwrap_or_else(|error| panic!("{statement}: {error}"));
        same(&pair, statement).await;
    }
}

/// Accounts are renamed in several tables of MariaDB's, one after the other.
#[tokio::test]
async fn what_cannot_be_told_after_a_crash_stops_with_the_statement_and_its_place() {
    let mut pair = Pair::start(Version::MariaDb118, Version::MariaDb118).await;
    pair.both("CREATE USER u1").await;
    pair.change("RENAME USER u1 TO u2");
    apply_until(&mut pair, Gone::Behind).await;
    let error = Box::pin(pair.apply()).await.unwrap_err();
    let ApplyError::Ddl(ddl) = &error else {
        panic!("{error}");
    };
    assert_eq!(ddl.why, DdlWhy::Unknown);
    assert!(!error.is_transient());
    assert!(error.statement().unwrap().starts_with("RENAME USER"));
    assert!(
        error.to_string().contains("RENAME behind binlog.000001:"),
        "{error}"
    );

    // As the message says: an operator who looked at the target goes on.
    pair.target
        .sql("UPDATE pointsman.ddl_intent SET state = 'done'")
        .unwrap();
    Box::pin(pair.apply()).await.unwrap();
    same(&pair, "RENAME USER").await;
}
