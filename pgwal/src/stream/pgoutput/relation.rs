//! The shape of tables and the names of types: Relation and Type.

use super::{DecodeError, Message, Reader};
use crate::stream::event::{Relation, RelationColumn, ReplicaIdentity};

/// The only flag of a column: it belongs to the replica identity.
const PART_OF_KEY: u8 = 1;

pub(super) fn read(reader: &mut Reader) -> Result<Relation, DecodeError> {
    let oid = reader.u32("relation oid")?;
    let schema = schema(reader)?;
    let name = reader.string("relation name")?;
    let replica_identity = match reader.u8("replica identity")? {
        b'd' => ReplicaIdentity::Default,
        b'n' => ReplicaIdentity::Nothing,
        b'f' => ReplicaIdentity::Full,
        b'i' => ReplicaIdentity::Index,
        other => return Err(reader.malformed("replica identity", other)),
    };
    let count = usize::from(reader.u16("number of columns")?);
    // A column takes at least ten bytes, so the message bounds what is allocated.
    let mut columns = Vec::with_capacity(count.min(reader.remaining() / 10));
    for _ in 0..count {
        columns.push(column(reader)?);
    }
    Ok(Relation {
        oid,
        schema,
        name,
        replica_identity,
        columns,
    })
}

pub(super) fn read_type(reader: &mut Reader) -> Result<Message, DecodeError> {
    let oid = reader.u32("type oid")?;
    let schema = schema(reader)?;
    let name = reader.string("type name")?;
    Ok(Message::Type { oid, schema, name })
}

fn column(reader: &mut Reader) -> Result<RelationColumn, DecodeError> {
    let part_of_key = match reader.u8("column flags")? {
        0 => false,
        PART_OF_KEY => true,
        other => return Err(reader.malformed("column flags", other)),
    };
    let name = reader.string("column name")?;
    let type_oid = reader.u32("type oid")?;
    let type_modifier = reader.i32("type modifier")?;
    Ok(RelationColumn {
        name,
        type_oid,
        type_modifier,
        part_of_key,
    })
}

/// The server sends an empty name for `pg_catalog`.
fn schema(reader: &mut Reader) -> Result<String, DecodeError> {
    let schema = reader.string("schema name")?;
    Ok(if schema.is_empty() {
        "pg_catalog".to_owned()
    } else {
        schema
    })
}
