//! What MySQL has.

use super::{Across, Carried, Changed, Kind, Refused, of, table};

/// The tables of 9.7.
pub(super) const TABLES: &[Kind] = &[
    table(
        "descending",
        "CREATE TABLE descending (a int, b int, PRIMARY KEY (a DESC), KEY d (b DESC, a))",
        Carried(&["`b` DESC"]),
    ),
    table(
        "unseen_index",
        "CREATE TABLE unseen_index (a int PRIMARY KEY, KEY i (a) INVISIBLE)",
        Carried(&[]),
    ),
    table(
        "unseen_column",
        "CREATE TABLE unseen_column (a int PRIMARY KEY, b int DEFAULT 3 INVISIBLE)",
        Carried(&["INVISIBLE"]),
    ),
    table(
        "multi_valued",
        "CREATE TABLE multi_valued (a int PRIMARY KEY, j json, KEY m ((CAST(j->'$.x' AS UNSIGNED ARRAY))))",
        Across(&Refused("index m is over an expression")),
    ),
    table(
        "functional",
        "CREATE TABLE functional (a int PRIMARY KEY, b varchar(9), UNIQUE KEY f ((lower(b)), a))",
        Across(&Refused("index f is over an expression")),
    ),
    table(
        "prefixed",
        "CREATE TABLE prefixed (a int PRIMARY KEY, b text, c blob, KEY p (b(7), c(3) DESC))",
        Carried(&["`b`(7),`c`(3) DESC"]),
    ),
    table(
        "worded",
        "CREATE TABLE worded (a int PRIMARY KEY, b text, c text, FULLTEXT KEY w (b, c))",
        Carried(&["FULLTEXT KEY `w` (`b`,`c`)"]),
    ),
    table(
        "parsed",
        "CREATE TABLE parsed (a int PRIMARY KEY, b text, FULLTEXT KEY w (b) WITH PARSER ngram)",
        Across(&Refused("parser")),
    ),
    table(
        "shapes",
        "CREATE TABLE shapes (a int PRIMARY KEY, p point NOT NULL, SPATIAL KEY s (p))",
        Carried(&["SPATIAL KEY `s`"]),
    ),
    table(
        "on_earth",
        "CREATE TABLE on_earth (a int PRIMARY KEY, p point NOT NULL SRID 4326, SPATIAL KEY s (p))",
        Across(&Changed("SRID")),
    ),
    table(
        "vectors",
        "CREATE TABLE vectors (a int PRIMARY KEY, v vector(3) NOT NULL, w vector); INSERT INTO vectors VALUES (1, STRING_TO_VECTOR('[1,2.5,-3e-10]'), NULL), (2, STRING_TO_VECTOR('[1,2,3]'), NULL)",
        Across(&Changed("of exactly 3 dimensions")),
    ),
    table(
        "defaults",
        "CREATE TABLE defaults (a int PRIMARY KEY, b char(36) DEFAULT (uuid()), c int DEFAULT ((1 + 2)), d text DEFAULT ('it''s'), e json DEFAULT (json_array()), f datetime(3) DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3), g bit(4) DEFAULT b'101', h enum('a','b') DEFAULT 'b'); INSERT INTO defaults (a) VALUES (1)",
        Carried(&["uuid()"]),
    ),
    table(
        "loose",
        "CREATE TABLE loose (a int PRIMARY KEY, CONSTRAINT small CHECK (a < 9) NOT ENFORCED)",
        Across(&Changed("not enforced")),
    ),
    table(
        "strict",
        "CREATE TABLE strict (a int PRIMARY KEY, b varchar(9), CONSTRAINT both_of CHECK (a > 0 AND b <> 'é'))",
        Carried(&["both_of"]),
    ),
    table(
        "made",
        "CREATE TABLE made (a int PRIMARY KEY, j json, s int GENERATED ALWAYS AS (a * 2) STORED, v varchar(20) GENERATED ALWAYS AS (json_unquote(json_extract(j, '$.x'))) VIRTUAL, KEY (v)); INSERT INTO made (a, j) VALUES (1, '{\"x\": \"y\"}')",
        Carried(&["STORED", "VIRTUAL"]),
    ),
    table(
        "never_null",
        "CREATE TABLE never_null (a int PRIMARY KEY, s int GENERATED ALWAYS AS (a * 2) STORED NOT NULL, v int AS (a + 1) VIRTUAL NOT NULL COMMENT 'NOT NULL', UNIQUE KEY (s), KEY (v)); INSERT INTO never_null (a) VALUES (1)",
        Across(&Changed("NOT NULL")),
    ),
    table(
        "arrows",
        "CREATE TABLE arrows (a int PRIMARY KEY, j json, v varchar(20) GENERATED ALWAYS AS (j->>'$.x') STORED); INSERT INTO arrows (a, j) VALUES (1, '{\"x\": \"y\"}')",
        Carried(&["json_unquote"]),
    ),
    table(
        "given_key",
        "SET sql_generate_invisible_primary_key = 1; CREATE TABLE given_key (a int); SET sql_generate_invisible_primary_key = 0; INSERT INTO given_key VALUES (5)",
        Carried(&["my_row_id"]),
    ),
    table(
        "commented",
        "CREATE TABLE commented (a int PRIMARY KEY COMMENT 'it''s \"a\" \\\\ `b`', KEY k (a) COMMENT 'an, index') COMMENT = 'x''y \"z\" \\\\ é ; ('",
        Carried(&["it''s", "x''y"]),
    ),
    table(
        "pressed",
        "CREATE TABLE pressed (a int PRIMARY KEY, b text) COMPRESSION = 'zlib'",
        Across(&Changed("COMPRESSION")),
    ),
    table(
        "blocks",
        "CREATE TABLE blocks (a int PRIMARY KEY, b text) ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 4",
        Carried(&["ROW_FORMAT=COMPRESSED", "KEY_BLOCK_SIZE=4"]),
    ),
    table(
        "options",
        "CREATE TABLE options (a int PRIMARY KEY) STATS_PERSISTENT = 0 STATS_AUTO_RECALC = 1 STATS_SAMPLE_PAGES = 5 MAX_ROWS = 100 MIN_ROWS = 2 AVG_ROW_LENGTH = 20 CHECKSUM = 1 ROW_FORMAT = REDUNDANT",
        Carried(&["ROW_FORMAT=REDUNDANT"]),
    ),
    table(
        "counted",
        "CREATE TABLE counted (a int AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 4711",
        Carried(&["AUTO_INCREMENT=4711"]),
    ),
    table(
        "attributes",
        "CREATE TABLE attributes (a int PRIMARY KEY) SECONDARY_ENGINE_ATTRIBUTE '{\"b\": 2}' AUTOEXTEND_SIZE = 4M",
        Carried(&[]),
    ),
    table(
        "ranges",
        "CREATE TABLE ranges (a int, b varchar(9), PRIMARY KEY (a, b)) PARTITION BY RANGE COLUMNS (b, a) (PARTITION p0 VALUES LESS THAN ('m', 5) COMMENT = 'it''s', PARTITION p1 VALUES LESS THAN (MAXVALUE, MAXVALUE)); INSERT INTO ranges VALUES (1, 'a'), (2, 'z')",
        Carried(&["PARTITION BY RANGE  COLUMNS"]),
    ),
    table(
        "keys",
        "CREATE TABLE `keys` (a int PRIMARY KEY) PARTITION BY KEY (a) PARTITIONS 3; INSERT INTO `keys` VALUES (1), (2)",
        Carried(&["PARTITION BY KEY"]),
    ),
    table(
        "old_keys",
        "CREATE TABLE old_keys (a int PRIMARY KEY) PARTITION BY KEY ALGORITHM = 1 (a) PARTITIONS 3; INSERT INTO old_keys VALUES (1), (2)",
        Carried(&["PARTITION BY KEY"]),
    ),
    table(
        "lists",
        "CREATE TABLE lists (a int PRIMARY KEY) PARTITION BY LIST (a) (PARTITION p0 VALUES IN (1, 2), PARTITION p1 VALUES IN (3, NULL)); INSERT INTO lists VALUES (1), (3)",
        Carried(&["PARTITION BY LIST"]),
    ),
    table(
        "in_a_space",
        "CREATE TABLESPACE room ADD DATAFILE 'room.ibd'; CREATE TABLE in_a_space (a int PRIMARY KEY) TABLESPACE room; INSERT INTO in_a_space VALUES (1)",
        Changed("TABLESPACE"),
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
];

/// What is not a table.
pub(super) const PROGRAMS: &[Kind] = &[
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
        "VIEW",
        "duality",
        "CREATE JSON RELATIONAL DUALITY VIEW duality AS SELECT JSON_DUALITY_OBJECT(WITH(INSERT, UPDATE, DELETE) '_id': a) FROM upper",
        Across(&Refused("duality view")),
    ),
];

/// The kinds of 5.6.
pub(super) const OLD: &[Kind] = &[
    table(
        "worded",
        "CREATE TABLE worded (a int PRIMARY KEY, b text, FULLTEXT KEY w (b)) ENGINE = InnoDB",
        Carried(&["FULLTEXT KEY"]),
    ),
    table(
        "prefixed",
        "CREATE TABLE prefixed (a int PRIMARY KEY, b text, KEY p (b(100)) USING HASH COMMENT 'x') ENGINE = InnoDB",
        Carried(&["`b`(100)"]),
    ),
    table(
        "blocks",
        "SET GLOBAL innodb_file_format = 'Barracuda'; CREATE TABLE blocks (a int PRIMARY KEY, b text) ENGINE = InnoDB ROW_FORMAT = COMPRESSED KEY_BLOCK_SIZE = 4",
        Carried(&["KEY_BLOCK_SIZE=4"]),
    ),
    table(
        "fixed",
        "CREATE TABLE fixed (a int PRIMARY KEY, b char(9)) ENGINE = InnoDB ROW_FORMAT = FIXED PACK_KEYS = 1 DELAY_KEY_WRITE = 1 CHECKSUM = 1",
        Carried(&[]),
    ),
    table(
        "parted",
        "CREATE TABLE parted (a int, d date, PRIMARY KEY (a, d)) ENGINE = InnoDB PARTITION BY RANGE (TO_DAYS(d)) SUBPARTITION BY KEY (a) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (730000), PARTITION p1 VALUES LESS THAN MAXVALUE); INSERT INTO parted VALUES (1, '1990-01-01'), (2, '2020-01-01')",
        Carried(&["PARTITION"]),
    ),
    table(
        "loose_child",
        "CREATE TABLE loose_parent (a int PRIMARY KEY, b int, KEY (b)) ENGINE = InnoDB; CREATE TABLE loose_child (a int PRIMARY KEY, c int, CONSTRAINT loose_key FOREIGN KEY (c) REFERENCES loose_parent (b)) ENGINE = InnoDB",
        Carried(&["loose_key"]),
    ),
    table(
        "zero_filled",
        "CREATE TABLE zero_filled (a int(5) unsigned zerofill PRIMARY KEY, b float(5,2) zerofill, c tinyint(1), d year(4)) ENGINE = InnoDB; INSERT INTO zero_filled VALUES (1, 2, 3, 2000)",
        Carried(&["zerofill"]),
    ),
    table(
        "old_times",
        "SET sql_mode = ''; CREATE TABLE old_times (a int PRIMARY KEY, t timestamp, u timestamp DEFAULT 0, v timestamp(6) NULL) ENGINE = InnoDB; INSERT INTO old_times (a) VALUES (1); SET sql_mode = DEFAULT",
        Carried(&["ON UPDATE CURRENT_TIMESTAMP"]),
    ),
    table(
        "rank",
        "CREATE TABLE `rank` (`groups` int PRIMARY KEY, `lateral` int, KEY `window` (`lateral`)) ENGINE = InnoDB",
        Carried(&["`window`"]),
    ),
    of(
        "PROCEDURE",
        "named_as_new_words",
        "CREATE PROCEDURE named_as_new_words() BEGIN DECLARE c int DEFAULT 1; SELECT 1 AS `rank`; END",
        Carried(&["rank"]),
    ),
];
