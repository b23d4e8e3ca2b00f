//! Whether a table is still the one that the snapshot saw.
//!
//! The servers refuse to read a table under a snapshot when it was made or rebuilt since. They do
//! not when two tables exchanged their names or two columns theirs, and MySQL 5.6 shows a table
//! that was emptied since without any row. So a table's definition and number are compared once
//! its rows are read, while the reading transaction still keeps definition statements out.

use std::collections::{BTreeMap, HashMap};

use router::Side;

use crate::name::{QualifiedName, quote_literal};
use crate::schema::create_table::CreateTable;
use crate::schema::definitions::Definitions;
use crate::schema::error::SchemaError;
use crate::wire::{SqlConn, SqlError, TextRow};

/// What tables were when the snapshot was taken.
#[derive(Debug)]
pub struct Identities {
    definitions: HashMap<QualifiedName, String>,
    numbers: Numbers,
}

/// The storage engine's numbers of its tables and partitions, by their names as files; none where
/// they may not be seen. A table that is rebuilt or emptied has a new one, and keeps it when it is
/// renamed.
#[derive(Debug, Default)]
pub struct Numbers(BTreeMap<String, u64>);

impl Numbers {
    /// The numbers now. Those from before a snapshot are the ones to compare with.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn read(client: &SqlConn) -> Result<Self, SchemaError> {
        let query = format!(
            "SELECT NAME, TABLE_ID FROM information_schema.{}",
            place(client)
        );
        match client.query(&query).await {
            Ok(rows) => Ok(Self::of(&rows)),
            // Without PROCESS; the check has said so.
            Err(SqlError::Server(_)) => Ok(Self::default()),
            Err(error) => {
                let what = "asking for the numbers of its tables";
                Err(SchemaError::sql(Side::Source, what)(error))
            }
        }
    }

    fn of(rows: &[TextRow]) -> Self {
        let of_row = |row: &TextRow| Some((row.text(0)?.to_owned(), row.parse(1).ok()?));
        Self(rows.iter().filter_map(of_row).collect())
    }

    /// Those of a table and its partitions.
    fn of_table(&self, file: &str) -> Vec<(&str, u64)> {
        let all = self.0.range(file.to_owned()..);
        all.take_while(|(name, _)| name.starts_with(file))
            .filter(|(name, _)| is_of(name, file))
            .map(|(name, number)| (name.as_str(), *number))
            .collect()
    }
}

/// Whether a file is the table's own or one of its partitions'.
fn is_of(name: &str, file: &str) -> bool {
    let rest = name.get(file.len()..).unwrap_or_default();
    rest.is_empty() || rest.starts_with("#P#") || rest.starts_with("#p#")
}

/// Older servers and MariaDB have the engine's tables under another name.
fn place(client: &SqlConn) -> &'static str {
    if client.version().is_mysql_at_least(8, 0, 0) {
        "INNODB_TABLES"
    } else {
        "INNODB_SYS_TABLES"
    }
}

impl Identities {
    /// What tables were by their definitions around the snapshot and their numbers before it.
    #[must_use]
    pub fn new(definitions: &Definitions, numbers: Numbers) -> Self {
        let tables = definitions.tables.iter();
        Self {
            definitions: tables
                .map(|table| (table.name.clone(), table.canonical()))
                .collect(),
            numbers,
        }
    }

    /// Whether a table that this transaction has read is what it was.
    pub(super) async fn still(
        &self,
        client: &SqlConn,
        table: &QualifiedName,
    ) -> Result<bool, SqlError> {
        let query = format!("SHOW CREATE TABLE {}", table.quoted());
        let shown = client.query_first(&query).await?;
        let text = shown.as_ref().and_then(|row| row.text(1));
        let now = text.and_then(|text| CreateTable::parse(table.clone(), text).ok());
        if now.map(|now| now.canonical()).as_ref() != self.definitions.get(table) {
            return Ok(false);
        }
        let file = file_of(table);
        let then = self.numbers.of_table(&file);
        if then.is_empty() {
            return Ok(true);
        }
        let prefix = quote_literal(&file);
        let query = format!(
            "SELECT NAME, TABLE_ID FROM information_schema.{} \
             WHERE LEFT(NAME, CHAR_LENGTH({prefix})) = {prefix}",
            place(client)
        );
        let now = Numbers::of(&client.query(&query).await?);
        Ok(now.of_table(&file) == then)
    }
}

/// A table's name as the engine has it. (Letters beyond ASCII have shorter forms, which are not
/// found then; such a table is told by its definition alone.)
fn file_of(table: &QualifiedName) -> String {
    let encoded = |name: &str| -> String {
        name.chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() || letter == '_' {
                    letter.to_string()
                } else {
                    format!("@{:04x}", u32::from(letter))
                }
            })
            .collect()
    };
    format!("{}/{}", encoded(&table.schema), encoded(&table.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_numbers_of_its_partitions_and_of_no_other_table() {
        let numbers = Numbers(
            [
                ("d/t", 1),
                ("d/t#P#p0", 2),
                ("d/t#p#p1", 3),
                ("d/t2", 4),
                ("d/s", 5),
            ]
            .map(|(name, number)| (name.to_owned(), number))
            .into(),
        );
        assert_eq!(
            numbers.of_table("d/t"),
            [("d/t", 1), ("d/t#P#p0", 2), ("d/t#p#p1", 3)]
        );
        assert_eq!(file_of(&QualifiedName::new("a-b", "c_1")), "a@002db/c_1");
    }
}
