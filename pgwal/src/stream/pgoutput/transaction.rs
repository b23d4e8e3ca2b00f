//! Where transactions begin and end: Begin, Commit, Stream Commit, Stream Abort.
//!
//! `final_lsn` of Begin and `commit_lsn` of Commit are the same position, the start of the commit
//! record; `end_lsn` is the position just behind it.

use bytes::{BufMut, Bytes, BytesMut};
use router::Lsn;

use super::{DecodeError, Reader};
use crate::stream::event::CommitTime;

/// `B`: a transaction that is already committed begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where the commit record starts (`final_lsn`).
    pub commit_lsn: Lsn,
    /// When it was committed.
    pub commit_time: CommitTime,
    /// The transaction's id.
    pub xid: u32,
}

impl Begin {
    pub(super) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let commit_lsn = reader.lsn("final lsn")?;
        let commit_time = reader.time("commit time")?;
        let xid = reader.u32("xid")?;
        Ok(Self {
            commit_lsn,
            commit_time,
            xid,
        })
    }

    /// The message, as the server would send it.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(21);
        out.put_u8(b'B');
        out.put_u64(self.commit_lsn.0);
        out.put_i64(self.commit_time.0);
        out.put_u32(self.xid);
        out.freeze()
    }
}

/// `C`: the transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Where the commit record starts.
    pub commit_lsn: Lsn,
    /// Just behind the commit record.
    pub end_lsn: Lsn,
    /// When it was committed.
    pub commit_time: CommitTime,
}

impl Commit {
    pub(super) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        unused_flags(reader)?;
        let commit_lsn = reader.lsn("commit lsn")?;
        let end_lsn = reader.lsn("end lsn")?;
        let commit_time = reader.time("commit time")?;
        Ok(Self {
            commit_lsn,
            end_lsn,
            commit_time,
        })
    }

    /// The message, as the server would send it.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(26);
        out.put_u8(b'C');
        out.put_u8(0);
        out.put_u64(self.commit_lsn.0);
        out.put_u64(self.end_lsn.0);
        out.put_i64(self.commit_time.0);
        out.freeze()
    }
}

/// `c`: a streamed transaction has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamCommit {
    /// The top-level transaction's id.
    pub xid: u32,
    /// Its commit.
    pub commit: Commit,
}

impl StreamCommit {
    pub(super) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let xid = reader.u32("xid")?;
        let commit = Commit::read(reader)?;
        Ok(Self { xid, commit })
    }
}

/// `A`: a streamed transaction, or a subtransaction of it, has aborted.
///
/// With protocol 4 and parallel streaming the position and time of the abort follow; they are
/// checked and not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamAbort {
    /// The top-level transaction's id.
    pub xid: u32,
    /// What aborted: the subtransaction, or the top-level transaction itself.
    pub subxid: u32,
}

impl StreamAbort {
    pub(super) fn read(reader: &mut Reader) -> Result<Self, DecodeError> {
        let xid = reader.u32("xid")?;
        let subxid = reader.u32("subtransaction xid")?;
        if reader.remaining() > 0 {
            reader.lsn("abort lsn")?;
            reader.time("abort time")?;
        }
        Ok(Self { xid, subxid })
    }
}

/// "Currently unused": a server that sets a flag means something that we do not know.
fn unused_flags(reader: &mut Reader) -> Result<(), DecodeError> {
    match reader.u8("flags")? {
        0 => Ok(()),
        flags => Err(reader.malformed("flags", flags)),
    }
}
