//! Transactions that could still commit behind the fence.
//!
//! A COMMIT of one that had written before is refused by the read-only settings, but MySQL lets XA
//! PREPARE pass, and XA COMMIT of what is prepared. Nothing can begin to write any more, so it is
//! enough to end once who has written.

use std::time::{Duration, Instant};

use super::sessions::{self, ForeignSession};
use super::{FenceError, lock};
use crate::movement::error::Failed;
use crate::wire::SqlConn;

/// InnoDB renews the list of transactions when nobody has read it for 100 ms, else it repeats it.
pub(in crate::movement) const CACHE_TIME: Duration = Duration::from_millis(120);

/// The prepared XA transactions, as XA RECOVER tells them.
pub(super) async fn prepared(client: &SqlConn) -> Result<Vec<String>, Failed> {
    let step = "asking for prepared transactions";
    let rows = client
        .query("XA RECOVER")
        .await
        .map_err(Failed::sql(step))?;
    Ok(rows
        .iter()
        .map(|row| String::from_utf8_lossy(row.bytes(3).unwrap_or_default()).into_owned())
        .collect())
}

/// Ends every session whose transaction has written, and waits until it is rolled back.
///
/// # Errors
/// When one does not end by `deadline`, or the list cannot be had.
pub(super) async fn end_writers(
    client: &SqlConn,
    deadline: Instant,
) -> Result<Vec<ForeignSession>, FenceError> {
    let ids = writers(client, deadline).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut ended = sessions::all(client).await?;
    ended.retain(|session| ids.contains(&session.id));
    for id in &ids {
        lock::kill(client, *id).await?;
    }
    sessions::wait_gone(client, &ids, deadline).await?;
    Ok(ended)
}

/// Sessions with a transaction that has changed rows. That our own transaction stands in the list
/// proves that the list is from after the fence.
async fn writers(client: &SqlConn, deadline: Instant) -> Result<Vec<u32>, FenceError> {
    let step = "looking for transactions that have written";
    client
        .execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        .await
        .map_err(Failed::sql(step))?;
    let writers = loop {
        let sql = "SELECT trx_mysql_thread_id, trx_rows_modified
                   FROM information_schema.INNODB_TRX";
        let rows = client.query(sql).await.map_err(Failed::sql(step))?;
        let mut is_fresh = false;
        let mut writers = Vec::new();
        for row in &rows {
            let id: u32 = row.parse(0).map_err(Failed::answer(step))?;
            let modified: u64 = row.parse(1).map_err(Failed::answer(step))?;
            is_fresh |= id == client.thread_id();
            // Thread 0 has a prepared transaction, which XA RECOVER tells of.
            if modified > 0 && id != 0 {
                writers.push(id);
            }
        }
        if is_fresh {
            break writers;
        }
        if Instant::now() + CACHE_TIME > deadline {
            return Err(FenceError::StaleTransactions);
        }
        tokio::time::sleep(CACHE_TIME).await;
    };
    client
        .execute("ROLLBACK")
        .await
        .map_err(Failed::sql(step))?;
    Ok(writers)
}
