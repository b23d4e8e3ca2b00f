//! The lock of the fence: what one connection holds, so that nothing of a lost one can land later.
//!
//! It is a user-level lock (GET_LOCK): it belongs to a session and goes with it, after whatever the
//! session was doing has ended. It changes nothing on disk and works behind the fence.

use std::time::{Duration, Instant};

use super::FenceError;
use crate::movement::code;
use crate::movement::error::Failed;
use crate::wire::SqlConn;

const NAME: &str = "pointsman.fence";

const STEP: &str = "taking the lock of the fence";

/// Takes the lock, until it is released or the connection ends. A session that holds it is ended: it is one of ours
/// that we lost, or another pointsman at the same work, whom the journal decides against.
///
/// # Errors
/// When the holder does not end in time, or the server fails.
pub(super) async fn take(client: &SqlConn, timeout: Duration) -> Result<(), FenceError> {
    let deadline = Instant::now() + timeout;
    loop {
        let sql = format!("SELECT IS_USED_LOCK('{NAME}')");
        let row = client.query_first(&sql).await.map_err(Failed::sql(STEP))?;
        let row = row.ok_or(Failed::Empty { step: STEP })?;
        let holder: Option<u32> = row.parse_nullable(0).map_err(Failed::answer(STEP))?;
        match holder {
            Some(id) if id == client.thread_id() => return Ok(()),
            Some(id) => kill(client, id).await?,
            None => {}
        }
        // Waits on the server, for a second at most: the holder ends first.
        let sql = format!("SELECT COALESCE(GET_LOCK('{NAME}', 1), 0)");
        if crate::movement::one::<u8>(client, &sql, STEP).await? == 1 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(FenceError::Locked {
                thread_id: holder.unwrap_or_default(),
            });
        }
    }
}

/// Makes sure that this connection holds the lock, without ending anybody: whoever took it since is
/// lowering what we would raise.
///
/// # Errors
/// When another session holds it, or the server fails.
pub(super) async fn hold(client: &SqlConn) -> Result<(), FenceError> {
    // IF asks for the lock only when it is not ours: it is counted.
    let sql = format!(
        "SELECT IF(COALESCE(IS_USED_LOCK('{NAME}'), 0) = CONNECTION_ID(), 1,
                   COALESCE(GET_LOCK('{NAME}', 0), 0)), COALESCE(IS_USED_LOCK('{NAME}'), 0)"
    );
    let row = client.query_first(&sql).await.map_err(Failed::sql(STEP))?;
    let row = row.ok_or(Failed::Empty { step: STEP })?;
    if row.parse::<u8>(0).map_err(Failed::answer(STEP))? == 1 {
        return Ok(());
    }
    let thread_id = row.parse(1).map_err(Failed::answer(STEP))?;
    Err(FenceError::Locked { thread_id })
}

/// Lets the lock go, so that nobody ends this connection for it.
pub(super) async fn release(client: &SqlConn) -> Result<(), Failed> {
    let sql = format!("DO RELEASE_LOCK('{NAME}')");
    let released = client.execute(&sql).await;
    released.map(|_done| ()).map_err(Failed::sql(STEP))
}

/// Ends a session. One that is gone already is ended too.
pub(super) async fn kill(client: &SqlConn, thread_id: u32) -> Result<(), Failed> {
    match client.execute(&format!("KILL {thread_id}")).await {
        Ok(_done) => Ok(()),
        Err(error) if error.code() == Some(code::NO_SUCH_THREAD) => Ok(()),
        Err(error) => Err(Failed::sql("ending a session")(error)),
    }
}
