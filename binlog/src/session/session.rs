//! A session after its log-in: it runs the hot loop and does what the loop stops for.

mod change_user;
mod kills;
mod locks;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use router::{Gate, Side};
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::command::code;
use super::fatal::Fatal;
use super::limits::GOODBYE_TIMEOUT;
use super::outside::OfAllSoon;
use super::packet;
use super::preparation::{Plan, Preparation, Prepared};
use super::pump::{Due, Present, Pump, Stop};
use super::reading::{self, About};
use super::registry::{Entry, LegKey, Request, SessionState};
use super::relay::Relay;
use super::servers::Common;
use super::startup::Startup;
use super::state::{Reading, Replay, Unmovable};
use super::twin::Twin;
use crate::wire::{Conn, Credential, Socket};

/// Who the client is: what it takes to log in again as the same.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) startup: Startup,
    pub(super) common: Common,
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
    /// The state as last read.
    reading: Reading,
    locks: Locks,
    twin: Option<Twin>,
    /// A twin that is being prepared while the client is served.
    preparation: Option<Preparation>,
    /// The connection that served before the switch.
    retired: Option<Socket>,
    /// How often the client wished to be another user and was refused.
    refused_users: u8,
}

/// When a twin takes the user-level locks of its session. Before the hold another session may still
/// get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locks {
    AtTheHold,
    Now,
}

/// How a session ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) client: Socket,
    /// What the client is still to get.
    pub(super) unsent: BytesMut,
    pub(super) fatal: Fatal,
    /// The number of the packet that tells the client why.
    pub(super) sequence: u8,
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
        // Its variables are what the log-in made of them; that is read when it is needed.
        entry.mark_dirty();
        relay.registry.add(&entry);
        Self {
            relay,
            entry,
            gate,
            identity,
            pump,
            reading: Reading::default(),
            locks: Locks::AtTheHold,
            twin: None,
            preparation: None,
            retired: None,
            refused_users: 0,
        }
    }

    /// Runs until the end.
    pub(super) async fn run(mut self) -> End {
        let fatal = self.carry().await;
        self.relay.registry.remove(self.entry.id);
        if matches!(fatal, Fatal::Error(_)) && self.entry.state() == SessionState::Active {
            let leg = self.entry.legs.lock().current;
            kill(&self.relay, leg).await;
        }
        // In the middle of a packet nothing of ours can be said.
        let fatal = if self.pump.may_tell_client() {
            fatal
        } else {
            Fatal::ServerGone
        };
        let sequence = self.pump.next_sequence();
        let (client, unsent, server) = self.pump.into_sockets();
        close(server).await;
        if let Some(twin) = self.twin {
            twin.conn.close().await;
        }
        if let Some(retired) = self.retired {
            close(retired).await;
        }
        End {
            client,
            unsent,
            fatal,
            sequence,
        }
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
            Stop::Kill(payload) => Box::pin(self.kill_for_client(&payload)).await,
            Stop::ChangeUser(payload) => Box::pin(self.change_user(&payload)).await,
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
            Request::Prepare(done) => {
                self.locks = Locks::AtTheHold;
                self.begin_preparation(None).await?;
                self.finish_with_preparation(done, due.turn);
            }
            Request::Refresh(done, of_all) => {
                self.locks = Locks::Now;
                if self.entry.wants_refresh() {
                    self.begin_preparation(Some(of_all)).await?;
                }
                self.finish_with_preparation(done, None);
            }
            Request::Settle(done) => {
                self.settle().await?;
                finish(done);
            }
            Request::DropTwin(done) => {
                self.preparation = None;
                self.drop_twin().await;
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
    async fn begin_preparation(&mut self, of_all: Option<OfAllSoon>) -> Result<(), Fatal> {
        self.read_state(of_all).await?;
        if !self.reading.unmovable.is_empty() {
            self.preparation = None;
            self.drop_twin().await;
        } else if self.preparation.is_none() {
            let side = self.pump.side().other();
            self.preparation = self.plan(side).map(Plan::begin);
        }
        Ok(())
    }

    /// What it takes to have a twin; `None` when that side's server is not known.
    fn plan(&mut self, side: Side) -> Option<Plan> {
        let endpoint = self.relay.endpoint(side)?;
        let startup = self.identity.startup.clone();
        let replay = self.replay_for(side);
        let database = replay.schema.clone();
        Some(Plan {
            side,
            endpoint,
            options: startup.connect_options(database, self.identity.credential.clone()),
            startup,
            replay,
            twin: self.twin.take(),
        })
    }

    /// What a twin on that side is to be given.
    fn replay_for(&self, side: Side) -> Replay {
        let mut replay = self.reading.replay.clone();
        replay.schema = self.relay.database_for(side, replay.schema);
        if self.locks == Locks::AtTheHold {
            replay.locks.clear();
        }
        replay
    }

    fn finish_with_preparation(
        &mut self,
        done: oneshot::Sender<()>,
        turn: Option<OwnedSemaphorePermit>,
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
                if prepared.replay != self.replay_for(side)
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

    async fn read_state(&mut self, of_all: Option<OfAllSoon>) -> Result<(), Fatal> {
        if self.entry.is_dirty() {
            let about = About {
                leg: self.entry.legs.lock().current,
                ran: self.entry.ran(),
                of_all,
            };
            self.reading = reading::read(&mut self.pump, &self.relay, about).await?;
            let holds_locks = !self.reading.replay.locks.is_empty();
            self.entry.mark_read(holds_locks);
        }
        self.entry
            .unmovable
            .lock()
            .clone_from(&self.reading.unmovable);
        Ok(())
    }

    async fn drop_twin(&mut self) {
        self.entry.legs.lock().twin = None;
        if let Some(twin) = self.twin.take() {
            twin.conn.close().await;
        }
    }

    /// Goes over to the serving side without a command of the client, and closes the other.
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

    /// Changes the server, between two commands of an idle session that holds a permit for `side`.
    async fn move_to(&mut self, side: Side) -> Result<(), Fatal> {
        self.locks = Locks::Now;
        let mut twin = self.twin_for(side).await?;
        self.nest_locks(&mut twin).await?;
        let asked = twin.refresh_status().await;
        asked.map_err(|error| cannot_move(&Unmovable::NotLetIn(error.to_string())))?;
        self.pump.statements.went_over(&twin.statement_ids);
        self.take_server(twin.conn, side).await;
        tracing::debug!(session = self.entry.id.0, %side, "a session went over");
        Ok(())
    }

    /// The session goes on through another connection; the old one is closed later.
    async fn take_server(&mut self, conn: Conn, side: Side) {
        let key = LegKey {
            side,
            id: conn.thread_id(),
        };
        {
            let mut legs = self.entry.legs.lock();
            let old = std::mem::replace(&mut legs.current, key);
            legs.twin = None;
            legs.retired = Some(old);
            // One that was left on this side means nothing any more, or somebody else.
            legs.former.retain(|leg| leg.side != side);
            legs.former.push(old);
        }
        let old = self.pump.change_server(Present::of(conn, side));
        if let Some(older) = self.retired.replace(old) {
            close(older).await;
        }
    }

    /// The twin, like the session as it is now. As a rule it stands ready; what was not prepared
    /// before the hold is made up for here.
    async fn twin_for(&mut self, side: Side) -> Result<Twin, Fatal> {
        self.settle_preparation().await;
        self.read_state(None).await.map_err(|_gone| {
            // The server that knows the state is gone, and with it what it knew.
            cannot_move(&Unmovable::Unreadable("08S01".to_owned()))
        })?;
        if let Some(reason) = self.reading.unmovable.first() {
            return Err(cannot_move(reason));
        }
        let no_server = || Unmovable::NotLetIn("no such server is configured".to_owned());
        let plan = self.plan(side).ok_or_else(|| cannot_move(&no_server()))?;
        let prepared = plan.begin().wait().await;
        prepared.twin.map_err(|reason| cannot_move(&reason))
    }
}

/// Ends what a server still does for a session that is over.
async fn kill(relay: &Relay, leg: LegKey) {
    let killed = async {
        let helper = relay.servers.helper_of(relay, leg.side).await?;
        helper.sql.execute(&format!("KILL {}", leg.id)).await.ok()
    };
    if !matches!(timeout(GOODBYE_TIMEOUT, killed).await, Ok(Some(_))) {
        tracing::debug!(side = %leg.side, "the statement of an ended session goes on");
    }
}

fn finish(done: oneshot::Sender<()>) {
    if done.send(()).is_err() {
        tracing::debug!("nobody waits for a session's answer any more");
    }
}

fn cannot_move(reason: &Unmovable) -> Fatal {
    Fatal::new(
        1053,
        "08S01",
        format!(
            "the database moved to another server, and this session's state could not be moved \
             with it: {reason}; connect again to be served by the new server"
        ),
    )
}

/// Says goodbye to a server and closes.
async fn close(mut server: Socket) {
    let mut goodbye = BytesMut::new();
    packet::put(&[code::QUIT], 0, &mut goodbye);
    let said = async {
        server.write_all(&goodbye).await?;
        server.flush().await
    };
    match timeout(GOODBYE_TIMEOUT, said).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a server was gone before its goodbye"),
        Err(_elapsed) => tracing::debug!("a server did not take its goodbye"),
    }
}
