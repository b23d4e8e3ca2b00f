//! A stream that is open, and its applier, until they end: the same in both directions.

use router::{Position as _, Side};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::failure::{self, Attempt};
use super::watch;
use crate::engine::{Engine, Flow as _};
use crate::migration::board::Board;

/// Where changes flow from, and who is told of it.
pub(in super::super) struct Applying<'a, E: Engine> {
    /// The servers.
    pub engine: &'a E,
    /// What status shows.
    pub board: &'a Board<E>,
    /// The side that serves, whose changes flow.
    pub serving: Side,
}

/// Applies until it is stopped, at a window's boundary, or something fails; `flowing` is called when
/// the board has the stream.
pub(in super::super) async fn apply<E: Engine>(
    applying: Applying<'_, E>,
    applier: E::Applier,
    stream: E::Stream,
    flowing: impl FnOnce(),
    stop: &CancellationToken,
) -> Result<(), Attempt> {
    let Applying {
        engine,
        board,
        serving,
    } = applying;
    let flow = engine.flow(&stream, &applier);
    let start = flow.applied();
    board.streaming(Some(flow.clone()));
    board.trouble(None);
    flowing();
    info!(%start, from = serving.as_str(), "changes flow");
    let stopped = async {
        stop.cancelled().await;
        flow.stop();
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = E::run(applier, stream) => ended.map_err(|error| match serving {
            Side::Source => error.into(),
            Side::Target => error.on_the_way_back().into(),
        }),
        drift = watch::drift(engine, serving) => {
            Err(Attempt::Failed(failure::of_drift(serving, &drift)))
        }
        never = watch::log_end(engine, serving, board, &flow) => never,
        () = stopped => Ok(()),
    };
    let ended = match ended {
        Err(Attempt::Failed(failure)) => {
            let looked = watch::explain(engine, serving, failure).await;
            Err(Attempt::Failed(looked))
        }
        other => other,
    };
    let progressed = !start.includes(&flow.applied());
    ended.map_err(|attempt| attempt.progressed(progressed))
}
