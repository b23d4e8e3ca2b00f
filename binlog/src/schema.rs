//! The schema and everything else that is not rows: what the moved databases have, how it gets to
//! the target, what we add to both servers, and how all of that is taken away again.
//!
//! [`initial::InitialCopy`] puts the parts in order, from an empty target to one that only lacks
//! the changes of the stream; [`cleanup`] is its opposite.

pub mod bookkeeping;
pub mod catalog;
pub mod cleanup;
pub mod create_table;
mod deferred;
pub mod definitions;
pub mod enum_labels;
pub mod error;
mod events;
pub mod identity;
pub mod initial;
pub mod patience;
pub mod settle;
pub mod setup;
pub mod sql;
mod structure;
pub mod translate;
pub mod users;

use router::Side;

use crate::wire::{Endpoint, SqlConn};
use error::SchemaError;

/// Opens a connection for the statements of this module.
async fn connect(endpoint: &Endpoint, side: Side, name: &str) -> Result<SqlConn, SchemaError> {
    let opened = endpoint.connect_sql(name).await;
    opened.map_err(|source| SchemaError::Connect { side, source })
}
