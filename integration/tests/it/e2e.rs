//! The whole program against real servers: copy, stream, cutover, and everything that can go wrong.

mod clients;
mod crashes;
mod disk_full;
mod given_up;
mod hostile;
mod moves;
mod privileges;
mod refusals;
mod stage;
mod traces;
