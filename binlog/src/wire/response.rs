//! The generic answers: OK, EOF and ERR packets, read and written.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_response_packets.html>

use bytes::{BufMut, Bytes, BytesMut};

use super::capabilities::{Capabilities, StatusFlags};
use super::error::ServerError;
use super::fields::{FieldError, Fields};
use super::lenenc;

/// First byte of an OK packet.
pub const OK: u8 = 0x00;
/// First byte of an EOF packet, and of an OK packet that ends rows when EOF is deprecated.
pub const EOF: u8 = 0xfe;
/// First byte of an ERR packet.
pub const ERR: u8 = 0xff;
/// First byte of a request for a local file.
pub const LOCAL_INFILE: u8 = 0xfb;

/// An EOF packet is shorter than this; a row may begin with the same byte but is then longer.
const EOF_BYTES_MAX: usize = 9;

/// An OK packet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OkPacket {
    /// Rows changed (or found, with `CLIENT_FOUND_ROWS`).
    pub affected_rows: u64,
    /// The first AUTO_INCREMENT value that was made.
    pub last_insert_id: u64,
    /// The status of the session.
    pub status: StatusFlags,
    /// Warnings of the statement.
    pub warnings: u16,
    /// Text for people, or a MariaDB server's proof of its certificate.
    pub info: Bytes,
    /// Changes of the session's state as they came: see [`StateChanges`].
    pub state_changes: Bytes,
}

impl OkPacket {
    /// Reads a packet that begins with [`OK`] or, in its place as the end of rows, [`EOF`].
    ///
    /// # Errors
    /// The packet ends too early.
    pub fn parse(packet: &Bytes, capabilities: Capabilities) -> Result<Self, FieldError> {
        let mut fields = Fields::new(packet);
        let kind = fields.u8()?;
        if kind != OK && kind != EOF {
            return Err(FieldError("it is no OK packet"));
        }
        let mut ok = Self {
            affected_rows: fields.lenenc_int()?,
            last_insert_id: fields.lenenc_int()?,
            status: StatusFlags(fields.u16()?),
            warnings: fields.u16()?,
            ..Self::default()
        };
        if fields.is_empty() {
            return Ok(ok);
        }
        if capabilities.contains(Capabilities::SESSION_TRACK) {
            ok.info = packet.slice_ref(fields.lenenc_bytes()?);
            if ok.status.contains(StatusFlags::SESSION_STATE_CHANGED) && !fields.is_empty() {
                ok.state_changes = packet.slice_ref(fields.lenenc_bytes()?);
            }
        } else {
            // The manual says that the text simply goes to the end; the servers put its length in
            // front all the same.
            let mut counted = fields;
            ok.info = match counted.lenenc_bytes() {
                Ok(info) if counted.is_empty() => packet.slice_ref(info),
                Ok(_) | Err(_) => packet.slice_ref(fields.take_rest()),
            };
        }
        Ok(ok)
    }

    /// Writes the payload of the packet, beginning with `kind` ([`OK`] or [`EOF`]).
    pub fn put(&self, kind: u8, capabilities: Capabilities, out: &mut BytesMut) {
        out.put_u8(kind);
        lenenc::put_int(self.affected_rows, out);
        lenenc::put_int(self.last_insert_id, out);
        out.put_u16_le(self.status.0);
        out.put_u16_le(self.warnings);
        let changed = capabilities.contains(Capabilities::SESSION_TRACK)
            && self.status.contains(StatusFlags::SESSION_STATE_CHANGED);
        if changed || !self.info.is_empty() {
            lenenc::put_bytes(&self.info, out);
        }
        if changed {
            lenenc::put_bytes(&self.state_changes, out);
        }
    }

    /// The changes of the session's state, one by one.
    #[must_use]
    pub fn changes(&self) -> StateChanges<'_> {
        StateChanges {
            fields: Fields::new(&self.state_changes),
        }
    }
}

/// One change of a session's state, as a tracker of the server told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateChange<'a> {
    /// A system variable has a new value.
    SystemVariable {
        /// Its name.
        name: &'a [u8],
        /// Its value as text.
        value: &'a [u8],
    },
    /// The default database changed.
    Schema(&'a [u8]),
    /// Something of the session's state changed (`1`).
    State(&'a [u8]),
    /// GTIDs, after a byte that tells their encoding.
    Gtids(&'a [u8]),
    /// The statements that make an open transaction's characteristics again.
    TransactionCharacteristics(&'a [u8]),
    /// Eight letters of the transaction's state.
    TransactionState(&'a [u8]),
    /// A tracker we do not know.
    Other {
        /// Its number.
        kind: u8,
        /// What it says.
        data: &'a [u8],
    },
}

/// Reads the changes of an OK packet one by one; ends at the first that cannot be read.
#[derive(Debug, Clone)]
pub struct StateChanges<'a> {
    fields: Fields<'a>,
}

impl<'a> Iterator for StateChanges<'a> {
    type Item = Result<StateChange<'a>, FieldError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.fields.is_empty() {
            return None;
        }
        let change = state_change(&mut self.fields);
        if change.is_err() {
            self.fields = Fields::new(&[]);
        }
        Some(change)
    }
}

fn state_change<'a>(fields: &mut Fields<'a>) -> Result<StateChange<'a>, FieldError> {
    let kind = fields.u8()?;
    let data = fields.lenenc_bytes()?;
    let mut inner = Fields::new(data);
    Ok(match kind {
        0 => StateChange::SystemVariable {
            name: inner.lenenc_bytes()?,
            value: inner.lenenc_bytes()?,
        },
        1 => StateChange::Schema(inner.lenenc_bytes()?),
        2 => StateChange::State(inner.lenenc_bytes()?),
        3 => StateChange::Gtids(data),
        4 => StateChange::TransactionCharacteristics(inner.lenenc_bytes()?),
        5 => StateChange::TransactionState(inner.lenenc_bytes()?),
        kind => StateChange::Other { kind, data },
    })
}

/// What ends a run of rows or of column definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EofPacket {
    /// The status of the session.
    pub status: StatusFlags,
    /// Warnings of the statement.
    pub warnings: u16,
}

impl EofPacket {
    /// Whether the packet is an EOF packet and not a row that begins with the same byte.
    #[must_use]
    pub fn is_eof(packet: &[u8]) -> bool {
        packet.first() == Some(&EOF) && packet.len() < EOF_BYTES_MAX
    }

    /// Reads an EOF packet. Before the log-in it may be one byte alone.
    ///
    /// # Errors
    /// The packet ends too early.
    pub fn parse(packet: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(packet);
        if fields.u8()? != EOF {
            return Err(FieldError("it is no EOF packet"));
        }
        let warnings = fields.u16()?;
        Ok(Self {
            status: StatusFlags(fields.u16()?),
            warnings,
        })
    }

    /// Writes the payload of the packet.
    pub fn put(self, out: &mut BytesMut) {
        out.put_u8(EOF);
        out.put_u16_le(self.warnings);
        out.put_u16_le(self.status.0);
    }
}

/// Whether the packet ends the rows of a result; error packets are for the caller to see first.
///
/// With `CLIENT_DEPRECATE_EOF` an OK packet under EOF's byte stands there. A row that begins with
/// that byte has a first value of 16 MiB or more, so its length tells them apart.
#[must_use]
pub fn ends_rows(packet: &[u8], capabilities: Capabilities) -> bool {
    if capabilities.contains(Capabilities::DEPRECATE_EOF) {
        packet.first() == Some(&EOF) && packet.len() < super::limits::FRAME_PAYLOAD_BYTES_MAX
    } else {
        EofPacket::is_eof(packet)
    }
}

/// Writes the payload of an ERR packet.
pub fn put_error(error: &ServerError, capabilities: Capabilities, out: &mut BytesMut) {
    out.put_u8(ERR);
    out.put_u16_le(error.code);
    if capabilities.contains(Capabilities::PROTOCOL_41) {
        out.put_u8(b'#');
        out.put_slice(&error.sqlstate_bytes());
    }
    out.put_slice(error.message.as_bytes());
}

#[cfg(test)]
mod tests;
