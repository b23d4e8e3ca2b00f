//! MySQL and MariaDB: the same ideas on their servers, a module an idea.

mod load;
mod servers;
mod wire;
