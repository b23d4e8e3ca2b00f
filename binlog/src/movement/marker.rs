//! The marker: something of ours in the log of a fenced server whose coming through the stream
//! proves that all before it came through too.
//!
//! A position that was only asked for is never the end of the stream; something that we wrote
//! behind the fence is.

/// A marker that stands in the log of the server that wrote it.
///
/// Which kind it is depends on what the fence lets through: `super_read_only` stops rows of ours
/// too, but neither an empty transaction under a GTID of ours nor the end of a log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marker {
    /// MySQL with GTIDs: an empty transaction under this GTID, `uuid:number` in lower case. It is
    /// reached when the applied position contains it.
    Gtid {
        /// The GTID.
        gtid: String,
    },
    /// A row in `pointsman.marker` with this text in its second column, `token`.
    Row {
        /// Unlike any other marker's.
        token: String,
    },
    /// The log was switched to a new file behind the fence: all writes stand before it. It is
    /// reached when the applied position is at its beginning or later, which the stream tells when
    /// it meets the rotate event at the end of the file before.
    Rotated {
        /// The name of the new file, such as `binlog.000042`.
        file: String,
    },
}
