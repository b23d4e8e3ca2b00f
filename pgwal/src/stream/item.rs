//! What lies between the reader and the consumer: messages of committed transactions, in order.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use router::Lsn;

use super::event::CommitTime;
use super::pgoutput::{Begin, Commit};

/// One thing for the consumer, and the position after it if no transaction is open then.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) content: Content,
    /// Everything committed up to here came with or before this item.
    pub(super) ends_at: Option<Lsn>,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    /// A pgoutput message as it stands outside of streamed blocks.
    Message(Bytes),
    /// A whole transaction that is in a file.
    File(Arc<TransactionFile>),
    /// Nothing but the position.
    Idle,
}

/// A committed transaction whose changes were collected in a file while it was running.
#[derive(Debug)]
pub(super) struct TransactionFile {
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) xid: u32,
    pub(super) commit: Commit,
    /// Subtransactions whose changes are left out.
    pub(super) aborted: HashSet<u32>,
    /// The last Relation message of each relation in the file.
    pub(super) relations: Vec<Bytes>,
}

impl TransactionFile {
    pub(super) fn begin(&self) -> Begin {
        Begin {
            commit_lsn: self.commit.commit_lsn,
            commit_time: self.commit.commit_time,
            xid: self.xid,
        }
    }
}

/// The name of the file of a committed transaction; it says when the file can go.
pub(super) fn transaction_file_name(end_lsn: Lsn) -> String {
    format!("transaction-{:016x}.rows", end_lsn.0)
}

/// The end position in such a name.
pub(super) fn transaction_file_end(name: &str) -> Option<Lsn> {
    let hex = name.strip_prefix("transaction-")?.strip_suffix(".rows")?;
    u64::from_str_radix(hex, 16).ok().map(Lsn)
}

impl Item {
    /// Memory that the item takes.
    pub(super) fn bytes(&self) -> usize {
        let content = match &self.content {
            Content::Message(message) => message.len(),
            Content::File(file) => {
                file.aborted.len() * 8 + file.relations.iter().map(Bytes::len).sum::<usize>()
            }
            Content::Idle => 0,
        };
        content + size_of::<Self>()
    }

    /// Whether a transaction ends with the item.
    pub(super) fn ends_transaction(&self) -> bool {
        self.ends_at.is_some() && !matches!(self.content, Content::Idle)
    }

    /// The Relation messages that the item brings.
    pub(super) fn relations(&self) -> impl Iterator<Item = &Bytes> {
        let (one, many) = match &self.content {
            Content::Message(message) if message.first() == Some(&b'R') => (Some(message), None),
            Content::Message(_) | Content::Idle => (None, None),
            Content::File(file) => (None, Some(&file.relations)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// The oid in a Relation message as it stands outside of streamed blocks.
pub(super) fn relation_oid(message: &Bytes) -> Option<u32> {
    let (_tag, rest) = message.split_first()?;
    rest.first_chunk::<4>().map(|oid| u32::from_be_bytes(*oid))
}

const MESSAGE: u8 = 0;
const MESSAGE_ENDS: u8 = 1;
const FILE: u8 = 2;

/// Appends an item to a spool's record. Idle is told by the record's own position.
pub(super) fn encode(item: &Item, out: &mut Vec<u8>) {
    match &item.content {
        Content::Message(message) => match item.ends_at {
            None => {
                out.put_u8(MESSAGE);
                put_bytes(out, message);
            }
            Some(end) => {
                out.put_u8(MESSAGE_ENDS);
                out.put_u64(end.0);
                put_bytes(out, message);
            }
        },
        Content::File(file) => {
            out.put_u8(FILE);
            out.put_u64(file.len);
            out.put_u32(file.xid);
            out.put_u64(file.commit.commit_lsn.0);
            out.put_u64(file.commit.end_lsn.0);
            out.put_i64(file.commit.commit_time.0);
            put_count(out, file.aborted.len());
            file.aborted.iter().for_each(|xid| out.put_u32(*xid));
            put_count(out, file.relations.len());
            file.relations
                .iter()
                .for_each(|relation| put_bytes(out, relation));
        }
        Content::Idle => {}
    }
}

/// The items of a spool's record. `dir` is where transactions' files are.
///
/// `None` if the bytes are not what [`encode`] wrote (their checksum was right, so this is a spool
/// of another program).
pub(super) fn decode(record: Vec<u8>, dir: &std::path::Path) -> Option<Vec<Item>> {
    let mut rest = Bytes::from(record);
    let mut items = Vec::new();
    while !rest.is_empty() {
        items.push(decode_one(&mut rest, dir)?);
    }
    Some(items)
}

fn decode_one(rest: &mut Bytes, dir: &std::path::Path) -> Option<Item> {
    match rest.try_get_u8().ok()? {
        MESSAGE => Some(Item {
            content: Content::Message(take_bytes(rest)?),
            ends_at: None,
        }),
        MESSAGE_ENDS => {
            let end = Lsn(rest.try_get_u64().ok()?);
            Some(Item {
                content: Content::Message(take_bytes(rest)?),
                ends_at: Some(end),
            })
        }
        FILE => {
            let len = rest.try_get_u64().ok()?;
            let xid = rest.try_get_u32().ok()?;
            let commit = Commit {
                commit_lsn: Lsn(rest.try_get_u64().ok()?),
                end_lsn: Lsn(rest.try_get_u64().ok()?),
                commit_time: CommitTime(rest.try_get_i64().ok()?),
            };
            let count = take_count(rest)?;
            let aborted = (0..count)
                .map(|_| rest.try_get_u32().ok())
                .collect::<Option<_>>()?;
            let count = take_count(rest)?;
            let relations = (0..count)
                .map(|_| take_bytes(rest))
                .collect::<Option<_>>()?;
            let path = dir.join(transaction_file_name(commit.end_lsn));
            let file = TransactionFile {
                path,
                len,
                xid,
                commit,
                aborted,
                relations,
            };
            let ends_at = Some(commit.end_lsn);
            Some(Item {
                content: Content::File(Arc::new(file)),
                ends_at,
            })
        }
        _unknown => None,
    }
}

/// Lengths fit: a message has less than 1 GiB, and the counts are bounded.
fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &Bytes) {
    put_count(out, bytes.len());
    out.put_slice(bytes);
}

fn take_count(rest: &mut Bytes) -> Option<usize> {
    usize::try_from(rest.try_get_u32().ok()?).ok()
}

fn take_bytes(rest: &mut Bytes) -> Option<Bytes> {
    let len = take_count(rest)?;
    (len <= rest.len()).then(|| rest.split_to(len))
}
