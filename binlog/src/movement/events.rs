//! Events of the scheduler: disabled on the target until it serves.
//!
//! They are made disabled with the schema, and `pointsman.saved_event` keeps those that run on the
//! source. They are enabled after the journal says `switched`, never before, since an event would
//! write while the source still serves. A crash in between is mended by asking again: each row goes
//! once its event is enabled.

use std::time::Duration;

use router::words;

use super::error::Failed;
use super::has_table;
use crate::wire::{SqlConn, SqlError, quote};

/// How long enabling them may hold up what it is done in.
const PATIENCE: Duration = Duration::from_millis(500);

const STEP: &str = "enabling events on the target";

/// An event is not there any more.
const NO_SUCH_EVENT: u16 = 1539;

/// [`enable_saved`] in the movement itself, while clients wait: what fails is no failure of the
/// movement. It is said in the log, and done again right after.
pub async fn enable_or_warn(client: &SqlConn) {
    let failed = match tokio::time::timeout(PATIENCE, enable_saved(client)).await {
        Ok(Ok(failed)) => failed,
        Ok(Err(error)) => vec![words(&error)],
        Err(_elapsed) => vec!["the server takes too long".to_owned()],
    };
    for what in failed {
        tracing::warn!(%what, "the target serves, but its events could not all be enabled");
    }
}

/// Enables the events that wait for the switch; returns those that could not be enabled, with the
/// reason. To be asked after the switch until it succeeds, and at each start at which the target
/// serves.
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
        let definer = definer(client, &schema, &event).await?;
        let alter = format!("ALTER {definer}EVENT {name} ENABLE");
        match client.execute(&alter).await {
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

/// The clause that leaves an event its definer: whoever alters one without it becomes that himself.
async fn definer(client: &SqlConn, schema: &str, event: &str) -> Result<String, Failed> {
    let sql = format!(
        "SELECT DEFINER FROM information_schema.EVENTS
         WHERE EVENT_SCHEMA = {} AND EVENT_NAME = {}",
        quote::literal(schema),
        quote::literal(event)
    );
    let row = client.query_first(&sql).await.map_err(Failed::sql(STEP))?;
    let account = row.as_ref().and_then(|row| row.text(0));
    Ok(match account.and_then(|account| account.rsplit_once('@')) {
        Some((role, "")) => format!("DEFINER = {} ", quote::ident(role)),
        Some((user, host)) => format!("DEFINER = {} ", quote::account(user, host)),
        None => String::new(),
    })
}
