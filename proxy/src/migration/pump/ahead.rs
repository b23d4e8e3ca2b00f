//! Reads the stream into the spool while the copy runs, so that the source need not keep its log for
//! as long as the copy takes.

use std::time::Duration;

use tracing::warn;

use super::Pump;
use super::failure::Attempt;
use crate::engine::{Engine, InitialCopy as _};

/// How often it is looked whether the stream has broken, and how long until it is opened again.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Opens the stream as soon as the slot is there and keeps it open, in `stream`, until dropped; it
/// only comes back with what cannot pass.
///
/// # Cancel safety
/// May be dropped at any time; a stream that is open then stays in `stream`.
pub(super) async fn read_ahead<E: Engine>(
    pump: &Pump<E>,
    copy: &E::Copy,
    stream: &mut Option<E::Stream>,
) -> Attempt {
    let start = copy.stream_start().await;
    loop {
        if stream.as_ref().is_none_or(E::has_failed) {
            // Dropped first: it holds the slot and the spool.
            *stream = None;
            match pump.open_stream(&start, None).await {
                Ok(opened) => *stream = Some(opened),
                Err(Attempt::Again { why, .. }) => {
                    warn!(%why, "cannot read ahead of the copy; trying again");
                }
                Err(definite) => return definite,
            }
        }
        let waits_for_space = stream.as_ref().and_then(E::waits_for_space);
        pump.board.reading_ahead(waits_for_space);
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}
