//! Finds the row that a refusal is about.
//!
//! A refused statement was rolled back and its transaction was not: the target still shows the
//! state in which the first of its rows could not be applied.

use std::collections::HashSet;
use std::ops::Range;

use router::Key;

use super::probe;
use super::rows::failed;
use crate::apply::compose::RowsKind;
use crate::apply::error::{ApplyError, Divergence, Found, RowName};
use crate::apply::failure;
use crate::apply::session::Session;
use crate::apply::work::Piece;
use crate::wire::SqlError;

/// Rows that are looked for one by one; more would keep the operator waiting for the error.
const LOOKED_FOR_MAX: usize = 20_000;

/// What the refusal of a statement means; the statement's rows are `slices` of `pieces`.
pub(super) async fn refused(
    session: &Session,
    pieces: &[Piece<'_>],
    slices: &[(usize, Range<usize>)],
    error: SqlError,
) -> ApplyError {
    let first = slices.first().and_then(|(piece, _)| pieces.get(*piece));
    let Some(first) = first else {
        return ApplyError::Server {
            doing: crate::apply::error::Doing::Window,
            source: error,
        };
    };
    if failure::is_broken_rule(&error) {
        return probe::refusal(session, pieces, slices, error).await;
    }
    let Some(found) = failure::difference(&error) else {
        return failed(first, error);
    };
    match find(session, pieces, slices, found).await {
        Some((piece, row)) => divergence(piece, found, row),
        // Its table at least is known if there is only one that it can be.
        None => {
            let fits = |piece: &&Piece<'_>| match found {
                Found::Missing => piece.kind != RowsKind::Write,
                Found::Exists => piece.kind != RowsKind::Delete,
            };
            let candidates = slices.iter().filter_map(|(piece, _)| pieces.get(*piece));
            let likely = candidates.clone().find(fits).unwrap_or(first);
            divergence(likely, found, None)
        }
    }
}

/// What it means that a statement about these rows of `piece` did not find all of them.
pub(super) async fn missing(
    session: &Session,
    piece: &Piece<'_>,
    rows: Range<usize>,
) -> ApplyError {
    let pieces = std::slice::from_ref(piece);
    let found = find(session, pieces, &[(0, rows)], Found::Missing).await;
    divergence(piece, Found::Missing, found.and_then(|(_piece, row)| row))
}

fn divergence(piece: &Piece<'_>, found: Found, row: Option<RowName>) -> ApplyError {
    let (row, key) = row.map_or((None, None), |RowName { condition, key }| {
        (Some(condition), key)
    });
    ApplyError::Divergence(Box::new(Divergence {
        table: piece.table.name.clone(),
        action: piece.action(),
        found,
        key_columns: piece.table.key_column_names(),
        row,
        key,
    }))
}

async fn find<'p, 'a>(
    session: &Session,
    pieces: &'p [Piece<'a>],
    slices: &[(usize, Range<usize>)],
    found: Found,
) -> Option<(&'p Piece<'a>, Option<RowName>)> {
    // Rows that the same statement deletes are in nobody's way.
    let mut deleted: HashSet<(u64, Key)> = HashSet::new();
    let mut looked = 0;
    for (place, rows) in slices {
        let piece = pieces.get(*place)?;
        for change in piece.rows.get(rows.clone())? {
            looked += 1;
            if looked > LOOKED_FOR_MAX {
                return None;
            }
            let Some(key) = change.key(piece.table) else {
                continue;
            };
            if piece.kind == RowsKind::Delete {
                deleted.insert((piece.table.id, key.clone()));
            }
            let wrong = match (found, piece.kind) {
                (Found::Missing, RowsKind::Delete | RowsKind::Update) => Presence::Missing,
                (Found::Exists, RowsKind::Write) => Presence::There,
                (Found::Missing, RowsKind::Write)
                | (Found::Exists, RowsKind::Delete | RowsKind::Update) => continue,
            };
            if wrong == Presence::There && deleted.contains(&(piece.table.id, key.clone())) {
                continue;
            }
            let name = change.row_name(piece.table)?;
            if presence(session, piece, &name.condition).await? == wrong {
                return Some((piece, Some(name)));
            }
        }
    }
    None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    There,
    Missing,
}

async fn presence(session: &Session, piece: &Piece<'_>, condition: &str) -> Option<Presence> {
    let sql = format!(
        "SELECT 1 FROM {} WHERE {condition} LIMIT 1",
        piece.table.name.quoted()
    );
    let rows = session.conn.query(&sql).await.ok()?;
    Some(if rows.is_empty() {
        Presence::Missing
    } else {
        Presence::There
    })
}
