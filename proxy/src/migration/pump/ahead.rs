//! Reads the stream into the spool while the copy runs, so that the source need not keep its log for
//! as long as the copy takes.

use std::time::Duration;

use pgwal::schema::initial::{InitialCopy, StreamStart};
use pgwal::stream::Stream;
use tracing::warn;

use super::Pump;
use super::failure::Attempt;

/// How often it is looked whether the stream has broken, and how long until it is opened again.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Opens the stream as soon as the slot is there and keeps it open, in `stream`, until dropped; it
/// only comes back with what cannot pass.
///
/// # Cancel safety
/// May be dropped at any time; a stream that is open then stays in `stream`.
pub(super) async fn read_ahead(
    pump: &Pump,
    copy: &InitialCopy,
    stream: &mut Option<Stream>,
) -> Attempt {
    let start = copy.stream_start().await;
    loop {
        if stream.as_ref().is_none_or(Stream::has_failed) {
            // Dropped first: it holds the slot and the spool.
            *stream = None;
            match open(pump, &start).await {
                Ok(opened) => *stream = Some(opened),
                Err(Attempt::Again { why, .. }) => {
                    warn!(%why, "cannot read ahead of the copy; trying again");
                }
                Err(definite) => return definite,
            }
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

async fn open(pump: &Pump, start: &StreamStart) -> Result<Stream, Attempt> {
    pump.open_stream(start, start.consistent_point).await
}
