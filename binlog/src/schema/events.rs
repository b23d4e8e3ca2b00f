//! Events of the scheduler: made disabled on the target, so that they do not write while the source
//! serves. Those that ran are remembered in `pointsman.saved_event`; the switch enables them.

use router::Side;

use super::catalog::{Event, EventStatus};
use super::error::SchemaError;
use crate::name::quote_literal;
use crate::wire::SqlConn;

/// Remembers the events that the switch must enable.
pub(super) async fn save(target: &SqlConn, events: &[Event]) -> Result<(), SchemaError> {
    let failed = || SchemaError::sql(Side::Target, "keeping which events run");
    let forget = "DELETE FROM pointsman.saved_event";
    target.execute(forget).await.map_err(failed())?;
    for event in events {
        match event.status {
            EventStatus::Enabled => {}
            EventStatus::Disabled | EventStatus::ReplicaSideDisabled => continue,
        }
        let insert = format!(
            "INSERT INTO pointsman.saved_event (schema_name, event_name) VALUES ({}, {})",
            quote_literal(&event.name.schema),
            quote_literal(&event.name.name)
        );
        target.execute(&insert).await.map_err(failed())?;
    }
    Ok(())
}
