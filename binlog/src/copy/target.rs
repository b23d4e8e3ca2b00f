//! The target's end of one job: rows in, transactions out.

use bytes::Bytes;
use router::Side;
use tokio::sync::mpsc;

use super::Loading;
use super::error::{CopyError, Fault, fault};
use super::lines::LINE_FORMAT;
use super::plan::TablePlan;
use super::values;
use crate::name::QualifiedName;
use crate::wire::{Endpoint, SqlConn, TextRow};

/// Settings of the sessions that write rows. Dates that no calendar has are stored as they are;
/// rows come from a consistent source, so keys need no second look.
const SETTINGS: &str = "SET SESSION unique_checks = 0, SESSION foreign_key_checks = 0, \
     SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', \
     SESSION max_error_count = 65535";

/// A piece of a table's rows, in the form that they are written in.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) form: Form,
    pub(super) text: Bytes,
    pub(super) rows: u64,
    /// Values of ENUMs in them that have no label.
    pub(super) without_label: u64,
}

/// How a piece is written.
#[derive(Debug)]
pub(super) enum Form {
    /// Lines of `LOAD DATA`.
    Lines,
    /// A statement of its own, between others that prepare it and clear away.
    Statement {
        before: Vec<String>,
        after: Vec<String>,
    },
}

/// Opens a connection that writes rows.
pub(super) async fn open(target: &Endpoint, name: &str) -> Result<SqlConn, Fault> {
    let failed = |source| {
        Fault::Transient(CopyError::Connect {
            side: Side::Target,
            source,
        })
    };
    let client = target.connect_sql(name).await.map_err(failed)?;
    let place = QualifiedName::new("pointsman", "table_copy");
    let set = client.execute(SETTINGS).await;
    set.map_err(|source| fault(Side::Target, &place, source))?;
    Ok(client)
}

/// The statement before the rows.
pub(super) fn opening(plan: &TablePlan, loading: Loading) -> String {
    let table = plan.table.name.quoted();
    match loading {
        Loading::LoadData => format!(
            "LOAD DATA LOCAL INFILE 'pointsman' INTO TABLE {table} CHARACTER SET binary \
             {LINE_FORMAT} {}",
            values::load_list(&plan.lanes)
        ),
        Loading::Insert => {
            let list = values::insert_list(&plan.lanes);
            format!("INSERT INTO {table} ({list}) VALUES ")
        }
    }
}

/// Writes pieces until there are no more, or until they are enough for one transaction. Gives the
/// number of rows written and whether more may come.
pub(super) async fn write(
    client: &SqlConn,
    plan: &TablePlan,
    pieces: &mut mpsc::Receiver<Piece>,
    bytes_max: Option<u64>,
) -> Result<(u64, More), Fault> {
    let mut rows = 0;
    let mut bytes = 0_u64;
    let mut next = pieces.recv().await;
    while let Some(piece) = next.take() {
        let left = bytes_max.map(|max| max.saturating_sub(bytes));
        let written = match piece.form {
            Form::Lines => load(client, plan, piece, pieces, left).await?,
            Form::Statement {
                ref before,
                ref after,
            } => insert(client, plan, &piece, (before, after)).await?,
        };
        rows += written.rows;
        bytes += written.bytes;
        next = written.next;
        if next.is_none() {
            if bytes_max.is_some_and(|max| bytes >= max) {
                return Ok((rows, More::MayCome));
            }
            next = pieces.recv().await;
        }
    }
    Ok((rows, More::Never))
}

/// What one statement wrote, and a piece that it could not take.
struct Written {
    rows: u64,
    bytes: u64,
    next: Option<Piece>,
}

/// Whether more rows may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    MayCome,
    Never,
}

/// Writes lines until others come, or enough of them.
async fn load(
    client: &SqlConn,
    plan: &TablePlan,
    first: Piece,
    pieces: &mut mpsc::Receiver<Piece>,
    bytes_max: Option<u64>,
) -> Result<Written, Fault> {
    let table = &plan.table.name;
    let failed = |source| fault(Side::Target, table, source);
    let statement = opening(plan, Loading::LoadData);
    let mut load = client.begin_load(&statement).await.map_err(failed)?;
    let mut without_label = 0;
    let mut written = Written {
        rows: 0,
        bytes: 0,
        next: Some(first),
    };
    while let Some(piece) = written.next.take() {
        match piece.form {
            Form::Lines => {}
            Form::Statement { .. } => {
                written.next = Some(piece);
                break;
            }
        }
        written.rows += piece.rows;
        without_label += piece.without_label;
        written.bytes += u64::try_from(piece.text.len()).unwrap_or(u64::MAX);
        load.send(&piece.text).await.map_err(failed)?;
        if bytes_max.is_some_and(|max| written.bytes >= max) {
            break;
        }
        written.next = pieces.recv().await;
    }
    let done = load.finish().await.map_err(failed)?;
    if done.warnings > 0 {
        refuse_changes(client, plan, without_label).await?;
    }
    same_count(table, written.rows, done.affected_rows)?;
    Ok(written)
}

async fn insert(
    client: &SqlConn,
    plan: &TablePlan,
    piece: &Piece,
    (before, after): (&[String], &[String]),
) -> Result<Written, Fault> {
    let table = &plan.table.name;
    let failed = |source| fault(Side::Target, table, source);
    for statement in before {
        let done = client.execute(statement).await.map_err(failed)?;
        if done.warnings > 0 {
            refuse_changes(client, plan, 0).await?;
        }
    }
    let done = client.execute_bytes(&piece.text).await.map_err(failed)?;
    if done.warnings > 0 {
        refuse_changes(client, plan, piece.without_label).await?;
    }
    same_count(table, piece.rows, done.affected_rows)?;
    for statement in after {
        client.execute(statement).await.map_err(failed)?;
    }
    Ok(Written {
        rows: piece.rows,
        bytes: u64::try_from(piece.text.len()).unwrap_or(u64::MAX),
        next: None,
    })
}

/// A value was cut.
const TRUNCATED: u16 = 1265;

/// How many warnings an error shows.
const SHOWN_MAX: usize = 3;

/// Each value that does not fit is a warning: the target would store another one. So many values of
/// ENUMs have no label; versions that warn of these store them as they are all the same.
async fn refuse_changes(
    client: &SqlConn,
    plan: &TablePlan,
    without_label: u64,
) -> Result<(), Fault> {
    let table = &plan.table.name;
    let failed = |source| fault(Side::Target, table, source);
    // Not by the answer's own count, which ends at 65,535.
    let count = client.query_first("SHOW COUNT(*) WARNINGS").await;
    let count = count.map_err(failed)?;
    let count = count.and_then(|row| row.parse::<u64>(0).ok()).unwrap_or(0);
    let shown = client.query("SHOW WARNINGS").await.map_err(failed)?;
    let is_of_label = |message: &str| {
        plan.lanes
            .iter()
            .filter(|lane| lane.is_without_label(b"0"))
            .any(|lane| message.contains(&format!("column '{}'", lane.column)))
    };
    let is_expected =
        |row: &TextRow| row.parse(1) == Ok(TRUNCATED) && row.text(2).is_some_and(is_of_label);
    if count == without_label && shown.iter().all(is_expected) {
        return Ok(());
    }
    let words: Vec<String> = shown
        .iter()
        .take(SHOWN_MAX)
        .map(|row| {
            let code = row.parse(1).unwrap_or(0);
            let message = row.text(2).unwrap_or_default();
            crate::wire::ServerError::new(code, "01000", message).to_string()
        })
        .collect();
    Err(Fault::Definite(CopyError::ValuesChanged {
        table: table.clone(),
        warnings: format!("{} ({count} in all)", words.join("; ")),
    }))
}

fn same_count(table: &QualifiedName, sent: u64, taken: u64) -> Result<(), Fault> {
    if sent == taken {
        return Ok(());
    }
    Err(Fault::Definite(CopyError::CountMismatch {
        table: table.clone(),
        sent,
        taken,
    }))
}
