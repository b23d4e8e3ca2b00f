//! Watches the serving side while changes flow: its schema, since a new table may be in no stream, and the
//! end of its log, since a stream that has just been opened knows nothing of what is to come.

use std::time::Duration;

use router::Side;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

use crate::engine::{Engine, Flow as _};
use crate::migration::board::Board;
use crate::status::Failure;

/// How often the two catalogs are compared. A table that appears and takes rows in between is found
/// all the same: by the next look, or by the one before a cutover.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// How often the serving side is asked for the end of its log.
const LOG_END_PERIOD: Duration = Duration::from_secs(1);

/// How long it may take to tell it.
const LOG_END_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an explanation may take to find.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Comes back with the differences when the serving side has a table, column or type that the other
/// has not. A server that cannot be asked is asked again; the stream notices that it is gone.
///
/// # Cancel safety
/// May be dropped at any time.
pub(super) async fn drift<E: Engine>(engine: &E, serving: Side) -> Vec<String> {
    loop {
        match engine.drift(serving).await {
            Ok(drift) if drift.is_empty() => {}
            Ok(drift) => return drift,
            Err(why) => debug!(%why, "cannot compare the catalogs"),
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// A row that does not fit is most often the first to tell of a changed schema: then that is what
/// is said, with the row's own failure behind it.
pub(super) async fn explain<E: Engine>(engine: &E, serving: Side, failure: Failure) -> Failure {
    match timeout(EXPLAIN_TIMEOUT, engine.drift(serving)).await {
        Ok(Ok(drift)) if !drift.is_empty() => {
            let mut explained = super::failure::of_drift(serving, &drift);
            let consequence = format!(" ({}: {})", failure.what, failure.detail);
            if !explained.detail.contains(&failure.detail) {
                explained.detail.push_str(&consequence);
            }
            explained
        }
        Ok(_) | Err(_) => failure,
    }
}

/// Tells the board where the serving side's log ends, for as long as this is not dropped.
///
/// # Cancel safety
/// May be dropped at any time.
pub(super) async fn log_end<E: Engine>(
    engine: &E,
    serving: Side,
    board: &Board<E>,
    flow: &E::Flow,
) -> ! {
    let mut tick = interval(LOG_END_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut conn = None;
    loop {
        tick.tick().await;
        let ask = async {
            let asked = match conn.take() {
                Some(conn) => conn,
                None => engine.connect(serving, "pointsman watch").await?,
            };
            flow.asked_on(&asked);
            let end = engine.log_end(&asked).await?;
            Ok::<_, String>((asked, end))
        };
        match timeout(LOG_END_TIMEOUT, ask).await {
            Ok(Ok((asked, end))) => {
                conn = Some(asked);
                board.log_ends(Some(end));
            }
            Ok(Err(why)) => {
                debug!(%why, %serving, "it does not tell where its log ends");
                board.log_ends(None);
            }
            Err(_elapsed) => board.log_ends(None),
        }
    }
}
