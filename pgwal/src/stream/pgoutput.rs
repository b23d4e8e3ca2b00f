//! The decoder of pgoutput, the server's logical replication messages, protocol versions 1 to 4.
//!
//! Bytes in, one message out: no socket, no memory of earlier messages. Every length is checked
//! before it is used, a message must be used up to its last byte, and a tag that is not known is an
//! error: nothing is skipped in silence. Values are slices of the message, never copied.
//!
//! Messages inside a block of a streamed, still running transaction carry the transaction's (or
//! subtransaction's) xid behind their tag, so the caller says where a message stood.
//!
//! <https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>

mod reader;
mod relation;
mod row_change;
mod transaction;
mod tuple;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use router::{Change, Lsn};
use thiserror::Error;

use super::event::Relation;
use reader::Reader;
pub use transaction::{Begin, Commit, StreamAbort, StreamCommit};

/// Where in the stream a message stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Outside of the blocks of streamed transactions.
    Plain,
    /// Between Stream Start and Stream Stop: the message carries an xid.
    Streamed,
}

/// A message and the xid it carried, if it came inside a streamed block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The xid of the transaction or subtransaction, only with [`Framing::Streamed`].
    pub xid: Option<u32>,
    /// The message.
    pub message: Message,
}

/// One pgoutput message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// `B`: a transaction that is already committed begins.
    Begin(Begin),
    /// `C`: it ends.
    Commit(Commit),
    /// `O`: the replication origin of the transaction.
    Origin {
        /// The position of the commit at its origin.
        lsn: Lsn,
        /// The origin's name.
        name: Bytes,
    },
    /// `R`: a table's shape.
    Relation(Arc<Relation>),
    /// `Y`: the name of a type that is not built in.
    Type {
        /// The type's oid.
        oid: u32,
        /// Its schema.
        schema: String,
        /// Its name.
        name: String,
    },
    /// `I`, `U` and `D`: a row's change.
    Change {
        /// The relation's oid.
        relation: u32,
        /// The change.
        change: Change,
    },
    /// `T`: TRUNCATE.
    Truncate {
        /// The relations' oids.
        relations: Vec<u32>,
        /// Whether CASCADE was given.
        cascade: bool,
        /// Whether RESTART IDENTITY was given.
        restart_identity: bool,
    },
    /// `M`: a logical decoding message.
    Logical {
        /// Whether it is part of a transaction.
        transactional: bool,
        /// Where it stands in the log.
        lsn: Lsn,
        /// Its prefix.
        prefix: String,
        /// Its content.
        content: Bytes,
    },
    /// `S`: a block of a running transaction begins.
    StreamStart {
        /// The top-level transaction's id.
        xid: u32,
        /// Whether this is its first block.
        first: bool,
    },
    /// `E`: the block ends.
    StreamStop,
    /// `c`: a streamed transaction has committed.
    StreamCommit(StreamCommit),
    /// `A`: a streamed transaction, or a subtransaction of it, has aborted.
    StreamAbort(StreamAbort),
}

/// A message that cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The message is shorter than what it announces.
    #[error("pgoutput message {tag} ends {missing} bytes too early in its {field}")]
    Truncated {
        /// The message's tag.
        tag: Tag,
        /// What was being read.
        field: &'static str,
        /// How many bytes are missing.
        missing: usize,
    },
    /// The message is longer than what it announces.
    #[error("pgoutput message {tag} has {extra} bytes after its end")]
    Trailing {
        /// The message's tag.
        tag: Tag,
        /// How many bytes follow.
        extra: usize,
    },
    /// A field has a value outside of the protocol.
    #[error("pgoutput message {tag} has {value} as its {field}")]
    Malformed {
        /// The message's tag.
        tag: Tag,
        /// Which field.
        field: &'static str,
        /// The value found.
        value: u64,
    },
    /// A name is not UTF-8, though the connection's client encoding is.
    #[error("pgoutput message {tag} has a {field} that is not UTF-8")]
    NotUtf8 {
        /// The message's tag.
        tag: Tag,
        /// Which field.
        field: &'static str,
    },
    /// The message is known, but nothing that was asked for can bring it.
    #[error("pgoutput message {tag} ({what}) was not asked for")]
    Unexpected {
        /// The message's tag.
        tag: Tag,
        /// What it is.
        what: &'static str,
    },
    /// The tag is not known.
    #[error("pgoutput message {tag} is not known")]
    Unknown {
        /// The message's tag.
        tag: Tag,
    },
    /// A message of no bytes.
    #[error("an empty pgoutput message")]
    Empty,
}

/// The first byte of a message, printed as a letter where it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub u8);

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}'", self.0.escape_ascii())
    }
}

/// Decodes one message.
///
/// # Errors
/// When the bytes are no message, or one that nothing we ask for can bring.
pub fn decode(message: Bytes, framing: Framing) -> Result<Decoded, DecodeError> {
    let mut reader = Reader::new(message)?;
    let xid = match framing {
        Framing::Streamed if carries_xid(reader.tag()) => Some(reader.u32("xid")?),
        Framing::Streamed | Framing::Plain => None,
    };
    let message = body(&mut reader)?;
    reader.finish()?;
    Ok(Decoded { xid, message })
}

/// Whether a message of this kind has an xid when it stands inside a streamed block.
pub(crate) fn carries_xid(tag: Tag) -> bool {
    matches!(tag.0, b'R' | b'Y' | b'I' | b'U' | b'D' | b'T' | b'M')
}

fn body(reader: &mut Reader) -> Result<Message, DecodeError> {
    let tag = reader.tag();
    Ok(match tag.0 {
        b'B' => Message::Begin(Begin::read(reader)?),
        b'C' => Message::Commit(Commit::read(reader)?),
        b'O' => Message::Origin {
            lsn: reader.lsn("origin lsn")?,
            name: reader.text("origin")?,
        },
        b'R' => Message::Relation(Arc::new(relation::read(reader)?)),
        b'Y' => relation::read_type(reader)?,
        b'I' => row_change::insert(reader)?,
        b'U' => row_change::update(reader)?,
        b'D' => row_change::delete(reader)?,
        b'T' => row_change::truncate(reader)?,
        b'M' => logical(reader)?,
        b'S' => Message::StreamStart {
            xid: reader.u32("xid")?,
            first: reader.flag("first block")?,
        },
        b'E' => Message::StreamStop,
        b'c' => Message::StreamCommit(StreamCommit::read(reader)?),
        b'A' => Message::StreamAbort(StreamAbort::read(reader)?),
        b'b' => {
            return Err(DecodeError::Unexpected {
                tag,
                what: "Begin Prepare",
            });
        }
        b'P' => {
            return Err(DecodeError::Unexpected {
                tag,
                what: "Prepare",
            });
        }
        b'K' => {
            return Err(DecodeError::Unexpected {
                tag,
                what: "Commit Prepared",
            });
        }
        b'r' => {
            return Err(DecodeError::Unexpected {
                tag,
                what: "Rollback Prepared",
            });
        }
        b'p' => {
            return Err(DecodeError::Unexpected {
                tag,
                what: "Stream Prepare",
            });
        }
        _ => return Err(DecodeError::Unknown { tag }),
    })
}

fn logical(reader: &mut Reader) -> Result<Message, DecodeError> {
    let transactional = reader.flag("flags")?;
    let lsn = reader.lsn("lsn")?;
    let prefix = reader.string("prefix")?;
    let len = reader.len("content length")?;
    let content = reader.bytes(len, "content")?;
    Ok(Message::Logical {
        transactional,
        lsn,
        prefix,
        content,
    })
}
