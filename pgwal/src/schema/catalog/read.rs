//! Reading the catalog from a server: one query a kind of thing, put together here.
//!
//! Everything is read by OID first and named afterwards, so that a name is looked up once.

mod sql;

use std::collections::{BTreeMap, HashMap, HashSet};

use router::Side;
use tokio_postgres::{Client, Row};

use super::super::error::SchemaError;
use super::{
    Catalog, Choice, Column, ColumnOrigin, EnumType, Extension, ExtensionMember, ExtensionRows,
    ForeignKey, KeyKind, MaterializedView, Nullability, Persistence, ReplicaIdentity, Sequence,
    SequenceOwner, Table, TableFilter, TableKey, TableKind, ViewContent,
};
use crate::name::QualifiedName;

impl Catalog {
    /// Reads the catalog of the connected database.
    ///
    /// Run it in a `REPEATABLE READ` transaction when it must be of one moment.
    ///
    /// # Errors
    /// A query failed, or the server reported a value that this program does not know.
    pub async fn read(
        client: &Client,
        side: Side,
        filter: &TableFilter,
    ) -> Result<Self, SchemaError> {
        let reader = Reader { client, side };
        let names = reader.names().await?;
        let tables = reader.tables(&names, filter).await?;
        Ok(Self {
            major_version: reader.major_version().await?,
            schemas: reader.schemas().await?,
            tables,
            sequences: reader.sequences(&names).await?,
            materialized_views: reader.materialized_views(&names).await?,
            enums: reader.enums().await?,
            foreign_tables: reader.foreign_tables().await?,
            extensions: reader.extensions().await?,
            foreign_keys: reader.foreign_keys(&names).await?,
            large_objects: reader.large_objects().await?,
        })
    }
}

/// The names of relations by OID.
type Names = HashMap<u32, QualifiedName>;

struct Reader<'a> {
    client: &'a Client,
    side: Side,
}

impl Reader<'_> {
    async fn rows(&self, what: &str, query: &str) -> Result<Vec<Row>, SchemaError> {
        self.client
            .query(query, &[])
            .await
            .map_err(SchemaError::sql(
                self.side,
                format!("reading its {what} from the catalogs"),
            ))
    }

    fn unreadable(&self, what: impl Into<String>) -> SchemaError {
        SchemaError::Unreadable {
            side: self.side,
            what: what.into(),
        }
    }

    async fn major_version(&self) -> Result<u32, SchemaError> {
        let rows = self.rows("version", sql::VERSION).await?;
        let number: i32 = rows.first().map_or(0, |row| row.get(0));
        u32::try_from(number / 10_000).map_err(|_range| self.unreadable("its version"))
    }

    async fn schemas(&self) -> Result<Vec<String>, SchemaError> {
        let rows = self.rows("schemas", sql::SCHEMAS).await?;
        Ok(rows.iter().map(|row| text(row, 0)).collect())
    }

    async fn names(&self) -> Result<Names, SchemaError> {
        let rows = self.rows("relations", sql::NAMES).await?;
        Ok(rows
            .iter()
            .map(|row| (row.get(0), QualifiedName::new(text(row, 1), text(row, 2))))
            .collect())
    }

    async fn tables(&self, names: &Names, filter: &TableFilter) -> Result<Vec<Table>, SchemaError> {
        let mut columns = self.columns().await?;
        let mut keys = self.keys().await?;
        let mut parents = self.parents(names).await?;
        let mut tables = Vec::new();
        for row in self.rows("tables", sql::TABLES).await? {
            let oid: u32 = row.get("oid");
            let name = QualifiedName::new(text(&row, "nspname"), text(&row, "relname"));
            let choice = if filter.chooses(&name) {
                Choice::Chosen
            } else {
                Choice::Excluded
            };
            let identity = self.identity(&row)?;
            let table_keys = keys.remove(&oid).unwrap_or_default();
            tables.push(Table {
                oid,
                kind: match row.get("relkind") {
                    "p" => TableKind::Partitioned,
                    _ => TableKind::Ordinary,
                },
                persistence: match row.get("relpersistence") {
                    "u" => Persistence::Unlogged,
                    _ => Persistence::Permanent,
                },
                columns: columns.remove(&oid).unwrap_or_default(),
                key: best_key(table_keys, &identity),
                identity,
                parents: parents.remove(&oid).unwrap_or_default(),
                extension: extension_of(&row),
                choice,
                pages: u32::try_from(row.get::<_, i64>("pages")).unwrap_or(u32::MAX),
                bytes: u64::try_from(row.get::<_, i64>("bytes")).unwrap_or(0),
                rows_estimate: u64::try_from(row.get::<_, i64>("rows_estimate")).unwrap_or(0),
                name,
            });
        }
        Ok(tables)
    }

    fn identity(&self, row: &Row) -> Result<ReplicaIdentity, SchemaError> {
        match row.get("relreplident") {
            "d" => Ok(ReplicaIdentity::Default),
            "i" => Ok(ReplicaIdentity::Index(row.get("identity_index"))),
            "f" => Ok(ReplicaIdentity::Full),
            "n" => Ok(ReplicaIdentity::Nothing),
            other => Err(self.unreadable(format!("the replica identity {other:?}"))),
        }
    }

    async fn columns(&self) -> Result<HashMap<u32, Vec<Column>>, SchemaError> {
        let mut columns: HashMap<u32, Vec<Column>> = HashMap::new();
        for row in self.rows("columns", sql::COLUMNS).await? {
            let origin = match (row.get("attidentity"), row.get("attgenerated")) {
                ("a", _) => ColumnOrigin::IdentityAlways,
                ("d", _) => ColumnOrigin::IdentityByDefault,
                ("", "") => ColumnOrigin::Stored,
                ("", "s") => ColumnOrigin::GeneratedStored,
                ("", "v") => ColumnOrigin::GeneratedVirtual,
                (identity, generated) => {
                    let marks = format!("a column marked {identity:?} {generated:?}");
                    return Err(self.unreadable(marks));
                }
            };
            let nullability = if row.get("attnotnull") {
                Nullability::NotNull
            } else {
                Nullability::Nullable
            };
            columns
                .entry(row.get("attrelid"))
                .or_default()
                .push(Column {
                    name: text(&row, "attname"),
                    type_name: text(&row, "type_name"),
                    nullability,
                    origin,
                });
        }
        Ok(columns)
    }

    async fn keys(&self) -> Result<HashMap<u32, Vec<TableKey>>, SchemaError> {
        let mut keys: HashMap<u32, Vec<TableKey>> = HashMap::new();
        for row in self.rows("keys", sql::KEYS).await? {
            let kind = if row.get("indisprimary") {
                KeyKind::Primary
            } else {
                KeyKind::Unique
            };
            keys.entry(row.get("indrelid")).or_default().push(TableKey {
                index_name: text(&row, "relname"),
                kind,
                columns: row.get("columns"),
            });
        }
        Ok(keys)
    }

    async fn parents(
        &self,
        names: &Names,
    ) -> Result<HashMap<u32, Vec<QualifiedName>>, SchemaError> {
        let mut parents: HashMap<u32, Vec<QualifiedName>> = HashMap::new();
        for row in self.rows("inheritance", sql::PARENTS).await? {
            if let Some(parent) = names.get(&row.get(1)) {
                parents.entry(row.get(0)).or_default().push(parent.clone());
            }
        }
        Ok(parents)
    }

    async fn sequences(&self, names: &Names) -> Result<Vec<Sequence>, SchemaError> {
        let rows = self.rows("sequences", sql::SEQUENCES).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let column = || -> Option<(QualifiedName, String)> {
                    let table = names.get(&row.get::<_, Option<u32>>("owner_table")?)?;
                    Some((table.clone(), row.get::<_, Option<String>>("owner_column")?))
                };
                let owner = match (column(), row.get::<_, Option<&str>>("deptype")) {
                    (Some((table, column)), Some("i")) => SequenceOwner::Identity(table, column),
                    (Some((table, column)), _) => SequenceOwner::Column(table, column),
                    (None, _) => SequenceOwner::Nobody,
                };
                let name = QualifiedName::new(text(row, "nspname"), text(row, "relname"));
                Sequence {
                    oid: row.get("oid"),
                    name,
                    owner,
                }
            })
            .collect())
    }

    async fn materialized_views(
        &self,
        names: &Names,
    ) -> Result<Vec<MaterializedView>, SchemaError> {
        let mut reads_from: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for row in self
            .rows("view dependencies", sql::VIEW_DEPENDENCIES)
            .await?
        {
            reads_from.entry(row.get(0)).or_default().push(row.get(1));
        }
        let mut populated = BTreeMap::new();
        for row in self
            .rows("materialized views", sql::MATERIALIZED_VIEWS)
            .await?
        {
            let content = if row.get(1) {
                ViewContent::Populated
            } else {
                ViewContent::Unpopulated
            };
            populated.insert(row.get::<_, u32>(0), content);
        }
        let ordered = dependencies_first(populated.keys().copied(), &reads_from);
        Ok(ordered
            .into_iter()
            .filter_map(|oid| {
                let content = *populated.get(&oid)?;
                Some(MaterializedView {
                    name: names.get(&oid)?.clone(),
                    content,
                })
            })
            .collect())
    }

    async fn enums(&self) -> Result<Vec<EnumType>, SchemaError> {
        let rows = self.rows("enum types", sql::ENUMS).await?;
        Ok(rows
            .iter()
            .map(|row| EnumType {
                name: QualifiedName::new(text(row, 0), text(row, 1)),
                labels: row.get(2),
            })
            .collect())
    }

    async fn foreign_tables(&self) -> Result<Vec<QualifiedName>, SchemaError> {
        let rows = self.rows("foreign tables", sql::FOREIGN_TABLES).await?;
        Ok(rows
            .iter()
            .map(|row| QualifiedName::new(text(row, 0), text(row, 1)))
            .collect())
    }

    async fn extensions(&self) -> Result<Vec<Extension>, SchemaError> {
        let rows = self.rows("extensions", sql::EXTENSIONS).await?;
        Ok(rows
            .iter()
            .map(|row| Extension {
                name: text(row, 0),
                version: text(row, 1),
                schema: text(row, 2),
            })
            .collect())
    }

    async fn foreign_keys(&self, names: &Names) -> Result<Vec<ForeignKey>, SchemaError> {
        let rows = self.rows("foreign keys", sql::FOREIGN_KEYS).await?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                Some(ForeignKey {
                    name: text(row, 0),
                    table: names.get(&row.get(1))?.clone(),
                    references: names.get(&row.get(2))?.clone(),
                })
            })
            .collect())
    }

    async fn large_objects(&self) -> Result<u64, SchemaError> {
        let rows = self.rows("large objects", sql::LARGE_OBJECTS).await?;
        let count: i64 = rows.first().map_or(0, |row| row.get(0));
        u64::try_from(count).map_err(|_range| self.unreadable("its large objects"))
    }
}

fn text<I: tokio_postgres::row::RowIndex + std::fmt::Display>(row: &Row, column: I) -> String {
    row.get::<_, String>(column)
}

fn extension_of(row: &Row) -> Option<ExtensionMember> {
    let rows = if row
        .get::<_, Option<bool>>("is_configuration")
        .unwrap_or(false)
    {
        ExtensionRows::Configuration
    } else {
        ExtensionRows::Own
    };
    Some(ExtensionMember {
        extension: row.get::<_, Option<String>>("extname")?,
        rows,
    })
}

/// The primary key; else the index that is already the replica identity; else the shortest.
fn best_key(mut keys: Vec<TableKey>, identity: &ReplicaIdentity) -> Option<TableKey> {
    keys.sort_by_key(|key| {
        let chosen =
            matches!(identity, ReplicaIdentity::Index(Some(name)) if *name == key.index_name);
        (
            key.kind != KeyKind::Primary,
            !chosen,
            key.columns.len(),
            key.index_name.clone(),
        )
    });
    keys.into_iter().next()
}

/// Orders views so that each stands after those that it reads from, directly or through others.
fn dependencies_first(
    wanted: impl Iterator<Item = u32>,
    reads_from: &BTreeMap<u32, Vec<u32>>,
) -> Vec<u32> {
    let mut ordered = Vec::new();
    let mut seen = HashSet::new();
    for root in wanted {
        // A walk with an explicit stack: views on views may be deeper than our own stack.
        let mut stack = vec![(root, Visit::Enter)];
        while let Some((oid, visit)) = stack.pop() {
            match visit {
                Visit::Enter if !seen.insert(oid) => {}
                Visit::Enter => {
                    stack.push((oid, Visit::Leave));
                    let below = reads_from.get(&oid).into_iter().flatten();
                    stack.extend(below.map(|oid| (*oid, Visit::Enter)));
                }
                Visit::Leave => ordered.push(oid),
            }
        }
    }
    ordered
}

enum Visit {
    Enter,
    Leave,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_stand_after_what_they_read_from() {
        // 3 reads 2 (a plain view) and 1; 2 reads 1; 5 reads 3.
        let reads_from = BTreeMap::from([(3, vec![2, 1]), (2, vec![1]), (5, vec![3])]);
        let ordered = dependencies_first([5, 3, 1].into_iter(), &reads_from);
        assert_eq!(ordered, [1, 2, 3, 5]);
    }

    #[test]
    fn the_primary_key_is_preferred_then_the_replica_identity_then_the_shortest() {
        let key = |name: &str, kind, columns: usize| TableKey {
            index_name: name.to_owned(),
            kind,
            columns: vec![String::new(); columns],
        };
        let all = || {
            vec![
                key("wide", KeyKind::Unique, 3),
                key("short", KeyKind::Unique, 1),
                key("pk", KeyKind::Primary, 4),
            ]
        };
        let best = |keys, identity| best_key(keys, &identity).unwrap().index_name;
        assert_eq!(best(all(), ReplicaIdentity::Default), "pk");
        let mut unique = all();
        unique.pop();
        assert_eq!(best(unique.clone(), ReplicaIdentity::Full), "short");
        let chosen = ReplicaIdentity::Index(Some("wide".to_owned()));
        assert_eq!(best(unique, chosen), "wide");
    }
}
