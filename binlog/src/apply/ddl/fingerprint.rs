//! What the target's definitions look like, in a few numbers: equal before and after a statement
//! that had no effect.

use crate::name::quote_literal;
use crate::version::Flavour;
use crate::wire::{SqlConn, SqlError};

/// The definitions of some databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Counts and checksums, a word for each catalogue.
    pub(super) definitions: String,
    /// The same of the storage engine's numbers of the tables, which tell a table from another of
    /// the same name and definition; `None` if they may not be seen.
    pub(super) numbers: Option<String>,
}

/// Catalogues, the column that names the database, and what tells a definition.
const CATALOGUES: &[(&str, &str, &str)] = &[
    (
        "SCHEMATA",
        "SCHEMA_NAME",
        "SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME",
    ),
    (
        "TABLES",
        "TABLE_SCHEMA",
        "TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, IFNULL(ENGINE, ''), IFNULL(TABLE_COLLATION, ''), \
         IFNULL(CREATE_OPTIONS, ''), TABLE_COMMENT",
    ),
    (
        "COLUMNS",
        "TABLE_SCHEMA",
        "TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, ORDINAL_POSITION, IFNULL(COLUMN_DEFAULT, '-'), \
         ISNULL(COLUMN_DEFAULT), IS_NULLABLE, COLUMN_TYPE, IFNULL(COLLATION_NAME, ''), EXTRA, \
         COLUMN_COMMENT",
    ),
    (
        "STATISTICS",
        "TABLE_SCHEMA",
        "TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX, IFNULL(COLUMN_NAME, ''), \
         IFNULL(SUB_PART, 0), NON_UNIQUE, INDEX_TYPE, INDEX_COMMENT",
    ),
    (
        "KEY_COLUMN_USAGE",
        "TABLE_SCHEMA",
        "TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, \
         IFNULL(REFERENCED_TABLE_NAME, ''), IFNULL(REFERENCED_COLUMN_NAME, '')",
    ),
    (
        "TABLE_CONSTRAINTS",
        "TABLE_SCHEMA",
        "TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, CONSTRAINT_TYPE",
    ),
    (
        "PARTITIONS",
        "TABLE_SCHEMA",
        "TABLE_SCHEMA, TABLE_NAME, IFNULL(PARTITION_NAME, ''), IFNULL(SUBPARTITION_NAME, ''), \
         IFNULL(PARTITION_METHOD, ''), IFNULL(PARTITION_EXPRESSION, ''), \
         IFNULL(PARTITION_DESCRIPTION, '')",
    ),
    (
        "VIEWS",
        "TABLE_SCHEMA",
        "TABLE_SCHEMA, TABLE_NAME, VIEW_DEFINITION, DEFINER, SECURITY_TYPE",
    ),
    (
        "ROUTINES",
        "ROUTINE_SCHEMA",
        "ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, LAST_ALTERED, DEFINER",
    ),
    (
        "TRIGGERS",
        "TRIGGER_SCHEMA",
        "TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE, ACTION_STATEMENT, ACTION_TIMING, \
         EVENT_MANIPULATION, DEFINER",
    ),
    (
        "EVENTS",
        "EVENT_SCHEMA",
        "EVENT_SCHEMA, EVENT_NAME, EVENT_DEFINITION, STATUS, LAST_ALTERED, DEFINER",
    ),
];

/// The tables of accounts; a server has not all of them.
const ACCOUNTS_OF_MYSQL: &str = "mysql.user, mysql.db, mysql.tables_priv, mysql.columns_priv, \
    mysql.procs_priv, mysql.proxies_priv, mysql.role_edges, mysql.default_roles, \
    mysql.global_grants";
const ACCOUNTS_OF_MARIADB: &str = "mysql.global_priv, mysql.db, mysql.tables_priv, \
    mysql.columns_priv, mysql.procs_priv, mysql.proxies_priv, mysql.roles_mapping";

impl Fingerprint {
    /// Looks at the definitions of these databases.
    pub(super) async fn read(conn: &SqlConn, databases: &[&str]) -> Result<Self, SqlError> {
        let names: Vec<_> = databases.iter().map(|name| quote_literal(name)).collect();
        let names = if names.is_empty() {
            "''".to_owned()
        } else {
            names.join(", ")
        };
        let mut definitions = Vec::with_capacity(CATALOGUES.len());
        for (catalogue, database, columns) in CATALOGUES {
            let sql = format!(
                "SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', {columns}))), 0) \
                 FROM information_schema.{catalogue} WHERE {database} IN ({names})"
            );
            definitions.push(numbers_of(conn, &sql).await?);
        }
        Ok(Self {
            definitions: definitions.join(","),
            numbers: table_numbers(conn, databases).await,
        })
    }

    /// Looks at the accounts and what they may do; where the tables may not be read they look the
    /// same always.
    pub(super) async fn of_accounts(conn: &SqlConn) -> Result<Self, SqlError> {
        let tables = match conn.version().flavour {
            Flavour::MySql => ACCOUNTS_OF_MYSQL,
            Flavour::MariaDb => ACCOUNTS_OF_MARIADB,
        };
        let rows = match conn.query(&format!("CHECKSUM TABLE {tables}")).await {
            Ok(rows) => rows,
            Err(error) if error.code().is_some() => Vec::new(),
            Err(error) => return Err(error),
        };
        let sums: Vec<_> = rows.iter().map(|row| row.text(1).unwrap_or("-")).collect();
        Ok(Self {
            definitions: sums.join(","),
            numbers: Some("accounts".to_owned()),
        })
    }

    /// As it is written down.
    pub(super) fn text(&self) -> String {
        match &self.numbers {
            Some(numbers) => format!("{};{numbers}", self.definitions),
            None => self.definitions.clone(),
        }
    }

    /// As it was written down.
    pub(super) fn of_text(text: &str) -> Self {
        match text.split_once(';') {
            Some((definitions, numbers)) => Self {
                definitions: definitions.to_owned(),
                numbers: Some(numbers.to_owned()),
            },
            None => Self {
                definitions: text.to_owned(),
                numbers: None,
            },
        }
    }

    /// Whether something changed between the two; `None` if only the numbers could tell and one of
    /// the two does not have them.
    pub(super) fn changed(&self, now: &Self) -> Option<bool> {
        if self.definitions != now.definitions {
            return Some(true);
        }
        match (&self.numbers, &now.numbers) {
            (Some(before), Some(now)) => Some(before != now),
            (None, _) | (_, None) => None,
        }
    }
}

async fn numbers_of(conn: &SqlConn, sql: &str) -> Result<String, SqlError> {
    let rows = conn.query(sql).await?;
    let cell = |column| rows.first().and_then(|row| row.text(column)).unwrap_or("0");
    Ok(format!("{}.{}", cell(0), cell(1)))
}

/// Older servers and MariaDB have the engine's tables under another name. Auxiliary tables of full
/// text indexes come and go by themselves.
async fn table_numbers(conn: &SqlConn, databases: &[&str]) -> Option<String> {
    let table = if conn.version().is_mysql_at_least(8, 0, 0) {
        "INNODB_TABLES"
    } else {
        "INNODB_SYS_TABLES"
    };
    let of_database: Vec<_> = databases
        .iter()
        .map(|name| {
            let prefix = quote_literal(&format!("{}/", encoded(name)));
            format!("LEFT(NAME, CHAR_LENGTH({prefix})) = {prefix}")
        })
        .collect();
    if of_database.is_empty() {
        return None;
    }
    let sql = format!(
        "SELECT COUNT(*), COALESCE(SUM(CRC32(CONCAT_WS('|', NAME, TABLE_ID))), 0) \
         FROM information_schema.{table} WHERE ({}) AND NAME NOT LIKE '%/FTS\\_%' \
         AND NAME NOT LIKE '%/#sql%'",
        of_database.join(" OR ")
    );
    numbers_of(conn, &sql).await.ok()
}

/// A database's name as a file name, as the engine has it.
fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() || letter == '_' {
            encoded.push(letter);
        } else {
            encoded.push_str(&format!("@{:04x}", u32::from(letter)));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(definitions: &str, numbers: Option<&str>) -> Fingerprint {
        Fingerprint {
            definitions: definitions.to_owned(),
            numbers: numbers.map(str::to_owned),
        }
    }

    #[test]
    fn a_fingerprint_survives_being_written_down() {
        for print in [
            fingerprint("1.2,3.4", Some("5.6")),
            fingerprint("1.2", None),
        ] {
            assert_eq!(Fingerprint::of_text(&print.text()), print);
        }
    }

    #[test]
    fn without_numbers_equal_definitions_tell_nothing() {
        let one = fingerprint("a", Some("1"));
        assert_eq!(one.changed(&fingerprint("b", None)), Some(true));
        assert_eq!(one.changed(&fingerprint("a", Some("1"))), Some(false));
        assert_eq!(one.changed(&fingerprint("a", Some("2"))), Some(true));
        assert_eq!(one.changed(&fingerprint("a", None)), None);
    }
}
