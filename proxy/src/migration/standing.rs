//! Asks the two servers who serves, and does what must be done before anybody can.
//!
//! # Crash behaviour
//!
//! This is the recovery: it runs at every start, and again when a movement ended in a
//! contradiction. It changes nothing but what a movement that was cut off left behind (a pending
//! row, a fence), and each of that may be done any number of times.

use std::time::Duration;

use router::cutover::standing::{Doubt, Standing};
use router::{Epoch, Side};
use tracing::{info, warn};

use super::board::Board;
use crate::engine::{Engine, WhoServes};

/// Pause before the servers are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How long one attempt to lower a fence waits for locks.
const LOWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one look at both servers may take, with what it mends.
const LOOK_TIMEOUT: Duration = Duration::from_secs(40);

/// How many things are mended before a movement; more than one that was cut off leaves behind.
const MENDED_MAX: u32 = 5;

/// Name of the connections that ask.
const PURPOSE: &str = "pointsman standing";

/// Asks until it is known who serves; meanwhile the board says what is missing.
///
/// # Cancel safety
/// May be dropped at any time.
pub(super) async fn settle<E: Engine>(engine: &E, board: &Board<E>) -> (Side, Epoch) {
    loop {
        match look(engine).await {
            Ok(Some(serving)) => {
                board.trouble(None);
                return serving;
            }
            // Something was mended: the facts are read anew at once.
            Ok(None) => {}
            Err(why) => {
                warn!(%why, "it is not known yet who serves; clients wait");
                board.trouble(Some(why));
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }
}

/// Makes sure that this side serves, before a movement leaves it, and ends what an earlier movement
/// left pending: it could have landed in the journal after that was asked at the start.
///
/// # Errors
/// Why it is not known that it serves; the movement must not begin.
///
/// # Cancel safety
/// May be dropped at any time.
pub(super) async fn confirm<E: Engine>(engine: &E, side: Side) -> Result<(), String> {
    for _ in 0..MENDED_MAX {
        match look(engine).await? {
            Some((serving, _)) if serving == side => return Ok(()),
            Some((serving, epoch)) => {
                return Err(format!(
                    "the journal says that the {serving} serves since epoch {epoch}: another \
                     pointsman moved the points; stop it, and restart this one"
                ));
            }
            None => {}
        }
    }
    Err("another pointsman begins movements again and again; stop it".to_owned())
}

/// [`settle_once`], but not for ever: a server may hang behind a connection that stands.
async fn look<E: Engine>(engine: &E) -> Result<Option<(Side, Epoch)>, String> {
    match tokio::time::timeout(LOOK_TIMEOUT, settle_once(engine)).await {
        Ok(looked) => looked,
        Err(_elapsed) => Err(format!(
            "a server has not answered within {} s",
            LOOK_TIMEOUT.as_secs()
        )),
    }
}

/// One look at the servers: who serves, or `None` when something had to be mended first.
async fn settle_once<E: Engine>(engine: &E) -> Result<Option<(Side, Epoch)>, String> {
    let source = engine.connect(Side::Source, PURPOSE).await;
    let target = engine.connect(Side::Target, PURPOSE).await;
    let asked = (
        source.as_ref().map_err(String::clone),
        target.as_ref().map_err(String::clone),
    );
    let told = engine.who_serves(asked.0, asked.1).await;
    match told.standing {
        Standing::Serves(side, epoch) => Ok(Some((side, epoch))),
        Standing::Resolve(epoch) => {
            let outcome = E::resolve(&target?, epoch).await?;
            info!(%epoch, ?outcome, "ended a movement that was cut off");
            Ok(None)
        }
        Standing::LowerFence(side, epoch) => {
            let client = match side {
                Side::Source => source?,
                Side::Target => target?,
            };
            E::lower_fence(&client, epoch, LOWER_TIMEOUT).await?;
            info!(%epoch, %side, "lowered the fence of a movement that was cut off");
            Ok(None)
        }
        Standing::Hold(doubt) => Err(doubt_words(doubt, &told)),
    }
}

fn doubt_words(doubt: Doubt, told: &WhoServes) -> String {
    let why = |silent: &Option<String>| silent.as_deref().unwrap_or("no answer").to_owned();
    match doubt {
        Doubt::TargetUnreachable => format!(
            "the source is fenced or silent, and the target, which knows who serves, cannot be \
             asked: {}",
            why(&told.target_silent)
        ),
        Doubt::SourceUnreachable => format!(
            "the source is to serve but cannot be reached: {}",
            why(&told.source_silent)
        ),
        Doubt::SourceNotFenced => "the journal on the target says that the target serves, but the \
             source is not fenced: somebody lowered its fence by hand; stop writers on one side \
             and compare both"
            .to_owned(),
    }
}
