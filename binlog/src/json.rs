//! MySQL's binary JSON: read without being believed, changed in parts, written again.
//!
//! <https://dev.mysql.com/doc/dev/mysql-server/latest/json__binary_8h.html>
//!
//! # Guarantees
//! * No bytes make a panic, a recursion deeper than MySQL's own limit, or a result much larger than
//!   they are: what a value refers to must lie in it, and once.
//! * A part that is not changed keeps its bytes, and so its type: a date stays a date.

pub(crate) mod diff;
mod document;
mod path;
pub(crate) mod read;

use crate::apply::field::BadField;

/// The same value in the one form that a value has here, whatever its history left in its bytes.
///
/// A server that changes a document in place leaves holes, so that equal values may have other
/// bytes.
///
/// # Errors
/// When the bytes are no value.
pub(crate) fn canonical(binary: &[u8]) -> Result<Vec<u8>, BadField> {
    let mut document = document::Node::of(binary)?;
    document.open_all(0)?;
    document.binary()
}

#[cfg(test)]
mod tests;
