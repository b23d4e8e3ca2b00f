//! Composes row events and the `BINLOG` statements that execute them.
//!
//! A statement is a run of [`Events`]: for each piece a table map of the *target's* table and one
//! version 2 rows event that ends its statement. Version 1 rows are refused by newer MySQL servers,
//! and misread in silence by others when the format description says MySQL 8. No event has a
//! checksum: the format description says so.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::field::FieldType;

/// Length of an event's header.
const HEADER_BYTES: usize = 19;

/// Event types that are composed.
mod event_type {
    pub(super) const FORMAT_DESCRIPTION: u8 = 15;
    pub(super) const TABLE_MAP: u8 = 19;
    pub(super) const WRITE_ROWS: u8 = 30;
    pub(super) const UPDATE_ROWS: u8 = 31;
    pub(super) const DELETE_ROWS: u8 = 32;
}

/// The post-header's length of each event type, from 1 on, as MySQL 8.0 writes them.
const POST_HEADER_BYTES: [u8; 41] = [
    56, 13, 0, 8, 0, 18, 0, 4, 4, 4, 4, 18, 0, 0, 95, 0, 4, 26, 8, 0, 0, 0, 8, 8, 8, 2, 0, 0, 0,
    10, 10, 10, 42, 42, 0, 18, 52, 0, 10, 40, 0,
];

/// The version that our events claim to come from. What matters is that it is one with checksums
/// and version 2 rows.
const WRITER_VERSION: &[u8] = b"8.0.0-pointsman";

/// What a rows event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowsKind {
    Write,
    Update,
    Delete,
}

/// What the target does about foreign keys when it executes an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForeignKeys {
    /// Neither checks nor cascades: the window as a whole is consistent, and cascades are in it.
    Off,
    /// Checks and cascades: the source did so without telling.
    On,
}

/// A set of columns, as a bitmap in the stream's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns(Vec<bool>);

impl Columns {
    pub(super) fn new(present: impl IntoIterator<Item = bool>) -> Self {
        Self(present.into_iter().collect())
    }

    /// The columns that are in the set, by index.
    pub(super) fn indexes(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.0.iter().enumerate();
        all.filter(|(_, present)| **present).map(|(index, _)| index)
    }

    /// Whether these are its columns.
    pub(super) fn is(&self, present: impl Iterator<Item = bool>) -> bool {
        self.0.iter().copied().eq(present)
    }

    fn write(&self, into: &mut Vec<u8>) {
        write_bits(self.0.iter().copied(), into);
    }
}

/// What a table map tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct MappedTable<'a> {
    pub(super) id: u64,
    pub(super) schema: &'a str,
    pub(super) table: &'a str,
    /// Type and nullability of every column of the target's table.
    pub(super) columns: &'a [(FieldType, bool)],
    /// Dimensions of the columns that are vectors, in their order.
    pub(super) vectors: &'a [usize],
}

/// The rows of one rows event.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) kind: RowsKind,
    pub(super) foreign_keys: ForeignKeys,
    /// Columns in the images before (update, delete).
    pub(super) before: &'a Columns,
    /// Columns in the images after (update, write).
    pub(super) after: &'a Columns,
    /// The images, one after the other.
    pub(super) images: &'a [u8],
}

/// Events for one `BINLOG` statement.
#[derive(Debug, Default)]
pub(super) struct Events {
    bytes: Vec<u8>,
    /// Seconds since 1970: when the source committed.
    timestamp_s: u32,
}

impl Events {
    pub(super) fn at(timestamp_s: u32) -> Self {
        Self {
            bytes: Vec::new(),
            timestamp_s,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of the events.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a format description: once, as the session's first statement.
    pub(super) fn format_description(&mut self) {
        let mut body = Vec::with_capacity(128);
        body.extend(4_u16.to_le_bytes());
        let mut version = [0; 50];
        for (byte, from) in version.iter_mut().zip(WRITER_VERSION) {
            *byte = *from;
        }
        body.extend(version);
        body.extend(0_u32.to_le_bytes());
        body.push(19);
        body.extend(POST_HEADER_BYTES);
        // No checksum algorithm; its own checksum is there nevertheless.
        body.push(0);
        body.extend(0_u32.to_le_bytes());
        self.event(event_type::FORMAT_DESCRIPTION, &[&body]);
    }

    /// Adds rows of one table.
    pub(super) fn rows(&mut self, table: MappedTable<'_>, rows: Rows<'_>) {
        self.table_map(table);
        let mut head = Vec::with_capacity(64);
        head.extend(table_id(table.id));
        let foreign_keys = match rows.foreign_keys {
            ForeignKeys::Off => NO_FOREIGN_KEY_CHECKS,
            ForeignKeys::On => 0,
        };
        head.extend((END_OF_STATEMENT | foreign_keys).to_le_bytes());
        // Length of extra data: its own two bytes.
        head.extend(2_u16.to_le_bytes());
        write_packed(table.columns.len(), &mut head);
        let kind = match rows.kind {
            RowsKind::Write => {
                rows.after.write(&mut head);
                event_type::WRITE_ROWS
            }
            RowsKind::Update => {
                rows.before.write(&mut head);
                rows.after.write(&mut head);
                event_type::UPDATE_ROWS
            }
            RowsKind::Delete => {
                rows.before.write(&mut head);
                event_type::DELETE_ROWS
            }
        };
        self.event(kind, &[&head, rows.images]);
    }

    /// The statement that executes the events.
    pub(super) fn statement(&self) -> String {
        let mut sql = String::with_capacity(statement_bytes(self.bytes.len()));
        sql.push_str("BINLOG '");
        STANDARD.encode_string(&self.bytes, &mut sql);
        sql.push('\'');
        sql
    }

    fn table_map(&mut self, table: MappedTable<'_>) {
        let mut body = Vec::with_capacity(64 + 4 * table.columns.len());
        body.extend(table_id(table.id));
        body.extend(1_u16.to_le_bytes());
        for name in [table.schema, table.table] {
            // Names have at most 64 characters of 3 bytes.
            body.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            body.extend(name.bytes());
            body.push(0);
        }
        write_packed(table.columns.len(), &mut body);
        let mut metadata = Vec::new();
        for (field, _) in table.columns {
            body.push(field.code());
            field.write_metadata(&mut metadata);
        }
        write_packed(metadata.len(), &mut body);
        body.extend(metadata);
        write_bits(
            table.columns.iter().map(|(_, nullable)| *nullable),
            &mut body,
        );
        if !table.vectors.is_empty() {
            let mut dimensions = Vec::new();
            for vector in table.vectors {
                write_packed(*vector, &mut dimensions);
            }
            body.push(VECTOR_DIMENSIONS);
            write_packed(dimensions.len(), &mut body);
            body.extend(dimensions);
        }
        self.event(event_type::TABLE_MAP, &[&body]);
    }

    fn event(&mut self, kind: u8, parts: &[&[u8]]) {
        let body: usize = parts.iter().map(|part| part.len()).sum();
        // An event that is larger fits no packet: it is refused before (see `statement_bytes`).
        let size = u32::try_from(HEADER_BYTES + body).unwrap_or(u32::MAX);
        self.bytes.reserve(HEADER_BYTES + body);
        self.bytes.extend(self.timestamp_s.to_le_bytes());
        self.bytes.push(kind);
        self.bytes.extend(SERVER_ID.to_le_bytes());
        self.bytes.extend(size.to_le_bytes());
        self.bytes.extend(0_u32.to_le_bytes());
        self.bytes.extend(0_u16.to_le_bytes());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
    }
}

/// The server that composed events say they come from: none.
const SERVER_ID: u32 = 0;

/// The optional part of a table map that a server compares vectors by.
const VECTOR_DIMENSIONS: u8 = 13;

/// Flags of rows events.
const END_OF_STATEMENT: u16 = 1;
const NO_FOREIGN_KEY_CHECKS: u16 = 2;

/// Length of the statement that executes so many bytes of events.
pub(super) fn statement_bytes(events: usize) -> usize {
    "BINLOG ''".len() + events.div_ceil(3) * 4
}

fn table_id(id: u64) -> impl Iterator<Item = u8> {
    id.to_le_bytes().into_iter().take(6)
}

/// Writes a bitmap, the first column in the lowest bit of the first byte.
pub(super) fn write_bits(bits: impl Iterator<Item = bool>, into: &mut Vec<u8>) {
    let mut byte = 0;
    let mut count = 0;
    for bit in bits {
        byte |= u8::from(bit) << count;
        count += 1;
        if count == 8 {
            into.push(byte);
            byte = 0;
            count = 0;
        }
    }
    if count > 0 {
        into.push(byte);
    }
}

/// Writes a length as the protocol packs it.
fn write_packed(value: usize, into: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(small) if small < 251 => into.push(small),
        Ok(_) | Err(_) => match u16::try_from(value) {
            Ok(medium) => {
                into.push(252);
                into.extend(medium.to_le_bytes());
            }
            Err(_too_large) => {
                into.push(253);
                let bytes = u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
                into.extend(bytes.into_iter().take(3));
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rows_event_is_composed_as_servers_write_it() {
        let mut events = Events::at(7);
        let columns = [
            (FieldType::Int(4), false),
            (FieldType::VarChar { octets: 40 }, true),
        ];
        let all = Columns::new([true, true]);
        let none = Columns::new([]);
        events.rows(
            MappedTable {
                id: 9,
                schema: "d",
                table: "t",
                columns: &columns,
                vectors: &[],
            },
            Rows {
                kind: RowsKind::Write,
                foreign_keys: ForeignKeys::Off,
                before: &none,
                after: &all,
                images: &[0b10, 1, 0, 0, 0],
            },
        );
        let map = [
            7, 0, 0, 0, 19, 0, 0, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 1, 0, 1,
            b'd', 0, 1, b't', 0, 2, 3, 15, 2, 40, 0, 0b10,
        ];
        let mut map = map.to_vec();
        map[9] = u8::try_from(map.len()).unwrap();
        let rows = [
            7, 0, 0, 0, 30, 0, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 3, 0, 2,
            0, 2, 0b11, 0b10, 1, 0, 0, 0,
        ];
        assert_eq!(events.bytes, [map.as_slice(), &rows].concat());
        assert_eq!(events.statement().len(), statement_bytes(events.bytes()));
    }

    #[test]
    fn lengths_are_packed_by_size() {
        let packed = |value| {
            let mut bytes = Vec::new();
            write_packed(value, &mut bytes);
            bytes
        };
        assert_eq!(packed(250), [250]);
        assert_eq!(packed(251), [252, 251, 0]);
        assert_eq!(packed(70_000), [253, 0x70, 0x11, 1]);
    }
}
