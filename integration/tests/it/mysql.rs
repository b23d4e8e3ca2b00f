//! MySQL and MariaDB: the same ideas on their servers, a module an idea.

mod apply;
mod check;
mod compare;
mod cut;
mod e2e;
mod fence;
mod ground;
mod guard;
mod journal;
mod load;
mod relay;
mod schema;
mod servers;
mod stream;
mod wire;
