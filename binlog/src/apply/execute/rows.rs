//! Row changes on their way to the target: by row events, or by SQL.

use std::time::SystemTime;

use super::explain;
use crate::apply::compose::{ForeignKeys, RowsKind};
use crate::apply::encode::Packer;
use crate::apply::error::{ApplyError, Doing};
use crate::apply::session::{NOT_STRICT_MODE, STRICT_MODE, Session};
use crate::apply::sql::{self, Affected, Statement};
use crate::apply::step::WindowEnd;
use crate::apply::target_table::Method;
use crate::apply::work::Piece;
use crate::wire::{SqlError, TextRow};

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
    command(session, piece, &sql).await
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
    // What a delete has taken must be there again when the row that it missed is looked for.
    let has_savepoint = piece.kind == RowsKind::Delete && piece.rows.len() > 1;
    if has_savepoint {
        command(session, piece, "SAVEPOINT before_deletes").await?;
    }
    for statement in sql::Statements::new(piece, session.packet_max) {
        let statement = statement?;
        let done = execute(session, piece, &statement).await?;
        let found = match done {
            Ok(found) => found,
            Err(error) => {
                let pieces = std::slice::from_ref(piece);
                let slices = [(0, statement.rows.clone())];
                return Err(explain::refused(session, pieces, &slices, error).await);
            }
        };
        let expected = u64::try_from(statement.rows.len()).unwrap_or(u64::MAX);
        let right = match statement.affected {
            Affected::Counted | Affected::Rows => found == expected,
            Affected::Any => true,
        };
        if !right {
            if has_savepoint {
                command(session, piece, "ROLLBACK TO SAVEPOINT before_deletes").await?;
            }
            return Err(explain::missing(session, piece, statement.rows).await);
        }
    }
    Ok(())
}

/// Executes one statement; gives the number of rows that it found.
pub(super) async fn execute(
    session: &Session,
    piece: &Piece<'_>,
    statement: &Statement,
) -> Result<Result<u64, SqlError>, ApplyError> {
    Ok(match statement.affected {
        Affected::Counted => {
            let rows = session.conn.query(&statement.sql).await;
            rows.map(|rows| u64::try_from(rows.len()).unwrap_or(u64::MAX))
        }
        Affected::Rows | Affected::Any if statement.empty_labels > 0 => {
            with_empty_labels(session, piece, statement).await?
        }
        Affected::Rows | Affected::Any => {
            let done = session.conn.execute(&statement.sql).await;
            done.map(|done| done.affected_rows)
        }
    })
}

async fn command(session: &Session, piece: &Piece<'_>, sql: &str) -> Result<(), ApplyError> {
    let done = session.conn.execute(sql).await;
    done.map(drop).map_err(|error| failed(piece, error))
}

/// Executes a statement that a strict server refuses for the empty labels in it, and makes sure that
/// it did nothing else that a strict server refuses.
async fn with_empty_labels(
    session: &Session,
    piece: &Piece<'_>,
    statement: &Statement,
) -> Result<Result<u64, SqlError>, ApplyError> {
    let conn = &session.conn;
    let mode = |mode: &str| format!("SET SESSION sql_mode = '{mode}'");
    command(session, piece, &mode(NOT_STRICT_MODE)).await?;
    let done = conn.execute(&statement.sql).await;
    let warnings = match &done {
        Ok(_) => conn
            .query("SHOW WARNINGS")
            .await
            .map_err(|error| failed(piece, error))?,
        Err(_) => Vec::new(),
    };
    command(session, piece, &mode(STRICT_MODE)).await?;
    let done = match done {
        Ok(done) => done,
        Err(error) => return Ok(Err(error)),
    };
    let of_labels = warnings
        .iter()
        .filter(|row| row.text(1) == Some(TRUNCATED))
        .count();
    // Others tell of what is deprecated, as notes or as warnings of these codes.
    let is_harmless = |row: &TextRow| {
        row.text(0) == Some("Note") || row.text(1).is_some_and(|code| HARMLESS.contains(&code))
    };
    let others = warnings
        .iter()
        .filter(|row| row.text(1) != Some(TRUNCATED) && !is_harmless(row))
        .count();
    if of_labels == statement.empty_labels && others == 0 {
        return Ok(Ok(done.affected_rows));
    }
    let refused = ApplyError::Value {
        table: piece.table.name.clone(),
        column: "an enumeration".to_owned(),
        why: "a row has one without a label, and the target takes no such row as it is",
        row: None,
    };
    Err(refused.about(piece.table, piece.rows.get(statement.rows.start)))
}

/// Codes of warnings: a value that was cut, and what may stand beside it.
const TRUNCATED: &str = "1265";
const HARMLESS: [&str; 4] = ["1287", "1681", "3719", "3778"];

/// When the source committed, for the events' headers; now if that is not known.
pub(super) fn timestamp_s(end: Option<&WindowEnd>) -> u32 {
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
pub(super) fn failed(piece: &Piece<'_>, source: SqlError) -> ApplyError {
    ApplyError::Server {
        doing: Doing::Change(piece.table.name.clone()),
        source,
    }
}
