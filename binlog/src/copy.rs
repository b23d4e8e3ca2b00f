//! The copy of the rows, from a consistent snapshot of the source to the target.
