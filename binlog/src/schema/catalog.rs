//! What the moved databases consist of, as far as moving them is concerned.
//!
//! [`Catalog::read`] asks `information_schema` in a few queries, whatever the number of tables; the
//! text of `SHOW CREATE` is looked at elsewhere (the module `structure`).

mod drift;
mod filter;
mod read;

pub use drift::Drift;
pub use filter::TableFilter;

use crate::name::{QualifiedName, quote_identifier};
use crate::version::ServerVersion;

/// Databases that no migration moves: the servers' own, and ours.
pub const SYSTEM_DATABASES: [&str; 5] = [
    "mysql",
    "sys",
    "performance_schema",
    "information_schema",
    super::bookkeeping::SCHEMA,
];

/// Which databases are moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// All that are not the system's or ours.
    #[default]
    All,
    /// One.
    Database(String),
}

impl Scope {
    /// The scope that a server's address asks for: its database, or all.
    #[must_use]
    pub fn of_database(database: Option<&str>) -> Self {
        match database {
            Some(name) if !name.is_empty() => Self::Database(name.to_owned()),
            Some(_) | None => Self::All,
        }
    }

    /// Whether this database is moved.
    #[must_use]
    pub fn holds(&self, database: &str) -> bool {
        let system = SYSTEM_DATABASES
            .iter()
            .any(|name| name.eq_ignore_ascii_case(database));
        match self {
            Self::All => !system,
            Self::Database(name) => !system && name == database,
        }
    }
}

/// The moved databases' tables and what belongs to them.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The server's version.
    pub version: ServerVersion,
    /// The moved databases.
    pub databases: Vec<Database>,
    /// Databases that stay because the address names another one.
    pub others: Vec<String>,
    /// All base tables.
    pub tables: Vec<Table>,
    /// All views.
    pub views: Vec<QualifiedName>,
    /// Sequences (MariaDB).
    pub sequences: Vec<QualifiedName>,
    /// Procedures, functions and packages.
    pub routines: Vec<Routine>,
    /// Triggers, in the order in which those of a table run.
    pub triggers: Vec<Trigger>,
    /// Events.
    pub events: Vec<Event>,
    /// Foreign keys of the tables.
    pub foreign_keys: Vec<ForeignKey>,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// The character set of new tables.
    pub charset: String,
    /// The collation of new tables.
    pub collation: String,
    /// Whether new tables are encrypted, where a database says so (MySQL 8.0.16 and later).
    pub encryption: DatabaseEncryption,
}

/// Whether a database's new tables are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DatabaseEncryption {
    /// They are not, or databases say nothing about that.
    #[default]
    Off,
    /// They are.
    On,
}

impl DatabaseEncryption {
    /// The column of `information_schema.SCHEMATA` that tells it.
    pub(crate) fn column(version: ServerVersion) -> &'static str {
        if version.is_mysql_at_least(8, 0, 16) {
            "DEFAULT_ENCRYPTION"
        } else {
            "'NO'"
        }
    }

    /// What that column says.
    pub(crate) fn of(text: Option<&str>) -> Self {
        match text {
            Some("YES") => Self::On,
            Some(_) | None => Self::Off,
        }
    }

    /// The clause of `ALTER DATABASE`, for a server that has it.
    pub(crate) fn clause(self, version: ServerVersion) -> &'static str {
        match self {
            Self::Off | Self::On if !version.is_mysql_at_least(8, 0, 16) => "",
            Self::Off => " ENCRYPTION 'N'",
            Self::On => " ENCRYPTION 'Y'",
        }
    }
}

/// A base table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: QualifiedName,
    /// The storage engine.
    pub engine: String,
    /// Whether old rows are kept by the server.
    pub kind: TableKind,
    /// All columns in order, invisible and generated ones too.
    pub columns: Vec<Column>,
    /// All indexes.
    pub indexes: Vec<Index>,
    /// Whether the filter chose it.
    pub choice: Choice,
    /// Rows by the server's estimate.
    pub rows_estimate: u64,
    /// Bytes of the rows, without secondary indexes, by the server's estimate.
    pub bytes: u64,
    /// The next AUTO_INCREMENT value, if the table has such a column.
    pub auto_increment: Option<u64>,
}

/// Whether old rows are kept by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// An ordinary table.
    Ordinary,
    /// `WITH SYSTEM VERSIONING` (MariaDB): history that an insert cannot carry.
    SystemVersioned,
}

/// Whether the filter chose a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Rows are moved.
    Chosen,
    /// The table is created and stays empty.
    Excluded,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The bare type in lower case, for instance `enum`.
    pub data_type: String,
    /// The whole type in the server's words, for instance `enum('a','b')`.
    pub column_type: String,
    /// The character set of text.
    pub charset: Option<String>,
    /// The collation of text.
    pub collation: Option<String>,
    /// Whether it may be NULL.
    pub nullability: Nullability,
    /// Where its values come from.
    pub origin: ColumnOrigin,
    /// Whether `SELECT *` shows it.
    pub visibility: Visibility,
}

/// Whether a column may be NULL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nullability {
    /// It may.
    Nullable,
    /// It may not.
    NotNull,
}

/// Where a column's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnOrigin {
    /// From the statement or a default.
    Stored,
    /// From the statement, else counted up.
    AutoIncrement,
    /// `GENERATED ALWAYS AS (..) STORED`, which MariaDB also calls PERSISTENT.
    GeneratedStored,
    /// `GENERATED ALWAYS AS (..) VIRTUAL`.
    GeneratedVirtual,
    /// `GENERATED ALWAYS AS ROW START` and `ROW END` (MariaDB).
    RowPeriod,
}

impl ColumnOrigin {
    /// Whether rows carry a value of this column from server to server.
    #[must_use]
    pub fn is_carried(self) -> bool {
        match self {
            Self::Stored | Self::AutoIncrement => true,
            Self::GeneratedStored | Self::GeneratedVirtual | Self::RowPeriod => false,
        }
    }
}

/// Whether `SELECT *` shows a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// It does.
    Visible,
    /// It does not.
    Invisible,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name; `PRIMARY` for the primary key.
    pub name: String,
    /// Whether two rows may have the same values.
    pub uniqueness: Uniqueness,
    /// `BTREE`, `FULLTEXT`, `SPATIAL`, ..
    pub method: String,
    /// What it is made of.
    pub parts: Vec<IndexPart>,
}

/// Whether two rows may have the same values in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uniqueness {
    /// They may not.
    Unique,
    /// They may.
    Plain,
}

/// One part of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexPart {
    /// The column; `None` for an expression.
    pub column: Option<String>,
    /// The expression of a functional part.
    pub expression: Option<String>,
    /// Only so many characters or bytes of the column are in the index.
    pub prefix: Option<u64>,
}

impl Index {
    /// Whether this is the primary key.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.name == "PRIMARY"
    }
}

impl Table {
    /// Whether its rows are copied and streamed.
    #[must_use]
    pub fn is_moved(&self) -> bool {
        self.choice == Choice::Chosen
    }

    /// The columns whose values travel.
    pub fn carried_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns
            .iter()
            .filter(|column| column.origin.is_carried())
    }

    /// Finds a column by its name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The index by which every row can be found: the primary key, or the first unique index over
    /// whole NOT NULL columns.
    #[must_use]
    pub fn key(&self) -> Option<&Index> {
        let primary = self.indexes.iter().find(|index| index.is_primary());
        primary.or_else(|| self.indexes.iter().find(|index| self.is_row_key(index)))
    }

    fn is_row_key(&self, index: &Index) -> bool {
        index.uniqueness == Uniqueness::Unique
            && index.parts.iter().all(|part| {
                let column = part.column.as_deref().and_then(|name| self.column(name));
                part.prefix.is_none()
                    && column.is_some_and(|column| column.nullability == Nullability::NotNull)
            })
    }

    /// The columns whose values travel, quoted and separated by commas.
    #[must_use]
    pub fn carried_list(&self) -> String {
        let quoted: Vec<String> = self
            .carried_columns()
            .map(|column| quote_identifier(&column.name))
            .collect();
        quoted.join(", ")
    }
}

/// A stored program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Routine {
    /// What it is.
    pub kind: RoutineKind,
    /// Its name.
    pub name: QualifiedName,
}

/// What a stored program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoutineKind {
    /// A function.
    Function,
    /// A procedure.
    Procedure,
    /// The head of a package (MariaDB).
    Package,
    /// The body of a package (MariaDB).
    PackageBody,
}

impl RoutineKind {
    /// The word in `SHOW CREATE ..` and `DROP ..`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Function => "FUNCTION",
            Self::Procedure => "PROCEDURE",
            Self::Package => "PACKAGE",
            Self::PackageBody => "PACKAGE BODY",
        }
    }
}

/// A trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its name.
    pub name: QualifiedName,
    /// The table that it is on.
    pub table: String,
}

/// An event of the scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub name: QualifiedName,
    /// Whether it runs.
    pub status: EventStatus,
}

/// Whether an event runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventStatus {
    /// At its times.
    Enabled,
    /// Not at all.
    Disabled,
    /// Not on this server, since it came here by replication.
    ReplicaSideDisabled,
}

/// A foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: String,
    /// The table that has it.
    pub table: QualifiedName,
    /// The table that it refers to.
    pub references: QualifiedName,
    /// What deleting a referenced row does.
    pub on_delete: ReferentialAction,
    /// What changing a referenced key does.
    pub on_update: ReferentialAction,
}

/// What happens to the rows that refer to a changed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferentialAction {
    /// The change is refused.
    Refuse,
    /// They follow: `CASCADE`, `SET NULL`, `SET DEFAULT`.
    Cascade,
}

impl Catalog {
    /// The tables whose rows are moved.
    pub fn moved_tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().filter(|table| table.is_moved())
    }

    /// Finds a table by its name.
    #[must_use]
    pub fn table(&self, name: &QualifiedName) -> Option<&Table> {
        self.tables.iter().find(|table| &table.name == name)
    }

    /// Moved tables that have no key: found by whole rows only.
    #[must_use]
    pub fn keyless_tables(&self) -> Vec<&Table> {
        self.moved_tables()
            .filter(|table| table.key().is_none())
            .collect()
    }

    /// Moved tables whose engine has no transactions: no snapshot holds their rows.
    #[must_use]
    pub fn unsafe_engines(&self) -> Vec<&Table> {
        self.moved_tables()
            .filter(|table| !table.engine.eq_ignore_ascii_case("InnoDB"))
            .collect()
    }

    /// Foreign keys from moved tables to tables that are excluded: they cannot hold on the target.
    #[must_use]
    pub fn foreign_keys_to_excluded(&self) -> Vec<&ForeignKey> {
        let excluded = |name: &QualifiedName| {
            self.table(name)
                .is_some_and(|table| table.choice == Choice::Excluded)
        };
        self.foreign_keys
            .iter()
            .filter(|key| !excluded(&key.table) && excluded(&key.references))
            .collect()
    }
}
