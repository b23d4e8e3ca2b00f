//! Values of every type, where rows are written by SQL: inserted, found again by their key or, where
//! there is none, by all their values, changed and deleted.

use binlog::apply::ApplyError;
use integration::mysql::{MySqlServer, Version};

use super::pair::Pair;

/// How a value is shown so that equal answers mean equal values.
#[derive(Clone, Copy)]
enum Shown {
    AsIs,
    Whole,
    Float,
    Hex,
    Text,
    /// With the types of the first values in it.
    Document,
}

/// A type, how it is shown, whether it can be a primary key, and some of its values.
type Kind = (&'static str, Shown, bool, &'static [&'static str]);

use Shown::{AsIs, Document, Float, Hex, Text, Whole};

/// Types that every server has.
const EVERYWHERE: &[Kind] = &[
    ("TINYINT", AsIs, true, &["-128", "0", "127"]),
    ("TINYINT UNSIGNED", AsIs, true, &["255", "0", "1"]),
    ("SMALLINT", AsIs, true, &["-32768", "32767"]),
    ("MEDIUMINT", AsIs, true, &["-8388608", "8388607", "-1"]),
    ("MEDIUMINT UNSIGNED", AsIs, true, &["16777215", "0"]),
    ("INT UNSIGNED", AsIs, true, &["4294967295", "0"]),
    (
        "BIGINT",
        AsIs,
        true,
        &[
            "-9223372036854775808",
            "9007199254740993",
            "9007199254740992",
        ],
    ),
    (
        "BIGINT UNSIGNED",
        AsIs,
        true,
        &["18446744073709551615", "18446744073709551614", "0"],
    ),
    (
        "DECIMAL(65,30)",
        AsIs,
        true,
        &[
            "12345678901234567890123456789012345.012345678901234567890123456789",
            "-12345678901234567890123456789012345.012345678901234567890123456788",
            "0",
        ],
    ),
    (
        "DECIMAL(9,9)",
        AsIs,
        true,
        &["0.000000001", "-0.999999999", "0"],
    ),
    (
        "FLOAT",
        Float,
        true,
        &[
            "0.1",
            "-1.5e-38",
            "3.40282e38",
            "16777216",
            "0",
            "1.17549e-38",
        ],
    ),
    ("FLOAT(7,3)", Float, true, &["1.234", "-0.001"]),
    (
        "DOUBLE",
        Float,
        true,
        &[
            "0.1",
            "0.30000000000000004",
            "0.3",
            "1.7976931348623157e308",
            "2.2250738585072014e-308",
            "5e-324",
            "-123456789.12345679",
            "1e22",
            "123456789012345680000000",
        ],
    ),
    ("BIT(1)", Whole, true, &["b'0'", "b'1'"]),
    ("BIT(9)", Whole, true, &["b'100000001'", "1", "0x31"]),
    (
        "BIT(64)",
        Whole,
        true,
        &["0xFFFFFFFFFFFFFFFF", "0x8000000000000000", "0", "0x3132"],
    ),
    (
        "DATE",
        AsIs,
        true,
        &[
            "'0000-00-00'",
            "'9999-12-31'",
            "'2024-02-29'",
            "'2024-00-00'",
            "'2023-02-31'",
        ],
    ),
    (
        "TIME",
        AsIs,
        true,
        &["'-838:59:59'", "'00:00:00'", "'100:00:00'"],
    ),
    ("TIME(1)", AsIs, true, &["'-00:00:00.1'", "'10:00:00.9'"]),
    (
        "TIME(6)",
        AsIs,
        true,
        &["'-00:00:00.000001'", "'838:59:58.999999'", "'-01:00:00'"],
    ),
    (
        "DATETIME",
        AsIs,
        true,
        &[
            "'0000-00-00 00:00:00'",
            "'9999-12-31 23:59:59'",
            "'2024-00-00 00:00:00'",
        ],
    ),
    (
        "DATETIME(3)",
        AsIs,
        true,
        &[
            "'1000-01-01 00:00:00.001'",
            "'0000-00-00 00:00:00'",
            "'2023-02-31 01:02:03.4'",
        ],
    ),
    (
        "DATETIME(6)",
        AsIs,
        true,
        &["'2024-02-29 23:59:59.999999'", "'2024-02-29 23:59:59'"],
    ),
    (
        "TIMESTAMP NULL",
        AsIs,
        false,
        &[
            "'0000-00-00 00:00:00'",
            "'2038-01-19 03:14:07'",
            "'1970-01-01 00:00:01'",
        ],
    ),
    (
        "TIMESTAMP(6) NULL",
        AsIs,
        false,
        &["'1970-01-01 00:00:01.000001'", "'2000-01-01'"],
    ),
    ("YEAR", AsIs, true, &["0", "1901", "2000", "2155"]),
    ("CHAR(10)", Hex, true, &["''", "'x'", "'ß'", "'日本'"]),
    (
        "CHAR(255) CHARACTER SET utf8",
        Hex,
        false,
        &["'ünïcödé'", "'U'"],
    ),
    (
        "CHAR(5) CHARACTER SET utf16",
        Hex,
        true,
        &["''", "'x'", "'🚂🚂'"],
    ),
    ("CHAR(5) CHARACTER SET ucs2", Hex, true, &["'Ġ'", "'x'"]),
    (
        "VARCHAR(40)",
        Hex,
        true,
        &["''", "'x'", "'a '", "'🚂''\\\\\"'"],
    ),
    (
        "VARCHAR(300) CHARACTER SET latin1",
        Hex,
        true,
        &["'ÿ€'", "REPEAT('é', 300)"],
    ),
    (
        "VARCHAR(20) CHARACTER SET gbk",
        Hex,
        true,
        &["'中文'", "'x'"],
    ),
    (
        "VARCHAR(20) CHARACTER SET sjis",
        Hex,
        true,
        &["'表'", "'x'"],
    ),
    (
        "VARCHAR(20) COLLATE utf8mb4_bin",
        Hex,
        true,
        &["'a'", "'A'", "'b  '"],
    ),
    (
        "BINARY(4)",
        Hex,
        true,
        &["x'00FF'", "x'00'", "x'01'", "x'01020304'", "x'6120'"],
    ),
    (
        "BINARY(16)",
        Hex,
        true,
        &[
            "x'000102030405060708090A0B0C0D0E00'",
            "x'000102030405060708090A0B0C0D0000'",
        ],
    ),
    (
        "VARBINARY(300)",
        Hex,
        true,
        &["x'00'", "''", "x'0000'", "'a '", "'a'"],
    ),
    ("TINYTEXT", Hex, false, &["''", "'é'"]),
    ("TEXT CHARACTER SET latin1", Hex, false, &["'é'", "'É'"]),
    ("LONGTEXT", Hex, false, &["REPEAT('x', 70000)", "'x'"]),
    (
        "BLOB",
        Hex,
        false,
        &["REPEAT(x'00FF', 1000)", "x'00'", "''"],
    ),
    ("ENUM('a','b','it''s')", Whole, true, &["'a'", "'it''s'"]),
    ("ENUM('a','','c')", Whole, true, &["0", "2", "3"]),
    ("SET('x','y','z')", Whole, true, &["'x,z'", "''", "'y'"]),
    (
        "GEOMETRY",
        Hex,
        false,
        &[
            "ST_GeomFromText('POINT(1 -2.5)')",
            "ST_GeomFromText('LINESTRING(0 0,1 1)')",
        ],
    ),
    (
        "POINT",
        Hex,
        false,
        &[
            "ST_GeomFromText('POINT(1 -2.5)')",
            "ST_GeomFromText('POINT(1 2.5)')",
        ],
    ),
];

/// JSON, which MariaDB keeps as text.
const JSON: &[Kind] = &[(
    "JSON",
    Text,
    false,
    &[
        r#"'{"b": [1, -2, 70000, -5000000000, true, null], "a": {"é": "x\\n\\"🚂", "": []}}'"#,
        r#"'[]'"#,
        r#"'"text"'"#,
        r#"'"Text"'"#,
        r#"'[1.5, 1e30, 0.1, 1e-7, 0.30000000000000004, 1.0]'"#,
        r#"'1'"#,
    ],
)];

/// Documents with values of which the text does not tell the type.
const TYPED_JSON: &[Kind] = &[(
    "JSON",
    Document,
    false,
    &[
        r#"JSON_ARRAY(CAST('2024-02-29' AS DATE), CAST('-10:11:12.5' AS TIME(6)), CAST('2024-02-29 01:02:03' AS DATETIME), 1.50, -0.000001, 0.1e0, 1e20, x'00FF')"#,
        r#"'["2024-02-29", "-10:11:12.500000", "2024-02-29 01:02:03.000000", 1.5, -0.000001, 0.1, 1e20, "base64:type15:AP8="]'"#,
        "JSON_ARRAY(CAST(5 AS UNSIGNED), 5, CAST(70000 AS UNSIGNED), CAST(4294967295 AS SIGNED), CAST(5000000000 AS SIGNED), CAST(5000000000 AS UNSIGNED), -5000000000, 18446744073709551615)",
        "CAST(CAST('2024-02-29' AS DATE) AS JSON)",
        r#"JSON_OBJECT('a"b.c\\', 12345678901234567890.5, '', JSON_ARRAY(JSON_OBJECT('é ', 1.0)))"#,
        r#"(SELECT JSON_ARRAY(v, 7, 2.5e0) FROM JSON_TABLE('["2024-01-01 00:00:00.5"]', '$' COLUMNS (v TIMESTAMP(6) PATH '$[0]')) AS j)"#,
        "JSON_ARRAY(1e0, -0e0, 1.7976931348623157e308, 2.2250738585072014e-308, 0.30000000000000004, 123456789012345678e0, 1e15, 1e-15)",
        "JSON_ARRAY(JSON_ARRAY(0.1), 0.10)",
    ],
)];

/// What MySQL has since 9.0.
const MYSQL: &[Kind] = &[(
    "VECTOR(3)",
    Hex,
    false,
    &[
        "STRING_TO_VECTOR('[1,2,3]')",
        "STRING_TO_VECTOR('[0,-0.5,1e30]')",
    ],
)];

/// What only MariaDB has.
const MARIADB: &[Kind] = &[
    (
        "UUID",
        Hex,
        true,
        &[
            "'123e4567-e89b-12d3-a456-426655440000'",
            "'01234567-89ab-4def-8123-456789abcdef'",
            "'018f2d9e-7c11-7abc-9def-0123456789ab'",
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
            "'123e4567-e89b-12d3-0456-426655440000'",
        ],
    ),
    (
        "VARCHAR(300) COMPRESSED",
        Hex,
        false,
        &["''", "'x'", "'X'", "REPEAT('é', 300)"],
    ),
    (
        "BLOB COMPRESSED",
        Hex,
        false,
        &["''", "x'00'", "REPEAT(x'00FF', 1000)"],
    ),
    (
        "INET6",
        Hex,
        true,
        &["'::1'", "'2001:db8::'", "'::'", "'::ffff:1.2.3.4'"],
    ),
    (
        "INET4",
        Hex,
        true,
        &["'1.2.3.4'", "'10.0.0.0'", "'0.0.0.0'"],
    ),
];

/// What is done to the tables of some kinds.
#[derive(Default)]
struct Script {
    tables: String,
    /// Each comes to the target in a window of its own.
    phases: [String; 5],
    /// Questions with the same answers on both.
    shown: Vec<String>,
}

impl Script {
    fn of(kinds: &[Kind]) -> Self {
        let mut script = Self::default();
        for (nth, (kind, how, key, values)) in kinds.iter().enumerate() {
            if *key {
                let name = format!("k{nth}");
                let columns = format!("k {kind} NOT NULL PRIMARY KEY, v INT");
                script.table(&name, &columns, *how, values);
            }
            let name = format!("n{nth}");
            script.table(&name, &format!("k {kind}, v INT"), *how, values);
            script.equal_rows(&name);
        }
        script
    }

    fn table(&mut self, name: &str, columns: &str, how: Shown, values: &[&str]) {
        self.tables += &format!("CREATE TABLE {name} ({columns}) ENGINE=InnoDB;");
        let rows: Vec<_> = (1..)
            .zip(values)
            .map(|(v, value)| format!("({value},{v})"))
            .collect();
        let [first, second] = [values[0], values[1]];
        let changes = [
            format!("INSERT INTO {name} VALUES {};", rows.join(",")),
            format!("UPDATE {name} SET v = v + 100;"),
            format!(
                "DELETE FROM {name} WHERE v = 101; UPDATE {name} SET k = {first} WHERE v = 102;"
            ),
            format!("UPDATE {name} SET k = {second} WHERE v = 102;"),
            format!("DELETE FROM {name} WHERE v > 102;"),
        ];
        for (phase, change) in self.phases.iter_mut().zip(changes) {
            *phase += &change;
        }
        let value = match how {
            AsIs => "k",
            Whole => "k + 0",
            Float => "k * 1e0",
            Hex => "HEX(k)",
            Text => "CAST(k AS CHAR)",
            Document => {
                "CAST(k AS CHAR), JSON_TYPE(k), JSON_TYPE(k->'$[0]'), JSON_TYPE(k->'$[1]'), \
                 JSON_TYPE(k->'$[2]'), JSON_TYPE(k->'$[3]'), JSON_TYPE(k->'$[4]'), \
                 JSON_TYPE(k->'$[5]'), JSON_TYPE(k->'$[6]'), JSON_TYPE(k->'$[7]'), \
                 JSON_TYPE(k->'$.\"\"[0].\"é \"')"
            }
        };
        self.shown.push(format!("SELECT v, {value} FROM {name}"));
    }

    /// Rows that are told apart by nothing but the value.
    fn equal_rows(&mut self, name: &str) {
        self.phases[0] += &format!(
            "INSERT INTO {name} SELECT k, 7 FROM {name};
             INSERT INTO {name} SELECT k, 7 FROM {name} WHERE v = 7;
             INSERT INTO {name} VALUES (NULL, 7), (NULL, 7);"
        );
        self.phases[1] += &format!("DELETE FROM {name} WHERE k IS NULL LIMIT 1;");
        for phase in &mut self.phases[1..] {
            *phase += &format!("DELETE FROM {name} WHERE v IN (7, 107) LIMIT 1;");
        }
    }
}

/// Runs the script on the source, and compares after each phase.
async fn carried(pair: &mut Pair, kinds: &[Kind]) {
    let script = Script::of(kinds);
    pair.both(&script.tables).await;
    for (nth, phase) in script.phases.iter().enumerate() {
        pair.change(&format!("{SETTINGS}; {phase}"));
        let applied = Box::pin(pair.apply()).await;
        applied.unwrap_or_else(|error| panic!("{}", told(nth, &error)));
        for sql in &script.shown {
            let sql = &format!("SET time_zone = '+00:00'; {sql}");
            let rows = |server: &MySqlServer| {
                let shown = server.sql_in("d", sql).unwrap();
                let mut rows: Vec<_> = shown.lines().map(str::to_owned).collect();
                rows.sort_unstable();
                rows
            };
            assert_eq!(rows(&pair.source), rows(&pair.target), "phase {nth}: {sql}");
        }
    }
}

const SETTINGS: &str =
    "SET time_zone = '+00:00', sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";

fn told(phase: usize, error: &ApplyError) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    format!("phase {phase}: {error} {source:?} {:?}", error.row())
}

async fn every_value(source: Version, target: Version, more: &[&[Kind]]) {
    let mut pair = Pair::start(source, target).await;
    pair.without_row_events().await;
    let kinds: Vec<Kind> = std::iter::once(EVERYWHERE)
        .chain(more.iter().copied())
        .flatten()
        .copied()
        .collect();
    Box::pin(carried(&mut pair, &kinds)).await;
}

#[tokio::test]
async fn values_by_sql_from_mysql_97_on_mysql_97() {
    every_value(
        Version::MySql97,
        Version::MySql97,
        &[JSON, TYPED_JSON, MYSQL],
    )
    .await;
}

#[tokio::test]
async fn values_by_sql_from_mariadb_1011_on_mariadb_118() {
    every_value(Version::MariaDb1011, Version::MariaDb118, &[JSON, MARIADB]).await;
}

#[tokio::test]
async fn values_by_sql_from_mysql_56_on_mysql_97() {
    every_value(Version::MySql56, Version::MySql97, &[]).await;
}

#[tokio::test]
async fn values_by_sql_from_mariadb_118_on_mysql_97() {
    every_value(Version::MariaDb118, Version::MySql97, &[]).await;
}

#[tokio::test]
async fn values_by_sql_from_mysql_97_on_mariadb_118() {
    every_value(Version::MySql97, Version::MariaDb118, &[JSON]).await;
}
