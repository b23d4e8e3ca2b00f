//! The initial copy's own rows in the target's bookkeeping.

use std::collections::HashSet;

use router::failpoint::{self, Point};
use router::{Lsn, Side};
use tokio_postgres::Client;

use super::super::error::SchemaError;
use super::super::setup::SourceIdentity;
use super::{InitialStep, StreamStart};
use crate::stream::SystemIdentity;

/// What the target knows about this migration.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) phase: Phase,
    pub(super) source_system_id: String,
    pub(super) source_timeline: i32,
    pub(super) source_database: String,
    pub(super) consistent_point: Option<Lsn>,
    steps: HashSet<String>,
}

/// Whether the initial copy is behind us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Copying,
    Streaming,
}

impl Record {
    pub(super) async fn read(target: &Client) -> Result<Self, SchemaError> {
        let failed = || SchemaError::sql(Side::Target, "reading the migration's state");
        let query = "SELECT phase, source_system_id, source_database,
                            consistent_point::pg_catalog.text, source_timeline
                     FROM pointsman.migration";
        let row = target.query_one(query, &[]).await.map_err(failed())?;
        let steps = target
            .query("SELECT step FROM pointsman.schema_step", &[])
            .await;
        let consistent_point = match row.get::<_, Option<&str>>(3) {
            None => None,
            Some(text) => Some(text.parse().map_err(|_bad| SchemaError::Unreadable {
                side: Side::Target,
                what: "the slot's position".to_owned(),
            })?),
        };
        Ok(Self {
            phase: match row.get(0) {
                "streaming" => Phase::Streaming,
                _ => Phase::Copying,
            },
            source_system_id: row.get(1),
            source_database: row.get(2),
            source_timeline: row.get(4),
            consistent_point,
            steps: steps
                .map_err(failed())?
                .iter()
                .map(|row| row.get(0))
                .collect(),
        })
    }

    /// Another server behind the source's address must never be taken for it.
    pub(super) fn refuse_other_source(&self, found: &SourceIdentity) -> Result<(), SchemaError> {
        if self.source_system_id == found.system_id && self.source_database == found.database {
            return Ok(());
        }
        Err(SchemaError::OtherSource {
            found: found.system_id.clone(),
            database: found.database.clone(),
            expected: self.source_system_id.clone(),
        })
    }

    /// Where the stream starts, once that is recorded.
    pub(super) fn start(&self, slot: &str) -> Option<StreamStart> {
        Some(StreamStart {
            consistent_point: self.consistent_point?,
            slot: slot.to_owned(),
            publication: slot.to_owned(),
            source: SystemIdentity {
                system_id: self.source_system_id.clone(),
                timeline: self.source_timeline,
            },
        })
    }

    pub(super) fn is_done(&self, step: InitialStep) -> bool {
        self.steps.contains(step.as_str())
    }
}

pub(super) async fn record_step(target: &Client, step: InitialStep) -> Result<(), SchemaError> {
    if let Some([made, _]) = points(step) {
        failpoint::reach(made).await;
    }
    let insert = "INSERT INTO pointsman.schema_step (step) VALUES ($1) ON CONFLICT DO NOTHING";
    let inserted = target.execute(insert, &[&step.as_str()]).await;
    let what = format!("recording the step {}", step.as_str());
    inserted.map_err(SchemaError::sql(Side::Target, what))?;
    if let Some([_, recorded]) = points(step) {
        failpoint::reach(recorded).await;
    }
    Ok(())
}

/// Where tests stop a step that is recorded: before and after that.
fn points(step: InitialStep) -> Option<[Point; 2]> {
    Some(match step {
        InitialStep::Roles => [Point::RolesMade, Point::RolesRecorded],
        InitialStep::Structure => [Point::StructureMade, Point::StructureRecorded],
        InitialStep::Rows => [Point::RowsMade, Point::RowsRecorded],
        InitialStep::Indexes => [Point::IndexesMade, Point::IndexesRecorded],
        InitialStep::Vacuum => [Point::StatisticsMade, Point::StatisticsRecorded],
        InitialStep::Views => [Point::ViewsMade, Point::ViewsRecorded],
        InitialStep::Sequences => [Point::SequencesMade, Point::SequencesRecorded],
        InitialStep::Waiting
        | InitialStep::Looking
        | InitialStep::Target
        | InitialStep::Source
        | InitialStep::Slot
        | InitialStep::Done => return None,
    })
}

pub(super) async fn record_point(target: &Client, point: Lsn) -> Result<(), SchemaError> {
    let update = "UPDATE pointsman.migration
                  SET consistent_point = $1::pg_catalog.text::pg_catalog.pg_lsn";
    let updated = target.execute(update, &[&point.to_string()]).await;
    updated.map_err(SchemaError::sql(
        Side::Target,
        "recording the slot's position",
    ))?;
    failpoint::reach(Point::PositionRecorded).await;
    Ok(())
}

pub(super) async fn record_streaming(target: &Client) -> Result<(), SchemaError> {
    let updated = target
        .execute("UPDATE pointsman.migration SET phase = 'streaming'", &[])
        .await;
    updated.map_err(SchemaError::sql(
        Side::Target,
        "recording that the copy is done",
    ))?;
    failpoint::reach(Point::CopyRecorded).await;
    Ok(())
}
