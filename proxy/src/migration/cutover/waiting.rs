//! Waiting while nobody is held: for sessions to get out of the way by themselves, and for the side
//! that is to serve to catch up.

use std::time::{Duration, Instant};

use router::{Position as _, Side};

use super::{Refused, Scene, refusing, too_long, twins};
use crate::config::Policy;
use crate::engine::{Engine, Flow as _};
use crate::migration::sessions::{in_words, unmovable};
use crate::status::RunningSession;

/// Pause between two looks at the sessions.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// What has arrived is applied within so long: the hold would hardly be longer for it.
const CLOSE: Duration = Duration::from_millis(20);

/// Under a load that never ends the target may always be further behind than that. After so long it
/// is as close as it gets.
const SETTLED: Duration = Duration::from_secs(3);

/// Then this part of the longest pause may be spent on catching up.
const PART_OF_PAUSE: u32 = 4;

/// Pause between two looks at what is applied.
const APPLIED_PERIOD: Duration = Duration::from_millis(1);

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

/// Waits until the side that is gone to is close behind: everybody would wait in the hold for what it
/// lacks. Close is told by time: what has arrived now is applied soon. Under a load that never ends
/// there is always something that is not.
///
/// # Errors
/// When it is not close within `cutover.wait_timeout`, when changes are not applied any more, or when
/// the operator has given the command up.
pub(super) async fn until_close_behind<E: Engine>(
    scene: &Scene<'_, E>,
    max_pause: Duration,
) -> Result<(), Refused> {
    let wait_timeout = scene.config.cutover.wait_timeout;
    let begun = Instant::now();
    let mut asked: Option<(Instant, E::Position)> = None;
    loop {
        let Some(flow) = scene.board.flow() else {
            let reason = "changes have ceased to be applied (`pointsman status` says why)";
            return Err(reason.to_owned().into());
        };
        // Asked before it is looked whether anything is left to do.
        let (since, arrived) = asked.get_or_insert_with(|| (Instant::now(), flow.received()));
        let took = since.elapsed();
        if !flow.is_behind() || flow.applied().includes(arrived) {
            let settled = begun.elapsed() >= SETTLED;
            if took <= CLOSE || settled && took <= max_pause / PART_OF_PAUSE {
                return Ok(());
            }
            asked = None;
            continue;
        }
        let behind = || behind::<E>(scene.to, &flow, took);
        if begun.elapsed() >= wait_timeout.0.max(SETTLED) {
            let reason = format!(
                "{} (waited for {wait_timeout}: cutover.wait_timeout)",
                behind()
            );
            return Err(reason.into());
        }
        scene.confirm_wanted()?;
        if took < LOOK_PERIOD {
            tokio::time::sleep(APPLIED_PERIOD).await;
        } else {
            let step = format!("waiting for the {} to catch up: {}", scene.to, behind());
            scene.board.step(step);
            tokio::time::sleep(LOOK_PERIOD).await;
        }
    }
}

/// How far the side that is gone to is behind, in words.
fn behind<E: Engine>(to: Side, flow: &E::Flow, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let mut words = format!("the {to} lags: what arrived {seconds:.1} s ago is not applied yet");
    match flow.transactions() {
        0 => {}
        many => words.push_str(&format!(", and {many} transactions wait behind it")),
    }
    if let Some(work) = flow.works_long() {
        words.push_str("; ");
        words.push_str(&work);
    }
    words
}
