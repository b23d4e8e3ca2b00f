//! Why two sides cannot be compared at all.

use std::time::Duration;

use router::Side;
use thiserror::Error;

use crate::movement::marker::MarkerError;
use crate::schema::error::SchemaError;
use crate::wire::{ConnectError, SqlError};

/// Why two sides cannot be compared at all.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// A server cannot be reached.
    #[error("cannot connect to the {side} to compare it")]
    Connect {
        /// The side.
        side: Side,
        /// Why.
        #[source]
        source: ConnectError,
    },
    /// A statement failed.
    #[error("the {side} failed while pointsman was {doing}")]
    Sql {
        /// The side.
        side: Side,
        /// What we were doing.
        doing: &'static str,
        /// Why.
        #[source]
        source: SqlError,
    },
    /// There is no snapshot of the source.
    #[error("cannot take a snapshot of the source that belongs to a position")]
    Snapshot(#[source] Box<SchemaError>),
    /// It took too long to take one.
    #[error(
        "a snapshot of the source was not to be had within {patience:?}: something holds locks \
         there; try again later"
    )]
    Busy {
        /// How long it was tried.
        patience: Duration,
    },
    /// There is no marker.
    #[error("cannot write a marker on the source")]
    Marker(#[from] MarkerError),
    /// The applier did not come to a window's boundary.
    #[error(
        "the applier did not hold still within {patience:?}: it works on a large window or a \
         definition, or it is being opened again; see `pointsman status`, and try again later"
    )]
    NotStill {
        /// How long it was waited for.
        patience: Duration,
    },
    /// The applier did not come to the source's snapshot.
    #[error(
        "the target did not come to the snapshot's position {position} within {patience:?}: it is \
         too far behind (see `pointsman status`); try again later"
    )]
    Behind {
        /// The position.
        position: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// A catalog cannot be read.
    #[error("cannot read the catalog of the {side}")]
    Schema {
        /// The side.
        side: Side,
        /// Why.
        #[source]
        source: Box<SchemaError>,
    },
    /// A worker left a table unread, which is a bug of ours.
    #[error("a table was left unread")]
    Unread,
}

impl VerifyError {
    pub(super) fn sql(side: Side, doing: &'static str) -> impl FnOnce(SqlError) -> Self {
        move |source| Self::Sql {
            side,
            doing,
            source,
        }
    }
}
