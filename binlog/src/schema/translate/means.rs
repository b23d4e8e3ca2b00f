//! What definitions need of a server beside its version: time zones, a place for keys, spatial
//! reference systems. The servers are asked for each; nothing is guessed.

use std::collections::{BTreeMap, HashMap, HashSet};

use router::Side;

use super::{Notes, columns};
use crate::name::{quote_literal, some_of};
use crate::schema::catalog::{Database, DatabaseEncryption};
use crate::schema::create_table::CreateTable;
use crate::schema::definitions::Program;
use crate::schema::error::SchemaError;
use crate::schema::sql::{Token, tokens};
use crate::version::ServerVersion;
use crate::wire::{SqlConn, SqlError, TextRow};

/// What the target lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Means {
    /// Time zones of the source's events that the target does not know.
    unknown_zones: HashSet<String>,
    keys: Keys,
    /// The target's engines in capitals; none if they are not known.
    engines: HashSet<String>,
    /// Spatial reference systems of the source that are not the target's.
    systems: BTreeMap<u32, OtherSystem>,
    /// The longest statement that it takes, in bytes; none if nobody was asked.
    packet_max: Option<usize>,
}

/// Whether the target can encrypt tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Keys {
    /// It has a keyring, or a plugin that manages keys.
    #[default]
    Kept,
    /// It has not.
    NoKeyring,
}

/// What comes with a definition in a statement: names, modes, the words around them.
const STATEMENT_RESERVE_BYTES: usize = 8 << 10;

/// How a spatial reference system differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OtherSystem {
    /// The target has none of this number.
    Missing,
    /// It has one with another definition.
    Different,
}

/// The types of geometries.
const GEOMETRIES: [&str; 9] = [
    "GEOMETRY",
    "POINT",
    "LINESTRING",
    "POLYGON",
    "MULTIPOINT",
    "MULTILINESTRING",
    "MULTIPOLYGON",
    "GEOMCOLLECTION",
    "GEOMETRYCOLLECTION",
];

impl Means {
    /// Asks both servers.
    ///
    /// # Errors
    /// A query failed.
    pub(super) async fn ask(source: &SqlConn, target: &SqlConn) -> Result<Self, SchemaError> {
        Ok(Self {
            unknown_zones: unknown_zones(source, target).await?,
            keys: keys(target).await?,
            engines: engines(target).await?,
            systems: systems(source, target).await?,
            packet_max: packet_max(target).await?,
        })
    }

    /// Refuses a database whose new tables the target could not encrypt.
    pub(super) fn database(&self, database: &Database, to: ServerVersion, notes: &mut Notes<'_>) {
        match (database.encryption, self.keys) {
            (DatabaseEncryption::Off, Keys::Kept | Keys::NoKeyring) => {}
            (DatabaseEncryption::On, _) if to.is_mariadb() => notes.changed(
                "its DEFAULT ENCRYPTION is not carried; MariaDB encrypts by its own settings",
            ),
            (DatabaseEncryption::On, Keys::NoKeyring) => notes.refused(
                "its DEFAULT ENCRYPTION is on, and the target shows no keyring (performance_schema.keyring_component_status); load one there (in \
                 mysqld.my, for instance component_keyring_file) and restart it, or ALTER DATABASE \
                 ... ENCRYPTION 'N' on the source",
            ),
            (DatabaseEncryption::On, Keys::Kept) => {}
        }
    }

    /// Refuses an event whose times mean nothing to the target, and what is too long for it.
    pub(super) fn program(&self, program: &Program, notes: &mut Notes<'_>) {
        self.length(&program.statement, notes);
        let Some(zone) = &program.context.time_zone else {
            return;
        };
        if self.unknown_zones.contains(zone) {
            notes.refused(format!(
                "the target does not know its time zone {zone}; load the time zones there: \
                 mysql_tzinfo_to_sql /usr/share/zoneinfo | mysql -u root mysql"
            ));
        }
    }

    /// Refuses a table that the target could not encrypt, or whose geometries mean something else
    /// there. The definition is in the target's words.
    pub(super) fn table(&self, table: &CreateTable, notes: &mut Notes<'_>) {
        self.engine(table, notes);
        self.length(&table.statement(), notes);
        self.encryption(table, notes);
        if !self.systems.is_empty() {
            self.geometries(table, notes);
        }
    }

    /// Only tables that are left out of the copy have other engines than InnoDB.
    fn engine(&self, table: &CreateTable, notes: &mut Notes<'_>) {
        let Some(engine) = option(&table.options, "ENGINE") else {
            return;
        };
        if !self.engines.is_empty() && !self.engines.contains(&engine.to_ascii_uppercase()) {
            notes.changed(format!(
                "the target does not have its engine {engine}, and gives it the default one"
            ));
        }
    }

    /// A definition travels in one statement, first of all as a text of our bookkeeping.
    fn length(&self, statement: &str, notes: &mut Notes<'_>) {
        let Some(limit) = self.packet_max else {
            return;
        };
        let bytes = quote_literal(statement).len() + STATEMENT_RESERVE_BYTES;
        if bytes > limit {
            notes.refused(format!(
                "its definition needs a statement of {bytes} bytes, and max_allowed_packet on the \
                 target is {limit}; SET GLOBAL max_allowed_packet = {} there, and in its option file",
                bytes.next_power_of_two()
            ));
        }
    }

    fn encryption(&self, table: &CreateTable, notes: &mut Notes<'_>) {
        let asks = option(&table.options, "ENCRYPTION").is_some_and(|value| is(&value, "Y"));
        let asks_mariadb =
            option(&table.options, "ENCRYPTED").is_some_and(|value| is(&value, "YES"));
        match self.keys {
            Keys::NoKeyring if asks => notes.refused(
                "it is encrypted, and the target shows no keyring (performance_schema.keyring_component_status); load one there (in mysqld.my, for \
                 instance component_keyring_file) and restart it, or ALTER TABLE ... \
                 ENCRYPTION='N' on the source",
            ),
            Keys::NoKeyring if asks_mariadb => notes.refused(
                "it is encrypted, and the target manages no keys; load a plugin for that there \
                 (for instance plugin_load_add=file_key_management) and restart it, or ALTER TABLE \
                 ... ENCRYPTED=NO on the source",
            ),
            Keys::NoKeyring | Keys::Kept => {}
        }
        if let Some(key) = option(&table.options, "ENCRYPTION_KEY_ID") {
            notes.changed(format!(
                "it is encrypted with key {key}, which must be one of the target's keys: one that \
                 it lacks stops the start with the table's name"
            ));
        }
    }

    fn geometries(&self, table: &CreateTable, notes: &mut Notes<'_>) {
        for (name, text) in columns(table) {
            let all = tokens(text);
            let meaning: Vec<&Token<'_>> = all.iter().filter(|token| token.is_meaning()).collect();
            let is_geometry = meaning
                .get(1)
                .is_some_and(|kind| GEOMETRIES.iter().any(|geometry| kind.is_word(geometry)));
            if !is_geometry {
                continue;
            }
            let number = meaning.windows(2).find_map(|pair| match pair {
                [srid, number] if srid.is_word("SRID") => number.text.parse::<u32>().ok(),
                _other => None,
            });
            match number.map(|number| (number, self.systems.get(&number))) {
                Some((number, Some(how))) => notes.refused(format!(
                    "column {name} is of spatial reference system {number}, which the target {}; \
                     CREATE OR REPLACE SPATIAL REFERENCE SYSTEM {number} there as \
                     information_schema.ST_SPATIAL_REFERENCE_SYSTEMS of the source has it",
                    match how {
                        OtherSystem::Missing => "does not have",
                        OtherSystem::Different => "defines otherwise",
                    }
                )),
                Some((_, None)) => {}
                None => {
                    let systems: Vec<String> =
                        self.systems.keys().map(ToString::to_string).collect();
                    notes.changed(format!(
                        "column {name} takes geometries of any spatial reference system, and the \
                         target lacks or defines otherwise: {}; make these there before rows of \
                         them are used",
                        some_of(&systems)
                    ));
                }
            }
        }
    }
}

/// The value of a table's option, without quotes.
fn option(options: &str, name: &str) -> Option<String> {
    let all = tokens(options);
    let mut meaning = all.iter().filter(|token| token.is_meaning());
    meaning.find(|token| {
        let quoted = token.name();
        token.is_word(name) || quoted.is_some_and(|quoted| quoted.eq_ignore_ascii_case(name))
    })?;
    let value = meaning.find(|token| !token.is_symbol("="))?;
    Some(value.text.trim_matches(['\'', '"']).to_owned())
}

fn is(value: &str, word: &str) -> bool {
    value.eq_ignore_ascii_case(word)
}

async fn ask(client: &SqlConn, side: Side, sql: &str) -> Result<Vec<TextRow>, SchemaError> {
    let rows = client.query(sql).await;
    rows.map_err(SchemaError::sql(side, "asking what its definitions need"))
}

async fn packet_max(target: &SqlConn) -> Result<Option<usize>, SchemaError> {
    let sql = "SELECT @@GLOBAL.max_allowed_packet";
    let rows = ask(target, Side::Target, sql).await?;
    Ok(rows.first().and_then(|row| row.parse(0).ok()))
}

async fn unknown_zones(source: &SqlConn, target: &SqlConn) -> Result<HashSet<String>, SchemaError> {
    let zones = "SELECT DISTINCT TIME_ZONE FROM information_schema.EVENTS";
    let rows = ask(source, Side::Source, zones).await?;
    let mut unknown = HashSet::new();
    for zone in rows.iter().filter_map(|row| row.text(0)) {
        let converted = format!(
            "SELECT CONVERT_TZ('2000-01-01 00:00:00', '+00:00', {})",
            quote_literal(zone)
        );
        let rows = ask(target, Side::Target, &converted).await?;
        if rows.first().and_then(|row| row.text(0)).is_none() {
            unknown.insert(zone.to_owned());
        }
    }
    Ok(unknown)
}

async fn engines(target: &SqlConn) -> Result<HashSet<String>, SchemaError> {
    let sql = "SELECT ENGINE FROM information_schema.ENGINES WHERE SUPPORT IN ('YES', 'DEFAULT')";
    let rows = ask(target, Side::Target, sql).await?;
    let names = rows.iter().filter_map(|row| row.text(0));
    Ok(names.map(str::to_ascii_uppercase).collect())
}

async fn keys(target: &SqlConn) -> Result<Keys, SchemaError> {
    let plugins = if target.version().is_mariadb() {
        "SELECT 1 FROM information_schema.PLUGINS
         WHERE PLUGIN_TYPE = 'ENCRYPTION' AND PLUGIN_STATUS = 'ACTIVE'"
    } else {
        // The others pass on what a keyring has.
        "SELECT 1 FROM information_schema.PLUGINS
         WHERE PLUGIN_NAME LIKE 'keyring%' AND PLUGIN_NAME <> 'keyring_udf'
           AND PLUGIN_STATUS = 'ACTIVE'"
    };
    if !ask(target, Side::Target, plugins).await?.is_empty() {
        return Ok(Keys::Kept);
    }
    if target.version().is_mysql_at_least(8, 0, 24) {
        let component = "SELECT 1 FROM performance_schema.keyring_component_status
                         WHERE STATUS_KEY = 'Component_status' AND STATUS_VALUE = 'Active'";
        match target.query(component).await {
            Ok(rows) if !rows.is_empty() => return Ok(Keys::Kept),
            // Not shown to us: that only matters to tables that need it, which are refused.
            Ok(_) | Err(SqlError::Server(_)) => {}
            Err(error) => {
                let what = "asking for its keyring";
                return Err(SchemaError::sql(Side::Target, what)(error));
            }
        }
    }
    Ok(Keys::NoKeyring)
}

async fn systems(
    source: &SqlConn,
    target: &SqlConn,
) -> Result<BTreeMap<u32, OtherSystem>, SchemaError> {
    let know = |client: &SqlConn| client.version().is_mysql_at_least(8, 0, 11);
    if !know(source) || !know(target) {
        return Ok(BTreeMap::new());
    }
    // MySQL takes MD5() and SHA1() of these only in a session with a default database.
    let sql =
        "SELECT SRS_ID, SHA2(DEFINITION, 256) FROM information_schema.ST_SPATIAL_REFERENCE_SYSTEMS";
    let read = |rows: Vec<TextRow>| -> HashMap<u32, String> {
        let rows = rows.iter();
        rows.filter_map(|row| Some((row.text(0)?.parse().ok()?, row.text(1)?.to_owned())))
            .collect()
    };
    let here = read(ask(source, Side::Source, sql).await?);
    let there = read(ask(target, Side::Target, sql).await?);
    let differ = here
        .into_iter()
        .filter_map(|(number, definition)| match there.get(&number) {
            None => Some((number, OtherSystem::Missing)),
            Some(other) if *other != definition => Some((number, OtherSystem::Different)),
            Some(_) => None,
        });
    Ok(differ.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_however_they_are_written() {
        let mysql = " /*!50100  */ ENGINE=InnoDB COMMENT='ENCRYPTION' /*!80016 ENCRYPTION='y' */";
        assert_eq!(option(mysql, "ENCRYPTION").as_deref(), Some("y"));
        let mariadb = " ENGINE=InnoDB `encrypted`=yes `ENCRYPTION_KEY_ID`=7";
        assert_eq!(option(mariadb, "ENCRYPTED").as_deref(), Some("yes"));
        assert_eq!(option(mariadb, "ENCRYPTION_KEY_ID").as_deref(), Some("7"));
        assert_eq!(option(mariadb, "ENCRYPTION"), None);
    }
}
