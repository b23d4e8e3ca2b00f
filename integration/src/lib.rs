//! Real servers, real clients, crashes: what the end-to-end tests, the demo and the benchmarks share.

pub mod server;
