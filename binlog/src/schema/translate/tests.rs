//! Definitions as real servers write them, in the other's words.

use super::*;
use crate::name::QualifiedName;
use crate::schema::definitions::Context;

const MYSQL: &str = "9.7.4";
const MARIADB: &str = "11.8.6-MariaDB";

fn translation(from: &str, to: &str) -> Translation {
    let names = if to == MYSQL {
        [
            "utf8mb4_0900_ai_ci",
            "utf8mb4_general_ci",
            "utf8mb3_bin",
            "latin1_bin",
        ]
    } else {
        [
            "utf8mb4_uca1400_nopad_ai_ci",
            "utf8mb4_general_ci",
            "utf8mb3_bin",
            "latin1_bin",
        ]
    };
    Translation::new(
        ServerVersion::parse(from).unwrap(),
        ServerVersion::parse(to).unwrap(),
        names.map(ToOwned::to_owned),
    )
}

fn translated(from: &str, to: &str, text: &str) -> (String, Vec<Difference>) {
    let table = CreateTable::parse(QualifiedName::new("s", "t"), text).unwrap();
    let mut found = Vec::new();
    let table = translation(from, to).translate_table(&table, &mut found);
    (table.statement(), found)
}

fn refusals(found: &[Difference]) -> String {
    let refused = found.iter().filter(|one| one.weight == Weight::Refused);
    let words: Vec<&str> = refused.map(|one| one.what.as_str()).collect();
    words.join("\n")
}

#[test]
fn a_mysql_table_is_said_in_mariadbs_words() {
    let text = "CREATE TABLE `t` (\n  `id` int NOT NULL,\n  `h` int DEFAULT '7' /*!80023 INVISIBLE */,\n  \
                `p` point NOT NULL /*!80003 SRID 4326 */,\n  PRIMARY KEY (`id`),\n  \
                KEY `k` (`h`) /*!80000 INVISIBLE */,\n  CONSTRAINT `soft` CHECK ((`h` > 5)) \
                /*!80016 NOT ENFORCED */\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 \
                COLLATE=utf8mb4_0900_ai_ci\n/*!50100 PARTITION BY HASH (`id`) */";
    let (words, found) = translated(MYSQL, MARIADB, text);
    assert_eq!(
        words,
        "CREATE TABLE `s`.`t` (\n  `id` int NOT NULL,\n  `h` int DEFAULT '7' INVISIBLE,\n  \
         `p` point NOT NULL ,\n  PRIMARY KEY (`id`),\n  KEY `k` (`h`) IGNORED\n) ENGINE=InnoDB \
         DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_uca1400_nopad_ai_ci\n/*!50100 PARTITION BY HASH \
         (`id`) */"
    );
    assert_eq!(refusals(&found), "");
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn literals_lose_the_introducer_that_mariadb_misreads() {
    let text = "CREATE TABLE `t` (\n  `v` varchar(9) GENERATED ALWAYS AS (concat(_utf8mb4'é',`a`)) \
                VIRTUAL COMMENT '_utf8mb4'\n) ENGINE=InnoDB";
    let (words, _) = translated(MYSQL, MARIADB, text);
    assert!(
        words.contains("(concat('é',`a`)) VIRTUAL COMMENT '_utf8mb4'"),
        "{words}"
    );
}

#[test]
fn an_index_over_an_expression_is_refused_by_its_name() {
    let text = "CREATE TABLE `t` (\n  `a` int,\n  KEY `fx` (`a`,(`a` + 1)),\n  KEY `px` (`b`(10),`a`)\n) \
                ENGINE=InnoDB";
    let (_, found) = translated(MYSQL, MARIADB, text);
    assert_eq!(found.len(), 1);
    assert!(refusals(&found).contains("fx"), "{found:?}");
}

#[test]
fn a_mariadb_table_is_said_in_mysqls_words() {
    let text = "CREATE TABLE `t` (\n  `id` int(11) NOT NULL DEFAULT current_timestamp(),\n  \
                `u` varchar(36) DEFAULT concat('a',(1)) COMMENT 'DEFAULT x()',\n  `t` text DEFAULT 'x',\n  \
                `j` longtext COLLATE utf8mb4_general_ci CHECK (json_valid(`j`)),\n  PRIMARY KEY (`id`),\n  \
                KEY `k` (`u`) IGNORED,\n  CONSTRAINT `CONSTRAINT_1` CHECK (`id` > 0),\n  \
                CONSTRAINT `mine` CHECK (`id` > 1)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 \
                COLLATE=utf8mb4_general_ci `PAGE_COMPRESSED`='ON' COMMENT='x'";
    let (words, found) = translated(MARIADB, MYSQL, text);
    assert_eq!(
        words,
        "CREATE TABLE `s`.`t` (\n  `id` int(11) NOT NULL DEFAULT current_timestamp(),\n  \
         `u` varchar(36) DEFAULT (concat('a',(1))) COMMENT 'DEFAULT x()',\n  `t` text DEFAULT ('x'),\n  \
         `j` longtext COLLATE utf8mb4_general_ci CHECK (json_valid(`j`)),\n  PRIMARY KEY (`id`),\n  \
         KEY `k` (`u`) INVISIBLE,\n  CHECK (`id` > 0),\n  CONSTRAINT `mine` CHECK (`id` > 1)\n) \
         ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci  COMMENT='x'"
    );
    assert_eq!(refusals(&found), "");
}

#[test]
fn what_mysql_does_not_have_is_refused_by_name() {
    for (text, word) in [
        (
            "CREATE TABLE `t` (\n  `u` uuid DEFAULT NULL\n) ENGINE=InnoDB",
            "UUID",
        ),
        (
            "CREATE TABLE `t` (\n  `n` inet6 DEFAULT NULL\n) ENGINE=InnoDB",
            "INET6",
        ),
        (
            "CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB WITH SYSTEM VERSIONING",
            "versioning",
        ),
        (
            "CREATE TABLE `t` (\n  `a` text COLLATE utf8mb4_uca1400_ai_ci\n) ENGINE=InnoDB",
            "utf8mb4_uca1400_ai_ci",
        ),
    ] {
        let (_, found) = translated(MARIADB, MYSQL, text);
        assert!(refusals(&found).contains(word), "{text}: {found:?}");
    }
    let (_, found) = translated(
        "5.6.24",
        MYSQL,
        "CREATE TABLE `t` (\n  `y` year(2)\n) ENGINE=InnoDB",
    );
    assert!(refusals(&found).contains("YEAR(2)"));
}

#[test]
fn a_server_without_vectors_is_not_given_any() {
    let text = "CREATE TABLE `t` (\n  `v` vector(3) NOT NULL\n) ENGINE=InnoDB";
    for (from, to) in [("11.8.6-MariaDB", "10.11.18-MariaDB"), (MYSQL, "8.4.0")] {
        let (_, found) = translated(from, to, text);
        assert!(refusals(&found).contains("column v is a VECTOR"), "{to}");
    }
    let (_, found) = translated(MARIADB, MYSQL, text);
    assert_eq!(found, []);
}

#[test]
fn programs_keep_modes_and_collations_that_both_know() {
    let program = Program {
        kind: "function",
        name: QualifiedName::new("s", "f"),
        statement: "CREATE FUNCTION ..".to_owned(),
        context: Context {
            sql_mode: Some("STRICT_ALL_TABLES,NO_AUTO_CREATE_USER".to_owned()),
            charset_client: "utf8mb4".to_owned(),
            collation_connection: "utf8mb4_uca1400_ai_ci".to_owned(),
            time_zone: None,
        },
    };
    let mut found = Vec::new();
    let translated = translation(MARIADB, MYSQL).translate_program(&program, &mut found);
    assert_eq!(translated.context.sql_mode.unwrap(), "STRICT_ALL_TABLES");
    assert_eq!(
        translated.context.collation_connection,
        "utf8mb4_0900_ai_ci"
    );
    assert_eq!(refusals(&found), "");
    let mut oracle = program;
    oracle.context.sql_mode = Some("PIPES_AS_CONCAT,ORACLE".to_owned());
    translation(MARIADB, MYSQL).translate_program(&oracle, &mut found);
    assert!(refusals(&found).contains("ORACLE"));
}
