//! Reading the catalog: a handful of queries for any number of tables.

use std::collections::HashMap;

use router::Side;

use super::{
    Catalog, Choice, Column, ColumnOrigin, Database, DatabaseEncryption, Event, EventStatus,
    ForeignKey, Index, IndexPart, Nullability, ReferentialAction, Routine, RoutineKind,
    SYSTEM_DATABASES, Scope, Table, TableFilter, TableKind, Trigger, Uniqueness, Visibility,
};
use crate::name::{QualifiedName, quote_literal};
use crate::schema::error::SchemaError;
use crate::version::ServerVersion;
use crate::wire::{SqlConn, TextRow};

impl Catalog {
    /// Reads the moved databases' catalog.
    ///
    /// # Errors
    /// A query failed, or a server reported something unknown.
    pub async fn read(
        client: &SqlConn,
        side: Side,
        scope: &Scope,
        filter: &TableFilter,
    ) -> Result<Self, SchemaError> {
        Reader {
            client,
            side,
            version: client.version(),
        }
        .read(scope, filter)
        .await
    }
}

struct Reader<'a> {
    client: &'a SqlConn,
    side: Side,
    version: ServerVersion,
}

impl Reader<'_> {
    async fn read(&self, scope: &Scope, filter: &TableFilter) -> Result<Catalog, SchemaError> {
        if self.version.is_mysql_at_least(8, 0, 0) {
            // Else the numbers are those of yesterday, of which AUTO_INCREMENT is one.
            let fresh = "SET SESSION information_schema_stats_expiry = 0";
            let set = self.client.execute(fresh).await;
            set.map_err(SchemaError::sql(self.side, "asking for fresh statistics"))?;
        }
        let (databases, others) = self.databases(scope).await?;
        let among = among(&databases);
        let mut catalog = Catalog {
            version: self.version,
            databases,
            others,
            tables: Vec::new(),
            views: Vec::new(),
            sequences: Vec::new(),
            routines: Vec::new(),
            triggers: Vec::new(),
            events: Vec::new(),
            foreign_keys: Vec::new(),
        };
        if catalog.databases.is_empty() {
            return Ok(catalog);
        }
        self.tables(&among, filter, &mut catalog).await?;
        self.columns(&among, &mut catalog.tables).await?;
        self.indexes(&among, &mut catalog.tables).await?;
        catalog.foreign_keys = self.foreign_keys(&among).await?;
        catalog.routines = self.routines(&among).await?;
        catalog.triggers = self.triggers(&among).await?;
        catalog.events = self.events(&among).await?;
        Ok(catalog)
    }

    async fn query(&self, what: &str, sql: &str) -> Result<Vec<TextRow>, SchemaError> {
        let rows = self.client.query(sql).await;
        rows.map_err(SchemaError::sql(self.side, format!("looking at {what}")))
    }

    async fn databases(&self, scope: &Scope) -> Result<(Vec<Database>, Vec<String>), SchemaError> {
        let encryption = DatabaseEncryption::column(self.version);
        let sql = format!(
            "SELECT SCHEMA_NAME, DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME, {encryption}
             FROM information_schema.SCHEMATA ORDER BY SCHEMA_NAME"
        );
        let mut databases = Vec::new();
        let mut others = Vec::new();
        for row in self.query("its databases", &sql).await? {
            let name = self.word(&row, 0, "a database's name")?;
            if scope.holds(&name) {
                databases.push(Database {
                    name,
                    charset: self.word(&row, 1, "a database's character set")?,
                    collation: self.word(&row, 2, "a database's collation")?,
                    encryption: DatabaseEncryption::of(row.text(3)),
                });
            } else if Scope::All.holds(&name) && !SYSTEM_DATABASES.contains(&name.as_str()) {
                others.push(name);
            }
        }
        Ok((databases, others))
    }

    async fn tables(
        &self,
        among: &str,
        filter: &TableFilter,
        catalog: &mut Catalog,
    ) -> Result<(), SchemaError> {
        let sql = format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, TABLE_ROWS, DATA_LENGTH,
                    AUTO_INCREMENT
             FROM information_schema.TABLES WHERE TABLE_SCHEMA IN ({among}) ORDER BY 1, 2"
        );
        for row in self.query("its tables", &sql).await? {
            let name = self.name(&row, 0, 1)?;
            let kind = match row.text(2) {
                Some("BASE TABLE") => TableKind::Ordinary,
                Some("SYSTEM VERSIONED") => TableKind::SystemVersioned,
                Some("SEQUENCE") => {
                    catalog.sequences.push(name);
                    continue;
                }
                Some("VIEW" | "SYSTEM VIEW") => {
                    catalog.views.push(name);
                    continue;
                }
                Some(_) | None => continue,
            };
            let choice = if filter.chooses(&name) {
                Choice::Chosen
            } else {
                Choice::Excluded
            };
            catalog.tables.push(Table {
                name,
                engine: row.text(3).unwrap_or("unknown").to_owned(),
                kind,
                columns: Vec::new(),
                indexes: Vec::new(),
                choice,
                rows_estimate: number(&row, 4).unwrap_or(0),
                bytes: number(&row, 5).unwrap_or(0),
                auto_increment: number(&row, 6),
            });
        }
        Ok(())
    }

    async fn columns(&self, among: &str, tables: &mut [Table]) -> Result<(), SchemaError> {
        let generation = if self.version.is_mariadb() {
            "GENERATION_EXPRESSION"
        } else {
            "''"
        };
        let sql = format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE,
                    CHARACTER_SET_NAME, COLLATION_NAME, IS_NULLABLE, EXTRA, {generation}
             FROM information_schema.COLUMNS WHERE TABLE_SCHEMA IN ({among})
             ORDER BY 1, 2, ORDINAL_POSITION"
        );
        let places = places(tables);
        for row in self.query("its columns", &sql).await? {
            let Some(place) = places.get(&self.name(&row, 0, 1)?) else {
                continue;
            };
            let extra = row.text(8).unwrap_or_default().to_ascii_uppercase();
            let column = Column {
                name: self.word(&row, 2, "a column's name")?,
                data_type: self.word(&row, 3, "a column's type")?.to_ascii_lowercase(),
                column_type: self.word(&row, 4, "a column's type")?,
                charset: row.text(5).map(ToOwned::to_owned),
                collation: row.text(6).map(ToOwned::to_owned),
                nullability: match row.text(7) {
                    Some("YES") => Nullability::Nullable,
                    Some(_) | None => Nullability::NotNull,
                },
                origin: origin_of(&extra, row.text(9).unwrap_or_default()),
                visibility: if extra.contains("INVISIBLE") {
                    Visibility::Invisible
                } else {
                    Visibility::Visible
                },
            };
            if let Some(table) = tables.get_mut(*place) {
                table.columns.push(column);
            }
        }
        Ok(())
    }

    async fn indexes(&self, among: &str, tables: &mut [Table]) -> Result<(), SchemaError> {
        let expression = if self.version.is_mysql_at_least(8, 0, 13) {
            "EXPRESSION"
        } else {
            "NULL"
        };
        let sql = format!(
            "SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, NON_UNIQUE, INDEX_TYPE, COLUMN_NAME,
                    SUB_PART, {expression}
             FROM information_schema.STATISTICS WHERE TABLE_SCHEMA IN ({among})
             ORDER BY 1, 2, 3, SEQ_IN_INDEX"
        );
        let places = places(tables);
        for row in self.query("its indexes", &sql).await? {
            let table = places.get(&self.name(&row, 0, 1)?);
            let Some(table) = table.and_then(|place| tables.get_mut(*place)) else {
                continue;
            };
            let name = self.word(&row, 2, "an index's name")?;
            let part = IndexPart {
                column: row.text(5).map(ToOwned::to_owned),
                expression: row.text(7).map(ToOwned::to_owned),
                prefix: number(&row, 6),
            };
            match table.indexes.last_mut() {
                Some(index) if index.name == name => index.parts.push(part),
                Some(_) | None => table.indexes.push(Index {
                    name,
                    uniqueness: match row.text(3) {
                        Some("0") => Uniqueness::Unique,
                        Some(_) | None => Uniqueness::Plain,
                    },
                    method: row.text(4).unwrap_or_default().to_owned(),
                    parts: vec![part],
                }),
            }
        }
        Ok(())
    }

    async fn foreign_keys(&self, among: &str) -> Result<Vec<ForeignKey>, SchemaError> {
        let sql = format!(
            "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, UNIQUE_CONSTRAINT_SCHEMA, REFERENCED_TABLE_NAME,
                    CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE
             FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA IN ({among})
             ORDER BY 1, 2, 5"
        );
        let action = |rule: Option<&str>| match rule {
            Some("CASCADE" | "SET NULL" | "SET DEFAULT") => ReferentialAction::Cascade,
            Some(_) | None => ReferentialAction::Refuse,
        };
        let rows = self.query("its foreign keys", &sql).await?;
        rows.iter()
            .map(|row| {
                Ok(ForeignKey {
                    name: self.word(row, 4, "a foreign key's name")?,
                    table: self.name(row, 0, 1)?,
                    references: self.name(row, 2, 3)?,
                    on_delete: action(row.text(5)),
                    on_update: action(row.text(6)),
                })
            })
            .collect()
    }

    async fn routines(&self, among: &str) -> Result<Vec<Routine>, SchemaError> {
        let sql = format!(
            "SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE
             FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA IN ({among}) ORDER BY 3, 1, 2"
        );
        let rows = self.query("its routines", &sql).await?;
        rows.iter()
            .map(|row| {
                let kind = match row.text(2) {
                    Some("FUNCTION") => RoutineKind::Function,
                    Some("PROCEDURE") => RoutineKind::Procedure,
                    Some("PACKAGE") => RoutineKind::Package,
                    Some("PACKAGE BODY") => RoutineKind::PackageBody,
                    Some(_) | None => return Err(self.unreadable("the kind of a routine")),
                };
                let name = self.name(row, 0, 1)?;
                Ok(Routine { kind, name })
            })
            .collect()
    }

    async fn triggers(&self, among: &str) -> Result<Vec<Trigger>, SchemaError> {
        let sql = format!(
            "SELECT TRIGGER_SCHEMA, TRIGGER_NAME, EVENT_OBJECT_TABLE
             FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA IN ({among})
             ORDER BY 1, 3, EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER"
        );
        let rows = self.query("its triggers", &sql).await?;
        rows.iter()
            .map(|row| {
                Ok(Trigger {
                    name: self.name(row, 0, 1)?,
                    table: self.word(row, 2, "a trigger's table")?,
                })
            })
            .collect()
    }

    async fn events(&self, among: &str) -> Result<Vec<Event>, SchemaError> {
        let sql = format!(
            "SELECT EVENT_SCHEMA, EVENT_NAME, STATUS
             FROM information_schema.EVENTS WHERE EVENT_SCHEMA IN ({among}) ORDER BY 1, 2"
        );
        let rows = self.query("its events", &sql).await?;
        rows.iter()
            .map(|row| {
                let status = match row.text(2) {
                    Some("ENABLED") => EventStatus::Enabled,
                    Some("DISABLED") => EventStatus::Disabled,
                    Some("SLAVESIDE_DISABLED" | "REPLICA_SIDE_DISABLED") => {
                        EventStatus::ReplicaSideDisabled
                    }
                    Some(_) | None => return Err(self.unreadable("the state of an event")),
                };
                let name = self.name(row, 0, 1)?;
                Ok(Event { name, status })
            })
            .collect()
    }

    fn name(
        &self,
        row: &TextRow,
        schema: usize,
        name: usize,
    ) -> Result<QualifiedName, SchemaError> {
        let what = "an object's name";
        Ok(QualifiedName::new(
            self.word(row, schema, what)?,
            self.word(row, name, what)?,
        ))
    }

    fn word(&self, row: &TextRow, index: usize, what: &str) -> Result<String, SchemaError> {
        let text = row.text(index).map(ToOwned::to_owned);
        text.ok_or_else(|| self.unreadable(what))
    }

    fn unreadable(&self, what: &str) -> SchemaError {
        SchemaError::Unreadable {
            side: self.side,
            what: what.to_owned(),
        }
    }
}

/// The databases as a list of literals.
fn among(databases: &[Database]) -> String {
    let literals: Vec<String> = databases
        .iter()
        .map(|database| quote_literal(&database.name))
        .collect();
    literals.join(", ")
}

fn places(tables: &[Table]) -> HashMap<QualifiedName, usize> {
    tables
        .iter()
        .enumerate()
        .map(|(place, table)| (table.name.clone(), place))
        .collect()
}

fn number(row: &TextRow, index: usize) -> Option<u64> {
    row.text(index)?.parse().ok()
}

fn origin_of(extra: &str, generation: &str) -> ColumnOrigin {
    let generation = generation.to_ascii_uppercase();
    if generation == "ROW START" || generation == "ROW END" {
        ColumnOrigin::RowPeriod
    } else if extra.contains("AUTO_INCREMENT") {
        ColumnOrigin::AutoIncrement
    } else if extra.contains("VIRTUAL") {
        ColumnOrigin::GeneratedVirtual
    } else if extra.contains("STORED GENERATED") || extra.contains("PERSISTENT") {
        ColumnOrigin::GeneratedStored
    } else {
        ColumnOrigin::Stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stored_columns_travel_and_a_default_expression_is_no_generated_column() {
        assert_eq!(origin_of("DEFAULT_GENERATED", ""), ColumnOrigin::Stored);
        assert_eq!(
            origin_of("DEFAULT_GENERATED ON UPDATE CURRENT_TIMESTAMP", ""),
            ColumnOrigin::Stored
        );
        assert_eq!(
            origin_of("AUTO_INCREMENT INVISIBLE", ""),
            ColumnOrigin::AutoIncrement
        );
        assert_eq!(
            origin_of("STORED GENERATED INVISIBLE", ""),
            ColumnOrigin::GeneratedStored
        );
        assert_eq!(
            origin_of("STORED GENERATED", "row start"),
            ColumnOrigin::RowPeriod
        );
    }
}
