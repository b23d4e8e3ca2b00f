//! Replication that writes into the server: appliers pass `read_only` and `super_read_only`.

use crate::movement::error::Failed;
use crate::wire::SqlConn;

/// Channels whose applier is running, or waits to go on.
pub(super) async fn writing(client: &SqlConn) -> Result<Vec<String>, Failed> {
    let version = client.version();
    let (sql, running, channel) = if version.is_mariadb() {
        (
            "SHOW ALL SLAVES STATUS",
            "Slave_SQL_Running",
            "Connection_name",
        )
    } else if version.is_mysql_at_least(8, 0, 22) {
        ("SHOW REPLICA STATUS", "Replica_SQL_Running", "Channel_Name")
    } else {
        ("SHOW SLAVE STATUS", "Slave_SQL_Running", "Channel_Name")
    };
    let rows = client
        .query(sql)
        .await
        .map_err(Failed::sql("asking for replication into the server"))?;
    let mut channels = Vec::new();
    for row in rows {
        if row.named(running).is_some_and(|running| running != "No") {
            let name = row.named(channel).unwrap_or_default();
            channels.push(format!("channel '{name}'"));
        }
    }
    Ok(channels)
}
