//! Row changes as statements: prepared, with their parameters and the rows that each must hit.

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use futures_util::{SinkExt, pin_mut};
use router::net::Updated;
use router::{Key, Row};
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;

use crate::apply::copy_text::put_row;
use crate::apply::error::{Action, ApplyError, Doing, RowsMissing, ServerFailure};
use crate::apply::raw::TextArray;
use crate::apply::session::Session;
use crate::apply::sql::{Shape, compared_columns};
use crate::apply::target_table::TargetTable;
use crate::apply::work::{
    STATEMENT_ROWS_MAX, Work, compared_arrays, deleted_row_arrays, insert_arrays, key_arrays,
    move_arrays, set_arrays,
};

/// Up to this many rows INSERT is quicker than COPY, which needs a round trip of its own.
const INSERT_ROWS_MAX: usize = 200;

/// Bytes of one message of a COPY.
const COPY_MESSAGE_BYTES: usize = 64 * 1024;

/// A statement ready to be sent.
pub(super) struct Planned<'w> {
    pub(super) table: &'w TargetTable,
    pub(super) hit: Hit<'w>,
    pub(super) statement: Statement,
    pub(super) parameters: Vec<TextArray>,
}

/// The rows that a statement must hit, all of them.
#[derive(Clone, Copy)]
pub(super) enum Hit<'w> {
    Deletes(&'w [&'w Key]),
    DeletedRows(&'w [(&'w Row, u64)]),
    Moves(&'w [(&'w Key, &'w Row)]),
    Updates(&'w [&'w Updated]),
    Inserts(&'w [&'w Row]),
}

impl Hit<'_> {
    /// How many rows they are.
    pub(super) fn rows(&self) -> u64 {
        match self {
            Self::Deletes(keys) => count(keys.len()),
            Self::DeletedRows(rows) => rows.iter().map(|(_, times)| times).sum(),
            Self::Moves(moves) => count(moves.len()),
            Self::Updates(updates) => count(updates.len()),
            Self::Inserts(rows) => count(rows.len()),
        }
    }

    /// What the source did to them.
    pub(super) fn action(&self) -> Action {
        match self {
            Self::Deletes(_) | Self::DeletedRows(_) => Action::Deleted,
            Self::Moves(_) => Action::Moved,
            Self::Updates(_) => Action::Updated,
            Self::Inserts(_) => Action::Inserted,
        }
    }
}

/// Whether some updates of this table may have to be moves.
pub(super) fn needs_search(work: &Work<'_>) -> bool {
    work.updates.iter().any(|(presence, updates)| {
        !updates.is_empty() && !compared_columns(work.table, presence).is_empty()
    })
}

/// Asks the target which updates change a column that makes them moves, and makes them moves.
pub(super) async fn divert_moving(
    session: &mut Session,
    works: &mut [Work<'_>],
) -> Result<(), ApplyError> {
    for work in works.iter_mut().filter(|work| needs_search(work)) {
        let table = work.table;
        for group in 0..work.updates.len() {
            let (presence, updates) = &work.updates[group];
            if compared_columns(table, presence).is_empty() {
                continue;
            }
            let shape = Shape::FindMoving(presence.clone());
            let statement = session.prepare(table, shape).await?;
            let searches = updates.chunks(STATEMENT_ROWS_MAX).map(|chunk| {
                let arrays = compared_arrays(table, presence, chunk);
                ordinals(session, &statement, arrays)
            });
            let found = try_join_all(searches)
                .await
                .map_err(|error| refused(table, &error))?;
            let mut places: Vec<usize> = Vec::new();
            for (chunk, ordinals) in found.iter().enumerate() {
                places.extend(
                    ordinals
                        .iter()
                        .map(|place| chunk * STATEMENT_ROWS_MAX + place),
                );
            }
            places.sort_unstable();
            work.divert(group, &places);
        }
    }
    Ok(())
}

/// The `ord` column of a search, counted from 0.
pub(super) async fn ordinals(
    session: &Session,
    statement: &Statement,
    arrays: Vec<TextArray>,
) -> Result<Vec<usize>, tokio_postgres::Error> {
    use futures_util::TryStreamExt;
    let rows = session.client.query_raw(statement, arrays).await?;
    rows.and_then(async |row| {
        let ordinal: i64 = row.try_get(0)?;
        Ok(usize::try_from(ordinal - 1).unwrap_or(usize::MAX))
    })
    .try_collect()
    .await
}

/// The statements of a step.
pub(super) struct Plan<'w> {
    /// Everything but COPY, in the order in which it must be done.
    pub(super) statements: Vec<Planned<'w>>,
    /// What follows by COPY.
    pub(super) copies: Vec<(&'w Work<'w>, Statement)>,
}

/// Prepares all statements of a step.
pub(super) async fn plan<'w>(
    session: &mut Session,
    works: &'w [Work<'w>],
) -> Result<Plan<'w>, ApplyError> {
    let mut planned = Vec::new();
    let mut copies = Vec::new();
    for work in works {
        let table = work.table;
        let mut add = async |shape: Shape, parts: Vec<(Hit<'w>, Vec<TextArray>)>| {
            if parts.is_empty() {
                return Ok(());
            }
            let statement = session.prepare(table, shape).await?;
            planned.extend(parts.into_iter().map(|(hit, parameters)| Planned {
                table,
                hit,
                statement: statement.clone(),
                parameters,
            }));
            Ok::<(), ApplyError>(())
        };
        let deletes = work.deletes.chunks(STATEMENT_ROWS_MAX);
        let deletes =
            deletes.map(|keys| (Hit::Deletes(keys), key_arrays(table, keys.iter().copied())));
        add(Shape::Delete, deletes.collect()).await?;
        let rows = work.deleted_rows.chunks(STATEMENT_ROWS_MAX);
        let rows = rows.map(|rows| (Hit::DeletedRows(rows), deleted_row_arrays(table, rows)));
        add(Shape::DeleteRows, rows.collect()).await?;
        if !work.moves.is_empty() {
            // Never split: a second statement's deletes would come after the first one's inserts.
            let moves = (Hit::Moves(&work.moves), move_arrays(table, &work.moves));
            add(Shape::Move, vec![moves]).await?;
        }
        for (presence, updates) in &work.updates {
            let chunks = updates.chunks(STATEMENT_ROWS_MAX);
            let chunks = chunks.map(|u| (Hit::Updates(u), set_arrays(table, presence, u)));
            add(Shape::Update(presence.clone()), chunks.collect()).await?;
        }
        if work.inserts.len() > INSERT_ROWS_MAX {
            copies.push((work, session.prepare(table, Shape::Copy).await?));
        } else if !work.inserts.is_empty() {
            let inserts = (
                Hit::Inserts(&work.inserts),
                insert_arrays(table, &work.inserts),
            );
            add(Shape::Insert, vec![inserts]).await?;
        }
    }
    Ok(Plan {
        statements: planned,
        copies,
    })
}

/// The inserts that are many, by COPY.
pub(super) async fn copy_all(
    session: &Session,
    copies: &[(&Work<'_>, Statement)],
) -> Result<(), ApplyError> {
    for (work, statement) in copies {
        let table = work.table;
        let copied = copy(session, statement, work)
            .await
            .map_err(|error| refused(table, &error))?;
        if copied != count(work.inserts.len()) {
            return Err(ApplyError::RowsMissing(Box::new(RowsMissing {
                table: table.name.clone(),
                action: Action::Inserted,
                expected: count(work.inserts.len()),
                found: copied,
                key_columns: table.key_column_names(),
                key: None,
            })));
        }
    }
    Ok(())
}

async fn copy(
    session: &Session,
    statement: &Statement,
    work: &Work<'_>,
) -> Result<u64, tokio_postgres::Error> {
    let columns: Vec<_> = work.table.inserted().collect();
    let sink = session.client.copy_in::<_, Bytes>(statement).await?;
    pin_mut!(sink);
    let mut message = BytesMut::with_capacity(COPY_MESSAGE_BYTES + COPY_MESSAGE_BYTES / 4);
    for row in &work.inserts {
        put_row(&mut message, row, &columns);
        if message.len() >= COPY_MESSAGE_BYTES {
            sink.feed(message.split().freeze()).await?;
        }
    }
    if !message.is_empty() {
        sink.feed(message.freeze()).await?;
    }
    sink.finish().await
}

/// What a refusal while changing rows of `table` means.
pub(super) fn refused(table: &TargetTable, error: &tokio_postgres::Error) -> ApplyError {
    let failure = ServerFailure::of(error);
    let exists =
        failure.is(&SqlState::UNIQUE_VIOLATION) || failure.is(&SqlState::EXCLUSION_VIOLATION);
    match failure.constraint() {
        Some(constraint) if exists => ApplyError::RowExists {
            table: table.name.clone(),
            constraint: constraint.to_owned(),
        },
        Some(_) | None => ApplyError::Server {
            doing: Doing::Change(table.name.clone()),
            failure,
        },
    }
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
