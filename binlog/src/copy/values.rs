//! How the values of each column travel, so that the target stores exactly what the source has.
//!
//! The source's connections have no result character set: text comes as its column's own bytes,
//! and is stored as bytes. What the text protocol cannot carry exactly is asked for in another
//! form: a FLOAT as the DOUBLE that it equals (its text is rounded), ENUM and SET as numbers (the
//! empty string of an invalid ENUM, index 0, looks like a label).

use super::document;
use crate::name::quote_identifier;
use crate::schema::catalog::{Column, Table};
use crate::schema::enum_labels;

/// How a column's values travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carriage {
    /// As the server's text: numbers, dates.
    Plain,
    /// As bytes: text in its column's character set, binary strings, BIT, geometries, vectors.
    Bytes,
    /// As the text of a DOUBLE.
    Double,
    /// As a number with this many digits, so that no label looks like it.
    Ordinal { digits: usize },
    /// As ASCII text of a type that takes bytes for something else: UUID, INET4, INET6.
    Words,
    /// As text that must be told to be UTF-8.
    Json,
    /// The same, with the types of the values inside of it at the end of the row.
    Document,
}

/// How JSON documents travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Documents {
    /// As text: one of the servers has no types inside of documents, or the source does not tell.
    Text,
    /// With the types of the values inside of them.
    Typed,
}

/// How the target takes a column's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lane {
    /// The column's name.
    pub(super) column: String,
    /// How its values travel.
    pub(super) carriage: Carriage,
}

impl Lane {
    /// Whether this is a value of an ENUM that has no label: index 0, which some versions take with
    /// a warning and others without.
    pub(super) fn is_without_label(&self, value: &[u8]) -> bool {
        match self.carriage {
            Carriage::Ordinal { digits } => {
                digits <= ENUM_DIGITS_MAX && value.iter().all(|digit| *digit == b'0')
            }
            Carriage::Plain
            | Carriage::Bytes
            | Carriage::Double
            | Carriage::Words
            | Carriage::Json
            | Carriage::Document => false,
        }
    }
}

/// The most digits of a number that the servers read as an ENUM's ordinal: 5; as a SET's bits: 21.
const ENUM_DIGITS_MAX: usize = 5;
const SET_DIGITS_MAX: usize = 21;

/// How a table's rows travel.
pub(super) fn lanes(table: &Table, documents: Documents) -> Vec<Lane> {
    table
        .carried_columns()
        .map(|column| Lane {
            column: column.name.clone(),
            carriage: carriage_of(column, documents),
        })
        .collect()
}

fn carriage_of(column: &Column, documents: Documents) -> Carriage {
    match column.data_type.as_str() {
        "float" | "double" | "real" => Carriage::Double,
        "enum" => ordinal(column, ENUM_DIGITS_MAX),
        "set" => ordinal(column, SET_DIGITS_MAX),
        "json" => match documents {
            Documents::Text => Carriage::Json,
            Documents::Typed => Carriage::Document,
        },
        "uuid" | "inet4" | "inet6" => Carriage::Words,
        "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "decimal"
        | "numeric" | "year" | "date" | "time" | "datetime" | "timestamp" => Carriage::Plain,
        // Text, binary, bits, geometries, vectors, and what a later version brings.
        _other => Carriage::Bytes,
    }
}

/// The number of digits under which no label can be taken for a number.
fn ordinal(column: &Column, digits_max: usize) -> Carriage {
    let labels = enum_labels::of_type(&column.column_type);
    // Digits of other scripts may be equal to ours in the column's collation.
    let taken = |digits: usize| {
        labels.iter().any(|label| {
            let label = label.trim_end();
            label.chars().count() == digits && label.chars().all(char::is_numeric)
        })
    };
    // The numbers of long lists have five digits; those of full sets twenty.
    let least = labels.len().max(1).to_string().len();
    let least = if digits_max == SET_DIGITS_MAX {
        20
    } else {
        least
    };
    // The servers read digits in a wide character set only if they are whole letters of it.
    let step = match column.charset.as_deref() {
        Some("ucs2" | "utf16" | "utf16le") => 2,
        Some("utf32") => 4,
        Some(_) | None => 1,
    };
    let fits = |digits: &usize| digits.is_multiple_of(step) && !taken(*digits);
    match (least..=digits_max).find(fits) {
        Some(digits) => Carriage::Ordinal { digits },
        None => Carriage::Bytes,
    }
}

/// The list after SELECT.
pub(super) fn select_list(lanes: &[Lane]) -> String {
    let fields = lanes.iter().map(|lane| {
        let name = quote_identifier(&lane.column);
        match lane.carriage {
            Carriage::Plain
            | Carriage::Bytes
            | Carriage::Words
            | Carriage::Json
            | Carriage::Document => name,
            // Not `+ 0`: that would lose the sign of -0.
            Carriage::Double => format!("{name} * 1E0"),
            Carriage::Ordinal { digits } => format!("LPAD({name} + 0, {digits}, '0')"),
        }
    });
    let types =
        documents(lanes).map(|(_, lane)| document::types_of(&quote_identifier(&lane.column)));
    fields.chain(types).collect::<Vec<String>>().join(", ")
}

/// The lanes whose values' types follow the fields of a row, in their order.
pub(super) fn documents(lanes: &[Lane]) -> impl Iterator<Item = (usize, &Lane)> {
    let lanes = lanes.iter().enumerate();
    lanes.filter(|(_, lane)| lane.carriage == Carriage::Document)
}

/// The list of columns of `LOAD DATA`, and what follows it.
pub(super) fn load_list(lanes: &[Lane]) -> String {
    let mut list = Vec::new();
    let mut set = Vec::new();
    for (at, lane) in lanes.iter().enumerate() {
        let name = quote_identifier(&lane.column);
        match lane.carriage {
            Carriage::Words | Carriage::Json | Carriage::Document => {
                list.push(format!("@v{at}"));
                set.push(format!("{name} = CONVERT(@v{at} USING utf8mb4)"));
            }
            Carriage::Plain | Carriage::Bytes | Carriage::Double | Carriage::Ordinal { .. } => {
                list.push(name);
            }
        }
    }
    let list = list.join(", ");
    if set.is_empty() {
        format!("({list})")
    } else {
        format!("({list}) SET {}", set.join(", "))
    }
}

/// The list of columns of `INSERT`.
pub(super) fn insert_list(lanes: &[Lane]) -> String {
    let list: Vec<String> = lanes
        .iter()
        .map(|lane| quote_identifier(&lane.column))
        .collect();
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::catalog::{ColumnOrigin, Nullability, Visibility};

    fn column(name: &str, column_type: &str) -> Column {
        let data_type = column_type.split('(').next().unwrap_or_default();
        Column {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            column_type: column_type.to_owned(),
            charset: None,
            collation: None,
            nullability: Nullability::Nullable,
            origin: ColumnOrigin::Stored,
            visibility: Visibility::Visible,
        }
    }

    #[test]
    fn ordinals_never_look_like_labels() {
        let of = |text| carriage_of(&column("e", text), Documents::Text);
        assert_eq!(of("enum('a','b')"), Carriage::Ordinal { digits: 1 });
        assert_eq!(of("enum('0','2')"), Carriage::Ordinal { digits: 2 });
        assert_eq!(of("enum('0','01')"), Carriage::Ordinal { digits: 3 });
        assert_eq!(
            of("enum('1','11','111','1111','11111')"),
            Carriage::Bytes,
            "its labels say it exactly, but for an invalid value"
        );
        assert_eq!(of("set('1','2')"), Carriage::Ordinal { digits: 20 });
        let wide = |charset: &str, text| {
            let charset = Some(charset.to_owned());
            let column = column("e", text);
            carriage_of(&Column { charset, ..column }, Documents::Text)
        };
        assert_eq!(wide("ucs2", "enum('a')"), Carriage::Ordinal { digits: 2 });
        assert_eq!(wide("utf32", "enum('a')"), Carriage::Ordinal { digits: 4 });
    }

    #[test]
    fn each_type_is_asked_for_and_given_in_its_own_form() {
        let columns = ["a int", "f float", "e enum('x')", "j json", "t varchar(9)"];
        let lanes: Vec<Lane> = columns
            .iter()
            .map(|text| {
                let (name, column_type) = text.split_once(' ').unwrap();
                let column = column(name, column_type);
                Lane {
                    carriage: carriage_of(&column, Documents::Text),
                    column: column.name,
                }
            })
            .collect();
        assert_eq!(
            select_list(&lanes),
            "`a`, `f` * 1E0, LPAD(`e` + 0, 1, '0'), `j`, `t`"
        );
        assert_eq!(
            load_list(&lanes),
            "(`a`, `f`, `e`, @v3, `t`) SET `j` = CONVERT(@v3 USING utf8mb4)"
        );
        assert_eq!(insert_list(&lanes), "`a`, `f`, `e`, `j`, `t`");
    }
}
