//! What MariaDB has.

use super::{Across, Carried, Changed, Kind, Refused, of, table};

/// The kinds of 10.11 and later.
pub(super) const KINDS: &[Kind] = &[
    table(
        "descending",
        "CREATE TABLE descending (a int, b int, PRIMARY KEY (a DESC), KEY d (b DESC, a))",
        Carried(&["`b` DESC"]),
    ),
    table(
        "ignored",
        "CREATE TABLE ignored (a int PRIMARY KEY, b int, KEY i (b) IGNORED)",
        Carried(&[]),
    ),
    table(
        "unseen_column",
        "CREATE TABLE unseen_column (a int PRIMARY KEY, b int INVISIBLE, c int NOT NULL DEFAULT 4 INVISIBLE)",
        Carried(&["INVISIBLE"]),
    ),
    table(
        "prefixed",
        "CREATE TABLE prefixed (a int PRIMARY KEY, b text, c blob, KEY p (b(7), c(3)))",
        Carried(&["`b`(7),`c`(3)"]),
    ),
    table(
        "hashed",
        "CREATE TABLE hashed (a int PRIMARY KEY, b text, UNIQUE KEY h (b)); INSERT INTO hashed VALUES (1, 'x')",
        Across(&Refused("h ")),
    ),
    table(
        "worded",
        "CREATE TABLE worded (a int PRIMARY KEY, b text, FULLTEXT KEY w (b))",
        Carried(&["FULLTEXT KEY `w` (`b`)"]),
    ),
    table(
        "shapes",
        "CREATE TABLE shapes (a int PRIMARY KEY, p point NOT NULL, SPATIAL KEY s (p))",
        Carried(&["SPATIAL KEY `s`"]),
    ),
    table(
        "on_earth",
        "CREATE TABLE on_earth (a int PRIMARY KEY, p point REF_SYSTEM_ID = 4326 NOT NULL)",
        Carried(&[]),
    ),
    table(
        "period",
        "CREATE TABLE period (a int, b date, c date, PERIOD FOR p (b, c), UNIQUE KEY u (a, p WITHOUT OVERLAPS)); INSERT INTO period VALUES (1, '2020-01-01', '2021-01-01')",
        Across(&Refused("period")),
    ),
    table(
        "versioned",
        "CREATE TABLE versioned (a int PRIMARY KEY) WITH SYSTEM VERSIONING",
        Refused("SYSTEM VERSIONING"),
    ),
    table(
        "by_time",
        "CREATE TABLE by_time (a int PRIMARY KEY) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME LIMIT 100 (PARTITION p0 HISTORY, PARTITION pn CURRENT)",
        Refused("SYSTEM VERSIONING"),
    ),
    of(
        "SEQUENCE",
        "numbers",
        "CREATE SEQUENCE numbers START WITH 5",
        Refused("sequences"),
    ),
    table(
        "defaults",
        "CREATE TABLE defaults (a int PRIMARY KEY, b varchar(36) DEFAULT (uuid()), c int DEFAULT (1 + 2), d text DEFAULT 'it''s', f datetime(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), g bit(4) DEFAULT b'101', h enum('a','b') DEFAULT 'b', i int DEFAULT (a + 1)); INSERT INTO defaults (a) VALUES (1)",
        Carried(&["uuid()"]),
    ),
    table(
        "strict",
        "CREATE TABLE strict (a int PRIMARY KEY CHECK (a > 0), b varchar(9), CONSTRAINT both_of CHECK (a > 0 AND b <> 'é'))",
        Carried(&["both_of"]),
    ),
    table(
        "made",
        "CREATE TABLE made (a int PRIMARY KEY, j json, s int GENERATED ALWAYS AS (a * 2) PERSISTENT, v varchar(20) GENERATED ALWAYS AS (json_value(j, '$.x')) VIRTUAL, KEY (v)); INSERT INTO made (a, j) VALUES (1, '{\"x\": \"y\"}')",
        Carried(&["STORED", "VIRTUAL"]),
    ),
    table(
        "commented",
        "CREATE TABLE commented (a int PRIMARY KEY COMMENT 'it''s \"a\" \\\\ `b`', KEY k (a) COMMENT 'an, index') COMMENT = 'x''y \"z\" \\\\ é ; ('",
        Carried(&["it''s", "x''y"]),
    ),
    table(
        "pressed",
        "CREATE TABLE pressed (a int PRIMARY KEY, b text) PAGE_COMPRESSED = 1 PAGE_COMPRESSION_LEVEL = 3",
        Across(&Changed("PAGE_COMPRESSED")),
    ),
    table(
        "pressed_column",
        "CREATE TABLE pressed_column (a int PRIMARY KEY, b text COMPRESSED NOT NULL, c varchar(99) COMPRESSED DEFAULT 'x'); INSERT INTO pressed_column VALUES (1, 'x', 'y')",
        Across(&Changed("COMPRESSED")),
    ),
    table(
        "blocks",
        "CREATE TABLE blocks (a int PRIMARY KEY, b text) ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 4",
        Carried(&["ROW_FORMAT=COMPRESSED", "KEY_BLOCK_SIZE=4"]),
    ),
    table(
        "counted",
        "CREATE TABLE counted (a int AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 4711",
        Carried(&["AUTO_INCREMENT=4711"]),
    ),
    table(
        "keys",
        "CREATE TABLE `keys` (a int PRIMARY KEY) PARTITION BY KEY (a) PARTITIONS 3; INSERT INTO `keys` VALUES (1), (2)",
        Carried(&["PARTITION BY KEY"]),
    ),
    table(
        "lists",
        "CREATE TABLE lists (a int PRIMARY KEY) PARTITION BY LIST (a) (PARTITION p0 VALUES IN (1, 2), PARTITION p1 DEFAULT); INSERT INTO lists VALUES (1), (3)",
        Across(&Refused("partition")),
    ),
    table(
        "ranges",
        "CREATE TABLE ranges (a int, b varchar(9), PRIMARY KEY (a, b)) PARTITION BY RANGE COLUMNS (b, a) (PARTITION p0 VALUES LESS THAN ('m', 5), PARTITION p1 VALUES LESS THAN (MAXVALUE, MAXVALUE)); INSERT INTO ranges VALUES (1, 'a'), (2, 'z')",
        Carried(&["RANGE"]),
    ),
    table(
        "dotted.name",
        "CREATE TABLE `dotted.name` (`x.y` int PRIMARY KEY, `se``t` int, KEY `k.k` (`se``t`)); INSERT INTO `dotted.name` VALUES (1, 2)",
        Carried(&["`se``t`"]),
    ),
    table(
        "Größe 名 €",
        "CREATE TABLE `Größe 名 €` (`Ä` int PRIMARY KEY, `ключ` int, KEY `ж` (`ключ`)); INSERT INTO `Größe 名 €` VALUES (1, 2)",
        Carried(&["`ключ`"]),
    ),
    table(
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn",
        "CREATE TABLE nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn (a int PRIMARY KEY, nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn int, KEY nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn (nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn), CONSTRAINT nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn CHECK (a > 0))",
        Carried(&["CONSTRAINT"]),
    ),
    table(
        "UPPER",
        "CREATE TABLE UPPER (A int PRIMARY KEY); INSERT INTO UPPER VALUES (1)",
        Carried(&["`A`"]),
    ),
    table(
        "upper",
        "CREATE TABLE upper (a int PRIMARY KEY); INSERT INTO upper VALUES (2)",
        Carried(&["`a`"]),
    ),
    of(
        "VIEW",
        "later",
        "CREATE VIEW later AS SELECT 1 AS x; CREATE VIEW earlier AS SELECT x FROM later; CREATE OR REPLACE VIEW later AS SELECT a AS x FROM descending",
        Carried(&[]),
    ),
    of("VIEW", "earlier", "DO 0", Carried(&[])),
    of(
        "VIEW",
        "of_nobody",
        "CREATE DEFINER = gone@nowhere SQL SECURITY INVOKER VIEW of_nobody AS SELECT a FROM descending",
        Carried(&["gone"]),
    ),
    of(
        "PROCEDURE",
        "of_gone",
        "CREATE DEFINER = gone@nowhere PROCEDURE of_gone() SQL SECURITY INVOKER SELECT 1",
        Carried(&["gone"]),
    ),
    of(
        "EVENT",
        "of_none",
        "SET time_zone = '+05:30'; CREATE DEFINER = gone@nowhere EVENT of_none ON SCHEDULE EVERY 1 DAY STARTS '2031-01-01 00:00:00' ENDS '2032-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE COMMENT 'it''s' DO SELECT 1; SET time_zone = DEFAULT",
        Carried(&["2031-01-01 00:00:00", "ON COMPLETION PRESERVE", "it''s"]),
    ),
    of(
        "TRIGGER",
        "third",
        "CREATE TRIGGER second AFTER INSERT ON descending FOR EACH ROW SET @a = 2; CREATE TRIGGER first AFTER INSERT ON descending FOR EACH ROW PRECEDES second SET @a = 1; CREATE DEFINER = gone@nowhere TRIGGER third AFTER INSERT ON descending FOR EACH ROW FOLLOWS first SET @a = 3",
        Carried(&["gone"]),
    ),
    of(
        "PROCEDURE",
        "in_modes",
        "SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES'; SET NAMES latin1; CREATE PROCEDURE in_modes() COMMENT 'it''s' SELECT 'a' || \"x\" || '\\\\' FROM (SELECT 1 AS \"x\") AS y; SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci; SET sql_mode = DEFAULT",
        Carried(&["||"]),
    ),
    of(
        "PROCEDURE",
        "of_oracle",
        "SET sql_mode = ORACLE; CREATE PROCEDURE of_oracle(a IN INT) AS BEGIN NULL; END; SET sql_mode = DEFAULT",
        Across(&Refused("ORACLE")),
    ),
    of(
        "PACKAGE",
        "tools",
        "SET sql_mode = ORACLE; CREATE PACKAGE tools AS FUNCTION one RETURN INT; END; CREATE PACKAGE BODY tools AS FUNCTION one RETURN INT AS BEGIN RETURN 1; END; END; SET sql_mode = DEFAULT",
        Across(&Refused("packages")),
    ),
    of(
        "FUNCTION",
        "total",
        "CREATE AGGREGATE FUNCTION total(x int) RETURNS int DETERMINISTIC BEGIN DECLARE s int DEFAULT 0; DECLARE CONTINUE HANDLER FOR NOT FOUND RETURN s; LOOP FETCH GROUP NEXT ROW; SET s = s + x; END LOOP; END",
        Across(&Refused("AGGREGATE")),
    ),
];

/// The kinds of 11.8 that 10.11 does not have.
pub(super) const NEW: &[Kind] = &[
    table(
        "vectors",
        "CREATE TABLE vectors (a int PRIMARY KEY, v vector(3) NOT NULL); INSERT INTO vectors VALUES (1, VEC_FromText('[1,2.5,-3e-10]'))",
        Carried(&["vector(3)"]),
    ),
    table(
        "near",
        "CREATE TABLE near (a int PRIMARY KEY, v vector(3) NOT NULL, VECTOR KEY n (v) M = 8 DISTANCE = cosine); INSERT INTO near VALUES (1, VEC_FromText('[1,2,3]'))",
        Across(&Refused("index n is over vectors")),
    ),
];
