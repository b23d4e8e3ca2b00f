//! What a session is asked for its state: inside it by its own connection, and from outside by ours
//! where the server tells others more.

use super::servers::Known;
use crate::version::{Flavour, ServerVersion};
use crate::wire::quote;

/// Default database, what the session inserted last, and whether `timestamp` was set: the clock of
/// the statement and the clock of the server.
pub(super) const BASICS: &str = "SELECT HEX(DATABASE()), LAST_INSERT_ID(), @@timestamp, \
     UNIX_TIMESTAMP(SYSDATE()) LIMIT 1";

/// Its variables. The globals are asked by a connection of ours.
pub(super) const VARIABLES: &str = "SHOW SESSION VARIABLES";

/// Counters that grow with every statement of a kind, in routines too.
pub(super) const COUNTERS: &str = "SHOW SESSION STATUS WHERE Variable_name IN \
     ('Com_prepare_sql', 'Com_dealloc_sql', 'Com_lock_tables', 'Com_ha_open', 'Com_ha_close', \
      'Com_create_temporary_table', 'Com_drop_temporary_table', 'Com_create_table', \
      'Com_call_procedure')";

/// MariaDB: the names of its user variables.
pub(super) const MARIADB_USER_VARIABLES: &str = "SELECT HEX(VARIABLE_NAME) \
     FROM information_schema.user_variables LIMIT 18446744073709551615";

/// MariaDB from 11.2 on: its temporary tables.
pub(super) const MARIADB_TEMPORARY: &str = "SELECT COUNT(*) FROM information_schema.tables \
     WHERE table_type = 'TEMPORARY' LIMIT 1";

/// Whether a server of this version tells others about the sessions' locks, user variables and
/// temporary tables.
pub(super) fn tells_others(version: ServerVersion) -> Known {
    if version.is_mysql_at_least(8, 0, 13) {
        Known::Yes
    } else {
        Known::No
    }
}

/// Whether the session itself can list its temporary tables.
pub(super) fn lists_temporary(version: ServerVersion) -> Known {
    if version.is_mariadb_at_least(11, 2, 0) {
        Known::Yes
    } else {
        Known::No
    }
}

/// Whether the session itself can list its user variables.
pub(super) fn lists_user_variables(version: ServerVersion) -> Known {
    match version.flavour {
        Flavour::MariaDb if version.is_mariadb_at_least(10, 2, 0) => Known::Yes,
        Flavour::MariaDb | Flavour::MySql => Known::No,
    }
}

/// From outside, about the sessions with these connection ids: kind and name of what they have,
/// and which it is. Without `autocommit` our own questions leave locks on the tables of the
/// performance schema, which nobody can lock by a statement.
pub(super) fn from_outside(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    let ids = ids.join(", ");
    format!(
        "SELECT 'variable' AS kind, HEX(v.VARIABLE_NAME) AS name, t.PROCESSLIST_ID AS id \
           FROM performance_schema.user_variables_by_thread v \
           JOIN performance_schema.threads t USING (THREAD_ID) WHERE t.PROCESSLIST_ID IN ({ids}) \
         UNION ALL SELECT IF(l.OBJECT_TYPE = 'USER LEVEL LOCK', 'user lock', 'lock'), \
                HEX(l.OBJECT_NAME), t.PROCESSLIST_ID \
           FROM performance_schema.metadata_locks l \
           JOIN performance_schema.threads t ON t.THREAD_ID = l.OWNER_THREAD_ID \
          WHERE t.PROCESSLIST_ID IN ({ids}) AND (l.OBJECT_TYPE = 'USER LEVEL LOCK' \
             OR (l.LOCK_DURATION <> 'STATEMENT' \
                 AND IFNULL(l.OBJECT_SCHEMA, '') <> 'performance_schema')) \
         UNION ALL SELECT 'prepared', HEX(p.STATEMENT_NAME), t.PROCESSLIST_ID \
           FROM performance_schema.prepared_statements_instances p \
           JOIN performance_schema.threads t ON t.THREAD_ID = p.OWNER_THREAD_ID \
          WHERE t.PROCESSLIST_ID IN ({ids}) AND p.STATEMENT_NAME IS NOT NULL \
         UNION ALL SELECT 'temporary', '', s.ID \
           FROM information_schema.innodb_session_temp_tablespaces s \
           JOIN information_schema.innodb_temp_table_info i ON i.SPACE = s.SPACE \
          WHERE s.ID IN ({ids}) AND s.PURPOSE = 'USER'"
    )
}

/// The values of user variables, three columns for each: its collation, its bytes, and itself for
/// the type of the column.
pub(super) fn user_variables(names: &[String]) -> String {
    let columns: Vec<String> = names
        .iter()
        .map(|name| {
            let name = variable(name);
            format!("COLLATION({name}), HEX(CONCAT({name})), {name}")
        })
        .collect();
    format!("SELECT {} LIMIT 1", columns.join(", "))
}

/// Which of these user-level locks a connection holds, a column for each.
pub(super) fn holds_locks(names: &[String], connection: u32) -> String {
    let columns: Vec<String> = names
        .iter()
        .map(|name| format!("IS_USED_LOCK({}) = {connection}", lock_name(name)))
        .collect();
    format!("SELECT {} LIMIT 1", columns.join(", "))
}

/// Takes a user-level lock: 1 if it could be had.
pub(super) fn take_lock(name: &str, patience_s: u32) -> String {
    format!("SELECT GET_LOCK({}, {patience_s}) LIMIT 1", lock_name(name))
}

/// Gives back a user-level lock that was taken once: 1 if it was held.
pub(super) fn give_lock(name: &str) -> String {
    format!("SELECT RELEASE_LOCK({}) LIMIT 1", lock_name(name))
}

/// The name of a user-level lock in SQL, whatever the session's character set.
fn lock_name(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02X}")).collect();
    format!("_utf8mb4 X'{digits}'")
}

/// A user variable in SQL.
pub(super) fn variable(name: &str) -> String {
    format!("@{}", quote::ident(name))
}
