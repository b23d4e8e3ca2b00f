//! An engine: everything that PostgreSQL and MySQL do in different ways, behind one trait.
//!
//! The engine is chosen once, from the URLs' schemes, when the proxy starts ([`Kind`]). An
//! [`Engine`] then knows both servers and the relay of the clients; the actor, the board, the pump
//! and the movement are written once and are generic over it. What is here are only the parts; in
//! which order they come, and what happens when one fails, is the migration's to decide.

mod facts;
mod interruption;
mod kind;
mod mysql;
mod postgres;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use router::cutover::{Arrival, Resolution};
use router::engine::{Arrive, Journal, Leave};
use router::{Epoch, Position, Side, Switch, verify};
use tokio::net::TcpStream;

pub(crate) use self::facts::{Activity, Cleanup, Finding, Level, Reason, Session, WhoServes};
pub(crate) use self::interruption::{BEGIN_AGAIN, Interruption, NO_WAY_BACK};
pub(crate) use self::kind::Kind;
pub(crate) use self::mysql::MySql;
pub(crate) use self::postgres::Postgres;
use crate::config::Config;
use crate::status::TableStatus;

/// One engine's two servers and clients.
///
/// Where an error is a `String` it is a whole sentence for the operator.
pub(crate) trait Engine: Send + Sync + Sized + 'static {
    /// The clients' sessions.
    type Clients: Clients;
    /// A connection that asks and changes things.
    type Conn: Send + Sync;
    /// A place in the source's stream.
    type Position: Position + 'static;
    /// Where the source's log ends, with what it takes to tell how far away that is.
    type LogEnd: Send + 'static;
    /// The initial copy.
    type Copy: InitialCopy;
    /// The stream of changes; it reads ahead while nobody takes from it.
    type Stream: Send;
    /// What applies the stream on the target.
    type Applier: Send + Sync;
    /// A look at a stream that is being applied.
    type Flow: Flow<Self>;
    /// The side that a movement leaves.
    type Leaving: Leave;
    /// The side that it arrives at, with the journal.
    type Arriving: Arrive<Self::Leaving> + Journal;

    /// The words that `--accept` understands, each with what it accepts.
    const ACCEPTABLE: &'static [&'static str];

    /// The servers of this configuration, with the relay's threads running.
    ///
    /// # Errors
    /// When an endpoint of the configuration is not usable, or there are no threads.
    fn new(config: &Arc<Config>, switch: Arc<Switch>, threads: usize) -> anyhow::Result<Self>;

    /// Reads again what may change while the proxy runs: the certificate for clients.
    ///
    /// # Errors
    /// When it cannot be used; the former one stays.
    fn reload(&self) -> anyhow::Result<()>;

    /// The clients' sessions.
    fn clients(&self) -> &Arc<Self::Clients>;

    /// A side's server and its database, however one logs in there; `None` for a target that is not
    /// in the configuration.
    fn server(&self, side: Side) -> Option<String>;

    /// Whether there is a target in the configuration.
    fn has_target(&self) -> bool {
        self.server(Side::Target).is_some()
    }

    /// Whether a spool has this name in the spool's folder.
    fn is_spool(name: &str) -> bool;

    /// A connection to a server, for this purpose.
    fn connect(
        &self,
        side: Side,
        purpose: &str,
    ) -> impl Future<Output = Result<Self::Conn, String>> + Send;

    /// The id of the migration that this server belongs to.
    fn migration_id(
        &self,
        side: Side,
    ) -> impl Future<Output = Result<Option<String>, String>> + Send;

    /// Looks at both servers; changes nothing.
    fn check(&self, accept: &[String]) -> impl Future<Output = Vec<Finding>> + Send;

    /// The copy of this migration, not yet begun.
    fn copy(&self, id: &str) -> Self::Copy;

    /// Opens what applies changes, from what is written down on the target.
    fn applier(
        &self,
        copied: <Self::Copy as InitialCopy>::Copied,
    ) -> impl Future<Output = Result<Self::Applier, Interruption>> + Send;

    /// Opens the stream behind what this applier has applied, or where the copy began.
    fn open_stream(
        &self,
        start: &<Self::Copy as InitialCopy>::Start,
        behind: Option<&Self::Applier>,
    ) -> impl Future<Output = Result<Self::Stream, Interruption>> + Send;

    /// Whether a stream that nobody takes from has failed.
    fn has_failed(stream: &Self::Stream) -> bool;

    /// Why a stream takes nothing more from the source, while it has no space for it.
    fn waits_for_space(stream: &Self::Stream) -> Option<String>;

    /// A look at the two together.
    fn flow(&self, stream: &Self::Stream, applier: &Self::Applier) -> Self::Flow;

    /// Applies the stream until it ends, fails or is told to stop.
    fn run(
        applier: Self::Applier,
        stream: Self::Stream,
    ) -> impl Future<Output = Result<(), Interruption>> + Send;

    /// Where this server's log ends now.
    fn log_end(
        &self,
        conn: &Self::Conn,
    ) -> impl Future<Output = Result<Self::LogEnd, String>> + Send;

    /// What of the schema of the serving side differs from the other's and cannot be replicated, a
    /// sentence each.
    fn drift(&self, serving: Side) -> impl Future<Output = Result<Vec<String>, String>> + Send;

    /// Compares both sides at a place that this flow from the source comes to; `name` is that of the
    /// comparison's sessions.
    ///
    /// # Cancel safety
    /// May be dropped at any time; statements that run may go on until [`Engine::end_comparison`].
    fn compare(
        &self,
        flow: Self::Flow,
        name: &str,
        progress: &Arc<verify::Progress>,
    ) -> impl Future<Output = Result<verify::Report, String>> + Send;

    /// Ends what a comparison has left on the servers.
    fn end_comparison(&self, name: &str) -> impl Future<Output = Result<(), String>> + Send;

    /// Opens the stream from the target to the source, and what applies it there, from what is
    /// written down. The target serves.
    fn way_back(
        &self,
    ) -> impl Future<Output = Result<(Self::Applier, Self::Stream), Interruption>> + Send;

    /// Prepares, before a movement to this side, that another one may lead back from it.
    ///
    /// # Errors
    /// Why none can.
    fn prepare_way_back(&self, to: Side) -> impl Future<Output = Result<(), NoWayBack>> + Send;

    /// Why no movement could lead back from this side, as far as it can be seen without changing
    /// anything.
    fn look_for_way_back(&self, to: Side) -> impl Future<Output = Result<(), String>> + Send;

    /// Removes what feeds the other side from this one, which does not serve (any more).
    fn forget_way_back(&self, side: Side) -> impl Future<Output = Result<(), String>> + Send;

    /// Whether this side refuses writes since a movement left it.
    fn arrival(&self, to: Side) -> impl Future<Output = Result<Arrival, String>> + Send;

    /// Whether a side that refuses writes lets clients log in all the same, so that their
    /// connections to it can be opened beforehand.
    const FENCED_LETS_IN: bool;

    /// Prepares everything that a movement to this side needs, and looks for what would make it
    /// fail. `flow` gives the stream that is open at that moment.
    fn prepare(
        &self,
        to: Side,
        flow: impl Fn() -> Option<Self::Flow> + Send + Sync + 'static,
        limits: Limits,
    ) -> impl Future<Output = Result<Prepared<Self>, String>> + Send;

    /// Connections that were not ours and that raising the fence has ended.
    fn foreign_ended(leaving: &Self::Leaving) -> usize;

    /// What the operator should know of the servers' own replication after a movement, a sentence
    /// each.
    fn for_replicas(
        leaving: &Self::Leaving,
        arriving: &Self::Arriving,
    ) -> impl Future<Output = Vec<String>> + Send;

    /// Who serves, by what the servers say; a server without connection could not be asked, for
    /// that reason. Without a target there is no journal and no fence on it.
    fn who_serves(
        &self,
        source: Result<&Self::Conn, String>,
        target: Result<&Self::Conn, String>,
    ) -> impl Future<Output = WhoServes> + Send;

    /// Ends a movement in the journal.
    fn resolve(
        target: &Self::Conn,
        epoch: Epoch,
    ) -> impl Future<Output = Result<Resolution, String>> + Send;

    /// Lowers the fence of a movement that was cut off.
    fn lower_fence(
        conn: &Self::Conn,
        epoch: Epoch,
        timeout: Duration,
    ) -> impl Future<Output = Result<(), String>> + Send;

    /// After the switch: closes the source again if it has lost its fence, as by a restart where
    /// the fence is no durable setting.
    fn keep_closed(&self) -> impl Future<Output = Result<(), String>> + Send {
        std::future::ready(Ok(()))
    }

    /// Removes everything of ours after the switch.
    fn finish(&self, lift_fence: bool) -> impl Future<Output = Result<Cleanup, String>>;

    /// Removes every trace before the switch.
    fn abort(&self) -> impl Future<Output = Result<Cleanup, String>>;
}

/// A movement that may begin, unless something stands in its way.
pub(crate) struct Prepared<E: Engine> {
    /// The side that is left.
    pub leave: E::Leaving,
    /// The side that is arrived at.
    pub arrive: E::Arriving,
    /// The movement's number.
    pub epoch: Epoch,
    /// What would make it fail, a sentence each.
    pub obstacles: Vec<String>,
    /// Transactions on the source that have been open for long, in words.
    pub long_transactions: Vec<String>,
}

/// Why no movement could lead back, a sentence.
#[derive(Debug, Clone)]
pub(crate) enum NoWayBack {
    /// As the servers are set up there can be none.
    Never(String),
    /// There could be one; trying again may help.
    NotNow(String),
}

/// What is too much before a movement begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// More log than this that is not applied refuses it.
    pub lag_bytes_max: u64,
    /// Transactions that have been open for longer are named.
    pub long_after: Duration,
}

/// The clients' sessions: what the proxy asks of an engine's relay.
pub(crate) trait Clients: Send + Sync + 'static {
    /// Takes a client that has just connected.
    fn accept(self: &Arc<Self>, client: TcpStream, address: SocketAddr);

    /// Clients that are connected, those that log in included.
    fn count(&self) -> usize;

    /// The switch that all sessions obey.
    fn switch(&self) -> &Arc<Switch>;

    /// All sessions that are logged in, oldest first.
    fn sessions(&self) -> Vec<Session>;

    /// Reads the state of every session and has a connection to the other side ready for each that
    /// can be moved; busy ones are waited for.
    fn prepare_twins(&self, patience: Duration) -> impl Future<Output = ()> + Send;

    /// While the last transactions end: brings those up to date that ran something since they were
    /// prepared, each as soon as it is idle.
    fn refresh_idle(&self, patience: Duration) -> impl Future<Output = ()> + Send {
        let _patience = patience;
        std::future::ready(())
    }

    /// Brings those up to date that ran something since they were prepared. Inside the hold, and
    /// right before it.
    fn refresh_changed(&self, patience: Duration) -> impl Future<Output = ()> + Send;

    /// The hold is over and nobody went over: what the connections to the other side got for it is
    /// given back.
    fn relax_twins(&self, patience: Duration) -> impl Future<Output = ()> + Send;

    /// How many ran something since they were prepared.
    fn changed(&self) -> usize;

    /// Whether the connections to the other side are opened only when that lets somebody in.
    fn set_late(&self, late: bool);

    /// It lets somebody in now, inside the hold: connections that must be complete by the release
    /// are opened.
    fn prepare_late(&self, patience: Duration) -> impl Future<Output = ()> + Send;

    /// After the release: everybody goes over to the serving side and leaves the other.
    fn close_source_connections(&self, patience: Duration) -> impl Future<Output = ()> + Send;

    /// Closes the connections to the side that does not serve.
    fn drop_twins(&self, patience: Duration) -> impl Future<Output = ()> + Send;

    /// Ends a session now.
    fn end_session(&self, id: u64) -> impl Future<Output = ()> + Send;

    /// Ends all sessions, each at its next idle moment; what is left at the deadline, then.
    fn drain(&self, patience: Duration) -> impl Future<Output = ()> + Send;
}

/// The initial copy of one migration.
pub(crate) trait InitialCopy: Send + Sync {
    /// Where the stream starts.
    type Start: Clone + Send + Sync;
    /// What the stream goes on from.
    type Copied: Send;

    /// Copies what is not written down as copied.
    ///
    /// # Cancel safety
    /// May be dropped at any time: what is not written down is done again.
    fn run(&self) -> impl Future<Output = Result<Self::Copied, Interruption>> + Send;

    /// Where the stream starts, as soon as it is written down.
    fn stream_start(&self) -> impl Future<Output = Self::Start> + Send;

    /// The same, of a copy that is complete.
    fn start_of(copied: &Self::Copied) -> &Self::Start;

    /// What is being done, in some words.
    fn step(&self) -> String;

    /// What the operator should know, a sentence each.
    fn warnings(&self) -> Vec<String>;

    /// Gives the tables' progress at any time, also when the copy is over.
    fn progress(&self) -> Box<dyn Fn() -> Vec<TableStatus> + Send + Sync>;
}

/// A look at a stream that is being applied; it stays good when that has ended.
pub(crate) trait Flow<E: Engine>: Clone + Send + Sync + 'static {
    /// Up to where everything is committed on the side that does not serve.
    fn applied(&self) -> E::Position;

    /// Up to where the serving side has sent.
    fn received(&self) -> E::Position;

    /// Transactions that have arrived here and are not yet on the other side.
    fn transactions(&self) -> u64;

    /// Whether anything has arrived here that is not yet on the other side; positions alone do not
    /// count.
    fn is_behind(&self) -> bool;

    /// When the last applied transaction was committed, by the source's clock.
    fn commit_time(&self) -> Option<SystemTime>;

    /// Bytes of log up to there that are not applied, where it can be told.
    fn bytes_behind(&self, end: &E::LogEnd) -> Option<u64>;

    /// Why nothing more is taken from the source, while there is no space for it.
    fn waits_for_space(&self) -> Option<String>;

    /// What the target has been working on for suspiciously long, where it gives no error.
    fn works_long(&self) -> Option<String> {
        None
    }

    /// Notes that the serving side is asked on this connection, which a fence must spare.
    fn asked_on(&self, serving: &E::Conn);

    /// Makes the applier end at its next window boundary.
    fn stop(&self);
}
