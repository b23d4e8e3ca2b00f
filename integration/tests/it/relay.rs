//! The relay of client bytes in front of real servers.

mod conversations;
mod house;
mod logins;
mod moving;
mod protocol;
mod state;
mod traffic;
