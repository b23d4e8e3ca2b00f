//! What one flavour or version says otherwise than another, and what it cannot say at all.
//!
//! Definitions travel in the source's words. Between servers of one flavour nearly all of them are
//! the target's too; between flavours words are changed where the meaning stays, with a
//! [`Difference`] that says so, and objects whose meaning would change are refused by name.

mod collation;
mod means;
mod merged;
mod places;
mod programs;
mod to_mariadb;
mod to_mysql;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use router::Side;

use super::catalog::{Catalog, Database, TableKind};
use super::create_table::{CreateTable, Item, ItemKind};
use super::definitions::{Definitions, Program};
use super::error::SchemaError;
use super::sql::{Token, TokenKind, tokens};
use crate::version::{Flavour, ServerVersion};
use crate::wire::SqlConn;
use collation::Mapped;
use means::Means;

/// The way from one server's words to another's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    from: ServerVersion,
    to: ServerVersion,
    /// The target's collations.
    collations: HashSet<String>,
    /// What the target lacks otherwise.
    means: Means,
}

/// Something that the target has otherwise, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The object, for people.
    pub object: String,
    /// Whether it stops the migration.
    pub weight: Weight,
    /// What is different, and what to do.
    pub what: String,
}

/// Whether a difference stops the migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It is carried, in other words.
    Changed,
    /// It cannot be carried.
    Refused,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.what)
    }
}

/// Collects the differences of one object.
struct Notes<'a> {
    object: &'a str,
    found: &'a mut Vec<Difference>,
}

impl Notes<'_> {
    fn changed(&mut self, what: impl Into<String>) {
        self.note(Weight::Changed, what.into());
    }

    fn refused(&mut self, what: impl Into<String>) {
        self.note(Weight::Refused, what.into());
    }

    fn note(&mut self, weight: Weight, what: String) {
        let difference = Difference {
            object: self.object.to_owned(),
            weight,
            what,
        };
        if !self.found.contains(&difference) {
            self.found.push(difference);
        }
    }
}

impl Translation {
    /// A translation between two servers; the second one has these collations.
    #[must_use]
    pub fn new(
        from: ServerVersion,
        to: ServerVersion,
        collations: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            from,
            to,
            collations: collations
                .into_iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            means: Means::default(),
        }
    }

    /// The translation between the servers behind two connections.
    ///
    /// # Errors
    /// The target's collations could not be read, or one of the servers not be asked for what
    /// definitions need.
    pub async fn between(source: &SqlConn, target: &SqlConn) -> Result<Self, SchemaError> {
        let name = if target.version().is_mariadb_at_least(10, 10, 0) {
            "FULL_COLLATION_NAME"
        } else {
            "COLLATION_NAME"
        };
        let query =
            format!("SELECT {name} FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY");
        let rows = target.query(&query).await;
        let rows = rows.map_err(SchemaError::sql(Side::Target, "asking for its collations"))?;
        let names = rows.iter().filter_map(|row| row.text(0));
        let names = names.map(ToOwned::to_owned);
        Ok(Self {
            means: Means::ask(source, target).await?,
            ..Self::new(source.version(), target.version(), names)
        })
    }

    /// Everything that the target has otherwise or not at all, for the check.
    #[must_use]
    pub fn findings(&self, catalog: &Catalog, definitions: &Definitions) -> Vec<Difference> {
        let mut found = Vec::new();
        for database in &catalog.databases {
            self.translate_database(database, &mut found);
        }
        found.extend(self.unsupported(catalog));
        for table in &definitions.tables {
            self.translate_table(table, &mut found);
        }
        let events = definitions.events.iter().map(|(program, _)| program);
        let programs = definitions.views.iter().chain(&definitions.routines);
        for program in programs.chain(&definitions.triggers).chain(events) {
            self.translate_program(program, &mut found);
        }
        found
    }

    /// Objects of kinds that are not carried.
    fn unsupported(&self, catalog: &Catalog) -> Vec<Difference> {
        let refused = |object: String, what: &str| Difference {
            object,
            weight: Weight::Refused,
            what: what.to_owned(),
        };
        let sequences = catalog.sequences.iter().map(|name| {
            let what = if self.to.is_mysql() {
                "MySQL has no sequences; use AUTO_INCREMENT"
            } else {
                "sequences are not carried: their values are not in the stream; use AUTO_INCREMENT"
            };
            refused(format!("sequence {name}"), what)
        });
        let versioned = catalog
            .tables
            .iter()
            .filter(|table| table.kind == TableKind::SystemVersioned)
            .map(|table| {
                let what = "its history (WITH SYSTEM VERSIONING) cannot be written by anybody; \
                            DROP SYSTEM VERSIONING first, or exclude its database";
                refused(format!("table {}", table.name), what)
            });
        sequences.chain(versioned).collect()
    }

    /// Refuses what is not carried.
    ///
    /// # Errors
    /// The first object that the target cannot have.
    pub(super) fn refuse(&self, catalog: &Catalog) -> Result<(), SchemaError> {
        refuse(self.unsupported(catalog)).map(drop)
    }

    /// A database's character set and collation.
    ///
    /// # Errors
    /// The target has no such collation.
    pub fn database(
        &self,
        database: &Database,
        warnings: &mut Vec<String>,
    ) -> Result<(String, String), SchemaError> {
        let mut found = Vec::new();
        let words = self.translate_database(database, &mut found);
        warnings.extend(refuse(found)?);
        Ok(words)
    }

    fn translate_database(
        &self,
        database: &Database,
        found: &mut Vec<Difference>,
    ) -> (String, String) {
        let object = format!("database {}", database.name);
        let mut notes = Notes {
            object: &object,
            found,
        };
        self.means.database(database, self.to, &mut notes);
        let collation = self.nearest_collation(&database.collation, &mut notes);
        (database.charset.clone(), collation)
    }

    /// A table's definition.
    ///
    /// # Errors
    /// The target cannot have the table.
    pub fn table(
        &self,
        table: &CreateTable,
        warnings: &mut Vec<String>,
    ) -> Result<CreateTable, SchemaError> {
        let mut found = Vec::new();
        let translated = self.translate_table(table, &mut found);
        warnings.extend(refuse(found)?);
        Ok(translated)
    }

    fn translate_table(&self, table: &CreateTable, found: &mut Vec<Difference>) -> CreateTable {
        let object = format!("table {}", table.name);
        let mut notes = Notes {
            object: &object,
            found,
        };
        refuse_short_years(table, &mut notes);
        self.vectors(table, &mut notes);
        let mut translated = table.clone();
        translated.options = places::without(&table.options, &mut notes);
        translated.options = merged::in_full(&translated.options, &table.name.schema);
        if self.from.flavour != self.to.flavour {
            translated = match self.to.flavour {
                Flavour::MySql => to_mysql::table(&translated, &mut notes),
                Flavour::MariaDb => to_mariadb::table(&translated, &mut notes),
            };
        }
        for item in &mut translated.items {
            item.text = self.with_collations(&item.text, &mut notes);
        }
        translated.options = self.with_collations(&translated.options, &mut notes);
        self.means.table(&translated, &mut notes);
        translated
    }

    /// Vectors are the same bytes everywhere, but not every server has them, and MariaDB's columns
    /// take no shorter ones.
    fn vectors(&self, table: &CreateTable, notes: &mut Notes<'_>) {
        let knows = self.to.is_mysql_at_least(9, 0, 0) || self.to.is_mariadb_at_least(11, 7, 0);
        for (name, text) in columns(table) {
            let all = tokens(text);
            let meaning: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
            let [_, kind, _, dimensions, ..] = meaning.as_slice() else {
                continue;
            };
            if !kind.is_word("VECTOR") {
                continue;
            }
            if !knows {
                notes.refused(format!(
                    "column {name} is a VECTOR, which the target does not have; take a target of \
                     MySQL 9.0, MariaDB 11.7 or later, or make it VARBINARY"
                ));
            } else if self.from.is_mysql() && self.to.is_mariadb() {
                notes.changed(format!(
                    "column {name} takes vectors of exactly {} dimensions in MariaDB, and a \
                     shorter one stops the copy",
                    dimensions.text
                ));
            }
        }
    }

    /// A stored program or view.
    ///
    /// # Errors
    /// The target cannot have it.
    pub fn program(
        &self,
        program: &Program,
        warnings: &mut Vec<String>,
    ) -> Result<Program, SchemaError> {
        let mut found = Vec::new();
        let translated = self.translate_program(program, &mut found);
        warnings.extend(refuse(found)?);
        Ok(translated)
    }

    fn translate_program(&self, program: &Program, found: &mut Vec<Difference>) -> Program {
        let object = format!("{} {}", program.kind, program.name);
        let mut notes = Notes {
            object: &object,
            found,
        };
        self.means.program(program, &mut notes);
        let mut translated = program.clone();
        let context = &mut translated.context;
        context.collation_connection =
            self.nearest_collation(&context.collation_connection, &mut notes);
        if let Some(mode) = &mut context.sql_mode {
            *mode = programs::sql_mode(mode, self.from, self.to, &mut notes);
        }
        if self.from.flavour != self.to.flavour {
            translated.statement = with_collations(&program.statement, |name| {
                self.nearest_collation(name, &mut notes)
            });
        }
        if self.to.is_mysql() && program.kind.starts_with("package") {
            notes.refused("MySQL has no packages; make procedures of it");
        }
        if self.to.is_mariadb()
            && let Some(what) = programs::of_new_mysql(program)
        {
            notes.refused(format!("it is a {what}, which MariaDB does not have"));
        }
        if self.to.is_mysql() && programs::is_aggregate(program) {
            notes.refused(
                "it is an AGGREGATE function, which MySQL does not have in SQL; drop it, and \
                 replace it where it is used",
            );
        }
        translated
    }

    /// The text with the target's names of collations; one that it lacks is refused.
    fn with_collations(&self, text: &str, notes: &mut Notes<'_>) -> String {
        with_collations(text, |name| match self.mapped(name) {
            Mapped::Same => name.to_owned(),
            Mapped::To(other) => {
                notes.changed(format!(
                    "collation {name} becomes {other}, which sorts some letters otherwise"
                ));
                other
            }
            Mapped::Unknown => {
                notes.refused(format!(
                    "the target has no collation {name}; choose one that both have, such as \
                     utf8mb4_unicode_ci"
                ));
                name.to_owned()
            }
        })
    }
}

/// The text with other names of collations.
fn with_collations(text: &str, mut other: impl FnMut(&str) -> String) -> String {
    let mut written = String::with_capacity(text.len());
    let mut is_next = false;
    for token in tokens(text) {
        if is_next && token.kind == TokenKind::Word {
            is_next = false;
            written.push_str(&other(token.text));
            continue;
        }
        if token.is_word("COLLATE") {
            is_next = true;
        } else if token.is_meaning() && !token.is_symbol("=") {
            is_next = false;
        }
        written.push_str(token.text);
    }
    written
}

/// The warnings among differences.
///
/// # Errors
/// The first that is refused.
fn refuse(found: Vec<Difference>) -> Result<Vec<String>, SchemaError> {
    let mut warnings = Vec::new();
    for difference in found {
        match difference.weight {
            Weight::Changed => warnings.push(difference.to_string()),
            Weight::Refused => {
                return Err(SchemaError::NotCarried {
                    object: difference.object,
                    why: difference.what,
                });
            }
        }
    }
    Ok(warnings)
}

/// Years of two digits are gone since 5.7, and their text does not say which century is meant.
fn refuse_short_years(table: &CreateTable, notes: &mut Notes<'_>) {
    for (name, text) in columns(table) {
        let all = tokens(text);
        let meaning: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
        let is_short = meaning.windows(3).any(|three| match three {
            [year, open, two] => year.is_word("YEAR") && open.is_symbol("(") && two.is_word("2"),
            _other => false,
        });
        if is_short {
            notes.refused(format!(
                "column {name} is YEAR(2), which newer servers do not have; make it YEAR"
            ));
        }
    }
}

/// The columns of a definition, with their text.
fn columns(table: &CreateTable) -> impl Iterator<Item = (&str, &str)> {
    table.items.iter().filter_map(|item| match &item.kind {
        ItemKind::Column(name) => Some((name.as_str(), item.text.as_str())),
        ItemKind::PrimaryKey
        | ItemKind::Key { .. }
        | ItemKind::ForeignKey(_)
        | ItemKind::Check
        | ItemKind::Other => None,
    })
}

/// The definition with every item's text changed; `None` leaves the item out.
fn rewritten(table: &CreateTable, mut rewrite: impl FnMut(&Item) -> Option<String>) -> CreateTable {
    let items = table.items.iter();
    CreateTable {
        name: table.name.clone(),
        items: items
            .filter_map(|item| rewrite(item).map(|text| item.with_text(text)))
            .collect(),
        options: table.options.clone(),
    }
}
