//! Watches the source's schema while changes flow: a new table is in no stream, so it must be looked
//! for.

use std::time::Duration;

use pgwal::wire::Endpoint;
use router::words;
use tokio::time::timeout;
use tracing::debug;

use crate::config::Config;
use crate::migration::cutover;
use crate::status::Failure;

/// How often the two catalogs are compared. A table that appears and takes rows in between is found
/// all the same: by the next look, or by the one before a cutover.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// Comes back with the differences when the source has a table, column or type that the target has
/// not. A server that cannot be asked is asked again; the stream notices that it is gone.
///
/// # Cancel safety
/// May be dropped at any time.
pub(super) async fn drift(config: &Config, source: &Endpoint, target: &Endpoint) -> Vec<String> {
    loop {
        match look(config, source, target).await {
            Ok(drift) if drift.is_empty() => {}
            Ok(drift) => return drift,
            Err(why) => debug!(%why, "cannot compare the catalogs"),
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// How long an explanation may take to find.
const EXPLAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// A row that does not fit is most often the first to tell of a changed schema: then that is what
/// is said, with the row's own failure behind it.
pub(super) async fn explain(
    failure: Failure,
    config: &Config,
    source: &Endpoint,
    target: &Endpoint,
) -> Failure {
    match timeout(EXPLAIN_TIMEOUT, look(config, source, target)).await {
        Ok(Ok(drift)) if !drift.is_empty() => {
            let mut explained = super::failure::of_drift(&drift);
            let consequence = format!(" ({}: {})", failure.what, failure.detail);
            if !explained.detail.contains(&failure.detail) {
                explained.detail.push_str(&consequence);
            }
            explained
        }
        Ok(_) | Err(_) => failure,
    }
}

async fn look(
    config: &Config,
    source: &Endpoint,
    target: &Endpoint,
) -> Result<Vec<String>, String> {
    let connect = |endpoint: Endpoint| async move {
        endpoint
            .connect_sql("pointsman watch")
            .await
            .map_err(|error| words(&error))
    };
    let (source, target) = (
        connect(source.clone()).await?,
        connect(target.clone()).await?,
    );
    cutover::drift(config, &source, &target).await
}
