//! The migration's one task: decides who serves, goes on with what was begun, and carries out one
//! command after the other.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use router::{Epoch, Side, Undecided, words};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::back::Back;
use super::board::{Board, Life, WayBack};
use super::cutover::{Scene, Wanted};
use super::left::{self, Left, LeftError, Note};
use super::verify::Verification;
use super::{Asker, Command, cutover, ending, guard, preflight, pump, standing};
use crate::admin::protocol::{Request, Response};
use crate::config::Config;
use crate::engine::{Clients as _, Engine};
use crate::exit::Exit;
use crate::task;

/// How long the pump may take to end at a window's boundary before it is dropped, which is safe too.
const PUMP_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long busy sessions are waited for when their connections are put in order after a movement;
/// those that are late do it by themselves at their next idle moment.
const SETTLE_PATIENCE: Duration = Duration::from_secs(2);

/// How long it may take to remove a slot of ours.
const FORGET_TIMEOUT: Duration = Duration::from_secs(20);

/// What is left to do after `finish`.
const NEW_SOURCE: &str = "set `source` to the new server in the configuration, and remove `target`";

/// The owner of the migration's state.
pub(super) struct Actor<E: Engine> {
    config: Arc<Config>,
    engine: Arc<E>,
    board: Arc<Board<E>>,
    shutdown: CancellationToken,
    /// Whether the source was left for good by a migration before this process.
    note: Note,
    /// The runtime that the pump runs on.
    pumps: Handle,
    /// What copies and streams.
    pump: Option<Running>,
    /// What streams back while the target serves.
    back: Option<Running>,
    /// What keeps the source closed after the switch.
    guard: Option<Running>,
    /// What compares both sides.
    verification: Option<Running>,
}

/// A task that ends by itself when it is told to.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<Option<()>>,
}

impl Running {
    /// Tells it to end and waits until it has, at a window's boundary as a rule.
    async fn end(self) {
        let Self { stop, mut task } = self;
        stop.cancel();
        if tokio::time::timeout(PUMP_STOP_TIMEOUT, &mut task)
            .await
            .is_err()
        {
            warn!("the stream does not end in time; dropping it, which loses nothing");
            task.abort();
            // It has seen its own panic, and there is no other way for it to fail.
            drop(task.await);
        }
    }
}

impl<E: Engine> Actor<E> {
    /// An actor that has not begun.
    ///
    /// # Errors
    /// When `source` was left for good.
    pub(super) fn new(
        config: Arc<Config>,
        engine: Arc<E>,
        board: Arc<Board<E>>,
        shutdown: CancellationToken,
        pumps: Handle,
    ) -> Result<Self, LeftError> {
        let (source, target) = (engine.server(Side::Source), engine.server(Side::Target));
        let source = source.unwrap_or_default();
        let note = left::look(&config.spool.dir, &source, target.as_deref())?;
        Ok(Self {
            config,
            engine,
            board,
            shutdown,
            note,
            pumps,
            pump: None,
            back: None,
            guard: None,
            verification: None,
        })
    }

    /// Runs until the proxy shuts down.
    pub(super) async fn run(mut self, undecided: Undecided, mut commands: mpsc::Receiver<Command>) {
        let shutdown = self.shutdown.clone();
        match self.note {
            Note::Left => {
                warn!("a migration that is finished left `source` for `target`, which serves");
                undecided.decide_at(Side::Target, Epoch::FIRST.next());
                self.board.enter(Life::Finished);
                self.board.warnings(vec![NEW_SOURCE.to_owned()]);
            }
            Note::Absent => {
                let (side, epoch) = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    // While nobody knows who serves, no command can be carried out either.
                    serving = standing::settle(&*self.engine, &self.board) => serving,
                };
                undecided.decide_at(side, epoch);
                info!(serving = side.as_str(), %epoch, "it is known who serves");
                self.go_on(side).await;
            }
        }
        loop {
            let command = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                command = commands.recv() => command,
            };
            let Some(Command { request, answer }) = command else {
                break;
            };
            if answer.is_gone() {
                info!(command = request.name(), "given up before it began");
                continue;
            }
            if request == (Request::Verify {}) {
                self.verify(answer).await;
                continue;
            }
            let response = self.carry_out(request, &answer).await;
            answer.answer(response);
        }
        self.stop_verify().await;
        self.stop_pump().await;
        self.stop_back().await;
        self.stop_guard().await;
    }

    /// Goes on with a migration that a process before this one began.
    async fn go_on(&mut self, side: Side) {
        match side {
            Side::Target => {
                self.board.enter(Life::Switched);
                self.start_guard();
                self.start_back();
            }
            Side::Source => {
                self.board.enter(Life::Proxying);
                if self.engine.has_target() && pump::was_begun(&*self.engine, &self.shutdown).await
                {
                    info!("going on with the migration that was begun");
                    self.forget_way_back(Side::Target).await;
                    self.start_pump();
                }
            }
        }
    }

    async fn carry_out(&mut self, request: Request, asker: &Asker) -> Response {
        if changes_the_course(&request) {
            self.stop_verify().await;
        }
        match request {
            Request::Status {} => Response::done(String::new()).with_result(self.board.status()),
            // Begun where commands are taken, since it answers by itself.
            Request::Verify {} => Response::refused("a comparison cannot be begun here"),
            Request::Check { accept } => self.check(&accept).await,
            Request::Start { accept } => self.start(&accept).await,
            Request::Cutover {
                max_pause_ms,
                dry_run,
            } => {
                let wanted = self.wanted(max_pause_ms, dry_run);
                self.cutover(wanted, asker).await
            }
            Request::Rollback {
                max_pause_ms,
                dry_run,
            } => {
                let wanted = self.wanted(max_pause_ms, dry_run);
                self.rollback(wanted, asker).await
            }
            Request::Finish { lift_fence } => self.finish(lift_fence).await,
            Request::Abort {} => self.abort().await,
        }
    }

    /// Begins a comparison, which answers by itself; other commands go on meanwhile.
    async fn verify(&mut self, asker: Asker) {
        let under_way = self.verification.as_ref();
        if under_way.is_some_and(|running| !running.task.is_finished()) {
            let text = "a comparison is under way already; see `pointsman status`";
            asker.answer(Response::refused(text));
            return;
        }
        self.stop_verify().await;
        let stop = CancellationToken::new();
        let verification = Verification {
            engine: Arc::clone(&self.engine),
            board: Arc::clone(&self.board),
        };
        let run = verification.run(asker, stop.clone());
        let task = task::spawn_on(&self.pumps, "verify", run);
        self.verification = Some(Running { stop, task });
    }

    /// Gives up a comparison that is under way; nothing of it is left on the servers then.
    async fn stop_verify(&mut self) {
        if let Some(running) = self.verification.take() {
            running.end().await;
        }
    }

    fn wanted(&self, max_pause_ms: Option<u64>, dry_run: bool) -> Wanted {
        let max_pause = max_pause_ms.map(Duration::from_millis);
        let max_pause = max_pause.unwrap_or(self.config.cutover.max_pause.0);
        Wanted { max_pause, dry_run }
    }

    async fn check(&self, accept: &[String]) -> Response {
        match self.engine.has_target() {
            true => preflight::check(&*self.engine, accept).await,
            false => no_target(),
        }
    }

    async fn start(&mut self, accept: &[String]) -> Response {
        if !self.engine.has_target() {
            return no_target();
        }
        match self.board.life() {
            Life::Proxying => {}
            Life::Copying | Life::Streaming => {
                return Response::done("the migration is under way already");
            }
            Life::Failed(_) => {
                self.stop_pump().await;
                self.start_pump();
                return Response::done("trying again from where it stopped");
            }
            Life::Deciding
            | Life::CuttingOver
            | Life::Switched
            | Life::RollingBack
            | Life::Finished => {
                return Response::refused("there is nothing to start: see `pointsman status`");
            }
        }
        let checked = self.check(accept).await;
        if checked.exit != Exit::Done {
            let text = format!("{}\nnothing was changed on either server", checked.text);
            return Response { text, ..checked };
        }
        self.start_pump();
        Response::done("the copy has begun; pointsman status --watch shows it move")
    }

    fn start_pump(&mut self) {
        self.board.enter(Life::Copying);
        let stop = CancellationToken::new();
        let pump = pump::Pump {
            config: Arc::clone(&self.config),
            engine: Arc::clone(&self.engine),
            board: Arc::clone(&self.board),
        };
        let task = task::spawn_on(&self.pumps, "pump", pump.run(stop.clone()));
        self.pump = Some(Running { stop, task });
    }

    /// Ends the pump at a window's boundary.
    async fn stop_pump(&mut self) {
        if let Some(pump) = self.pump.take() {
            pump.end().await;
            self.board.streaming(None);
        }
    }

    fn start_back(&mut self) {
        self.board.way_back(Some(WayBack::Opening));
        let stop = CancellationToken::new();
        let back = Back {
            engine: Arc::clone(&self.engine),
            board: Arc::clone(&self.board),
            forgotten: AtomicBool::new(false),
        };
        let task = task::spawn_on(&self.pumps, "back", back.run(stop.clone()));
        self.back = Some(Running { stop, task });
    }

    /// Ends it at a window's boundary. Nothing is streamed back any more when this is over.
    async fn stop_back(&mut self) {
        if let Some(back) = self.back.take() {
            back.end().await;
            self.board.streaming(None);
        }
    }

    /// Removes what feeds the other side from one that does not serve, so that its server keeps no
    /// log for nobody. Of what cannot be removed now the operator is told; the next movement there
    /// makes it anew.
    async fn forget_way_back(&self, side: Side) {
        let forgotten = self.engine.forget_way_back(side);
        let why = match tokio::time::timeout(FORGET_TIMEOUT, forgotten).await {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(_elapsed) => "it does not answer".to_owned(),
        };
        warn!(%side, %why, "a slot of ours may be left there, and keep the server's log");
    }

    fn start_guard(&mut self) {
        let stop = CancellationToken::new();
        let guard = guard::guard(Arc::clone(&self.engine), stop.clone());
        let task = task::spawn_on(&self.pumps, "guard", guard);
        self.guard = Some(Running { stop, task });
    }

    /// When this is over the source is not closed again behind our back.
    async fn stop_guard(&mut self) {
        if let Some(Running { stop, task }) = self.guard.take() {
            stop.cancel();
            // It has seen its own panic, and there is no other way for it to fail.
            drop(task.await);
        }
    }

    async fn cutover(&mut self, wanted: Wanted, asker: &Asker) -> Response {
        let (Life::Streaming, Some(_)) = (self.board.life(), self.board.flow()) else {
            return Response::refused(
                "the target is not current, so there is nothing to cut over to: see `pointsman \
                 status`",
            );
        };
        let response = self.carry_out_movement(Side::Target, wanted, asker).await;
        let clients = self.engine.clients();
        if clients.switch().serving() == Some(Side::Target) {
            clients.close_source_connections(SETTLE_PATIENCE).await;
            self.stop_pump().await;
            self.board.enter(Life::Switched);
            self.start_guard();
            self.start_back();
        }
        response
    }

    async fn rollback(&mut self, wanted: Wanted, asker: &Asker) -> Response {
        match self.board.life() {
            Life::Switched => {}
            Life::Deciding
            | Life::Proxying
            | Life::Copying
            | Life::Streaming
            | Life::CuttingOver
            | Life::RollingBack
            | Life::Finished
            | Life::Failed(_) => {
                return Response::refused(
                    "the target does not serve: rollback comes after the cutover, and before \
                     finish",
                );
            }
        }
        if let Some(why) = self.board.no_way_back() {
            return Response::refused(format!("cannot roll back: {why}; the target serves on"));
        }
        // It would close the source again.
        self.stop_guard().await;
        let response = self.carry_out_movement(Side::Source, wanted, asker).await;
        let clients = self.engine.clients();
        if clients.switch().serving() == Some(Side::Source) {
            clients.close_source_connections(SETTLE_PATIENCE).await;
            // Before anything flows to the target again: it would come back.
            self.stop_back().await;
            self.board.way_back(None);
            self.forget_way_back(Side::Target).await;
            self.start_pump();
        } else {
            self.start_guard();
        }
        response
    }

    /// Moves the points to this side, unless it is refused or given up.
    async fn carry_out_movement(&self, to: Side, wanted: Wanted, asker: &Asker) -> Response {
        let made_way_back = AtomicBool::new(false);
        let scene = Scene {
            to,
            made_way_back: &made_way_back,
            config: &self.config,
            engine: &self.engine,
            board: &self.board,
            asker,
        };
        // Boxed: the movement's state is large, and a movement is rare.
        let response = Box::pin(cutover::carry_out(scene, wanted)).await;
        let clients = self.engine.clients();
        clients.set_late(false);
        if clients.switch().serving() != Some(to) {
            clients.relax_twins(SETTLE_PATIENCE).await;
            // The stream may have failed meanwhile, and said so.
            self.board.back_from_movement();
            // Who serves was asked right before it was made.
            if made_way_back.into_inner() && response.exit == Exit::Refused {
                self.forget_way_back(to).await;
            }
        }
        response
    }

    async fn finish(&mut self, lift_fence: bool) -> Response {
        match self.board.life() {
            // It may have been cut off before its end.
            Life::Switched | Life::Finished => {}
            Life::Deciding
            | Life::Proxying
            | Life::Copying
            | Life::Streaming
            | Life::CuttingOver
            | Life::RollingBack
            | Life::Failed(_) => {
                return Response::refused(
                    "the target does not serve yet: finish comes after the cutover, abort before \
                     it",
                );
            }
        }
        let servers = (
            self.engine.server(Side::Source),
            self.engine.server(Side::Target),
        );
        let (Some(source), Some(target)) = servers else {
            return no_target();
        };
        let left = Left { source, target };
        if let Err(error) = left.write(&self.config.spool.dir) {
            return Response::refused(format!("cannot finish: {}", words(&error)));
        }
        self.stop_guard().await;
        self.stop_back().await;
        let response = ending::finish(&*self.engine, lift_fence).await;
        if response.exit == Exit::Done {
            self.board.way_back(None);
            self.board.enter(Life::Finished);
            self.board.warnings(vec![NEW_SOURCE.to_owned()]);
        } else {
            self.start_guard();
            self.start_back();
        }
        response
    }

    async fn abort(&mut self) -> Response {
        match self.board.life() {
            Life::Copying | Life::Streaming | Life::Failed(_) | Life::Proxying => {}
            Life::Deciding
            | Life::CuttingOver
            | Life::Switched
            | Life::RollingBack
            | Life::Finished => {
                return Response::refused(
                    "the target serves, or is about to: abort comes before the cutover",
                );
            }
        }
        if !self.engine.has_target() {
            return no_target();
        }
        self.stop_pump().await;
        self.engine.clients().drop_twins(SETTLE_PATIENCE).await;
        let response = ending::abort(&*self.engine, &self.config.spool.dir).await;
        if response.exit == Exit::Done {
            self.board.forget();
        }
        response
    }
}

/// Whether a command may move or end what is being compared.
fn changes_the_course(request: &Request) -> bool {
    match request {
        Request::Status {} | Request::Check { .. } | Request::Verify {} => false,
        Request::Cutover { dry_run, .. } | Request::Rollback { dry_run, .. } => !dry_run,
        Request::Start { .. } | Request::Finish { .. } | Request::Abort {} => true,
    }
}

fn no_target() -> Response {
    Response::refused(
        "no `target` is configured: add it to the configuration and restart the proxy",
    )
}
