//! Real servers, real clients, crashes: what the end-to-end tests, the demo and the benchmarks
//! share.
//!
//! * [`server`] starts and stops real PostgreSQL servers of any fetched version.
//! * [`mysql`] does the same for MySQL and MariaDB servers.
//! * [`binaries`] finds the programs; `integration/fetch.sh` fetches them, once.
//! * [`proxy`] starts the real program and asks it through its own commands.
//! * [`load`] is a load of which every commit is accounted for.
//! * [`contents`] and [`catalog`] compare two databases, or one before and after.
//! * [`demo`] is what `demo.sh` shows.
//!
//! The end-to-end tests themselves are one test binary, `integration/tests/it`.

pub mod binaries;
pub mod catalog;
pub mod children;
pub mod contents;
pub mod demo;
pub mod load;
pub mod matrix;
pub mod mysql;
pub mod port;
pub mod proxy;
pub mod python;
pub mod scratch;
pub mod server;
pub mod small_disk;
