//! What an engine does on its servers for a movement: the traits that PostgreSQL and MySQL share.
//!
//! A movement leaves one side and arrives at the other; a rollback is the same with the sides
//! exchanged. So an engine implements [`Leave`] and [`Arrive`] for a side, whichever it is, and
//! [`Journal`] once, for the target. The [cutover machine](crate::cutover) does the rest.
//!
//! # The promises that crashes rest on
//!
//! A connection may break while a server still works on what we sent, and the server may finish it
//! later. These doors must therefore be closed *on the server*:
//!
//! * [`Journal::resolve`] decides by compare-and-set on the epoch's row, so that a promotion that
//!   comes later fails.
//! * [`Leave::lower_fence`] of an epoch leaves a note of the epoch, also where no fence ever was,
//!   and [`Leave::raise_fence`] fails for an epoch that is not greater than the note's. So a fence
//!   that was given up cannot go up later and shut out a side that serves.
//! * [`Leave::lower_fence`] of an epoch leaves a fence of a greater epoch alone. So an attempt to
//!   lower that was repeated, and is done twice, does not open the next movement's fence.
//!
//! Every call may be repeated, and every call that changes something is done when it returns `Ok`:
//! committed and durable.
//!
//! # Cancel safety
//!
//! Any of these futures may be dropped at any time; what the server then does is the case above.

use std::error::Error;
use std::future::Future;

use crate::cutover::Resolution;
use crate::side::{Epoch, Side};

/// A side that is left: the server that serves before the movement.
pub trait Leave: Send + Sync {
    /// Marks the end of the stream (PostgreSQL: a row's token; MySQL: a GTID of ours).
    type Marker: Clone + Send + Sync;
    /// What the stream does not carry and applications count with: sequences by `last_value` and
    /// `is_called`, `AUTO_INCREMENT`.
    type Counters: Send;
    /// Why something failed.
    type Error: Error + Send + Sync + 'static;

    /// Makes the server itself refuse the application's writes, ends sessions that pass the proxy
    /// by, and proves it. See the [module](self) for what must hold for the epoch.
    fn raise_fence(&self, epoch: Epoch) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Lets the application write again, and sees to it that no fence of this epoch or an earlier
    /// one goes up any more. Done also if there is no fence; does nothing to a later epoch's.
    fn lower_fence(&self, epoch: Epoch) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Writes a durable marker behind the fence: the end of the stream.
    fn write_marker(&self) -> impl Future<Output = Result<Self::Marker, Self::Error>> + Send;

    /// Reads the counters behind the fence; they are final there.
    fn read_counters(&self) -> impl Future<Output = Result<Self::Counters, Self::Error>> + Send;
}

/// A side that is arrived at: the server that serves after the movement.
pub trait Arrive<L: Leave>: Send + Sync {
    /// Why something failed.
    type Error: Error + Send + Sync + 'static;

    /// Waits until the marker came through the stream and is committed here. It has no time limit
    /// of its own; it fails when the stream or its applier stops.
    fn caught_up(&self, marker: &L::Marker)
    -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Sets the counters here and turns the journal's epoch from `pending` to `switched`; in one
    /// transaction where this side has the journal, else the counters first.
    fn promote(
        &self,
        epoch: Epoch,
        counters: L::Counters,
    ) -> impl Future<Output = Result<(), Failure<Self::Error>>> + Send;

    /// Opens a side that was fenced by an earlier movement, as [`Leave::lower_fence`] does.
    fn lower_fence(&self, epoch: Epoch) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// The journal of movements, on the target.
pub trait Journal: Send + Sync {
    /// Why something failed.
    type Error: Error + Send + Sync + 'static;

    /// Writes the epoch down as pending. Refused while another is pending, and for an epoch that is
    /// not greater than all that are there.
    fn begin(
        &self,
        epoch: Epoch,
        to: Side,
    ) -> impl Future<Output = Result<(), Failure<Self::Error>>> + Send;

    /// Turns the epoch from `pending` to `aborted`, unless it is ended already, and says how it
    /// ended. An epoch that is not there is written down as aborted. The answer never changes.
    fn resolve(&self, epoch: Epoch)
    -> impl Future<Output = Result<Resolution, Self::Error>> + Send;
}

/// Whether what failed may have happened nevertheless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure<E> {
    /// The server refused it: it did not happen.
    Refused(E),
    /// The answer is missing: it happened, or not, or happens later.
    Unknown(E),
}

impl<E> Failure<E> {
    /// Why.
    pub fn error(&self) -> &E {
        match self {
            Self::Refused(error) | Self::Unknown(error) => error,
        }
    }
}
