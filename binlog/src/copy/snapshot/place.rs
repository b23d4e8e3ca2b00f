//! Where a snapshot stands in the binary log.

use router::Side;

use crate::name::quote_literal;
use crate::position::{BinlogFile, Gtids, Position};
use crate::schema::error::SchemaError;
use crate::wire::{SqlConn, TextRow};

/// The position of everything that is committed on the source now.
///
/// # Errors
/// The binary log is off, or we may not see it.
pub async fn current(client: &SqlConn) -> Result<Position, SchemaError> {
    position_of(client, Side::Source).await
}

/// The position of everything that is committed now on the server of a side.
///
/// # Errors
/// As [`current`].
pub async fn position_of(client: &SqlConn, side: Side) -> Result<Position, SchemaError> {
    let version = client.version();
    let sql = if version.is_mysql_at_least(8, 2, 0) {
        "SHOW BINARY LOG STATUS"
    } else {
        "SHOW MASTER STATUS"
    };
    let what = "asking for the position of its binary log";
    let row = client.query_first(sql).await;
    let row = row.map_err(SchemaError::sql(side, what))?;
    let row = row.ok_or_else(|| SchemaError::NoPosition {
        why: "the binary log is off".to_owned(),
    })?;
    let file = file_of(row.text(0), row.text(1))?;
    let gtids = if version.is_mariadb() {
        maria_gtids(client, &file).await?
    } else {
        mysql_gtids(&row)?
    };
    Ok(Position::new(file, gtids))
}

/// The position that a snapshot of MariaDB tells itself, in its own transaction.
pub(super) async fn of_snapshot(client: &SqlConn) -> Result<Position, SchemaError> {
    let sql = "SHOW STATUS LIKE 'binlog_snapshot_%'";
    let rows = client.query(sql).await;
    let rows = rows.map_err(SchemaError::sql(
        Side::Source,
        "asking where a snapshot stands",
    ))?;
    let find = |name: &str| {
        rows.iter()
            .find(|row| {
                row.text(0)
                    .is_some_and(|text| text.eq_ignore_ascii_case(name))
            })
            .and_then(|row| row.text(1))
    };
    let file = find("binlog_snapshot_file").filter(|file| !file.is_empty());
    let file = file_of(file, find("binlog_snapshot_position"))?;
    let gtids = maria_gtids(client, &file).await?;
    Ok(Position::new(file, gtids))
}

fn file_of(name: Option<&str>, offset: Option<&str>) -> Result<BinlogFile, SchemaError> {
    let offset = offset.and_then(|text| text.parse().ok());
    match (name, offset) {
        (Some(name), Some(offset)) => Ok(BinlogFile::new(name, offset)),
        (None, _) => Err(SchemaError::NoPosition {
            why: "the binary log is off".to_owned(),
        }),
        (Some(_), None) => Err(unreadable("the position of its binary log")),
    }
}

fn mysql_gtids(row: &TextRow) -> Result<Gtids, SchemaError> {
    let text: String = row
        .named("Executed_Gtid_Set")
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    if text.is_empty() {
        return Ok(Gtids::None);
    }
    let set = text.parse();
    set.map(Gtids::MySql)
        .map_err(|_bad| unreadable("its executed GTIDs"))
}

async fn maria_gtids(client: &SqlConn, file: &BinlogFile) -> Result<Gtids, SchemaError> {
    let sql = format!(
        "SELECT BINLOG_GTID_POS({}, {})",
        quote_literal(&file.name),
        file.offset
    );
    let what = "asking for the GTID of a position";
    let row = client.query_first(&sql).await;
    let row = row.map_err(SchemaError::sql(Side::Source, what))?;
    let text = row.as_ref().and_then(|row| row.text(0));
    let text = text.ok_or_else(|| unreadable("the GTID of a position"))?;
    let state = text.parse();
    state
        .map(Gtids::MariaDb)
        .map_err(|_bad| unreadable("the GTID of a position"))
}

fn unreadable(what: &str) -> SchemaError {
    SchemaError::Unreadable {
        side: Side::Source,
        what: what.to_owned(),
    }
}
