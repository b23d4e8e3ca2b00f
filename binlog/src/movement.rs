//! The movement of the points on the servers: fence, marker, counters, journal, and who serves.
//!
//! Who serves is written in the two servers and nowhere else: `pointsman.fence` on the side that
//! is left and `pointsman.movement` on the target. The journal's steps are one transaction each; a
//! fence is a row and settings, and its module says why every instant between the two is safe.

pub mod counters;
pub mod error;
pub mod events;
pub mod fence;
pub mod journal;
pub mod marker;
pub mod ready;
pub mod replicas;
pub mod sides;
pub mod standing;

use crate::wire::SqlConn;

use self::error::Failed;

/// Error numbers of the servers that mean something to a movement.
///
/// <https://dev.mysql.com/doc/mysql-errors/9.0/en/server-error-reference.html>
mod code {
    /// Waited longer than `lock_wait_timeout`.
    pub(super) const LOCK_WAIT_TIMEOUT: u16 = 1205;
    /// A read-only option prevents the statement.
    pub(super) const OPTION_PREVENTS_STATEMENT: u16 = 1290;
    /// Two transactions wait for one another; ours was rolled back.
    pub(super) const DEADLOCK: u16 = 1213;
    /// A row with this key is there.
    pub(super) const DUPLICATE_ENTRY: u16 = 1062;
    /// An account could not be changed: it is gone.
    pub(super) const CANNOT_USER: u16 = 1396;
    /// KILL of a session that is gone.
    pub(super) const NO_SUCH_THREAD: u16 = 1094;
    /// The server is shutting down.
    pub(super) const SERVER_SHUTDOWN: u16 = 1053;
    /// The statement was interrupted.
    pub(super) const QUERY_INTERRUPTED: u16 = 1317;
}

/// Makes what this connection has committed survive a loss of power, also where the server's
/// settings do not ask for it.
///
/// With `innodb_flush_log_at_trx_commit` and `sync_binlog` at 1 a commit is durable when it is
/// answered. Otherwise the engine's log is flushed: a commit record on disk is not undone when the
/// binary log has lost it.
async fn make_durable(client: &SqlConn, step: &'static str) -> Result<(), Failed> {
    let sql = "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit = 1
                      AND (@@GLOBAL.log_bin = 0 OR @@GLOBAL.sync_binlog = 1)";
    let flush = async {
        let row = client.query_first(sql).await?;
        let is_durable = row.is_some_and(|row| row.text(0) == Some("1"));
        if !is_durable {
            client.execute("FLUSH LOCAL ENGINE LOGS").await?;
        }
        Ok(())
    };
    flush
        .await
        .map_err(|source| Failed::NotDurable { step, source })
}

/// Whether our table of this name is on the server.
async fn has_table(client: &SqlConn, name: &str, step: &'static str) -> Result<bool, Failed> {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.TABLES
         WHERE TABLE_SCHEMA = 'pointsman' AND TABLE_NAME = '{name}'"
    );
    Ok(one::<u8>(client, &sql, step).await? > 0)
}

/// The one value of a query.
pub(crate) async fn one<T: std::str::FromStr>(
    client: &SqlConn,
    sql: &str,
    step: &'static str,
) -> Result<T, Failed> {
    let row = client.query_first(sql).await.map_err(Failed::sql(step))?;
    let row = row.ok_or(Failed::Empty { step })?;
    row.parse(0).map_err(Failed::answer(step))
}

/// The first column of all rows, as text.
pub(crate) async fn names(
    client: &SqlConn,
    sql: &str,
    step: &'static str,
) -> Result<Vec<String>, Failed> {
    let rows = client.query(sql).await.map_err(Failed::sql(step))?;
    rows.iter()
        .map(|row| row.parse(0).map_err(Failed::answer(step)))
        .collect()
}
