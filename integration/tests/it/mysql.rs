//! MySQL and MariaDB: the same ideas on their servers, a module an idea.

mod servers;
mod wire;
