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
use crate::wire::{Endpoint, SqlConn};

/// Settings of the sessions that write rows. Dates that no calendar has are stored as they are;
/// rows come from a consistent source, so keys need no second look.
const SETTINGS: &str = "SET SESSION unique_checks = 0, SESSION foreign_key_checks = 0, \
     SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES'";

/// A piece of a table's rows, in the form that they are written in.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) text: Bytes,
    pub(super) rows: u64,
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

/// Writes pieces until there are no more, or, by `LOAD DATA`, until the statement is long enough.
/// Gives the number of rows written and whether more may come.
pub(super) async fn write(
    client: &SqlConn,
    plan: &TablePlan,
    loading: Loading,
    pieces: &mut mpsc::Receiver<Piece>,
    bytes_max: Option<u64>,
) -> Result<(u64, More), Fault> {
    match loading {
        Loading::LoadData => load(client, plan, pieces, bytes_max).await,
        Loading::Insert => insert(client, plan, pieces, bytes_max).await,
    }
}

/// Whether more rows may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    MayCome,
    Never,
}

async fn load(
    client: &SqlConn,
    plan: &TablePlan,
    pieces: &mut mpsc::Receiver<Piece>,
    bytes_max: Option<u64>,
) -> Result<(u64, More), Fault> {
    let table = &plan.table.name;
    let failed = |source| fault(Side::Target, table, source);
    let Some(first) = pieces.recv().await else {
        return Ok((0, More::Never));
    };
    let statement = opening(plan, Loading::LoadData);
    let mut load = client.begin_load(&statement).await.map_err(failed)?;
    let mut sent_rows = 0;
    let mut sent_bytes = 0_u64;
    let mut next = Some(first);
    let mut more = More::Never;
    while let Some(piece) = next.take() {
        sent_rows += piece.rows;
        sent_bytes += u64::try_from(piece.text.len()).unwrap_or(u64::MAX);
        load.send(&piece.text).await.map_err(failed)?;
        if bytes_max.is_some_and(|max| sent_bytes >= max) {
            more = More::MayCome;
            break;
        }
        next = pieces.recv().await;
    }
    let done = load.finish().await.map_err(failed)?;
    refuse_changes(client, table, done.warnings).await?;
    same_count(table, sent_rows, done.affected_rows)?;
    Ok((sent_rows, more))
}

async fn insert(
    client: &SqlConn,
    plan: &TablePlan,
    pieces: &mut mpsc::Receiver<Piece>,
    bytes_max: Option<u64>,
) -> Result<(u64, More), Fault> {
    let table = &plan.table.name;
    let mut rows = 0;
    let mut bytes = 0_u64;
    while let Some(piece) = pieces.recv().await {
        let done = client.execute_bytes(&piece.text).await;
        let done = done.map_err(|source| fault(Side::Target, table, source))?;
        refuse_changes(client, table, done.warnings).await?;
        same_count(table, piece.rows, done.affected_rows)?;
        rows += piece.rows;
        bytes += u64::try_from(piece.text.len()).unwrap_or(u64::MAX);
        if bytes_max.is_some_and(|max| bytes >= max) {
            return Ok((rows, More::MayCome));
        }
    }
    Ok((rows, More::Never))
}

/// Each value that does not fit is a warning: the target would store another one.
async fn refuse_changes(
    client: &SqlConn,
    table: &QualifiedName,
    warnings: u16,
) -> Result<(), Fault> {
    if warnings == 0 {
        return Ok(());
    }
    let shown = client.query("SHOW WARNINGS LIMIT 3").await;
    let shown = shown.map_err(|source| fault(Side::Target, table, source))?;
    let words: Vec<String> = shown
        .iter()
        .map(|row| {
            let code = row.parse(1).unwrap_or(0);
            let message = row.text(2).unwrap_or_default();
            crate::wire::ServerError::new(code, "01000", message).to_string()
        })
        .collect();
    Err(Fault::Definite(CopyError::ValuesChanged {
        table: table.clone(),
        warnings: format!("{} ({warnings} in all)", words.join("; ")),
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
