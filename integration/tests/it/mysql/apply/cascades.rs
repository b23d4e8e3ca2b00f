//! Foreign keys that act: what they do on a source whose log does not tell of it happens on the
//! target once.

use std::collections::HashMap;

use binlog::apply::{Applier, ApplyError, ApplyOptions, Method, TableError, Watermarks};
use binlog::position::Position;
use binlog::schema::catalog::Scope;
use binlog::wire::Endpoint;
use integration::mysql::Version;

use super::log;
use super::pair::Pair;

/// Tables, what is done to them, and questions of which the answers must be the same.
struct Case {
    tables: &'static str,
    changes: &'static str,
    names: &'static [&'static str],
    /// The last table's rows.
    left: &'static str,
}

const SEVERAL_LEVELS: Case = Case {
    tables: "CREATE TABLE a (id INT PRIMARY KEY, v INT) ENGINE=InnoDB;
        CREATE TABLE b (a INT, id INT, v INT, PRIMARY KEY (a, id),
            FOREIGN KEY (a) REFERENCES a (id) ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB;
        CREATE TABLE c (id INT PRIMARY KEY, a INT, b INT, v INT,
            FOREIGN KEY (a, b) REFERENCES b (a, id) ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB;
        INSERT INTO a VALUES (1, 0), (2, 0), (3, 0), (4, 0);
        INSERT INTO b VALUES (1, 1, 0), (1, 2, 0), (2, 1, 0), (3, 1, 0), (4, 1, 0);
        INSERT INTO c VALUES (1, 1, 1, 0), (2, 1, 2, 0), (3, 2, 1, 0), (4, 3, 1, 0), (5, 4, 1, 0), (6, NULL, 1, 0)",
    changes: "UPDATE a SET id = id + 100 ORDER BY id DESC; UPDATE b SET v = 7 WHERE a = 102;
        DELETE FROM a WHERE id = 101; UPDATE b SET id = 9 WHERE a = 103; UPDATE a SET v = 5, id = 200 WHERE id = 104;
        UPDATE c SET v = v + 1",
    names: &["a", "b", "c"],
    left: "3\t102\t1\t1\n4\t103\t9\t1\n5\t200\t1\t1\n6\tNULL\t1\t1",
};

const SET_NULL: Case = Case {
    tables: "CREATE TABLE a (id INT PRIMARY KEY, u INT NOT NULL, UNIQUE (u)) ENGINE=InnoDB;
        CREATE TABLE b (id INT PRIMARY KEY, u INT, d INT, FOREIGN KEY (u) REFERENCES a (u) ON DELETE SET NULL ON UPDATE SET NULL,
            FOREIGN KEY (d) REFERENCES a (u) ON DELETE SET NULL ON UPDATE CASCADE) ENGINE=InnoDB;
        INSERT INTO a VALUES (1, 10), (2, 20), (3, 30);
        INSERT INTO b VALUES (1, 10, 10), (2, 20, 20), (3, 30, 30), (4, NULL, 10)",
    changes: "UPDATE a SET u = 11 WHERE id = 1; UPDATE a SET id = 9 WHERE id = 2; DELETE FROM a WHERE u = 30;
        BEGIN; UPDATE b SET u = 20 WHERE id = 1; UPDATE a SET u = 21 WHERE u = 20; COMMIT",
    names: &["a", "b"],
    left: "1\tNULL\t11\n2\tNULL\t21\n3\tNULL\tNULL\n4\tNULL\t11",
};

const OF_ITSELF: Case = Case {
    tables: "CREATE TABLE f (id INT PRIMARY KEY, boss INT, FOREIGN KEY (boss) REFERENCES f (id) ON DELETE SET NULL) ENGINE=InnoDB;
        CREATE TABLE e (id INT PRIMARY KEY, boss INT, FOREIGN KEY (boss) REFERENCES e (id) ON DELETE CASCADE) ENGINE=InnoDB;
        INSERT INTO f VALUES (1, NULL), (2, 1), (3, 2), (4, 4);
        INSERT INTO e VALUES (1, NULL), (2, 1), (3, 2), (4, 3), (5, NULL), (6, 5), (7, NULL), (8, 7), (9, 8)",
    changes: "DELETE FROM f WHERE id = 1; DELETE FROM f WHERE id = 2;
        DELETE FROM e WHERE id = 2; DELETE FROM e WHERE id IN (5, 6);
        BEGIN; UPDATE e SET boss = 1 WHERE id = 8; DELETE FROM e WHERE id = 7; COMMIT",
    names: &["f", "e"],
    left: "1\tNULL\n8\t1\n9\t8",
};

/// Rows that a cascade takes are changed directly before and come again after, in the same
/// transaction and in others of the same window.
const AMONG_OTHER_CHANGES: Case = Case {
    tables: "CREATE TABLE p (id INT PRIMARY KEY, v INT) ENGINE=InnoDB;
        CREATE TABLE n (p INT, v INT, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB;
        CREATE TABLE c (id INT PRIMARY KEY, p INT, v INT,
            FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB;
        INSERT INTO p VALUES (1, 0), (2, 0), (3, 0); INSERT INTO c VALUES (1, 1, 0), (2, 2, 0), (3, 3, 0);
        INSERT INTO n VALUES (1, 0), (1, 0), (2, 0), (3, 0)",
    changes: "BEGIN; INSERT INTO c VALUES (4, 1, 0); UPDATE c SET v = 1 WHERE p = 1; UPDATE c SET p = 2 WHERE id = 1;
            INSERT INTO n VALUES (1, 5); DELETE FROM p WHERE id = 1; INSERT INTO p VALUES (1, 9);
            INSERT INTO c VALUES (4, 1, 2); UPDATE c SET v = v + 1; INSERT INTO n VALUES (1, 6); COMMIT;
        UPDATE c SET v = 50 WHERE id = 2; UPDATE p SET id = 20 WHERE id = 2; UPDATE c SET v = v + 1 WHERE p = 20;
        INSERT INTO p VALUES (2, 8); INSERT INTO c VALUES (5, 2, 3); DELETE FROM p WHERE id = 20;
        UPDATE c SET p = 2 WHERE id = 3; DELETE FROM p WHERE id = 3; UPDATE n SET v = v + 1",
    names: &["p", "n", "c"],
    left: "3\t2\t1\n4\t1\t3\n5\t2\t3",
};

/// A parent that nothing but the whole row identifies.
const WITHOUT_A_KEY: Case = Case {
    tables: "CREATE TABLE p (u INT NULL, v INT, UNIQUE (u)) ENGINE=InnoDB;
        CREATE TABLE c (id INT PRIMARY KEY, u INT, FOREIGN KEY (u) REFERENCES p (u) ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB;
        INSERT INTO p VALUES (1, 0), (2, 0), (NULL, 0), (NULL, 0), (NULL, 0), (4, 0); INSERT INTO c VALUES (1, 1), (2, 2), (3, NULL), (4, 4)",
    changes: "UPDATE p SET u = 10, v = 1 WHERE u = 1; UPDATE p SET v = 2; DELETE FROM p WHERE u = 2; UPDATE p SET u = NULL WHERE u = 4;
        UPDATE p SET u = 7 WHERE u IS NULL LIMIT 1; DELETE FROM p WHERE u IS NULL LIMIT 1",
    names: &["p", "c"],
    left: "1\t10\n3\tNULL\n4\tNULL",
};

const CASES: [Case; 5] = [
    SEVERAL_LEVELS,
    SET_NULL,
    OF_ITSELF,
    AMONG_OTHER_CHANGES,
    WITHOUT_A_KEY,
];

async fn happen_once(source: Version, target: Version, method: Method) {
    these_happen_once(source, target, method, &CASES).await;
}

async fn these_happen_once(source: Version, target: Version, method: Method, cases: &[Case]) {
    let mut pair = Pair::start(source, target).await;
    if method == Method::Sql {
        pair.without_row_events().await;
    }
    for case in cases {
        pair.both(case.tables).await;
        if method == Method::RowEvents {
            // What a cascade does fires no trigger, here or there.
            let last = case.names[case.names.len() - 1];
            let trigger = |when: &str| {
                format!(
                    "CREATE TRIGGER t_{when} AFTER {when} ON {last} FOR EACH ROW INSERT INTO audit VALUES ('{when}');"
                )
            };
            let triggers = format!(
                "CREATE TABLE audit (what VARCHAR(9)) ENGINE=InnoDB; {} {}",
                trigger("UPDATE"),
                trigger("DELETE")
            );
            pair.both(&triggers).await;
        }
        pair.change(case.changes);
        let applied = Box::pin(pair.apply()).await;
        applied.unwrap_or_else(|error| panic!("{}: {error} {error:?}", case.tables));
        for name in case.names {
            pair.same(&format!("SELECT * FROM {name} ORDER BY 1, 2"));
        }
        let last = case.names[case.names.len() - 1];
        let rows = pair.same(&format!("SELECT * FROM {last} ORDER BY 1, 2"));
        assert_eq!(rows, case.left, "{}", case.tables);
        let mut names = case.names.join(", ");
        if method == Method::RowEvents {
            pair.same("SELECT what, COUNT(*) FROM audit GROUP BY what ORDER BY what");
            names.push_str(", audit");
        }
        pair.both(&format!("SET foreign_key_checks = 0; DROP TABLE {names}"))
            .await;
    }
}

#[tokio::test]
async fn cascades_happen_once_from_mysql_56_on_mysql_97() {
    happen_once(Version::MySql56, Version::MySql97, Method::RowEvents).await;
}

#[tokio::test]
async fn cascades_happen_once_from_mariadb_1011_on_mariadb_118() {
    happen_once(Version::MariaDb1011, Version::MariaDb118, Method::RowEvents).await;
}

#[tokio::test]
async fn cascades_happen_once_by_sql_from_mariadb_1011_on_mariadb_118() {
    happen_once(Version::MariaDb1011, Version::MariaDb118, Method::Sql).await;
}

#[tokio::test]
async fn cascades_happen_once_from_mariadb_118_on_mysql_97() {
    happen_once(Version::MariaDb118, Version::MySql97, Method::RowEvents).await;
}

/// Those that MySQL 9.7 does itself.
const OF_MYSQL_97: [Case; 4] = [SET_NULL, OF_ITSELF, AMONG_OTHER_CHANGES, WITHOUT_A_KEY];

#[tokio::test]
async fn cascades_happen_once_by_sql_from_mysql_56_on_mysql_97() {
    let (source, target) = (Version::MySql56, Version::MySql97);
    these_happen_once(source, target, Method::Sql, &OF_MYSQL_97).await;
}

#[tokio::test]
async fn cascades_happen_once_by_sql_from_mariadb_118_on_mysql_97() {
    let (source, target) = (Version::MariaDb118, Version::MySql97);
    these_happen_once(source, target, Method::Sql, &OF_MYSQL_97).await;
}

/// This source logs what its cascades do.
#[tokio::test]
async fn cascades_that_are_logged_happen_once_by_sql_on_mysql_97() {
    let (source, target) = (Version::MySql97, Version::MySql97);
    these_happen_once(source, target, Method::Sql, &OF_MYSQL_97).await;
}

#[tokio::test]
async fn cascades_that_are_logged_happen_once_on_mariadb_118() {
    let (source, target) = (Version::MySql97, Version::MariaDb118);
    these_happen_once(source, target, Method::RowEvents, &OF_MYSQL_97).await;
}

#[tokio::test]
async fn a_cascade_that_the_target_refuses_stops_with_its_table_and_the_reason() {
    let mut pair = Pair::start(Version::MySql56, Version::MySql97).await;
    pair.without_row_events().await;
    pair.both(SEVERAL_LEVELS.tables).await;
    pair.change(SEVERAL_LEVELS.changes);
    let error = Box::pin(pair.apply()).await.unwrap_err();
    assert!(!error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("d.a"), "{error}");
    let refused = matches!(&error, ApplyError::Refused(why) if why.source.code() == Some(1452));
    assert!(refused, "{error:?}");
    let ids = pair.target.sql_in("d", "SELECT GROUP_CONCAT(id) FROM a");
    assert_eq!(ids.unwrap(), "1,2,3,4", "nothing is committed");
}

const FAMILY: &str = "CREATE TABLE p (id INT PRIMARY KEY) ENGINE=InnoDB;
    CREATE TABLE c (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES p (id) ON DELETE CASCADE) ENGINE=InnoDB;
    CREATE TABLE g (id INT PRIMARY KEY, FOREIGN KEY (id) REFERENCES c (id) ON DELETE CASCADE) ENGINE=InnoDB;
    INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1), (2); INSERT INTO g VALUES (1), (2)";

/// Deletes the parent 1 on the source; on the target, those tables that are told to be copied
/// later have that already, and what came after: the same rows again.
async fn copied_at_two_times(pair: &mut Pair, later: &[&str]) -> Result<(), ApplyError> {
    pair.both(FAMILY).await;
    let start = pair.applied.clone();
    pair.change("DELETE FROM p WHERE id = 1; INSERT INTO p VALUES (1); INSERT INTO c VALUES (1); INSERT INTO g VALUES (1)");
    pair.change("DELETE FROM p WHERE id = 1; INSERT INTO p VALUES (1); INSERT INTO c VALUES (1); INSERT INTO g VALUES (1)");
    let end = log::end_of(&pair.source).await;
    let watermarks: Watermarks = ["p", "c", "g"]
        .map(|name| {
            let watermark = if later.contains(&name) { &end } else { &start };
            (("d".to_owned(), name.to_owned()), watermark.clone())
        })
        .into_iter()
        .collect::<HashMap<_, Position>>();
    let progress = binlog::name::quote_literal(&start.to_string());
    pair.target
        .sql(&format!(
            "UPDATE pointsman.progress SET position = {progress}"
        ))
        .unwrap();
    let endpoint: Endpoint = pair.target_url.parse().unwrap();
    let options = ApplyOptions::new(
        "pointsman test",
        start.clone(),
        Scope::Database("d".to_owned()),
    );
    let mut applier = Box::pin(Applier::open(&endpoint, options, watermarks)).await?;
    let stream = log::behind(&pair.source, &start).await;
    let handle = applier.handle();
    let stop = async {
        let mut applied = handle.applied();
        if applied.wait_for(|applied| *applied >= end).await.is_ok() {
            handle.stop();
        }
        std::future::pending::<()>().await;
    };
    let run = Box::pin(applier.run_stream(stream));
    let both = async {
        tokio::select! {
            ran = run => ran,
            () = stop => Ok(()),
        }
    };
    let ran = tokio::time::timeout(std::time::Duration::from_secs(60), both)
        .await
        .unwrap();
    if ran.is_ok() {
        for name in ["p", "c", "g"] {
            assert_eq!(
                pair.same(&format!("SELECT id FROM {name} ORDER BY id")),
                "1\n2"
            );
        }
    }
    pair.both("DROP TABLE g, c, p").await;
    ran
}

#[tokio::test]
async fn cascades_are_those_of_the_copies_or_it_stops_with_the_names() {
    for (source, target) in [
        (Version::MariaDb118, Version::MariaDb118),
        (Version::MySql56, Version::MySql97),
    ] {
        let mut pair = Pair::start(source, target).await;
        // Every cascade is in the copies, or none: nothing stops.
        for alike in [&[][..], &["p", "c", "g"], &["c", "g"]] {
            Box::pin(copied_at_two_times(&mut pair, alike))
                .await
                .unwrap();
        }
        // The parent's copy has what its children's have not.
        for (apart, named) in [(&["p"][..], "d.c"), (&["p", "c"], "d.g"), (&["c"], "d.c")] {
            let error = Box::pin(copied_at_two_times(&mut pair, apart))
                .await
                .unwrap_err();
            assert!(
                matches!(&error, ApplyError::Table(TableError::CascadeInCopy { child, .. })
                    if child.to_string() == named),
                "{apart:?}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn cascades_that_are_logged_are_applied_wherever_their_tables_were_copied() {
    let mut pair = Pair::start(Version::MySql97, Version::MySql97).await;
    for apart in [&["p"][..], &["p", "c"], &["c"], &["g"], &[]] {
        Box::pin(copied_at_two_times(&mut pair, apart))
            .await
            .unwrap();
    }
}
