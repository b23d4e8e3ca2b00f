//! One transaction that is streamed while it runs.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use router::spool::{RecordFileWriter, SpoolError};

use crate::stream::error::StreamError;
use crate::stream::item::{Content, Item, TransactionFile, relation_oid, transaction_file_name};
use crate::stream::limits::{ABORTED_SUBTRANSACTIONS_MAX, CHUNK_BYTES};
use crate::stream::pgoutput::{Begin, Commit, DecodeError, Tag, carries_xid};

/// What was collected of it. Dropping it deletes its file.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// Full chunks of messages that are in no file yet, in order.
    chunks: Vec<Bytes>,
    chunks_bytes: usize,
    /// The chunk that is being filled.
    tail: BytesMut,
    file: Option<UnnamedFile>,
    aborted: HashSet<u32>,
    /// The last Relation message of each relation.
    relations: BTreeMap<u32, Bytes>,
    relations_bytes: usize,
    origin: OriginSeen,
}

/// The server repeats the origin in each block.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum OriginSeen {
    #[default]
    No,
    Yes,
}

impl Running {
    pub(super) fn memory_bytes(&self) -> usize {
        self.chunks_bytes + self.tail.len()
    }

    /// Takes a message of a block, without the xid that it carries: as if it stood outside.
    pub(super) fn collect(&mut self, top_xid: u32, message: Bytes) -> Result<(), StreamError> {
        let tag = Tag(*message.first().ok_or(DecodeError::Empty)?);
        let (xid, body) = if carries_xid(tag) {
            let mut body = message.slice(1..);
            let xid = body
                .try_get_u32()
                .map_err(|_short| DecodeError::Truncated {
                    tag,
                    field: "xid",
                    missing: 4,
                })?;
            (xid, body)
        } else {
            (top_xid, message.slice(1..))
        };
        if tag.0 == b'O' && std::mem::replace(&mut self.origin, OriginSeen::Yes) == OriginSeen::Yes
        {
            return Ok(());
        }
        let len = u32::try_from(body.len() + 1).map_err(|_large| StreamError::TooMany {
            what: "bytes in a message",
            limit: 1 << 30,
        })?;
        self.tail.reserve(body.len() + 9);
        self.tail.put_u32(xid);
        self.tail.put_u32(len);
        self.tail.put_u8(tag.0);
        self.tail.put_slice(&body);
        if tag.0 == b'R' {
            let mut plain = BytesMut::with_capacity(body.len() + 1);
            plain.put_u8(tag.0);
            plain.put_slice(&body);
            self.keep_relation(plain.freeze());
        }
        if self.tail.len() >= CHUNK_BYTES {
            self.seal();
        }
        Ok(())
    }

    pub(super) fn abort(&mut self, subxid: u32) -> Result<(), StreamError> {
        if self.aborted.len() >= ABORTED_SUBTRANSACTIONS_MAX {
            return Err(StreamError::TooMany {
                what: "aborted subtransactions in one transaction",
                limit: ABORTED_SUBTRANSACTIONS_MAX,
            });
        }
        self.aborted.insert(subxid);
        Ok(())
    }

    /// Moves everything from memory to the file. After an error what was not written is still in
    /// memory.
    pub(super) fn spill(&mut self, dir: &Path, xid: u32) -> Result<(), SpoolError> {
        self.seal();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(UnnamedFile::create(dir, xid)?),
        };
        let mut written = 0;
        let mut outcome = Ok(());
        for chunk in &self.chunks {
            outcome = file.push(chunk);
            if outcome.is_err() {
                break;
            }
            written += 1;
        }
        let gone: usize = self.chunks.drain(..written).map(|chunk| chunk.len()).sum();
        self.chunks_bytes -= gone;
        outcome
    }

    /// The transaction has committed: what is left of it comes out.
    pub(super) fn commit(
        mut self,
        xid: u32,
        commit: Commit,
        dir: &Path,
        out: &mut Vec<Item>,
    ) -> Result<(), StreamError> {
        if self.file.is_some() {
            self.spill(dir, xid)?;
        }
        self.seal();
        let Some(file) = self.file.take() else {
            self.commit_from_memory(xid, commit, out);
            return Ok(());
        };
        let len = file.bytes();
        let path = file.finish(&dir.join(transaction_file_name(commit.end_lsn)))?;
        let file = TransactionFile {
            path,
            len,
            xid,
            commit,
            aborted: self.aborted,
            relations: self.relations.into_values().collect(),
        };
        let ends_at = Some(commit.end_lsn);
        out.push(Item {
            content: Content::File(Arc::new(file)),
            ends_at,
        });
        Ok(())
    }

    fn commit_from_memory(self, xid: u32, commit: Commit, out: &mut Vec<Item>) {
        let Commit {
            commit_lsn,
            commit_time,
            ..
        } = commit;
        let begin = Begin {
            commit_lsn,
            commit_time,
            xid,
        };
        let part = |message| Item {
            content: Content::Message(message),
            ends_at: None,
        };
        out.push(part(begin.encode()));
        for chunk in self.chunks {
            out.extend(Messages::new(chunk, &self.aborted).map(part));
        }
        let ends_at = Some(commit.end_lsn);
        out.push(Item {
            content: Content::Message(commit.encode()),
            ends_at,
        });
    }

    fn keep_relation(&mut self, message: Bytes) {
        let Some(oid) = relation_oid(&message) else {
            return;
        };
        self.relations_bytes += message.len();
        if let Some(old) = self.relations.insert(oid, message) {
            self.relations_bytes -= old.len();
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let chunk = self.tail.split().freeze();
            self.chunks_bytes += chunk.len();
            self.chunks.push(chunk);
        }
    }
}

/// The messages of a chunk, those of aborted subtransactions left out.
///
/// A Relation message stays even then: the server sends it once for the whole transaction.
#[derive(Debug)]
pub(in crate::stream) struct Messages<'a> {
    rest: Bytes,
    aborted: &'a HashSet<u32>,
}

impl<'a> Messages<'a> {
    pub(in crate::stream) fn new(chunk: Bytes, aborted: &'a HashSet<u32>) -> Self {
        Self {
            rest: chunk,
            aborted,
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        loop {
            let xid = self.rest.try_get_u32().ok()?;
            let len = usize::try_from(self.rest.try_get_u32().ok()?).ok()?;
            if len > self.rest.len() {
                return None;
            }
            let message = self.rest.split_to(len);
            if message.first() == Some(&b'R') || !self.aborted.contains(&xid) {
                return Some(message);
            }
        }
    }
}

/// The file of a transaction that may still abort: deleted when this is dropped.
#[derive(Debug)]
struct UnnamedFile(Option<RecordFileWriter>);

impl UnnamedFile {
    fn create(dir: &Path, xid: u32) -> Result<Self, SpoolError> {
        let path = dir.join(format!("running-{xid}.rows"));
        RecordFileWriter::create(path).map(|file| Self(Some(file)))
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), SpoolError> {
        self.0.as_mut().map_or(Ok(()), |file| file.push(chunk))
    }

    fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, RecordFileWriter::bytes)
    }

    fn finish(mut self, path: &Path) -> Result<std::path::PathBuf, SpoolError> {
        match self.0.take() {
            Some(file) => file.finish(path),
            None => Ok(path.to_owned()),
        }
    }
}

impl Drop for UnnamedFile {
    fn drop(&mut self) {
        if let Some(file) = self.0.take()
            && let Err(error) = std::fs::remove_file(file.path())
        {
            tracing::warn!(%error, path = %file.path().display(), "cannot delete a file of the spool");
        }
    }
}
