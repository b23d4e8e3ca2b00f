//! The definition of a result's column.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query_response_text_resultset_column_definition.html>

use bytes::{BufMut, BytesMut};

use super::fields::{FieldError, Fields};
use super::lenenc;

/// The collation id that marks bytes instead of text.
pub const BINARY_COLLATION: u16 = 63;

/// A result's column.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Column {
    /// The database of the table.
    pub schema: String,
    /// The table, under its alias.
    pub table: String,
    /// The table's own name.
    pub org_table: String,
    /// The column, under its alias.
    pub name: String,
    /// The column's own name.
    pub org_name: String,
    /// The collation of its values as they are sent.
    pub collation: u16,
    /// Longest value as shown, in bytes.
    pub length: u32,
    /// The type (`enum_field_types`).
    pub column_type: u8,
    /// The flags (`NOT_NULL_FLAG` and so on).
    pub flags: u16,
    /// Digits after the decimal point.
    pub decimals: u8,
}

impl Column {
    /// Reads a definition of the protocol since 4.1, without MariaDB's extended metadata.
    ///
    /// # Errors
    /// The packet ends too early.
    pub fn parse(packet: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(packet);
        let _catalog = fields.lenenc_bytes()?;
        let mut text = || -> Result<_, FieldError> {
            Ok(String::from_utf8_lossy(fields.lenenc_bytes()?).into_owned())
        };
        let (schema, table, org_table) = (text()?, text()?, text()?);
        let (name, org_name) = (text()?, text()?);
        let mut fixed = Fields::new(fields.lenenc_bytes()?);
        Ok(Self {
            schema,
            table,
            org_table,
            name,
            org_name,
            collation: fixed.u16()?,
            length: fixed.u32()?,
            column_type: fixed.u8()?,
            flags: fixed.u16()?,
            decimals: fixed.u8()?,
        })
    }

    /// Writes the payload of the packet.
    pub fn put(&self, out: &mut BytesMut) {
        lenenc::put_bytes(b"def", out);
        for text in [
            &self.schema,
            &self.table,
            &self.org_table,
            &self.name,
            &self.org_name,
        ] {
            lenenc::put_bytes(text.as_bytes(), out);
        }
        out.put_u8(0x0c);
        out.put_u16_le(self.collation);
        out.put_u32_le(self.length);
        out.put_u8(self.column_type);
        out.put_u16_le(self.flags);
        out.put_u8(self.decimals);
        out.put_u16_le(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_definition_that_is_written_is_read_again(
            schema: String, table: String, name: String, collation: u16, length: u32,
            column_type: u8, flags: u16, decimals: u8,
        ) {
            let column = Column {
                schema, org_table: table.clone(), table, org_name: name.clone(), name,
                collation, length, column_type, flags, decimals,
            };
            let mut out = BytesMut::new();
            column.put(&mut out);
            prop_assert_eq!(Column::parse(&out), Ok(column));
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _column = Column::parse(&bytes);
        }
    }
}
