//! The movement of the points on the two servers: fence, marker, counters, journal.
