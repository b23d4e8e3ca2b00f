//! The course of a query on the wire.

use bytes::Bytes;

use super::Done;
use super::rows::Columns;
use crate::wire::capabilities::{Capabilities, StatusFlags};
use crate::wire::column::Column;
use crate::wire::command::COM_QUERY;
use crate::wire::conn::Conn;
use crate::wire::error::{ServerError, WireError};
use crate::wire::fields::{FieldError, Fields};
use crate::wire::limits::COLUMNS_MAX;
use crate::wire::response::{ERR, EofPacket, LOCAL_INFILE, OK, OkPacket, StateChange, ends_rows};

/// What a query is answered with.
pub(super) enum Answer {
    /// No rows. Another result may follow.
    Done(Done, More),
    /// Rows follow.
    Rows(Columns),
    /// The server asks for the file.
    File,
}

/// Whether another result follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    /// Nothing follows.
    Last,
    /// Another result follows.
    Follows,
}

/// One step through the rows of a result.
pub(super) enum Next {
    /// A row as it came.
    Row(Bytes),
    /// The result is over.
    End(Done, More),
}

pub(super) async fn begin(conn: &mut Conn, statement: &[u8]) -> Result<Answer, WireError> {
    conn.queue_command(&[COM_QUERY], statement);
    conn.flush().await?;
    read_answer(conn).await
}

/// Reads the beginning of a result.
pub(super) async fn read_answer(conn: &mut Conn) -> Result<Answer, WireError> {
    let packet = conn.read_packet().await?;
    match packet.first() {
        Some(&OK) => {
            let (done, more) = note_ok(conn, &packet)?;
            Ok(Answer::Done(done, more))
        }
        Some(&ERR) => Err(ServerError::parse(&packet)?.into()),
        Some(&LOCAL_INFILE) => Ok(Answer::File),
        Some(_) | None => {
            let count = Fields::new(&packet).lenenc_int()?;
            if count == 0 || count > COLUMNS_MAX {
                return Err(FieldError("a result has an impossible number of columns").into());
            }
            let mut columns = Vec::new();
            for _column in 0..count {
                columns.push(Column::parse(&definition(conn).await?)?);
            }
            if !conn.capabilities().contains(Capabilities::DEPRECATE_EOF) {
                let packet = conn.read_packet().await?;
                EofPacket::parse(&packet)?;
            }
            Ok(Answer::Rows(Columns::new(columns)))
        }
    }
}

/// Reads a row or the end of a result.
pub(super) async fn read_row(conn: &mut Conn) -> Result<Next, WireError> {
    let packet = conn.read_packet().await?;
    if packet.first() == Some(&ERR) {
        return Err(ServerError::parse(&packet)?.into());
    }
    if !ends_rows(&packet, conn.capabilities()) {
        return Ok(Next::Row(packet));
    }
    if conn.capabilities().contains(Capabilities::DEPRECATE_EOF) {
        let (done, more) = note_ok(conn, &packet)?;
        return Ok(Next::End(done, more));
    }
    let eof = EofPacket::parse(&packet)?;
    conn.note_status(eof.status);
    let done = Done {
        warnings: eof.warnings,
        ..Done::default()
    };
    Ok(Next::End(done, more_of(eof.status)))
}

async fn definition(conn: &mut Conn) -> Result<Bytes, WireError> {
    let packet = conn.read_packet().await?;
    match packet.first() {
        Some(&ERR) => Err(ServerError::parse(&packet)?.into()),
        _definition => Ok(packet),
    }
}

fn note_ok(conn: &mut Conn, packet: &Bytes) -> Result<(Done, More), WireError> {
    let ok = OkPacket::parse(packet, conn.capabilities())?;
    conn.note_status(ok.status);
    let gtids = ok.changes().find_map(|change| match change {
        Ok(StateChange::Gtids(data)) => gtids_of(data),
        Ok(_other) => None,
        Err(_malformed) => None,
    });
    let done = Done {
        affected_rows: ok.affected_rows,
        last_insert_id: ok.last_insert_id,
        warnings: ok.warnings,
        info: String::from_utf8_lossy(&ok.info).into_owned(),
        gtids,
    };
    Ok((done, more_of(ok.status)))
}

/// A byte that tells the encoding (0: text), then the set.
fn gtids_of(data: &[u8]) -> Option<String> {
    let mut fields = Fields::new(data);
    if fields.u8().ok()? != 0 {
        return None;
    }
    let text = fields.lenenc_bytes().ok()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn more_of(status: StatusFlags) -> More {
    if status.contains(StatusFlags::MORE_RESULTS_EXISTS) {
        More::Follows
    } else {
        More::Last
    }
}
