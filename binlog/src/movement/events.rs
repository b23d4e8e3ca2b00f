//! Events of the scheduler: disabled on the target until it serves.
//!
//! They are made disabled with the schema, and `pointsman.saved_event` keeps those that run on the
//! source. They are enabled after the journal says `switched`, never before, since an event would
//! write while the source still serves. A crash in between is mended by asking again: each row goes
//! once its event is enabled.

use super::error::Failed;
use super::has_table;
use crate::wire::{SqlConn, SqlError, quote};

const STEP: &str = "enabling events on the target";

/// An event is not there any more.
const NO_SUCH_EVENT: u16 = 1539;

/// Enables the events that wait for the switch; returns those that could not be enabled, with the
/// reason. To be asked after the switch, and at each start at which the target serves.
///
/// # Errors
/// When the list cannot be read or the connection broke; ask again.
pub async fn enable_saved(client: &SqlConn) -> Result<Vec<String>, Failed> {
    if !has_table(client, "saved_event", STEP).await? {
        return Ok(Vec::new());
    }
    let rows = client
        .query("SELECT schema_name, event_name FROM pointsman.saved_event")
        .await
        .map_err(Failed::sql(STEP))?;
    let mut failed = Vec::new();
    for row in rows {
        let schema: String = row.parse(0).map_err(Failed::answer(STEP))?;
        let event: String = row.parse(1).map_err(Failed::answer(STEP))?;
        let name = quote::qualified(&schema, &event);
        match client.execute(&format!("ALTER EVENT {name} ENABLE")).await {
            Ok(_done) => {}
            // Dropped through the stream, or its time has passed.
            Err(error) if error.code() == Some(NO_SUCH_EVENT) => {}
            Err(SqlError::Server(error)) => {
                failed.push(format!("event {schema}.{event} is still disabled: {error}"));
                continue;
            }
            Err(error @ SqlError::Wire { .. }) => return Err(Failed::sql(STEP)(error)),
        }
        let sql = format!(
            "DELETE FROM pointsman.saved_event WHERE schema_name = {} AND event_name = {}",
            quote::literal(&schema),
            quote::literal(&event)
        );
        client.execute(&sql).await.map_err(Failed::sql(STEP))?;
    }
    Ok(failed)
}
