//! The wire: packets, log-in, queries.
