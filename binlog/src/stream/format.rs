//! Event headers, the format description, and checksums.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html>

use bytes::{Buf, Bytes};

use super::error::EventError;
use super::kind::Kind;
use crate::wire::{FieldError, Fields};

/// Bytes of a header.
const HEADER_BYTES: usize = 19;

/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 4;

/// The flag of an event that was made for the connection and is in no file.
const ARTIFICIAL: u16 = 0x20;

/// The type of a format description.
const FORMAT_DESCRIPTION: u8 = 15;

/// How events are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    None,
    Crc32,
}

/// What a file's format description says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) checksum: Checksum,
    /// Whether table ids have 4 bytes instead of 6.
    pub(super) short_table_ids: bool,
    /// Whether the server began the file when it was started: what its end before cut off is no
    /// more.
    pub(super) after_start: bool,
}

/// One event, its header read and its checksum found right.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) kind: Kind,
    /// The type byte.
    pub(super) code: u8,
    pub(super) timestamp: u32,
    pub(super) server_id: u32,
    /// Bytes in the file.
    pub(super) event_bytes: u32,
    /// Where it ends in its file, by 32 bits; 0 if it is in no file, or not told.
    pub(super) end: u32,
    pub(super) artificial: bool,
    pub(super) body: Bytes,
}

impl Event {
    /// Reads an event as it comes in a packet or a file.
    pub(super) fn parse(bytes: Bytes, checksum: Checksum) -> Result<Self, EventError> {
        let mut fields = Fields::new(&bytes);
        let timestamp = fields.u32()?;
        let code = fields.u8()?;
        let server_id = fields.u32()?;
        let event_bytes = fields.u32()?;
        let end = fields.u32()?;
        let flags = fields.u16()?;
        let has = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if u64::from(event_bytes) != has {
            return Err(EventError::Length {
                told: event_bytes.into(),
                has,
            });
        }
        // A format description says itself whether it has a checksum.
        let checksum = if code == FORMAT_DESCRIPTION {
            Format::parse(bytes.get(HEADER_BYTES..).unwrap_or_default())?.checksum
        } else {
            checksum
        };
        let mut body = bytes;
        if checksum == Checksum::Crc32 {
            let covered = body
                .len()
                .checked_sub(CHECKSUM_BYTES)
                .filter(|covered| *covered >= HEADER_BYTES)
                .ok_or(FieldError("it has no checksum"))?;
            let told = body.slice(covered..);
            let rest = body.slice(..covered);
            if crc32fast::hash(&rest).to_le_bytes() != *told {
                return Err(EventError::Checksum);
            }
            // A format description is read with its checksum's place.
            if code != FORMAT_DESCRIPTION {
                body = rest;
            }
        }
        body.advance(HEADER_BYTES);
        // Only now: a type that was damaged on the way is not one that is not known.
        let kind = Kind::of(code)?;
        Ok(Self {
            kind,
            code,
            timestamp,
            server_id,
            event_bytes,
            end,
            artificial: flags & ARTIFICIAL != 0,
            body,
        })
    }
}

impl Format {
    /// Until a file's own description has come.
    pub(super) fn before(checksum: Checksum) -> Self {
        Self {
            checksum,
            short_table_ids: false,
            after_start: false,
        }
    }

    /// Reads the body of a format description, with its checksum fields still at the end.
    pub(super) fn parse(body: &[u8]) -> Result<Self, EventError> {
        const TABLE_MAP: usize = 19;
        /// The first type that servers with checksums have.
        const FIRST_WITH_CHECKSUM: usize = 27;
        let mut fields = Fields::new(body);
        if fields.u16()? != 4 {
            return Err(FieldError("its format is not version 4").into());
        }
        let _server_version: [u8; 50] = fields.array("it ends in the server's version")?;
        let created = fields.u32()?;
        if usize::from(fields.u8()?) != HEADER_BYTES {
            return Err(FieldError("its event headers do not have 19 bytes").into());
        }
        let rest = fields.rest();
        let lengths = rest
            .len()
            .checked_sub(1 + CHECKSUM_BYTES)
            .filter(|lengths| *lengths >= FIRST_WITH_CHECKSUM)
            .ok_or(FieldError("its format is of a server without checksums"))?;
        let checksum = match rest.get(lengths) {
            Some(0) => Checksum::None,
            Some(1) => Checksum::Crc32,
            Some(_) | None => return Err(FieldError("its checksum algorithm is not known").into()),
        };
        let short_table_ids = rest.get(TABLE_MAP - 1) == Some(&6);
        Ok(Self {
            checksum,
            short_table_ids,
            after_start: created != 0,
        })
    }
}
