//! The whole program against real servers: copy, stream, cutover, and everything that can go wrong.

mod bad_clients;
mod clients;
pub(crate) mod commands;
mod crashes;
mod disk_full;
mod given_up;
mod hold;
mod hostile;
mod lag;
mod login_race;
mod matrix;
mod moves;
mod objects;
mod policies;
mod privileges;
mod refusals;
mod rollback;
mod shutdown;
mod stage;
mod stops;
mod traces;
mod verify;
