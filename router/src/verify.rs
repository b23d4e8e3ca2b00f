//! The comparison of two sides: what is summed up, how sums are compared, and what is told of it.
//!
//! Each server hashes its rows and sums the hashes up in *buckets* ([`Sums`]): by the hash of the
//! key where there is one, by that of the whole row elsewhere. Sums know no order, so neither
//! collations nor the place of a row matter, and a table can be read in pieces by several workers.
//! Buckets whose sums differ are read again row by row, on both sides, as keys with hashes; what does
//! not have its like on the other side is a [`RowDifference`].
//!
//! # What it guarantees
//!
//! * Tables that are equal are always found equal, whatever the pieces that they were read in.
//! * A row that is changed, missing, or there too often changes a bucket's sum, but for a collision of
//!   64-bit hashes in just this bucket.
//! * What is kept in memory is bounded: [`BUCKETS_MAX`], [`NARROWED_ROWS_MAX`],
//!   [`DIFFERENCES_MAX`].

mod progress;
mod report;
mod rows;
mod sums;

pub use progress::Progress;
pub use report::{ObjectDifference, OrphanedRows, Report, TableReport, Verdict};
pub use rows::{DIFFERENCES_MAX, Differences, HashedRow, RowDifference, pair};
pub use sums::{
    BUCKETS_MAX, BucketSum, NARROWED_ROWS_MAX, Sums, buckets_for, compare, worth_narrowing,
};
