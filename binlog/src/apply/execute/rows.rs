//! Row changes on their way to the target: by row events, or by SQL.

use std::time::SystemTime;

use super::explain;
use crate::apply::compose::ForeignKeys;
use crate::apply::encode::Packer;
use crate::apply::error::{ApplyError, Divergence, Doing, Found};
use crate::apply::session::Session;
use crate::apply::sql::{self, Affected};
use crate::apply::step::WindowEnd;
use crate::apply::target_table::Method;
use crate::apply::work::Piece;

/// Applies pieces in their order.
pub(super) async fn apply(
    session: &Session,
    pieces: Vec<Piece<'_>>,
    end: Option<&WindowEnd>,
) -> Result<(), ApplyError> {
    let (by_events, by_sql): (Vec<_>, Vec<_>) = pieces
        .into_iter()
        .partition(|piece| piece.table.method == Method::RowEvents);
    row_events(session, &by_events, end).await?;
    for piece in &by_sql {
        match piece.foreign_keys {
            ForeignKeys::Off => statements(session, piece).await?,
            ForeignKeys::On => {
                heed_foreign_keys(session, piece, "1").await?;
                let done = statements(session, piece).await;
                // What failed first tells more.
                let off = heed_foreign_keys(session, piece, "0").await;
                done.and(off)?;
            }
        }
    }
    Ok(())
}

async fn heed_foreign_keys(
    session: &Session,
    piece: &Piece<'_>,
    heed: &str,
) -> Result<(), ApplyError> {
    let sql = format!("SET SESSION foreign_key_checks = {heed}");
    let done = session.conn.execute(&sql).await;
    done.map(drop).map_err(|error| failed(piece, error))
}

async fn row_events(
    session: &Session,
    pieces: &[Piece<'_>],
    end: Option<&WindowEnd>,
) -> Result<(), ApplyError> {
    let mut packer = Packer::new(pieces, timestamp_s(end), session.packet_max);
    while let Some(statement) = packer.next()? {
        if let Err(error) = session.conn.execute(&statement.sql).await {
            return Err(explain::refused(session, pieces, &statement.slices, error).await);
        }
    }
    Ok(())
}

async fn statements(session: &Session, piece: &Piece<'_>) -> Result<(), ApplyError> {
    let packet_max = session.packet_max;
    let table = &piece.table.name;
    for statement in sql::Statements::new(piece, packet_max) {
        let statement = statement?;
        let done = match statement.affected {
            Affected::Counted => {
                let rows = session.conn.query(&statement.sql).await;
                rows.map(|rows| rows.first().and_then(|row| row.parse(0).ok()).unwrap_or(0))
            }
            Affected::Rows | Affected::Any => {
                let done = session.conn.execute(&statement.sql).await;
                done.map(|done| done.affected_rows)
            }
        };
        let slices = [(0, statement.rows.clone())];
        let found = match done {
            Ok(found) => found,
            Err(error) => {
                let pieces = std::slice::from_ref(piece);
                return Err(explain::refused(session, pieces, &slices, error).await);
            }
        };
        let expected = u64::try_from(statement.rows.len()).unwrap_or(u64::MAX);
        let right = match statement.affected {
            Affected::Counted | Affected::Rows => found == expected,
            Affected::Any => true,
        };
        if !right {
            return Err(ApplyError::Divergence(Box::new(Divergence {
                table: table.clone(),
                action: piece.action(),
                found: Found::Missing,
                key_columns: piece.table.key_column_names(),
                // The rows that were there are gone by now.
                row: None,
            })));
        }
    }
    Ok(())
}

/// When the source committed, for the events' headers; now if that is not known.
fn timestamp_s(end: Option<&WindowEnd>) -> u32 {
    let committed = end
        .and_then(|end| end.commit_time_us)
        .map(|us| us / 1_000_000);
    let seconds = committed.or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.ok().map(|now| now.as_secs())
    });
    seconds
        .and_then(|seconds| u32::try_from(seconds).ok())
        .unwrap_or(u32::MAX)
}

/// What the target's refusal of a change of `piece`'s table means, before its row is known.
pub(super) fn failed(piece: &Piece<'_>, source: crate::wire::SqlError) -> ApplyError {
    ApplyError::Server {
        doing: Doing::Change(piece.table.name.clone()),
        source,
    }
}
