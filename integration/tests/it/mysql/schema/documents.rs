//! JSON documents arrive with the types of the values inside of them, which their text does not
//! tell.

use integration::mysql::{MySqlOptions, MySqlServer, Version};

use super::Pair;

/// Every type that a value in a document may have.
const DOCUMENTS: &str = r#"
SET NAMES utf8mb4; SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'; SET time_zone = '+00:00';
CREATE DATABASE shop; USE shop;
CREATE TABLE parts (id int PRIMARY KEY, ts timestamp(3) NULL, b blob, tb tinyblob, mb mediumblob, lb longblob, bi bit(12), vb varbinary(9), bn binary(3), y year, t varchar(9) CHARACTER SET utf8mb4, e enum('a'), g geometry);
INSERT INTO parts VALUES (1,'2024-01-02 03:04:05.678',x'ff00',x'01','','longer',b'101010101010',x'aa',x'bb',2024,'é','a',point(1,2)), (2,'2038-01-19 03:14:07',REPEAT(x'00ff',30000),'','','',b'0','','',1901,'','a',NULL);
CREATE TABLE docs (id int PRIMARY KEY, j json, k json, t varchar(20) CHARACTER SET ucs2, n enum('x','1'));
INSERT INTO docs SELECT id, json_object('dec',cast('-1.50' as decimal(10,2)),'deci',cast('5' as decimal(5,0)),'small',cast('0.000000000000000000000000000001' as decimal(31,30)),'large',cast(repeat('9',65) as decimal(65,0)),
  'date',cast('2024-02-03' as date),'zero',cast('0000-00-00' as date),'time',cast('-12:13:14.123456' as time(6)),'most',cast('838:59:59' as time),'dt',cast('2024-02-03 01:02:03.5' as datetime(1)),'ts',ts,'blob',b,'tb',tb,'mb',mb,'lb',lb,'bit',bi,'vb',vb,'bn',bn,
  'bin',cast('x' as binary),'hex',x'0102','int',cast(-5 as signed),'uint',cast(5 as unsigned),'ubig',18446744073709551615,'dbl',1e0,'d17',1.7976931348623157e308,'least',5e-324,'tru',true,'text',t,'y',y,'e',e,'g',g,'null',null),
  json_array(cast(1.5 as decimal(3,1)), json_array(ts, json_object('a."b\\', bi, '', json_array(b), 'é😀', cast('1999-12-31' as date))), 'date', '2024-02-03', 'base64:type252:/wA='), 'é', 1 + (id = 2) FROM parts;
INSERT INTO docs (id, j, k) VALUES (10, cast(cast('9.9' as decimal(5,1)) as json), cast(cast('10:00:00' as time) as json)), (11, 'null', NULL), (12, NULL, cast(cast(7 as unsigned) as json)),
  (13, '{"a": [[1, [2, {"b": []}]], {"c": {}}, []], "b": {"z": 1.5, "aa": 2, "": 3, "a.b\\"c": 4}}', '"2024-02-03"'), (14, cast(cast('2024-02-03' as date) as json), '[]');
INSERT INTO docs (id, j) SELECT 15, json_array(ts) FROM parts WHERE id = 1;
INSERT INTO docs (id, j, k) SELECT 16, json_extract(json_array(b), '$[0]'), json_extract(json_array(bi), '$[0]') FROM parts WHERE id = 2;
INSERT INTO docs (id, j) SELECT 17, json_object('many', json_arrayagg(cast(a.id + b.id + c.id as decimal(9,2)))) FROM docs a, docs b, docs c;
CREATE TABLE keyless (j json, g int GENERATED ALWAYS AS (json_length(j)) STORED); INSERT INTO keyless (j) SELECT j FROM docs; INSERT INTO keyless (j) SELECT k FROM docs;
CREATE TABLE plain (id int PRIMARY KEY, j json); INSERT INTO plain SELECT id, '{"a": [1, "x", null, true, 2.5]}' FROM docs;
"#;

/// The text, the size of the stored form, and the type of each value of all documents.
fn told(server: &MySqlServer, table: &str, column: &str) -> Vec<String> {
    let types = |path: &str| {
        format!(
            "(SELECT SHA2(GROUP_CONCAT(CONCAT(p, JSON_TYPE(v), JSON_STORAGE_SIZE(v), COALESCE(v, '')) ORDER BY p), 256) FROM JSON_TABLE({column}, '{path}' COLUMNS (p FOR ORDINALITY, v JSON PATH '$')) AS t)"
        )
    };
    let query = format!(
        "SET group_concat_max_len = 4294967295; SELECT JSON_TYPE({column}), JSON_STORAGE_SIZE({column}), CAST({column} AS CHAR), {}, {} FROM shop.{table}",
        types("$**.*"),
        types("$**[*]")
    );
    let told = server.sql(&query).unwrap();
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

async fn documents_arrive(local_infile: &str) {
    let options = MySqlOptions::default().set("local_infile", local_infile);
    let version = Version::MySql97;
    let pair = Pair::start_with(version, version, MySqlOptions::default(), options).await;
    pair.source.script("", DOCUMENTS).unwrap();
    pair.copy().await;
    for (table, column) in [
        ("docs", "j"),
        ("docs", "k"),
        ("keyless", "j"),
        ("plain", "j"),
    ] {
        let sent = told(&pair.source, table, column);
        assert!(sent.len() > 7);
        assert_eq!(sent, told(&pair.target, table, column), "{table}.{column}");
    }
    let rest = "SELECT id, HEX(t), n + 0 FROM shop.docs ORDER BY id";
    assert_eq!(
        pair.source.sql(rest).unwrap(),
        pair.target.sql(rest).unwrap()
    );
}

#[tokio::test]
async fn documents_keep_the_types_of_their_values_by_load_data() {
    documents_arrive("1").await;
}

#[tokio::test]
async fn documents_keep_the_types_of_their_values_by_insert() {
    documents_arrive("0").await;
}
