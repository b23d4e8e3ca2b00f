//! What the stream hands to its consumer: whole committed transactions, in commit order.

use std::sync::Arc;

use bytes::Bytes;
use router::{Change, Lsn};

/// One step of the source's history.
///
/// `Begin`, then any of `Origin`, `Change`, `Truncate` and `Relation`, then `Commit`. Between
/// transactions only `Relation` and `Idle` come. A transaction that was begun always ends with its
/// `Commit`, unless [`super::Stream::next`] fails in between: then the consumer rolls back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// A committed transaction begins.
    Begin {
        /// Its transaction id on the source.
        xid: u32,
        /// Where its commit record starts.
        commit_lsn: Lsn,
        /// When it was committed, by the source's clock.
        commit_time: CommitTime,
    },
    /// The shape of a table, before its first change and again whenever it may have changed. It
    /// may say what was known before, and may come between transactions.
    Relation(Arc<Relation>),
    /// A change of a row of the relation with this oid, which was announced before.
    Change {
        /// The relation's oid on the source.
        relation: u32,
        /// The change.
        change: Change,
    },
    /// TRUNCATE of these relations in one statement.
    Truncate {
        /// The relations' oids on the source.
        relations: Vec<u32>,
        /// Whether CASCADE was given.
        cascade: bool,
        /// Whether RESTART IDENTITY was given.
        restart_identity: bool,
    },
    /// The transaction was not born on the source, but applied there under this replication
    /// origin.
    Origin {
        /// The origin's name.
        name: Bytes,
    },
    /// The transaction ends.
    Commit {
        /// Its transaction id on the source.
        xid: u32,
        /// Where its commit record starts.
        commit_lsn: Lsn,
        /// Just behind its commit record: the position to write down and to acknowledge.
        end_lsn: Lsn,
        /// When it was committed, by the source's clock.
        commit_time: CommitTime,
    },
    /// Nothing that concerns us was committed up to here. May be acknowledged once it is written
    /// down durably with everything before it; see [`super::StreamHandle::acknowledge`].
    Idle {
        /// Up to where the source has decoded its log.
        wal_end: Lsn,
    },
}

/// A time of the source's clock: microseconds since 2000-01-01 00:00 UTC, as the server counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitTime(pub i64);

impl CommitTime {
    /// Seconds from 1970-01-01 to 2000-01-01, UTC.
    const EPOCH_OFFSET_S: i64 = 946_684_800;

    /// Microseconds since 1970-01-01 00:00 UTC.
    #[must_use]
    pub fn unix_micros(self) -> i64 {
        self.0.saturating_add(Self::EPOCH_OFFSET_S * 1_000_000)
    }
}

/// The shape of a table as the stream announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// The table's oid on the source.
    pub oid: u32,
    /// Its schema; `pg_catalog` is never left out.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What identifies its rows in the stream.
    pub replica_identity: ReplicaIdentity,
    /// The streamed columns, in the order of the row images.
    pub columns: Vec<RelationColumn>,
}

/// A streamed column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationColumn {
    /// Its name.
    pub name: String,
    /// Its type's oid on the source.
    pub type_oid: u32,
    /// Its type modifier (`atttypmod`), -1 for none.
    pub type_modifier: i32,
    /// Whether it belongs to the replica identity; under FULL every column does.
    pub part_of_key: bool,
}

/// `pg_class.relreplident`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// `d`: the primary key.
    Default,
    /// `n`: no identity; updates and deletes cannot be published.
    Nothing,
    /// `f`: all columns.
    Full,
    /// `i`: a chosen unique index.
    Index,
}
