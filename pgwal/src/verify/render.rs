//! How a row becomes a hash, in SQL that gives the same on every version from 12 on.
//!
//! Each column has a hash of its own with a seed of its own, and the row's is all of them together.
//! So nothing has to be put between values, and NULL is a value like no other. Numbers and UUIDs are
//! hashed as they are, everything else by its text: that is one text for one value, as the settings
//! of every session of ours see to (`wire::SESSION_SETTINGS`), and it shows what equality does not
//! (`1.0` and `1.00`, `-0`, the case of a citext). The hash functions are those of hash partitioning,
//! which must not change from version to version either.

use crate::name::quote_identifier;
use crate::schema::catalog::Column;

/// How texts are brought to the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Both databases store UTF-8.
    Same,
    /// They do not: by way of UTF-8.
    Converted,
}

/// The seed of the first column of a row; those of keys are others.
const ROW_SEED: usize = 1;

/// The seed of the first column of a key.
const KEY_SEED: usize = 10_001;

/// What both servers must give alike before their hashes are compared: text, numbers and UUIDs.
pub(super) const CANARY: &str = "SELECT pg_catalog.concat_ws(' ', \
    pg_catalog.hashtextextended('pointsman, twelve and more bytes' COLLATE \"C\", 3), \
    pg_catalog.hashint4extended(-7, 3), pg_catalog.hashint8extended(-7777777777, 3), \
    pg_catalog.uuid_hash_extended('3f2b2d3e-3f36-4a2b-9d5c-0123456789ab', 3))";

/// The hash of a row, a `bigint`.
pub(super) fn row_hash(columns: &[Column], encoding: Encoding) -> String {
    hash(columns.iter(), ROW_SEED, encoding)
}

/// The hash of the columns of a key.
pub(super) fn key_hash(columns: &[&Column], encoding: Encoding) -> String {
    hash(columns.iter().copied(), KEY_SEED, encoding)
}

fn hash<'a>(
    columns: impl Iterator<Item = &'a Column>,
    first_seed: usize,
    encoding: Encoding,
) -> String {
    let hashes: Vec<String> = columns
        .enumerate()
        .map(|(place, column)| hash_of(column, first_seed + place * 2, encoding))
        .collect();
    match hashes.is_empty() {
        true => "0::bigint".to_owned(),
        false => hashes.join(" # "),
    }
}

fn hash_of(column: &Column, seed: usize, encoding: Encoding) -> String {
    let name = quote_identifier(&column.name);
    let hash = match column.type_name.as_str() {
        "smallint" | "integer" | "boolean" => {
            format!("pg_catalog.hashint4extended({name}::integer, {seed})")
        }
        // That of a bigint alone takes its halves for one; the upper one beside it makes it whole.
        "bigint" => format!(
            "pg_catalog.hashint8extended({name}, {seed}) \
             # pg_catalog.hashint4extended(({name} >> 32)::integer, {})",
            seed + 1
        ),
        "uuid" => format!("pg_catalog.uuid_hash_extended({name}, {seed})"),
        _other => format!(
            "pg_catalog.hashtextextended({} COLLATE \"C\", {seed})",
            text(&name, &column.type_name, encoding)
        ),
    };
    format!("coalesce({hash}, {seed})")
}

/// The text of a value.
fn text(name: &str, type_name: &str, encoding: Encoding) -> String {
    let text = match type_name {
        // From 16 on it is another text for what is not ASCII.
        "\"char\"" => {
            return format!("pg_catalog.encode(pg_catalog.charsend({name}), 'hex')");
        }
        // A cast leaves out the blanks that a name says nothing of.
        _other => format!("{name}::pg_catalog.text"),
    };
    match encoding {
        Encoding::Same => text,
        Encoding::Converted => {
            format!("pg_catalog.encode(pg_catalog.convert_to({text}, 'UTF8'), 'hex')")
        }
    }
}

/// What names a row for people: its key's columns, or where it lies.
pub(super) fn row_name(key: &[&Column]) -> String {
    if key.is_empty() {
        return "ctid::pg_catalog.text".to_owned();
    }
    let parts: Vec<String> = key
        .iter()
        .map(|column| {
            let name = quote_identifier(&column.name);
            format!("{}, {name}::pg_catalog.text", label(&column.name))
        })
        .collect();
    format!("pg_catalog.concat({})", parts.join(", ', ', "))
}

fn label(name: &str) -> String {
    crate::name::quote_literal(&format!("{name}="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::catalog::{ColumnOrigin, Nullability};

    fn column(name: &str, type_name: &str) -> Column {
        Column {
            name: name.to_owned(),
            type_name: type_name.to_owned(),
            nullability: Nullability::Nullable,
            origin: ColumnOrigin::Stored,
        }
    }

    #[test]
    fn each_column_has_seeds_of_its_own() {
        let columns = [column("id", "bigint"), column("odd \"name", "citext")];
        assert_eq!(
            row_hash(&columns, Encoding::Same),
            "coalesce(pg_catalog.hashint8extended(\"id\", 1) \
             # pg_catalog.hashint4extended((\"id\" >> 32)::integer, 2), 1) \
             # coalesce(pg_catalog.hashtextextended(\"odd \"\"name\"::pg_catalog.text COLLATE \
             \"C\", 3), 3)"
        );
    }

    #[test]
    fn a_table_without_columns_has_a_hash_too() {
        assert_eq!(row_hash(&[], Encoding::Same), "0::bigint");
    }

    #[test]
    fn rows_are_named_by_their_keys() {
        let (one, two) = (column("a", "text"), column("it's", "integer"));
        assert_eq!(
            row_name(&[&one, &two]),
            "pg_catalog.concat('a=', \"a\"::pg_catalog.text, ', ', 'it''s=', \
             \"it's\"::pg_catalog.text)"
        );
        assert_eq!(row_name(&[]), "ctid::pg_catalog.text");
    }
}
