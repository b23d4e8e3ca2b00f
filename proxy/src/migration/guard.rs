//! Watches the source after the switch: it must not take writes from applications that pass the
//! proxy by, whatever happens to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::engine::Engine;

/// How often the source is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks until it is stopped. What is under way is then carried through or given up by its own time
/// limit, so that nothing closes the source any more when this has ended.
pub(super) async fn guard<E: Engine>(engine: Arc<E>, stop: CancellationToken) {
    let mut told = String::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_PERIOD) => {}
        }
        let why = match timeout(LOOK_TIMEOUT, engine.keep_closed()).await {
            Ok(Ok(())) => String::new(),
            Ok(Err(why)) => why,
            Err(_elapsed) => "it does not answer".to_owned(),
        };
        if !why.is_empty() && why != told {
            warn!(%why, "a look at the two servers after the switch was not carried through");
        }
        told = why;
    }
}
