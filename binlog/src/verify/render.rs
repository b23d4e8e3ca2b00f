//! How a row becomes a hash, in SQL that gives the same on every version of MySQL and MariaDB.
//!
//! A row is one binary string: its values with commas between them, texts with their lengths before
//! them and NULL as a letter, so that no two rows have the same one. Long values stand there as their
//! SHA-256, so that nothing grows above `max_allowed_packet`. The row's hash are 64 bits of its own:
//! from 9.6 on MySQL has no MD5 any more.
//! What the text of a value rounds or hides is asked for in another form, as the copy does: a FLOAT as
//! the DOUBLE that it equals, ENUM, SET and BIT as numbers, text as its bytes.

use crate::name::{quote_identifier, quote_literal};
use crate::schema::catalog::{Column, Nullability, Table};

/// Characters of a value that names a row without a key, and how many such values do.
const NAMED_CHARS: usize = 40;
const NAMED_COLUMNS: usize = 3;

/// A row as one binary string.
pub(super) fn row_text<'a>(pairs: impl Iterator<Item = (&'a Column, &'a Column)>) -> String {
    let parts: Vec<String> = pairs.map(|(own, other)| value(own, other)).collect();
    match parts.is_empty() {
        true => "''".to_owned(),
        false => format!("CONCAT({})", parts.join(", ',', ")),
    }
}

/// The hash of a row.
pub(super) fn row_hash(row_text: &str) -> String {
    format!("CAST(CONV(LEFT(SHA2({row_text}, 256), 16), 16, 10) AS UNSIGNED)")
}

/// The bucket of a row: any part of any hash of its key will do.
pub(super) fn bucket(key_text: &str, buckets: u32) -> String {
    format!("(CRC32({key_text}) & {})", buckets - 1)
}

/// A value of a column of this side; `other` is the other side's.
fn value(column: &Column, other: &Column) -> String {
    let name = quote_identifier(&column.name);
    let value = match column.data_type.as_str() {
        // Not `+ 0`: that would lose the sign of -0.
        "float" | "double" | "real" => format!("{name} * 1E0"),
        "enum" | "set" | "bit" => format!("{name} + 0"),
        "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "decimal"
        | "numeric" | "year" => name.clone(),
        // As text; a number where text is asked for would be one of another form.
        "date" | "time" | "datetime" | "timestamp" | "uuid" | "inet4" | "inet6" => {
            format!("CAST({name} AS CHAR)")
        }
        "char" | "varchar" | "binary" | "varbinary" | "tinytext" | "tinyblob" => {
            let bytes = bytes(&name, column, other);
            format!("CONCAT(LENGTH({bytes}), ':', {bytes})")
        }
        "json" => format!("SHA2(CAST({name} AS CHAR), 256)"),
        // Long texts, blobs, geometries, vectors, and what a later version brings.
        _other => {
            let text = in_one_charset(&name, column, other);
            format!("CONCAT(LENGTH({text}), ':', SHA2({text}, 256))")
        }
    };
    match column.nullability {
        Nullability::NotNull => value,
        Nullability::Nullable => format!("IF({name} IS NULL, 'N', {value})"),
    }
}

fn bytes(name: &str, column: &Column, other: &Column) -> String {
    format!("CAST({} AS BINARY)", in_one_charset(name, column, other))
}

/// Text in a character set that both sides have.
fn in_one_charset(name: &str, column: &Column, other: &Column) -> String {
    let own = column.charset.as_deref().map(normal_charset);
    match own == other.charset.as_deref().map(normal_charset) {
        true => name.to_owned(),
        false => format!("CONVERT({name} USING utf8mb4)"),
    }
}

/// What versions call by two names.
pub(super) fn normal_charset(charset: &str) -> &str {
    match charset {
        "utf8" => "utf8mb3",
        other => other,
    }
}

/// What names a row for people: its key's columns, or its first ones.
pub(super) fn row_name(table: &Table, key: &[&Column]) -> String {
    let (columns, cut): (Vec<&Column>, _) = match key.is_empty() {
        true => (table.columns.iter().take(NAMED_COLUMNS).collect(), true),
        false => (key.to_vec(), false),
    };
    let parts = columns.iter().map(|column| {
        let name = quote_identifier(&column.name);
        let text = match column.data_type.as_str() {
            "binary" | "varbinary" | "blob" | "tinyblob" | "mediumblob" | "longblob" => {
                format!("CONCAT('0x', HEX({name}))")
            }
            _other => format!("CONVERT({name} USING utf8mb4)"),
        };
        let text = match cut {
            true => format!("LEFT({text}, {NAMED_CHARS})"),
            false => text,
        };
        let label = quote_literal(&format!("{}=", column.name));
        format!("CONCAT({label}, IFNULL({text}, 'NULL'))")
    });
    let parts: Vec<String> = parts.collect();
    format!("CONCAT_WS(', ', {})", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::catalog::{ColumnOrigin, Visibility};

    fn column(name: &str, data_type: &str, charset: Option<&str>) -> Column {
        Column {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            column_type: data_type.to_owned(),
            charset: charset.map(str::to_owned),
            collation: None,
            nullability: Nullability::NotNull,
            origin: ColumnOrigin::Stored,
            visibility: Visibility::Visible,
        }
    }

    #[test]
    fn text_is_its_bytes_where_both_sides_store_it_alike() {
        let old = column("a", "varchar", Some("utf8"));
        let new = column("a", "varchar", Some("utf8mb3"));
        let bytes = "CONCAT(LENGTH(CAST(`a` AS BINARY)), ':', CAST(`a` AS BINARY))";
        assert_eq!(value(&old, &new), bytes);
        let latin = column("a", "varchar", Some("latin1"));
        assert!(value(&latin, &new).contains("CONVERT(`a` USING utf8mb4)"));
    }

    #[test]
    fn a_null_is_like_no_value() {
        let mut nullable = column("f", "float", None);
        nullable.nullability = Nullability::Nullable;
        assert_eq!(
            value(&nullable, &nullable),
            "IF(`f` IS NULL, 'N', `f` * 1E0)"
        );
    }

    #[test]
    fn a_row_is_all_of_its_values() {
        let columns = [column("id", "int", None), column("e", "enum", None)];
        let pairs = columns.iter().map(|column| (column, column));
        assert_eq!(row_text(pairs), "CONCAT(`id`, ',', `e` + 0)");
    }
}
