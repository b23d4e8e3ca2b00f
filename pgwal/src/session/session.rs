//! A session after its log-in: it runs the hot loop and does what the loop stops for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use router::{Gate, Side};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::advisory::HeldLock;
use super::cancel;
use super::fatal::Fatal;
use super::limits::CANCEL_TIMEOUT;
use super::preparation::{Plan, Preparation, Prepared};
use super::pump::{Due, Pump, Stop, Told};
use super::registry::{Entry, Request, SessionState};
use super::relay::{Relay, Twins};
use super::startup::Startup;
use super::state::{self, Reading, Unmovable};
use super::twin::Twin;
use crate::wire::{Credential, Socket, backend, frontend};

mod describe;
mod hold;

/// Who the client is: what it takes to log in again as the same.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) startup: Startup,
    pub(super) credential: Credential,
}

/// One logged-in client with its server connections.
#[derive(Debug)]
pub(super) struct Session {
    relay: Arc<Relay>,
    entry: Arc<Entry>,
    gate: Gate,
    identity: Identity,
    pump: Pump,
    /// The state as last read; a session that ran nothing yet has none.
    reading: Reading,
    twin: Option<Twin>,
    /// A twin that is being prepared while the client is served.
    preparation: Option<Preparation>,
    /// The advisory locks as counted inside the last hold.
    locks: Vec<HeldLock>,
    /// The connection that served before the switch.
    retired: Option<Socket>,
}

/// What a session is woken for.
#[derive(Debug)]
enum Event {
    Stop(Stop),
    Prepared(Box<Prepared>),
}

impl Session {
    pub(super) fn new(
        relay: Arc<Relay>,
        entry: Arc<Entry>,
        gate: Gate,
        identity: Identity,
        pump: Pump,
    ) -> Self {
        let mut reading = Reading::default();
        if identity.startup.is_replication() {
            reading.unmovable.push(Unmovable::Replication);
        } else if !relay.moves_database(identity.startup.database()) {
            reading.unmovable.push(Unmovable::OtherDatabase);
        }
        entry.unmovable.lock().clone_from(&reading.unmovable);
        relay.registry.add(&entry);
        Self {
            relay,
            entry,
            gate,
            identity,
            pump,
            reading,
            twin: None,
            preparation: None,
            locks: Vec::new(),
            retired: None,
        }
    }

    /// Runs until the end: gives the client's socket, what it is still to get, and why it ended.
    pub(super) async fn run(mut self) -> (Socket, BytesMut, Fatal) {
        let fatal = self.carry().await;
        self.relay.registry.remove(self.entry.id);
        if matches!(fatal, Fatal::Error { .. }) && self.entry.state() == SessionState::Active {
            let leg = self.entry.legs.lock().current.clone();
            cancel::send(&self.relay, &leg).await;
        }
        if self.pump.oddities() > 0 {
            let count = self.pump.oddities();
            tracing::warn!(
                session = self.entry.id.0,
                count,
                "the server sent unexpected answers"
            );
        }
        // In the middle of a message nothing of ours can be said.
        let fatal = if self.pump.may_tell_client() {
            fatal
        } else {
            Fatal::ServerGone
        };
        let (client, out, server) = self.pump.into_sockets();
        close(server).await;
        if let Some(twin) = self.twin {
            twin.conn.close().await;
        }
        if let Some(retired) = self.retired {
            close(retired).await;
        }
        (client, out, fatal)
    }

    async fn carry(&mut self) -> Fatal {
        loop {
            let event = poll_fn(|cx| {
                if let Some(prepared) = Preparation::poll_slot(&mut self.preparation, cx) {
                    return Poll::Ready(Event::Prepared(prepared));
                }
                self.pump.poll(cx, &mut self.gate).map(Event::Stop)
            })
            .await;
            let handled = match event {
                Event::Prepared(prepared) => {
                    self.take_prepared(prepared).await;
                    Ok(())
                }
                Event::Stop(Stop::MustWait) => self.wait_for_release().await,
                Event::Stop(stop) => self.handle(stop).await,
            };
            if let Err(fatal) = handled {
                return fatal;
            }
        }
    }

    async fn handle(&mut self, stop: Stop) -> Result<(), Fatal> {
        match stop {
            Stop::Request(due) => Box::pin(self.serve(due)).await,
            Stop::Move(side) => {
                self.entry.set_state(SessionState::Ours);
                Box::pin(self.move_to(side)).await
            }
            // The loop finds it again.
            Stop::MustWait => Ok(()),
            Stop::Ended => Err(Fatal::ServerGone),
            Stop::Fatal(fatal) => Err(fatal),
        }
    }

    /// Waits at the gate, or until something else is to be done first.
    async fn wait_for_release(&mut self) -> Result<(), Fatal> {
        self.entry.set_state(SessionState::Waiting);
        let event = {
            let mut entered = pin!(self.gate.enter());
            poll_fn(|cx| {
                if entered.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                if let Some(prepared) = Preparation::poll_slot(&mut self.preparation, cx) {
                    return Poll::Ready(Some(Event::Prepared(prepared)));
                }
                self.pump
                    .poll_waiting(cx)
                    .map(|stop| Some(Event::Stop(stop)))
            })
            .await
        };
        match event {
            None => Ok(()),
            Some(Event::Prepared(prepared)) => {
                self.take_prepared(prepared).await;
                Ok(())
            }
            Some(Event::Stop(stop)) => self.handle(stop).await,
        }
    }

    /// Does what the coordinator asks; the server is idle.
    async fn serve(&mut self, due: Due) -> Result<(), Fatal> {
        let before = self.entry.state();
        self.entry.set_state(SessionState::Ours);
        match due.request {
            Request::Prepare(done) | Request::Read(done) => {
                self.begin_preparation().await?;
                self.finish_with_preparation(done, due.turn);
            }
            Request::Refresh(done) => {
                if self.entry.is_complete() {
                    self.relax().await;
                }
                if self.entry.is_dirty() || self.twin.is_none() {
                    self.begin_preparation().await?;
                }
                self.count_locks().await?;
                self.finish_with_preparation(done, None);
            }
            Request::Complete(done) => {
                self.complete().await;
                finish(done);
            }
            Request::Relax(done) => {
                self.relax().await;
                finish(done);
            }
            Request::Settle(done) => {
                self.settle().await?;
                finish(done);
            }
            Request::DropTwin(done) => {
                self.preparation = None;
                self.drop_twin().await;
                self.pump.withdraw_question(&self.relay).await?;
                finish(done);
            }
            Request::End | Request::EndWhenIdle => {
                self.entry.set_state(before);
                return Err(Fatal::terminated());
            }
        }
        self.entry.set_state(before);
        Ok(())
    }

    /// Reads the state if it may have changed, and begins to prepare a twin that is like it, or has
    /// the one that is under way followed by another one. The client is served on meanwhile, however
    /// long the other server takes.
    async fn begin_preparation(&mut self) -> Result<(), Fatal> {
        self.read_state().await?;
        if !self.reading.unmovable.is_empty() {
            self.preparation = None;
            self.drop_twin().await;
            return Ok(());
        }
        let twins = self.relay.twins();
        if twins != Twins::Beforehand {
            self.reading.replay.sequences.clear();
        }
        if self.preparation.is_none() && twins != Twins::Late {
            let side = self.pump.side().other();
            self.preparation = self.plan(side).map(Plan::begin);
        }
        Ok(())
    }

    /// What it takes to have a twin; `None` when that side's server is not known.
    fn plan(&mut self, side: Side) -> Option<Plan> {
        let endpoint = self.relay.endpoint(side)?;
        Some(Plan {
            side,
            endpoint,
            parameters: self.relay.parameters_for(side, &self.identity.startup),
            credential: self.identity.credential.clone(),
            replay: self.reading.replay.clone(),
            numbers: self.pump.types.numbers.clone(),
            relay: Arc::clone(&self.relay),
            twin: self.twin.take(),
        })
    }

    fn finish_with_preparation(
        &mut self,
        done: oneshot::Sender<()>,
        turn: Option<tokio::sync::OwnedSemaphorePermit>,
    ) {
        match &mut self.preparation {
            Some(preparation) => preparation.report_to(done, turn),
            None => finish(done),
        }
    }

    /// Waits for the twin that is being prepared, if one is.
    async fn settle_preparation(&mut self) {
        while let Some(preparation) = self.preparation.take() {
            let prepared = preparation.wait().await;
            self.take_prepared(prepared).await;
        }
    }

    async fn take_prepared(&mut self, prepared: Box<Prepared>) {
        match prepared.twin {
            Ok(twin) => {
                self.entry.legs.lock().twin = Some(twin.key());
                let side = twin.side;
                self.twin = Some(twin);
                // The state may have been read again meanwhile.
                if prepared.replay != self.reading.replay
                    && let Some(plan) = self.plan(side)
                {
                    self.preparation = Some(plan.begin().on_behalf_of(prepared.waiting));
                    return;
                }
            }
            Err(reason) => {
                self.drop_twin().await;
                self.entry.unmovable.lock().push(reason);
            }
        }
        prepared.waiting.into_iter().for_each(finish);
    }

    async fn read_state(&mut self) -> Result<(), Fatal> {
        if self.entry.is_dirty() && !self.is_hopeless() {
            let want = self.wanted();
            let (told, sequences) = self.pump.ask_state(&self.relay, want).await?;
            let user = self.identity.startup.user();
            let replaced = replaces_unnamed(self.pump.waiting());
            let statements = &mut self.pump.statements;
            self.reading = match told {
                Told::Same => std::mem::take(&mut self.reading)
                    .with_unnamed(statements.unnamed_kept(), replaced),
                Told::State(Ok(rows)) => state::read(&rows, user, statements)
                    .with_unnamed(statements.unnamed_kept(), replaced),
                Told::State(Err(error)) => Reading {
                    unmovable: vec![Unmovable::Unreadable(error.sqlstate.clone())],
                    ..Reading::default()
                },
            };
            self.describe_statements().await?;
            if !self.reading.unmovable.is_empty() {
                // Its reason may go without a trace in what a look compares.
                self.pump.read_whole_next();
            }
            self.reading.replay.sequences = sequences;
            self.entry.set_listens(!self.reading.channels.is_empty());
            self.entry.mark_read();
        }
        self.entry
            .unmovable
            .lock()
            .clone_from(&self.reading.unmovable);
        Ok(())
    }

    /// Whether no reading will ever make it movable.
    fn is_hopeless(&self) -> bool {
        let reasons = &self.reading.unmovable;
        reasons.contains(&Unmovable::Replication) || reasons.contains(&Unmovable::OtherDatabase)
    }

    async fn drop_twin(&mut self) {
        self.entry.legs.lock().twin = None;
        if let Some(twin) = self.twin.take() {
            twin.conn.close().await;
        }
    }

    /// Goes over to the serving side without a message of the client, and closes the other.
    async fn settle(&mut self) -> Result<(), Fatal> {
        if let Ok(side) = self.gate.try_enter() {
            let moved = if side == self.pump.side() {
                Ok(())
            } else {
                self.move_to(side).await
            };
            self.gate.leave();
            moved?;
            self.entry.legs.lock().retired = None;
            if let Some(retired) = self.retired.take() {
                close(retired).await;
            }
        }
        Ok(())
    }

    /// Changes the server, between two messages of an idle session that holds a permit for `side`.
    async fn move_to(&mut self, side: Side) -> Result<(), Fatal> {
        let mut twin = self.twin_for(side).await?;
        self.hand_over_notifications(&mut twin).await?;
        if let Some(parse) = self.pump.statements.unnamed()
            && !replaces_unnamed(self.pump.waiting())
        {
            let prepared = twin.prepare_unnamed(parse).await;
            prepared.map_err(|error| cannot_move(&Unmovable::NotLetIn(error.to_string())))?;
        }
        for (name, value) in twin.announcements(self.pump.parameters()) {
            let mut message = BytesMut::new();
            backend::parameter_status(&name, &value, &mut message);
            self.pump
                .note_parameter(message.get(5..).unwrap_or_default());
            self.pump.tell_client().extend_from_slice(&message);
        }
        {
            let mut legs = self.entry.legs.lock();
            legs.twin = None;
            legs.retired = Some(std::mem::replace(&mut legs.current, twin.key()));
        }
        let exchange = twin.take_exchange();
        let old = (self.pump).change_server(twin.conn.into_parts(), side, exchange);
        if let Some(older) = self.retired.replace(old) {
            close(older).await;
        }
        tracing::debug!(session = self.entry.id.0, %side, "a session went over");
        Ok(())
    }

    /// The twin, like the session as it is now. As a rule it stands ready; what was not prepared
    /// before the hold is made up for here.
    async fn twin_for(&mut self, side: Side) -> Result<Twin, Fatal> {
        self.settle_preparation().await;
        self.read_state().await.map_err(|_gone| {
            // The server that knows the state is gone, and with it what it knew.
            cannot_move(&Unmovable::Unreadable("08006".to_owned()))
        })?;
        if let Some(reason) = self.reading.unmovable.first() {
            return Err(cannot_move(reason));
        }
        let carried = self.twin.as_ref().map(Twin::sequences);
        if carried != Some(&self.reading.replay.sequences) {
            // That side serves: its sequences are others' now.
            self.reading.replay.sequences.clear();
        }
        let no_server = || Unmovable::NotLetIn("no such server is configured".to_owned());
        let plan = self.plan(side).ok_or_else(|| cannot_move(&no_server()))?;
        let prepared = plan.begin().wait().await;
        prepared.twin.map_err(|reason| cannot_move(&reason))
    }
}

fn finish(done: oneshot::Sender<()>) {
    if done.send(()).is_err() {
        tracing::debug!("nobody waits for a session's answer any more");
    }
}

fn cannot_move(reason: &Unmovable) -> Fatal {
    Fatal::Error {
        sqlstate: "57P01",
        message: format!(
            "terminating connection: the database moved to another server, and this session's \
             state could not be moved with it: {reason}"
        ),
        hint: Some("Connect again: a new session is served by the new server."),
    }
}

/// Whether the client's next message makes its unnamed statement vanish or replaces it.
fn replaces_unnamed(waiting: &[u8]) -> bool {
    matches!(waiting, [b'Q', ..] | [b'P', _, _, _, _, 0, ..])
}

/// Says goodbye to a server and closes.
async fn close(mut server: Socket) {
    let mut goodbye = BytesMut::new();
    frontend::terminate(&mut goodbye);
    match timeout(CANCEL_TIMEOUT, server.write_all(&goodbye)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a server was gone before its goodbye"),
        Err(_elapsed) => tracing::debug!("a server did not take its goodbye"),
    }
}
