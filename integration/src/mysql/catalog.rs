//! Everything that a server's catalogs and settings say, to compare before and after.
//!
//! Statistics, times and positions are left out: what remains must be equal when every trace of a
//! migration is gone.

use anyhow::{Context as _, Result};
use binlog::wire::{SqlConn, TextRow, quote};

use super::SYSTEM_DATABASES;
use crate::catalog::Facts;

/// Views of information_schema, and their columns with the database's name.
const VIEWS: [(&str, &str); 11] = [
    ("schemata", "schema_name"),
    ("tables", "table_schema"),
    ("columns", "table_schema"),
    ("statistics", "table_schema"),
    ("table_constraints", "table_schema"),
    ("referential_constraints", "constraint_schema"),
    ("partitions", "table_schema"),
    ("triggers", "trigger_schema"),
    ("routines", "routine_schema"),
    ("events", "event_schema"),
    ("views", "table_schema"),
];

/// Columns of these views that change by themselves.
const VOLATILE_COLUMNS: [&str; 16] = [
    "table_rows",
    "avg_row_length",
    "data_length",
    "max_data_length",
    "index_length",
    "max_index_length",
    "data_free",
    "auto_increment",
    "create_time",
    "update_time",
    "check_time",
    "checksum",
    "cardinality",
    "created",
    "last_altered",
    "last_executed",
];

/// Settings that say what happened, not what was set.
const VOLATILE_SETTINGS: [&str; 10] = [
    "gtid_executed",
    "gtid_purged",
    "gtid_binlog_pos",
    "gtid_binlog_state",
    "gtid_current_pos",
    "gtid_slave_pos",
    "innodb_buffer_pool_load_now",
    "last_gtid",
    "timestamp",
    "ssl_session_cache_hits",
];

/// Reads the facts of a server; needs root.
///
/// # Errors
///
/// When a catalog cannot be read.
pub async fn read(client: &SqlConn) -> Result<Facts> {
    let mut facts = Facts::new();
    for (view, database) in VIEWS {
        let sql = format!(
            "SELECT * FROM information_schema.{view} WHERE {database} NOT IN ({SYSTEM_DATABASES})"
        );
        let rows = client.query(&sql).await;
        for row in rows.with_context(|| format!("reading information_schema.{view}"))? {
            facts.insert(format!("{view}: {}", fact(&row)));
        }
    }
    accounts(client, &mut facts).await?;
    for row in client.query("SHOW GLOBAL VARIABLES").await? {
        let name = row.text(0).unwrap_or_default();
        if !VOLATILE_SETTINGS.contains(&name) {
            facts.insert(format!("setting: {}", fact(&row)));
        }
    }
    Ok(facts)
}

/// Accounts, roles and what they may do.
async fn accounts(client: &SqlConn, facts: &mut Facts) -> Result<()> {
    for row in client.query("SELECT user, host FROM mysql.user").await? {
        let (user, host) = (
            row.text(0).unwrap_or_default(),
            row.text(1).unwrap_or_default(),
        );
        facts.insert(format!("account: {user}@{host}"));
        // MariaDB keeps its roles here without a host, and PUBLIC, whose grants have other words.
        let name = match (user, host) {
            ("PUBLIC", "") => "PUBLIC".to_owned(),
            (role, "") => quote::literal(role),
            (user, host) => format!("{}@{}", quote::literal(user), quote::literal(host)),
        };
        let grants = client.query(&format!("SHOW GRANTS FOR {name}")).await;
        for grant in grants.with_context(|| format!("the grants of {user}@{host}"))? {
            let grant = grant.text(0).unwrap_or_default();
            facts.insert(format!("grant: {user}@{host}: {grant}"));
        }
    }
    Ok(())
}

fn fact(row: &TextRow) -> String {
    let columns = row.columns().as_slice().iter().enumerate();
    let values = columns.filter_map(|(index, column)| {
        let name = column.name.to_lowercase();
        let volatile = VOLATILE_COLUMNS.contains(&name.as_str());
        (!volatile).then(|| row.text(index).unwrap_or("NULL").to_owned())
    });
    values.collect::<Vec<_>>().join(" ")
}
