//! Why two sides cannot be compared at all.

use std::time::Duration;

use router::Side;
use thiserror::Error;

use crate::movement::marker::MarkerError;
use crate::schema::error::SchemaError;
use crate::stream::slot::{Blocker, SlotError, list};
use crate::wire::ConnectError;

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
        source: tokio_postgres::Error,
    },
    /// The source has writing transactions that a snapshot with a position must wait for.
    #[error(
        "a snapshot of the source must wait for every transaction that is already writing, and \
         some did not end within {patience:?}{}; end them, or try again later",
        list(blockers)
    )]
    Busy {
        /// How long they were waited for.
        patience: Duration,
        /// Who they are.
        blockers: Vec<Blocker>,
    },
    /// There is no snapshot of the source.
    #[error("cannot take a snapshot of the source that belongs to a position")]
    Slot(#[from] Box<SlotError>),
    /// There is no marker.
    #[error("cannot write a marker on the source")]
    Marker(#[from] MarkerError),
    /// The applier did not come to a window's boundary.
    #[error(
        "the applier did not hold still within {patience:?}: it works on a large window, or it is \
         being opened again; see `pointsman status`, and try again later"
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
    #[error("cannot read the catalogs of the {side}")]
    Schema {
        /// The side.
        side: Side,
        /// Why.
        #[source]
        source: Box<SchemaError>,
    },
    /// A worker ended by a bug of ours.
    #[error("a worker of the comparison panicked")]
    Panicked,
}

impl VerifyError {
    pub(super) fn sql(
        side: Side,
        doing: &'static str,
    ) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Sql {
            side,
            doing,
            source,
        }
    }
}
