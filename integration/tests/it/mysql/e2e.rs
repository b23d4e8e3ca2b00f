//! The whole program against real MySQL and MariaDB servers: copy, stream, cutover, and what can go
//! wrong.

mod bad_clients;
mod bad_input;
mod clients;
mod crashes;
mod differences;
mod events;
mod lag;
mod many_tables;
mod matrix;
mod moves;
mod policies;
mod refusals;
mod spool;
mod stage;
mod sysbench;
mod traces;
mod verify;
