//! The variables of a session that its twin must be given.

use std::collections::HashMap;

use super::super::answer::Rows;
use super::text;
use crate::version::ServerVersion;
use crate::wire::quote;

/// A session variable and its value as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session) struct Setting {
    pub(in crate::session) name: String,
    pub(in crate::session) value: String,
}

/// Carried whatever the server's global value is: what an application sees of a value must not
/// depend on the server.
const ALWAYS: [&str; 19] = [
    "autocommit",
    "auto_increment_increment",
    "character_set_client",
    "character_set_results",
    "collation_connection",
    "completion_type",
    "div_precision_increment",
    "foreign_key_checks",
    "group_concat_max_len",
    "lc_time_names",
    "sql_auto_is_null",
    "sql_big_selects",
    "sql_mode",
    "sql_safe_updates",
    "sql_select_limit",
    "time_zone",
    "transaction_isolation",
    "transaction_read_only",
    "unique_checks",
];

/// Not carried although they differ: they follow from others, belong to the server, or change by
/// themselves.
const NEVER: [&str; 25] = [
    "character_set_connection",
    "character_set_database",
    "collation_database",
    "default_tmp_storage_engine",
    "default_storage_engine",
    "storage_engine",
    "gtid_executed",
    "gtid_owned",
    "gtid_purged",
    "gtid_binlog_pos",
    "gtid_binlog_state",
    "gtid_current_pos",
    "gtid_slave_pos",
    "hostname",
    "innodb_stats_persistent",
    "last_gtid",
    "max_allowed_packet",
    "max_user_connections",
    "net_buffer_length",
    "port",
    "pseudo_thread_id",
    "server_id",
    "server_uuid",
    "socket",
    "statement_id",
];

/// Variables that only sessions have and that are carried when they are not as at a log-in.
pub(in crate::session) const SESSION_ONLY: [(&str, &str); 6] = [
    ("insert_id", "0"),
    ("last_insert_id", "0"),
    ("resultset_metadata", "FULL"),
    ("sql_log_bin", "ON"),
    ("gtid_next", "AUTOMATIC"),
    ("skip_replication", "OFF"),
];

/// The settings of a session by its variables and the server's global ones.
pub(in crate::session) fn settings(rows: &Rows, globals: &HashMap<String, String>) -> Vec<Setting> {
    let mut settings = Vec::new();
    let all = rows
        .rows
        .iter()
        .filter_map(|row| Some((text(row, 0)?, text(row, 1)?)));
    for (name, value) in all {
        let name = modern(name);
        let changed = match globals.get(name).or_else(|| globals.get(old(name))) {
            Some(global) => global != value,
            None => SESSION_ONLY
                .iter()
                .any(|(known, usual)| *known == name && *usual != value),
        };
        let carried = ALWAYS.contains(&name) || (changed && !NEVER.contains(&name));
        if carried {
            settings.push(Setting {
                name: name.to_owned(),
                value: value.to_owned(),
            });
        }
    }
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    settings.dedup_by(|a, b| a.name == b.name);
    settings
}

/// Whether a variable that the server has globally may be carried with a session.
pub(in crate::session) fn carries(name: &str) -> bool {
    !NEVER.contains(&name)
}

/// Old servers have two variables under other names.
fn modern(name: &str) -> &str {
    match name {
        "tx_isolation" => "transaction_isolation",
        "tx_read_only" => "transaction_read_only",
        other => other,
    }
}

fn old(name: &str) -> &str {
    match name {
        "transaction_isolation" => "tx_isolation",
        "transaction_read_only" => "tx_read_only",
        other => other,
    }
}

impl Setting {
    /// The assignment, for a server of this version that has the variable under this or its old
    /// name.
    pub(in crate::session) fn assignment(
        &self,
        version: ServerVersion,
        has: impl Fn(&str) -> bool,
    ) -> String {
        let name = if has(&self.name) {
            &self.name
        } else {
            old(&self.name)
        };
        format!(
            "@@SESSION.{} = {}",
            quote::ident(name),
            self.literal(version)
        )
    }

    fn literal(&self, version: ServerVersion) -> String {
        let value = &self.value;
        let number = value.strip_prefix('-').unwrap_or(value);
        let is_number = number.starts_with(|digit: char| digit.is_ascii_digit())
            && number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
            && number.bytes().filter(|byte| *byte == b'.').count() <= 1;
        match self.name.as_str() {
            // No conversion of results.
            "character_set_results" if value.is_empty() => "NULL".to_owned(),
            _other if is_number => value.clone(),
            // The mode of MySQL before 8.0 and of MariaDB is about GRANT only.
            "sql_mode" if version.is_mysql_at_least(8, 0, 11) => {
                let modes: Vec<&str> = value
                    .split(',')
                    .filter(|mode| *mode != "NO_AUTO_CREATE_USER")
                    .collect();
                quote::literal(&modes.join(","))
            }
            _other => quote::literal(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn rows(all: &[(&str, &str)]) -> Rows {
        let cell = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));
        Rows {
            columns: Vec::new(),
            rows: all
                .iter()
                .map(|(name, value)| vec![cell(name), cell(value)])
                .collect(),
        }
    }

    fn names(settings: &[Setting]) -> Vec<&str> {
        settings
            .iter()
            .map(|setting| setting.name.as_str())
            .collect()
    }

    #[test]
    fn what_differs_from_the_server_is_carried_and_what_follows_from_elsewhere_is_not() {
        let globals = HashMap::from(
            [
                ("sql_mode", "STRICT"),
                ("max_execution_time", "0"),
                ("join_buffer_size", "1"),
                ("collation_database", "a"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let read = settings(
            &rows(&[
                ("sql_mode", "STRICT"),
                ("max_execution_time", "5"),
                ("join_buffer_size", "1"),
                ("collation_database", "b"),
                ("timestamp", "1.5"),
                ("last_insert_id", "7"),
                ("insert_id", "0"),
                ("tx_isolation", "READ-COMMITTED"),
            ]),
            &globals,
        );
        let expected = [
            "last_insert_id",
            "max_execution_time",
            "sql_mode",
            "transaction_isolation",
        ];
        assert_eq!(names(&read), expected);
    }

    #[test]
    fn values_become_literals_of_their_kind() {
        let new = ServerVersion::parse("9.7.4").unwrap();
        let setting = |name: &str, value: &str| Setting {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let of = |name: &str, value: &str| setting(name, value).assignment(new, |_| true);
        assert_eq!(of("a", "5"), "@@SESSION.`a` = 5");
        assert_eq!(of("a", "-1.5"), "@@SESSION.`a` = -1.5");
        assert_eq!(of("a", "ON"), "@@SESSION.`a` = 'ON'");
        assert_eq!(
            of("time_zone", "+00:00"),
            "@@SESSION.`time_zone` = '+00:00'"
        );
        assert_eq!(
            of("character_set_results", ""),
            "@@SESSION.`character_set_results` = NULL"
        );
        assert_eq!(
            of("sql_mode", "ANSI,NO_AUTO_CREATE_USER"),
            "@@SESSION.`sql_mode` = 'ANSI'"
        );
        let mariadb = ServerVersion::parse("11.8.6-MariaDB").unwrap();
        assert_eq!(
            setting("sql_mode", "ANSI,NO_AUTO_CREATE_USER").assignment(mariadb, |_| true),
            "@@SESSION.`sql_mode` = 'ANSI,NO_AUTO_CREATE_USER'"
        );
        let old = setting("transaction_isolation", "SERIALIZABLE");
        assert_eq!(
            old.assignment(new, |name| name != "transaction_isolation"),
            "@@SESSION.`tx_isolation` = 'SERIALIZABLE'"
        );
    }
}
