//! Finds the row that breaks a rule of the target's: what was refused is done again in ever smaller
//! parts, and rolled back.

use std::ops::Range;

use super::rows::{self, failed};
use crate::apply::encode::Packer;
use crate::apply::error::{ApplyError, Doing, Refusal};
use crate::apply::session::Session;
use crate::apply::sql;
use crate::apply::target_table::Method;
use crate::apply::work::Piece;
use crate::wire::SqlError;

/// What the refusal of a statement means whose rows are `slices` of `pieces`. The transaction in
/// which it was refused is rolled back.
pub(super) async fn refusal(
    session: &Session,
    pieces: &[Piece<'_>],
    slices: &[(usize, Range<usize>)],
    error: SqlError,
) -> ApplyError {
    let found = match slices {
        [(piece, rows)] if rows.len() == 1 => Some((*piece, rows.start)),
        _ => search(session, pieces, slices, error.code()).await,
    };
    let place = found.or_else(|| slices.first().map(|(piece, rows)| (*piece, rows.start)));
    let Some(piece) = place.and_then(|(piece, _row)| pieces.get(piece)) else {
        return ApplyError::Server {
            doing: Doing::Window,
            source: error,
        };
    };
    // Of several tables it could be any.
    if found.is_none() && slices.len() > 1 {
        return failed(piece, error);
    }
    let change = found.and_then(|(_piece, row)| piece.rows.get(row));
    ApplyError::Refused(Box::new(Refusal {
        table: piece.table.name.clone(),
        action: piece.action(),
        key_columns: piece.table.key_column_names(),
        row: change.and_then(|change| change.row_name(piece.table)),
        source: error,
    }))
}

/// The first row of `slices` that is refused, if that can be told.
async fn search(
    session: &Session,
    pieces: &[Piece<'_>],
    slices: &[(usize, Range<usize>)],
    code: Option<u16>,
) -> Option<(usize, usize)> {
    // Should the server have ended the transaction, nothing that is tried here may stay.
    session
        .conn
        .execute("SET SESSION autocommit = 0")
        .await
        .ok()?;
    let found = refused_slice(session, pieces, slices, code).await;
    session.conn.execute("ROLLBACK").await.ok()?;
    session
        .conn
        .execute("SET SESSION autocommit = 1")
        .await
        .ok()?;
    found
}

/// Of a statement of several events those before the refused one are applied: done again they change
/// nothing, or are refused for another reason.
async fn refused_slice(
    session: &Session,
    pieces: &[Piece<'_>],
    slices: &[(usize, Range<usize>)],
    code: Option<u16>,
) -> Option<(usize, usize)> {
    for (place, rows) in slices {
        let piece = pieces.get(*place)?;
        match attempt(session, piece, rows.clone()).await {
            Attempt::Refused(told) if Some(told) == code => {
                let row = halve(session, piece, rows.clone(), code).await?;
                return Some((*place, row));
            }
            Attempt::Applied | Attempt::Refused(_) => {}
            Attempt::Failed => return None,
        }
    }
    None
}

/// The first refused row, by halves: what is before the refused part is applied.
async fn halve(
    session: &Session,
    piece: &Piece<'_>,
    mut left: Range<usize>,
    code: Option<u16>,
) -> Option<usize> {
    while left.len() > 1 {
        let middle = left.start + left.len() / 2;
        match attempt(session, piece, left.start..middle).await {
            Attempt::Applied => left.start = middle,
            Attempt::Refused(told) if Some(told) == code => left.end = middle,
            Attempt::Refused(_) | Attempt::Failed => return None,
        }
    }
    match attempt(session, piece, left.clone()).await {
        Attempt::Refused(told) if Some(told) == code => Some(left.start),
        Attempt::Applied | Attempt::Refused(_) | Attempt::Failed => None,
    }
}

/// What came of a part.
enum Attempt {
    Applied,
    /// By the server, with this error.
    Refused(u16),
    /// Nothing can be told.
    Failed,
}

impl Attempt {
    fn of(error: &SqlError) -> Self {
        error.code().map_or(Self::Failed, Self::Refused)
    }
}

/// Applies these rows of a piece.
async fn attempt(session: &Session, piece: &Piece<'_>, rows: Range<usize>) -> Attempt {
    let Some(rows) = piece.rows.get(rows) else {
        return Attempt::Failed;
    };
    let part = Piece {
        table: piece.table,
        kind: piece.kind,
        foreign_keys: piece.foreign_keys,
        before: piece.before.clone(),
        after: piece.after.clone(),
        rows: rows.to_vec(),
    };
    match part.table.method {
        Method::RowEvents => by_events(session, &part).await,
        Method::Sql => by_sql(session, &part).await,
    }
}

async fn by_events(session: &Session, piece: &Piece<'_>) -> Attempt {
    let pieces = std::slice::from_ref(piece);
    let mut packer = Packer::new(pieces, rows::timestamp_s(None), session.packet_max);
    loop {
        match packer.next() {
            Ok(None) => return Attempt::Applied,
            Ok(Some(statement)) => {
                if let Err(error) = session.conn.execute(&statement.sql).await {
                    return Attempt::of(&error);
                }
            }
            Err(_unwritten) => return Attempt::Failed,
        }
    }
}

async fn by_sql(session: &Session, piece: &Piece<'_>) -> Attempt {
    for statement in sql::Statements::new(piece, session.packet_max) {
        let Ok(statement) = statement else {
            return Attempt::Failed;
        };
        match rows::execute(session, piece, &statement).await {
            Ok(Ok(_found)) => {}
            Ok(Err(error)) => return Attempt::of(&error),
            Err(_failed) => return Attempt::Failed,
        }
    }
    Attempt::Applied
}
