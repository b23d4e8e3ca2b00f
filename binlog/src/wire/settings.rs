//! The settings of every session of ours, in one place: a value must have the same text wherever it
//! is read, streamed, copied, applied or compared.

/// Statements for every server, in order.
///
/// Every name exists from MySQL 5.6 on and in MariaDB. The collation is one that all know, since the
/// default of utf8mb4 differs by server. `sql_mode` has the one mode without which a row with 0 in
/// an AUTO_INCREMENT column would change, and nothing strict: a source may hold what its own mode
/// would refuse today. The timeouts are long because a slow target makes a copy wait on the source.
pub const SESSION_SETTINGS: [&str; 2] = [
    "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci, \
     SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', SESSION time_zone = '+00:00', \
     SESSION autocommit = 1, SESSION completion_type = 'NO_CHAIN', \
     SESSION wait_timeout = 86400, SESSION net_read_timeout = 86400, \
     SESSION net_write_timeout = 86400, SESSION lock_wait_timeout = 86400, \
     SESSION innodb_lock_wait_timeout = 50, SESSION sql_big_selects = 1, \
     SESSION foreign_key_checks = 1, SESSION unique_checks = 1, SESSION sql_auto_is_null = 0, \
     SESSION sql_safe_updates = 0, SESSION sql_select_limit = 18446744073709551615, \
     SESSION sql_quote_show_create = 1, SESSION group_concat_max_len = 16777216",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
];

/// What only MySQL from 5.7.8 on has: no limit on the time of a SELECT.
pub(super) const MYSQL_57: &str = "SET SESSION max_execution_time = 0";

/// What only MariaDB has: no limit on the time of a statement, no end for a transaction that idles.
pub(super) const MARIADB: &str = "SET SESSION max_statement_time = 0, \
     SESSION idle_transaction_timeout = 0, SESSION idle_write_transaction_timeout = 0, \
     SESSION idle_readonly_transaction_timeout = 0";
