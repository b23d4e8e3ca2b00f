//! The relay of client bytes in front of real servers.

mod changed_results;
mod conversations;
mod house;
mod locks;
mod logins;
mod looks;
mod moving;
mod notifications;
mod own_types;
mod protocol;
mod sequences;
mod state;
mod traffic;
