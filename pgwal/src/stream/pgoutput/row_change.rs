//! Changes of rows: Insert, Update, Delete, and Truncate.

use router::{Change, OldImage};

use super::{DecodeError, Message, Reader, tuple};

const TRUNCATE_CASCADE: u8 = 1;
const TRUNCATE_RESTART_IDENTITY: u8 = 2;

pub(super) fn insert(reader: &mut Reader) -> Result<Message, DecodeError> {
    let relation = reader.u32("relation oid")?;
    let row = match reader.u8("tuple kind")? {
        b'N' => tuple::read(reader)?,
        other => return Err(reader.malformed("tuple kind", other)),
    };
    Ok(Message::Change {
        relation,
        change: Change::Insert { row },
    })
}

pub(super) fn update(reader: &mut Reader) -> Result<Message, DecodeError> {
    let relation = reader.u32("relation oid")?;
    let kind = reader.u8("tuple kind")?;
    let old = match kind {
        b'K' => Some(OldImage::Key(tuple::read(reader)?)),
        b'O' => Some(OldImage::Full(tuple::read(reader)?)),
        b'N' => None,
        other => return Err(reader.malformed("tuple kind", other)),
    };
    if old.is_some() {
        match reader.u8("new tuple kind")? {
            b'N' => {}
            other => return Err(reader.malformed("new tuple kind", other)),
        }
    }
    let row = tuple::read(reader)?;
    Ok(Message::Change {
        relation,
        change: Change::Update { old, row },
    })
}

pub(super) fn delete(reader: &mut Reader) -> Result<Message, DecodeError> {
    let relation = reader.u32("relation oid")?;
    let old = match reader.u8("tuple kind")? {
        b'K' => OldImage::Key(tuple::read(reader)?),
        b'O' => OldImage::Full(tuple::read(reader)?),
        other => return Err(reader.malformed("tuple kind", other)),
    };
    Ok(Message::Change {
        relation,
        change: Change::Delete { old },
    })
}

pub(super) fn truncate(reader: &mut Reader) -> Result<Message, DecodeError> {
    let count = reader.len("number of relations")?;
    let flags = reader.u8("truncate options")?;
    if flags & !(TRUNCATE_CASCADE | TRUNCATE_RESTART_IDENTITY) != 0 {
        return Err(reader.malformed("truncate options", flags));
    }
    let mut relations = Vec::with_capacity(count.min(reader.remaining() / 4));
    for _ in 0..count {
        relations.push(reader.u32("relation oid")?);
    }
    Ok(Message::Truncate {
        relations,
        cascade: flags & TRUNCATE_CASCADE != 0,
        restart_identity: flags & TRUNCATE_RESTART_IDENTITY != 0,
    })
}
