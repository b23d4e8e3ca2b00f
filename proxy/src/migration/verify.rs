//! `verify`: a comparison of both sides, in a task of its own.
//!
//! It changes nothing, so it may be given up at any time: by the operator, whose command ends, and by
//! any other command that moves or ends the migration. Its sessions on both servers are ended then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use router::verify::{Progress, Report};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Asker;
use super::board::{Board, Life};
use crate::admin::protocol::Response;
use crate::engine::Engine;
use crate::exit::Exit;
use crate::status::VerifyReport;

/// How long it may take to end the sessions on the servers. They end by themselves all the same,
/// with their statements.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A comparison that is to be made.
pub(super) struct Verification<E: Engine> {
    /// The servers.
    pub engine: Arc<E>,
    /// What status shows.
    pub board: Arc<Board<E>>,
}

impl<E: Engine> Verification<E> {
    /// Compares and answers, unless it is given up.
    pub(super) async fn run(self, mut asker: Asker, stop: CancellationToken) {
        let flow = match self.flow() {
            Ok(flow) => flow,
            Err(why) => return asker.answer(Response::refused(why)),
        };
        let mut bytes = [0; 4];
        if let Err(error) = getrandom::fill(&mut bytes) {
            return asker.answer(Response::refused(format!("no random numbers: {error}")));
        }
        let name = format!("pointsman verify {:08x}", u32::from_be_bytes(bytes));
        let progress = Arc::new(Progress::default());
        self.board.verifying(Some(Arc::clone(&progress)));
        let begun = Instant::now();
        let compared = tokio::select! {
            biased;
            () = stop.cancelled() => Some(Err("given up for another command".to_owned())),
            () = asker.gone() => None,
            compared = Box::pin(self.engine.compare(flow, &name, &progress)) => Some(compared),
        };
        self.end_sessions(&name).await;
        self.board.verifying(None);
        match compared {
            Some(Ok(report)) => asker.answer(self.told(&report, begun.elapsed())),
            Some(Err(why)) => {
                warn!(%why, "the two sides were not compared");
                asker.answer(Response::refused(format!("nothing was compared: {why}")));
            }
            None => info!("the comparison was given up: nobody waits for it any more"),
        }
    }

    /// The stream whose place both sides are compared at.
    fn flow(&self) -> Result<E::Flow, String> {
        let nothing = |why: &str| Err(format!("nothing was compared: {why}"));
        match self.board.life() {
            Life::Streaming => self.board.flow().ok_or_else(|| {
                "nothing was compared: the stream is being opened again; see `pointsman status`"
                    .to_owned()
            }),
            Life::Deciding | Life::Proxying => nothing("there is no migration"),
            Life::Copying => nothing("the copy is under way; verify comes when changes flow"),
            Life::CuttingOver | Life::RollingBack => nothing("the points are being moved"),
            Life::Switched => {
                nothing("the target serves; in this version verify comes before the cutover")
            }
            Life::Finished => nothing("the migration is finished"),
            Life::Failed(_) => nothing("the migration has stopped; see `pointsman status`"),
        }
    }

    async fn end_sessions(&self, name: &str) {
        let why = match timeout(END_TIMEOUT, self.engine.end_comparison(name)).await {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(_elapsed) => "a server does not answer".to_owned(),
        };
        warn!(%why, "sessions of a comparison may be left until their statements end");
    }

    fn told(&self, report: &Report, took: Duration) -> Response {
        let told = VerifyReport::new(report, took);
        self.board.verified(told.clone().without_equal_tables());
        let exit = match report.is_equal() {
            true => Exit::Done,
            false => Exit::Refused,
        };
        Response {
            exit,
            ..Response::done(told.in_words()).with_result(&told)
        }
    }
}
