//! The session settings under which a definition statement means what it meant on the source.

use crate::apply::events::Ddl;
use crate::name::{quote_identifier, quote_literal};
use crate::version::{Flavour, ServerVersion};

/// A statement that sets something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) sql: String,
    /// Whether a server may refuse it: it does not have the setting, or what it is about.
    pub(super) may_fail: bool,
}

/// The modes of `sql_mode` by their bit, as far as they change what a definition means and both
/// families have them. Others are left out, as the servers' own replicas do.
const MODES: &[(u32, &str)] = &[
    (0, "REAL_AS_FLOAT"),
    (1, "PIPES_AS_CONCAT"),
    (2, "ANSI_QUOTES"),
    (3, "IGNORE_SPACE"),
    (5, "ONLY_FULL_GROUP_BY"),
    (6, "NO_UNSIGNED_SUBTRACTION"),
    (7, "NO_DIR_IN_CREATE"),
    (19, "NO_AUTO_VALUE_ON_ZERO"),
    (20, "NO_BACKSLASH_ESCAPES"),
    (21, "STRICT_TRANS_TABLES"),
    (22, "STRICT_ALL_TABLES"),
    (23, "NO_ZERO_IN_DATE"),
    (24, "NO_ZERO_DATE"),
    (25, "ALLOW_INVALID_DATES"),
    (26, "ERROR_FOR_DIVISION_BY_ZERO"),
    (29, "HIGH_NOT_PRECEDENCE"),
    (30, "NO_ENGINE_SUBSTITUTION"),
    (31, "PAD_CHAR_TO_FULL_LENGTH"),
];

const ANSI_QUOTES_BIT: u64 = 1 << 2;

/// Bits of a query event's flags: the session had these switched off.
const NO_FOREIGN_KEY_CHECKS: u32 = 1 << 26;
const RELAXED_UNIQUE_CHECKS: u32 = 1 << 27;

/// Whether `"` quoted names in the statement's session.
pub(super) fn ansi_quotes(ddl: &Ddl) -> bool {
    ddl.sql_mode.is_some_and(|mode| mode & ANSI_QUOTES_BIT != 0)
}

/// What to set, in order, before the statement runs on a session of ours.
pub(super) fn settings(ddl: &Ddl, target: ServerVersion) -> Vec<Setting> {
    let mut settings = Settings(Vec::new());
    if let Some(mode) = ddl.sql_mode {
        settings.must(format!(
            "SET SESSION sql_mode = {}",
            quote_literal(&modes(mode))
        ));
    }
    if let Some(flags) = ddl.flags2 {
        settings.must(format!(
            "SET SESSION foreign_key_checks = {}, SESSION unique_checks = {}",
            u8::from(flags & NO_FOREIGN_KEY_CHECKS == 0),
            u8::from(flags & RELAXED_UNIQUE_CHECKS == 0)
        ));
    }
    if let Some(server) = ddl.server_collation {
        settings.may(format!("SET SESSION collation_server = {server}"));
    }
    if let Some(connection) = ddl.connection_collation {
        settings.may(format!("SET SESSION collation_connection = {connection}"));
    }
    if let Some(zone) = ddl.time_zone.as_deref().filter(|zone| !zone.is_empty()) {
        settings.must(format!("SET SESSION time_zone = {}", quote_literal(zone)));
    }
    let (seconds, part) = (ddl.time_us / 1_000_000, ddl.time_us % 1_000_000);
    settings.must(format!("SET SESSION timestamp = {seconds}.{part:06}"));
    own(&mut settings, ddl, target);
    if !ddl.schema.is_empty() {
        // The database may be gone, or be the one that the statement creates.
        settings.may(format!("USE {}", quote_identifier(&ddl.schema)));
    }
    settings.0
}

/// What only one family, or only newer servers have.
fn own(settings: &mut Settings, ddl: &Ddl, target: ServerVersion) {
    match target.flavour {
        Flavour::MySql => {
            if target.is_mysql_at_least(8, 0, 30) {
                // A source without it has no key of its own making either.
                settings.may("SET SESSION sql_generate_invisible_primary_key = OFF".to_owned());
            }
            if target.is_mysql_at_least(8, 0, 13) {
                settings.may("SET SESSION sql_require_primary_key = OFF".to_owned());
            }
            if target.is_mysql_at_least(8, 0, 11) {
                // Sources that do not tell their default have the one of before MySQL 8.
                let collation = ddl
                    .utf8mb4_collation
                    .map_or_else(|| "utf8mb4_general_ci".to_owned(), |id| id.to_string());
                settings.may(format!(
                    "SET SESSION default_collation_for_utf8mb4 = {collation}"
                ));
            }
        }
        Flavour::MariaDb => {
            if target.is_mariadb_at_least(11, 2, 0) {
                settings.may("SET SESSION character_set_collations = ''".to_owned());
            }
        }
    }
    if let Some(explicit) = ddl.explicit_defaults_for_timestamp {
        settings.may(format!(
            "SET SESSION explicit_defaults_for_timestamp = {}",
            u8::from(explicit)
        ));
    }
}

struct Settings(Vec<Setting>);

impl Settings {
    fn must(&mut self, sql: String) {
        self.0.push(Setting {
            sql,
            may_fail: false,
        });
    }

    fn may(&mut self, sql: String) {
        self.0.push(Setting {
            sql,
            may_fail: true,
        });
    }
}

fn modes(bits: u64) -> String {
    let names: Vec<_> = MODES
        .iter()
        .filter(|(bit, _)| bits >> bit & 1 == 1)
        .map(|(_, name)| *name)
        .collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_that_both_families_know_are_set_by_name() {
        let bits = 1 << 2 | 1 << 21 | 1 << 28 | 1 << 40;
        assert_eq!(modes(bits), "ANSI_QUOTES,STRICT_TRANS_TABLES");
    }

    #[test]
    fn the_database_comes_last_and_may_be_gone() {
        let ddl = Ddl {
            schema: "shop".to_owned(),
            flags2: Some(NO_FOREIGN_KEY_CHECKS),
            ..Ddl::default()
        };
        let target = ServerVersion::parse("10.11.8-MariaDB").unwrap();
        let settings = settings(&ddl, target);
        let last = settings.last().unwrap();
        assert_eq!((last.sql.as_str(), last.may_fail), ("USE `shop`", true));
        assert!(settings[0].sql.contains("foreign_key_checks = 0"));
    }
}
