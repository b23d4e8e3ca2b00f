//! The movement of the points on the servers: fence, marker, counters, journal, and who serves.
//!
//! Who serves is written in the two servers and nowhere else: `pointsman.fence` on the side that
//! is left and `pointsman.movement` on the target.

pub mod marker;
