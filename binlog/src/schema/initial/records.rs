//! The initial copy's own rows in the target's bookkeeping.

use std::collections::HashSet;

use router::Side;
use router::failpoint::{self, Point};

use super::super::error::SchemaError;
use super::super::identity::ServerIdentity;
use super::{InitialStep, StreamStart};
use crate::name::quote_literal;
use crate::position::Position;
use crate::wire::SqlConn;

/// What the target knows about this migration.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) phase: Phase,
    pub(super) source: ServerIdentity,
    pub(super) position: Option<Position>,
    steps: HashSet<String>,
}

/// Whether the initial copy is behind us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Copying,
    Streaming,
}

impl Record {
    pub(super) async fn read(target: &SqlConn) -> Result<Self, SchemaError> {
        let failed = || SchemaError::sql(Side::Target, "reading the migration's state");
        let unreadable = |what: &str| SchemaError::Unreadable {
            side: Side::Target,
            what: what.to_owned(),
        };
        let query = "SELECT phase, source_id, start_position FROM pointsman.migration";
        let row = target.query_first(query).await.map_err(failed())?;
        let row = row.ok_or(SchemaError::NoMigration { side: Side::Target })?;
        let steps = target.query("SELECT step FROM pointsman.schema_step").await;
        let position = match row.text(2) {
            None => None,
            Some(text) => {
                let position = text.parse();
                Some(position.map_err(|_bad| unreadable("where the stream starts"))?)
            }
        };
        let source = row.text(1).unwrap_or_default().parse();
        Ok(Self {
            phase: match row.text(0) {
                Some("streaming") => Phase::Streaming,
                Some(_) | None => Phase::Copying,
            },
            source: source.map_err(|_bad| unreadable("which server the source is"))?,
            position,
            steps: steps
                .map_err(failed())?
                .iter()
                .filter_map(|row| row.text(0).map(ToOwned::to_owned))
                .collect(),
        })
    }

    /// Another server behind the source's address must never be taken for it.
    pub(super) fn refuse_other_source(&self, found: &ServerIdentity) -> Result<(), SchemaError> {
        if self.source == *found {
            return Ok(());
        }
        Err(SchemaError::OtherSource {
            found: found.to_string(),
            expected: self.source.to_string(),
        })
    }

    /// Where the stream starts, once that is recorded.
    pub(super) fn start(&self) -> Option<StreamStart> {
        Some(StreamStart {
            position: self.position.clone()?,
            source: self.source.clone(),
        })
    }

    pub(super) fn is_done(&self, step: InitialStep) -> bool {
        self.steps.contains(step.as_str())
    }
}

pub(super) async fn record_step(target: &SqlConn, step: InitialStep) -> Result<(), SchemaError> {
    if let Some([made, _]) = points(step) {
        failpoint::reach(made).await;
    }
    let insert = format!(
        "INSERT IGNORE INTO pointsman.schema_step (step) VALUES ('{}')",
        step.as_str()
    );
    let inserted = target.execute(&insert).await;
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
        InitialStep::Structure => [Point::StructureMade, Point::StructureRecorded],
        InitialStep::Rows => [Point::RowsMade, Point::RowsRecorded],
        InitialStep::Indexes => [Point::IndexesMade, Point::IndexesRecorded],
        InitialStep::ForeignKeys => [Point::ForeignKeysMade, Point::ForeignKeysRecorded],
        InitialStep::Triggers => [Point::TriggersMade, Point::TriggersRecorded],
        InitialStep::Analyze => [Point::StatisticsMade, Point::StatisticsRecorded],
        InitialStep::Grants => [Point::GrantsMade, Point::GrantsRecorded],
        InitialStep::Waiting
        | InitialStep::Looking
        | InitialStep::Target
        | InitialStep::Source
        | InitialStep::Snapshot
        | InitialStep::Roles
        | InitialStep::Done => return None,
    })
}

pub(super) async fn record_position(
    target: &SqlConn,
    position: &Position,
) -> Result<(), SchemaError> {
    let update = format!(
        "UPDATE pointsman.migration SET start_position = {}",
        quote_literal(&position.to_string())
    );
    let updated = target.execute(&update).await;
    updated.map_err(SchemaError::sql(
        Side::Target,
        "recording where the stream starts",
    ))?;
    failpoint::reach(Point::PositionRecorded).await;
    Ok(())
}

pub(super) async fn record_streaming(target: &SqlConn) -> Result<(), SchemaError> {
    let update = "UPDATE pointsman.migration SET phase = 'streaming'";
    let updated = target.execute(update).await;
    updated.map_err(SchemaError::sql(
        Side::Target,
        "recording that the copy is done",
    ))?;
    failpoint::reach(Point::CopyRecorded).await;
    Ok(())
}
