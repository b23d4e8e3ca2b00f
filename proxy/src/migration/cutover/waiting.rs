//! Waiting for sessions to get out of the way by themselves, while nobody is held.

use std::time::{Duration, Instant};

use super::{Refused, Scene, refusing, too_long, twins};
use crate::config::Policy;
use crate::engine::Engine;
use crate::migration::sessions::{in_words, unmovable};
use crate::status::RunningSession;

/// Pause between two looks at the sessions.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// Waits while a session is there whose policy says so, at most for `cutover.wait_timeout`.
/// `still_running` are the transactions that were open for too long when it was looked first.
///
/// # Errors
/// When they are still there then, when one came that refuses the cutover, or when the operator has
/// given the command up.
pub(super) async fn until_out_of_the_way<E: Engine>(
    scene: &Scene<'_, E>,
    still_running: &[RunningSession],
) -> Result<(), Refused> {
    let cutover = &scene.config.cutover;
    let begun = Instant::now();
    let mut long = still_running.to_vec();
    loop {
        if let Some(words) = refusing(scene) {
            return Err(words.into());
        }
        let waits = cutover.on_long_transaction == Policy::Wait && !long.is_empty();
        let running = waits.then(|| too_long(scene, &long));
        let unmovable = unmovable(&**scene.engine.clients(), cutover).wait;
        let in_the_way: Vec<String> = running.into_iter().chain(in_words(&unmovable)).collect();
        if in_the_way.is_empty() {
            return Ok(());
        }
        let in_the_way = in_the_way.join("; ");
        if begun.elapsed() >= cutover.wait_timeout.0 {
            return Err(Refused {
                reason: format!(
                    "waited for {} (cutover.wait_timeout): {in_the_way}",
                    cutover.wait_timeout
                ),
                still_running: long,
            });
        }
        scene.confirm_wanted()?;
        scene.board.step(format!("waiting: {in_the_way}"));
        tokio::time::sleep(LOOK_PERIOD).await;
        long = twins::open(scene).await;
    }
}
