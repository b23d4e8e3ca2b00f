//! What others see of a running applier, and how they hold it still.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use router::Lsn;
use tokio::sync::watch;

use super::events::CommitTime;
use super::step::WindowEnd;

/// Markers remembered; a movement waits for one at a time.
const MARKERS_MAX: usize = 64;

/// A handle on an applier; it stays good when the applier stops and runs again.
#[derive(Debug, Clone)]
pub struct ApplyHandle {
    pub(super) shared: Arc<Shared>,
}

/// How far the applier has come and what it has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyStatus {
    /// Everything that committed on the source before this is committed on the target.
    pub applied: Lsn,
    /// When the last applied transaction was committed, by the source's clock.
    pub commit_time: Option<CommitTime>,
    /// Windows committed.
    pub windows: u64,
    /// Source transactions applied.
    pub transactions: u64,
    /// Row changes applied.
    pub changes: u64,
    /// Bytes of row values applied.
    pub bytes: u64,
    /// How long the last window took on the target.
    pub last_window: Duration,
    /// What the applier is doing.
    pub run: RunState,
}

/// What an applier is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It is not running.
    Ended,
    /// It applies what comes.
    Running,
    /// It holds still at a window boundary.
    Paused,
}

/// What an applier is asked to do. Memory only: after a restart it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Control {
    /// How many want it to hold still.
    pub(super) pauses: u32,
    /// How far it is to go all the same: up to the first transaction that commits at or behind this.
    pub(super) advance: Option<Lsn>,
    pub(super) order: Order,
}

/// Whether an applier is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It is.
    Run,
    /// It is to end at the next window boundary; once it has, the order is `Run` again.
    Stop,
}

/// The applier holds still as long as this lives.
#[derive(Debug)]
pub struct Paused {
    /// Everything before this is on the target, and nothing after it.
    pub at: Lsn,
    request: PauseRequest,
}

#[derive(Debug)]
struct PauseRequest {
    shared: Arc<Shared>,
}

/// A marker that is committed on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Marker {
    token: String,
    end_lsn: Lsn,
}

/// The state shared between an applier and its handles.
#[derive(Debug)]
pub(super) struct Shared {
    applied: watch::Sender<Lsn>,
    markers: watch::Sender<VecDeque<Marker>>,
    control: watch::Sender<Control>,
    run: watch::Sender<RunState>,
    /// Where it was told to advance to when it last began to hold still.
    advanced: watch::Sender<Option<Lsn>>,
    windows: AtomicU64,
    transactions: AtomicU64,
    changes: AtomicU64,
    bytes: AtomicU64,
    last: Mutex<(Option<CommitTime>, Duration)>,
    /// The commit record of the last transaction of which something goes to the target.
    gathered: AtomicU64,
}

impl ApplyHandle {
    /// The position up to which everything is committed on the target, as it grows.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Lsn> {
        self.shared.applied.subscribe()
    }

    /// Whether something was taken from the stream that is not committed on the target yet.
    /// Positions alone do not count.
    #[must_use]
    pub fn has_gathered(&self) -> bool {
        // What is applied ends behind its commit record.
        self.shared.gathered.load(Ordering::Relaxed) >= self.shared.applied.borrow().0
    }

    /// What the applier is doing, as it changes.
    #[must_use]
    pub fn run_state(&self) -> watch::Receiver<RunState> {
        self.shared.run.subscribe()
    }

    /// What has been done so far.
    #[must_use]
    pub fn status(&self) -> ApplyStatus {
        self.shared.status()
    }

    /// Waits until the marker with this token is committed on the target; gives the position of the
    /// window that held it. Never ends if the marker never comes: the caller has a deadline.
    ///
    /// # Cancel safety
    /// Nothing is lost when this is dropped.
    pub async fn wait_marker(&self, token: &str) -> Lsn {
        let mut markers = self.shared.markers.subscribe();
        loop {
            let found = markers
                .borrow_and_update()
                .iter()
                .find(|marker| marker.token == token)
                .map(|marker| marker.end_lsn);
            if let Some(end_lsn) = found {
                return end_lsn;
            }
            if markers.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Holds the applier still at its next window boundary and waits until it does. If it is not
    /// running, this waits until it runs again: the caller has a deadline.
    ///
    /// # Cancel safety
    /// When this is dropped the applier goes on.
    pub async fn pause(&self) -> Paused {
        let request = PauseRequest::new(&self.shared);
        let mut run = self.shared.run.subscribe();
        if run.wait_for(|run| *run == RunState::Paused).await.is_err() {
            std::future::pending::<()>().await;
        }
        Paused {
            at: *self.shared.applied.borrow(),
            request,
        }
    }

    /// Makes the applier end at its next window boundary; if it is not running, its next run.
    pub fn stop(&self) {
        self.shared.order(Order::Stop);
    }
}

impl Paused {
    /// Lets the applier go on up to this position and holds it still again there: every transaction
    /// that committed before it is then on the target, and none that committed at or behind it. The
    /// position must not be one that is passed already. Never ends if the stream never comes there:
    /// the caller has a deadline.
    ///
    /// # Cancel safety
    /// When this is dropped the applier goes on.
    pub async fn advance(self, to: Lsn) -> Self {
        let shared = &self.request.shared;
        let mut advanced = shared.advanced.subscribe();
        shared
            .control
            .send_modify(|control| control.advance = Some(to));
        if advanced.wait_for(|place| *place == Some(to)).await.is_err() {
            std::future::pending::<()>().await;
        }
        Self { at: to, ..self }
    }

    /// Lets the applier go on; the same as dropping this.
    pub fn resume(self) {
        drop(self.request);
    }
}

impl PauseRequest {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.control.send_modify(|control| control.pauses += 1);
        Self {
            shared: Arc::clone(shared),
        }
    }
}

impl Drop for PauseRequest {
    fn drop(&mut self) {
        self.shared.control.send_modify(|control| {
            control.pauses = control.pauses.saturating_sub(1);
            control.advance = None;
        });
        self.shared.advanced.send_replace(None);
    }
}

impl Shared {
    pub(super) fn new(applied: Lsn) -> Self {
        Self {
            applied: watch::Sender::new(applied),
            markers: watch::Sender::new(VecDeque::new()),
            control: watch::Sender::new(Control {
                pauses: 0,
                advance: None,
                order: Order::Run,
            }),
            run: watch::Sender::new(RunState::Ended),
            advanced: watch::Sender::new(None),
            windows: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last: Mutex::new((None, Duration::ZERO)),
            gathered: AtomicU64::new(0),
        }
    }

    /// Tells that a window is committed.
    pub(super) fn committed(&self, end: &WindowEnd, took: Duration) {
        self.windows.fetch_add(1, Ordering::Relaxed);
        self.transactions
            .fetch_add(end.transactions, Ordering::Relaxed);
        self.changes.fetch_add(end.changes, Ordering::Relaxed);
        self.bytes.fetch_add(end.bytes, Ordering::Relaxed);
        {
            let mut last = self.last.lock();
            last.0 = end.commit_time.or(last.0);
            last.1 = took;
        }
        if !end.markers.is_empty() {
            self.markers.send_modify(|markers| {
                for token in &end.markers {
                    markers.push_back(Marker {
                        token: token.clone(),
                        end_lsn: end.end_lsn,
                    });
                }
                while markers.len() > MARKERS_MAX {
                    markers.pop_front();
                }
            });
        }
        self.applied.send_replace(end.end_lsn);
    }

    /// Tells that something of the transaction with this commit record goes to the target.
    pub(super) fn gathers(&self, commit_lsn: Lsn) {
        self.gathered.store(commit_lsn.0, Ordering::Relaxed);
    }

    /// The position read from the target.
    pub(super) fn set_applied(&self, applied: Lsn) {
        self.applied.send_replace(applied);
    }

    pub(super) fn order(&self, order: Order) {
        self.control.send_modify(|control| control.order = order);
    }

    pub(super) fn set_run(&self, run: RunState) {
        self.run.send_replace(run);
    }

    /// Tells that it holds still where it was told to advance to, if it was.
    pub(super) fn holds_still(&self, advanced: Option<Lsn>) {
        self.advanced.send_replace(advanced);
        self.set_run(RunState::Paused);
    }

    pub(super) fn applied(&self) -> watch::Receiver<Lsn> {
        self.applied.subscribe()
    }

    pub(super) fn control(&self) -> watch::Receiver<Control> {
        self.control.subscribe()
    }

    fn status(&self) -> ApplyStatus {
        let (commit_time, last_window) = *self.last.lock();
        ApplyStatus {
            applied: *self.applied.borrow(),
            commit_time,
            windows: self.windows.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            changes: self.changes.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            last_window,
            run: *self.run.borrow(),
        }
    }
}
