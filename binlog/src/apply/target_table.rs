//! What is known of a table on the target: everything that row events and statements for it need.
//!
//! The stream names no columns: its first is the target's first, and so on, since definition
//! statements are applied at their place. What the catalogue says is therefore read when the
//! stream first changes a table after such a statement.

mod catalog;
mod keys;

use router::net::{Identity, NetShape};
use router::{Cell, Change, Key, Row};

use self::catalog::TableCatalog;
pub(super) use self::catalog::read_cascades;
pub(super) use self::keys::{Cascades, ForeignKeyToUs, Watched};
use super::convert::{Conversion, SideOf};
use super::error::{ApplyError, Doing, TableError};
use super::events::SourceColumn;
use super::field::FieldType;
use super::render;
use crate::name::QualifiedName;
use crate::wire::SqlConn;

/// How a table's rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By row events.
    RowEvents,
    /// By SQL.
    Sql,
}

/// A table of the target that the stream changes.
#[derive(Debug)]
pub(super) struct TargetTable {
    /// Unlike any other description's, also of the same table.
    pub(super) id: u64,
    pub(super) name: QualifiedName,
    pub(super) columns: Vec<Column>,
    /// Type and nullability of each column, for table maps.
    pub(super) mapped: Vec<(FieldType, bool)>,
    /// Dimensions of the columns that are vectors.
    pub(super) vectors: Vec<usize>,
    pub(super) identity: TargetIdentity,
    pub(super) watched: Watched,
    pub(super) cascades: Cascades,
    pub(super) method: Method,
}

/// A column on both sides.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) nullable: bool,
    pub(super) unsigned: bool,
    /// The character set of the source's text; `None` for what is no text.
    pub(super) charset: Option<String>,
    pub(super) generated: Generated,
    /// The character set of the target's text; `None` for what is no text.
    pub(super) target_charset: Option<String>,
    pub(super) notation: Notation,
    /// The type of the source's fields.
    pub(super) from: FieldType,
    pub(super) conversion: Conversion,
}

/// A column as the target's catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TargetColumn {
    pub(super) name: String,
    /// `None` for a type that is not known here.
    pub(super) field: Option<FieldType>,
    pub(super) shown_type: String,
    pub(super) nullable: bool,
    pub(super) unsigned: bool,
    pub(super) charset: Option<String>,
    pub(super) generated: Generated,
    /// Of a vector on MySQL.
    pub(super) dimensions: Option<usize>,
}

/// How SQL writes values that row events know as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notation {
    /// As their type has it.
    Plain,
    /// MariaDB's types, as text.
    Uuid,
    Inet4,
    Inet6,
}

impl Notation {
    fn of(data_type: &str) -> Self {
        match data_type.to_ascii_lowercase().as_str() {
            "uuid" => Self::Uuid,
            "inet4" => Self::Inet4,
            "inet6" => Self::Inet6,
            _other => Self::Plain,
        }
    }
}

/// Whether a column's values are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generated {
    No,
    Virtual,
    Stored,
}

/// What identifies a row on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TargetIdentity {
    /// The columns of a unique index, none of them ever NULL.
    Key(Vec<usize>),
    /// All columns.
    WholeRow,
}

impl TargetTable {
    /// Reads the table's description.
    ///
    /// # Errors
    /// When the target has no such table, or one whose columns cannot hold the stream's.
    pub(super) async fn read(
        conn: &SqlConn,
        name: &QualifiedName,
        source: &[SourceColumn],
        cascades: &[ForeignKeyToUs],
        method: Method,
        id: u64,
    ) -> Result<Self, ApplyError> {
        let catalog = catalog::read(conn, name)
            .await
            .map_err(|source| ApplyError::Server {
                doing: Doing::Describe(name.clone()),
                source,
            })?;
        let Some(catalog) = catalog else {
            return Err(TableError::Unknown {
                table: name.clone(),
            }
            .into());
        };
        Ok(Self::of(name, source, &catalog, cascades, method, id)?)
    }

    fn of(
        name: &QualifiedName,
        source: &[SourceColumn],
        catalog: &TableCatalog,
        cascades: &[ForeignKeyToUs],
        method: Method,
        id: u64,
    ) -> Result<Self, TableError> {
        if let Some(engine) = &catalog.unsafe_engine {
            return Err(TableError::NoTransactions {
                table: name.clone(),
                engine: engine.clone(),
            });
        }
        if source.len() != catalog.columns.len() {
            return Err(TableError::ColumnCount {
                table: name.clone(),
                source_columns: source.len(),
                target_columns: catalog.columns.len(),
            });
        }
        let mut columns = Vec::with_capacity(source.len());
        let mut mapped = Vec::with_capacity(source.len());
        for (source, target) in source.iter().zip(&catalog.columns) {
            let (column, field) = joined(name, source, target)?;
            mapped.push((field, target.nullable));
            columns.push(column);
        }
        if let (Method::Sql, Some(trigger)) = (method, &catalog.trigger) {
            return Err(TableError::Trigger {
                table: name.clone(),
                trigger: trigger.clone(),
            });
        }
        let (identity, watched) = keys::keys(&catalog.columns, &catalog.unique);
        Ok(Self {
            id,
            name: name.clone(),
            cascades: keys::cascades(name, &catalog.columns, cascades),
            columns,
            mapped,
            vectors: catalog
                .columns
                .iter()
                .filter_map(|column| column.dimensions)
                .collect(),
            identity,
            watched,
            method,
        })
    }

    /// The shape that net changes are gathered by.
    pub(super) fn net_shape(&self) -> NetShape {
        NetShape {
            columns: self.columns.len(),
            identity: match &self.identity {
                TargetIdentity::Key(columns) => Identity::Key(columns.clone()),
                TargetIdentity::WholeRow => Identity::WholeRow,
            },
        }
    }

    /// A key with its values as text, for the operator.
    pub(super) fn readable(&self, key: &Key) -> Option<Key> {
        let TargetIdentity::Key(columns) = &self.identity else {
            return None;
        };
        let values = columns.iter().zip(key.values()).map(|(column, field)| {
            let text = render::readable(&self.columns[*column], &field).ok()?;
            Some(Cell::Value(text.into()))
        });
        let cells: Vec<_> = values.collect::<Option<_>>()?;
        let all: Vec<_> = (0..cells.len()).collect();
        Key::of(&Row::new(cells), &all).ok()
    }

    /// Names of the columns that identify a row, for messages.
    pub(super) fn key_column_names(&self) -> String {
        match &self.identity {
            TargetIdentity::Key(columns) => {
                let names: Vec<_> = columns
                    .iter()
                    .map(|column| self.columns[*column].name.as_str())
                    .collect();
                names.join(", ")
            }
            TargetIdentity::WholeRow => "all of them".to_owned(),
        }
    }

    /// Whether this update may be in the way of another row's key or unique value, so that it
    /// must be a delete and an insert.
    pub(super) fn changes_watched(&self, old: Option<&Row>, new: &Row) -> bool {
        let mut key = match &self.identity {
            TargetIdentity::Key(columns) => columns.iter().copied(),
            TargetIdentity::WholeRow => return false,
        };
        if key.any(|column| differs(old, new, column)) {
            return true;
        }
        match &self.watched {
            Watched::Any => true,
            Watched::Columns(columns) => columns.iter().any(|&column| differs(old, new, column)),
        }
    }

    /// Whether the source's cascades, if it does not tell them, follow from this change.
    pub(super) fn cascades_from(&self, change: &Change) -> bool {
        match change {
            Change::Insert { .. } => false,
            Change::Delete { .. } => self.cascades.on_delete,
            Change::Update { old, row } => {
                let old = old.as_ref().map(router::OldImage::row);
                let mut columns = self.cascades.on_update.iter();
                columns.any(|&column| differs(old, row, column))
            }
        }
    }
}

/// Whether a column has another value than before, or may have.
fn differs(old: Option<&Row>, new: &Row, column: usize) -> bool {
    let cell = |row: &Row| row.cells().get(column).cloned().unwrap_or(Cell::Unchanged);
    match (old.map(cell), cell(new)) {
        (_, Cell::Unchanged) => false,
        (None | Some(Cell::Unchanged), Cell::Value(_) | Cell::Null) => true,
        (Some(old), new) => old != new,
    }
}

/// A column of both sides, and the target's type.
fn joined(
    table: &QualifiedName,
    source: &SourceColumn,
    target: &TargetColumn,
) -> Result<(Column, FieldType), TableError> {
    let refused = || TableError::ColumnType {
        table: table.clone(),
        column: target.name.clone(),
        target_type: target.shown_type.clone(),
    };
    let field = target.field.ok_or_else(refused)?;
    let conversion = Conversion::between(
        SideOf {
            field: source.field,
            unsigned: source.unsigned,
            charset: source.charset,
        },
        SideOf {
            field,
            unsigned: Some(target.unsigned),
            charset: target.charset.as_deref(),
        },
    )
    .ok_or_else(refused)?;
    let column = Column {
        name: target.name.clone(),
        nullable: target.nullable,
        unsigned: source.unsigned.unwrap_or(target.unsigned),
        charset: source
            .charset
            .map(str::to_owned)
            .or_else(|| target.charset.clone()),
        generated: target.generated,
        target_charset: target.charset.clone().filter(|charset| charset != "binary"),
        notation: Notation::of(&target.shown_type),
        from: source.field,
        conversion,
    };
    Ok((column, field))
}

#[cfg(test)]
mod tests;
