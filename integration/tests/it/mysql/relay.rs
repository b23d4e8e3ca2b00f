//! The relay of client bytes in front of real servers.

mod house;
mod logins;
mod moving;
mod protocol;
mod tls;
