//! The migration's life: from proxying over the copy and the stream to the switch and the end.
//!
//! One task owns the state and carries out the commands one after the other; `status` is answered
//! from the [`Board`], which everybody writes his part of, so it answers at any time.
//!
//! # After a crash
//!
//! Nothing of the state here is durable. A new `run` asks both servers (`standing`): who serves,
//! whether there is a migration of ours, how far its copy and its stream are; and goes on from there.

mod actor;
mod back;
mod board;
mod cutover;
mod ending;
mod guard;
mod left;
mod mover;
mod preflight;
mod pump;
mod sessions;
mod standing;
mod verify;

use std::sync::Arc;
use std::thread::JoinHandle;

use router::Undecided;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::board::Board;
use crate::admin::protocol::{Request, Response};
use crate::config::Config;
use crate::engine::Engine;

/// Commands that wait while another is carried out; further ones wait in their connections.
const COMMANDS_MAX: usize = 16;

/// A command and where its answer goes.
struct Command {
    request: Request,
    answer: Asker,
}

/// Who waits for a command's answer.
struct Asker(oneshot::Sender<Response>);

impl Asker {
    /// Whether nobody waits any more.
    fn is_gone(&self) -> bool {
        self.0.is_closed()
    }

    /// Comes back when nobody waits any more.
    ///
    /// # Cancel safety
    /// May be dropped at any time.
    async fn gone(&mut self) {
        self.0.closed().await;
    }

    fn answer(self, response: Response) {
        if self.0.send(response).is_err() {
            tracing::info!("nobody waits for a command's answer any more");
        }
    }
}

/// How others talk to the migration.
pub(crate) struct Handle<E: Engine> {
    commands: mpsc::Sender<Command>,
    board: Arc<Board<E>>,
}

impl<E: Engine> Clone for Handle<E> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            board: Arc::clone(&self.board),
        }
    }
}

impl<E: Engine> Handle<E> {
    /// Carries out a command and waits for its end, however long it takes.
    ///
    /// # Cancel safety
    /// Dropping it gives the command up if it has not begun; a cutover also before anybody is held.
    /// What has begun is carried out to its end.
    pub(crate) async fn ask(&self, request: Request) -> Response {
        if request == (Request::Status {}) {
            let status = self.board.status();
            return Response::done(crate::status::render(&status)).with_result(status);
        }
        let (answer, answered) = oneshot::channel();
        if self
            .commands
            .send(Command {
                request,
                answer: Asker(answer),
            })
            .await
            .is_err()
        {
            return Response::refused("the proxy is shutting down");
        }
        answered
            .await
            .unwrap_or_else(|_gone| Response::refused("the proxy is shutting down"))
    }
}

/// Starts the migration's thread: it decides who serves, then takes commands.
///
/// A thread of its own, so that nothing that the stream or the copy does can hold up a movement.
///
/// # Errors
/// When `source` was left for good, or the thread cannot be made.
pub(crate) fn spawn<E: Engine>(
    config: Arc<Config>,
    engine: Arc<E>,
    undecided: Undecided,
    shutdown: CancellationToken,
) -> anyhow::Result<(Handle<E>, JoinHandle<()>)> {
    let board = Arc::new(Board::new(
        Arc::clone(engine.clients()),
        config.cutover.clone(),
    ));
    let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
    let pumps = tokio::runtime::Handle::current();
    let actor = actor::Actor::new(config, engine, Arc::clone(&board), shutdown, pumps)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new()
        .name("migration".to_owned())
        .spawn(move || runtime.block_on(actor.run(undecided, receiver)))?;
    Ok((Handle { commands, board }, thread))
}
