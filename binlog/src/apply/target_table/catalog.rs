//! Reads what the target's catalogue has of a table, and tells the field types from it.

use super::keys::{ForeignKeyToUs, IndexColumn};
use super::{Generated, TargetColumn};
use crate::apply::field::FieldType;
use crate::name::{QualifiedName, quote_literal};
use crate::version::Flavour;
use crate::wire::{SqlConn, SqlError, TextRow};

/// What the catalogue has of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableCatalog {
    pub(super) columns: Vec<TargetColumn>,
    /// Columns of unique indexes, index by index in their order.
    pub(super) unique: Vec<IndexColumn>,
    pub(super) trigger: Option<String>,
    /// Its engine, if that has no transactions.
    pub(super) unsafe_engine: Option<String>,
}

/// A column's line in `information_schema.COLUMNS`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ColumnLine<'a> {
    pub(super) data_type: &'a str,
    pub(super) column_type: &'a str,
    pub(super) octets: Option<u64>,
    pub(super) precision: Option<u64>,
    pub(super) scale: Option<u64>,
    pub(super) datetime_precision: Option<u64>,
}

/// Reads one table; `None` if there is none.
pub(super) async fn read(
    conn: &SqlConn,
    table: &QualifiedName,
) -> Result<Option<TableCatalog>, SqlError> {
    let place = format!(
        "TABLE_SCHEMA = {} AND TABLE_NAME = {}",
        quote_literal(&table.schema),
        quote_literal(&table.name)
    );
    let rows = conn
        .query(&format!(
            "SELECT COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_OCTET_LENGTH, \
             NUMERIC_PRECISION, NUMERIC_SCALE, DATETIME_PRECISION, CHARACTER_SET_NAME, \
             IS_NULLABLE, EXTRA FROM information_schema.COLUMNS WHERE {place} \
             ORDER BY ORDINAL_POSITION"
        ))
        .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let columns = rows
        .iter()
        .map(|row| column(row, conn.version().flavour))
        .collect();
    let rows = conn
        .query(&format!(
            "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS \
             WHERE {place} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX"
        ))
        .await?;
    let unique = rows
        .iter()
        .map(|row| IndexColumn {
            index: row.text(0).unwrap_or_default().to_owned(),
            column: row.text(1).map(str::to_owned),
            whole: row.text(2).is_none(),
        })
        .collect();
    let rows = conn
        .query(&format!(
            "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = {} \
             AND EVENT_OBJECT_TABLE = {} LIMIT 1",
            quote_literal(&table.schema),
            quote_literal(&table.name)
        ))
        .await?;
    let trigger = rows.first().and_then(|row| row.text(0)).map(str::to_owned);
    Ok(Some(TableCatalog {
        columns,
        unique,
        trigger,
        unsafe_engine: unsafe_engine(conn, table).await?,
    }))
}

/// The engine of a table, if what is written to it cannot be taken back.
async fn unsafe_engine(conn: &SqlConn, table: &QualifiedName) -> Result<Option<String>, SqlError> {
    let rows = conn
        .query(&format!(
            "SELECT t.ENGINE FROM information_schema.TABLES t LEFT JOIN information_schema.ENGINES e \
             ON e.ENGINE = t.ENGINE WHERE t.TABLE_SCHEMA = {} AND t.TABLE_NAME = {} \
             AND t.ENGINE IS NOT NULL AND COALESCE(e.TRANSACTIONS, 'NO') <> 'YES'",
            quote_literal(&table.schema),
            quote_literal(&table.name)
        ))
        .await?;
    Ok(rows.first().and_then(|row| row.text(0)).map(str::to_owned))
}

/// Reads every foreign key whose rules change or delete rows of its own.
pub(in crate::apply) async fn read_cascades(
    conn: &SqlConn,
) -> Result<Vec<ForeignKeyToUs>, SqlError> {
    let rows = conn
        .query(
            "SELECT k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME, \
             k.TABLE_SCHEMA, k.TABLE_NAME, r.DELETE_RULE, r.UPDATE_RULE \
             FROM information_schema.REFERENTIAL_CONSTRAINTS r \
             JOIN information_schema.KEY_COLUMN_USAGE k \
             ON k.CONSTRAINT_SCHEMA = r.CONSTRAINT_SCHEMA AND k.TABLE_NAME = r.TABLE_NAME \
             AND k.CONSTRAINT_NAME = r.CONSTRAINT_NAME \
             WHERE k.REFERENCED_TABLE_NAME IS NOT NULL \
             AND (r.DELETE_RULE IN ('CASCADE', 'SET NULL') \
             OR r.UPDATE_RULE IN ('CASCADE', 'SET NULL'))",
        )
        .await?;
    let text = |row: &TextRow, column| row.text(column).unwrap_or_default().to_owned();
    let acts = |row: &TextRow, column| matches!(row.text(column), Some("CASCADE" | "SET NULL"));
    Ok(rows
        .iter()
        .map(|row| ForeignKeyToUs {
            parent: QualifiedName::new(text(row, 0), text(row, 1)),
            column: text(row, 2),
            child: QualifiedName::new(text(row, 3), text(row, 4)),
            on_delete: acts(row, 5),
            on_update: acts(row, 6),
        })
        .collect())
}

fn column(row: &TextRow, flavour: Flavour) -> TargetColumn {
    let number = |column| row.text(column).and_then(|text| text.parse::<u64>().ok());
    let line = ColumnLine {
        data_type: row.text(1).unwrap_or_default(),
        column_type: row.text(2).unwrap_or_default(),
        octets: number(3),
        precision: number(4),
        scale: number(5),
        datetime_precision: number(6),
    };
    let extra = row.text(9).unwrap_or_default().to_ascii_uppercase();
    // `DEFAULT_GENERATED` is a default, and no generated column.
    let generated = if extra.contains("VIRTUAL") {
        Generated::Virtual
    } else if extra.contains("STORED GENERATED") || extra.contains("PERSISTENT") {
        Generated::Stored
    } else {
        Generated::No
    };
    let field = line.field_type(flavour);
    TargetColumn {
        name: row.text(0).unwrap_or_default().to_owned(),
        field,
        // Four bytes a number.
        dimensions: match field {
            Some(FieldType::Vector { .. }) => {
                number(3).and_then(|bytes| usize::try_from(bytes / 4).ok())
            }
            Some(_) | None => None,
        },
        shown_type: line.column_type.to_owned(),
        nullable: row.text(8) == Some("YES"),
        unsigned: line.column_type.contains("unsigned") || line.column_type.contains("zerofill"),
        charset: row.text(7).map(normal_charset),
        generated,
    }
}

/// The character set by the name that it has since MySQL 8: `utf8` was always `utf8mb3`.
fn normal_charset(name: &str) -> String {
    if name == "utf8" {
        "utf8mb3".to_owned()
    } else {
        name.to_owned()
    }
}

impl ColumnLine<'_> {
    /// The type as row events know it; `None` for types that are not known here.
    pub(super) fn field_type(&self, flavour: Flavour) -> Option<FieldType> {
        let octets = || u16::try_from(self.octets?).ok();
        let fsp = || u8::try_from(self.datetime_precision.unwrap_or(0)).ok();
        let old =
            self.column_type.contains("mariadb-5.3") || self.column_type.contains("5.5 binary");
        let compressed = self.column_type.contains("COMPRESSED");
        let blob = |prefix| {
            if compressed {
                FieldType::BlobCompressed { prefix }
            } else {
                FieldType::Blob { prefix }
            }
        };
        Some(match self.data_type.to_ascii_lowercase().as_str() {
            "bit" => FieldType::Bit {
                bits: u8::try_from(self.precision?).ok()?,
            },
            "date" => FieldType::Date,
            "time" if old => FieldType::OldTime,
            "datetime" if old => FieldType::OldDateTime,
            "timestamp" if old => FieldType::OldTimestamp,
            "time" => FieldType::Time { fsp: fsp()? },
            "datetime" => FieldType::DateTime { fsp: fsp()? },
            "timestamp" => FieldType::Timestamp { fsp: fsp()? },
            "char" | "binary" => FieldType::Char { octets: octets()? },
            "uuid" | "inet6" => FieldType::Char { octets: 16 },
            "inet4" => FieldType::Char { octets: 4 },
            "varchar" if compressed => FieldType::VarCharCompressed {
                octets: octets()?.checked_add(1)?,
            },
            "varbinary" if compressed => FieldType::VarCharCompressed {
                octets: octets()?.checked_add(1)?,
            },
            "varchar" | "varbinary" => FieldType::VarChar { octets: octets()? },
            // MariaDB keeps vectors as `VARBINARY`, MySQL has a type for them.
            "vector" => match flavour {
                Flavour::MySql => FieldType::Vector { prefix: 4 },
                Flavour::MariaDb => FieldType::VarChar { octets: octets()? },
            },
            "tinytext" | "tinyblob" => blob(1),
            "text" | "blob" => blob(2),
            "mediumtext" | "mediumblob" => blob(3),
            "longtext" | "longblob" => blob(4),
            "json" => FieldType::Json { prefix: 4 },
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
            | "multipolygon" | "geometrycollection" | "geomcollection" => {
                FieldType::Geometry { prefix: 4 }
            }
            "enum" => FieldType::Enum {
                bytes: if members(self.column_type) < 256 {
                    1
                } else {
                    2
                },
            },
            "set" => FieldType::Set {
                bytes: match u8::try_from(members(self.column_type).div_ceil(8)).ok()? {
                    bytes @ 0..=4 => bytes.max(1),
                    _more => 8,
                },
            },
            _number => return self.number(),
        })
    }

    fn number(&self) -> Option<FieldType> {
        Some(match self.data_type.to_ascii_lowercase().as_str() {
            "tinyint" => FieldType::Int(1),
            "smallint" => FieldType::Int(2),
            "mediumint" => FieldType::Int(3),
            "int" | "integer" => FieldType::Int(4),
            "bigint" => FieldType::Int(8),
            "float" => FieldType::Float,
            "double" | "real" => FieldType::Double,
            "decimal" | "numeric" => FieldType::Decimal {
                precision: u8::try_from(self.precision?).ok()?,
                scale: u8::try_from(self.scale.unwrap_or(0)).ok()?,
            },
            "year" => FieldType::Year,
            _unknown => return None,
        })
    }
}

/// Number of members in `enum('a','it''s')`.
fn members(column_type: &str) -> usize {
    let quotes = column_type.bytes().filter(|byte| *byte == b'\'').count();
    let escaped = {
        // Inside the list a quote within a member is doubled; between members stands a comma.
        let bytes = column_type.as_bytes();
        let mut count = 0;
        let mut at = 0;
        let mut inside = false;
        while let Some(byte) = bytes.get(at) {
            if *byte == b'\'' {
                if inside && bytes.get(at + 1) == Some(&b'\'') {
                    count += 1;
                    at += 1;
                } else {
                    inside = !inside;
                }
            }
            at += 1;
        }
        count
    };
    (quotes - 2 * escaped) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(data_type: &str, column_type: &str) -> Option<FieldType> {
        ColumnLine {
            data_type,
            column_type,
            octets: Some(40),
            precision: Some(10),
            scale: Some(2),
            datetime_precision: Some(3),
        }
        .field_type(Flavour::MySql)
    }

    #[test]
    fn column_types_become_the_field_types_of_row_events() {
        assert_eq!(of("bigint", "bigint unsigned"), Some(FieldType::Int(8)));
        let decimal = FieldType::Decimal {
            precision: 10,
            scale: 2,
        };
        assert_eq!(of("decimal", "decimal(10,2)"), Some(decimal));
        assert_eq!(of("time", "time(3)"), Some(FieldType::Time { fsp: 3 }));
        assert_eq!(of("uuid", "uuid"), Some(FieldType::Char { octets: 16 }));
        assert_eq!(of("mediumblob", ""), Some(FieldType::Blob { prefix: 3 }));
        assert_eq!(of("hologram", "hologram"), None);
    }

    #[test]
    fn members_are_counted_whatever_they_contain() {
        assert_eq!(members("enum('a','b')"), 2);
        assert_eq!(members("enum('','it''s','a,b','''')"), 4);
        let set = format!("set({})", vec!["'x'"; 33].join(","));
        assert_eq!(of("set", &set), Some(FieldType::Set { bytes: 8 }));
        let many = format!("enum({})", vec!["'x'"; 256].join(","));
        assert_eq!(of("enum", &many), Some(FieldType::Enum { bytes: 2 }));
    }
}
