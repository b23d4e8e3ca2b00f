//! The relay of client bytes in front of real servers.

mod accounts;
mod commits;
mod corners;
mod first_challenge;
mod house;
mod kills;
mod locks;
mod logins;
mod looks;
mod modes;
mod moving;
mod outcome;
mod outcome_told;
mod protocol;
mod tls;
mod users;
