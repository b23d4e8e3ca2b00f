//! What others see of a running applier, and how they hold it still.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::step::WindowEnd;
use crate::movement::marker::Marker;
use crate::position::{BinlogFile, Gtid, Gtids, Position};

/// Tokens of marker rows that are remembered; a movement waits for one at a time.
const MARKERS_MAX: usize = 64;

/// How long the target may work on a piece before that is told.
const WORKS_LONG: Duration = Duration::from_secs(15);

/// A handle on an applier; it stays good when the applier stops and runs again.
#[derive(Debug, Clone)]
pub struct ApplyHandle {
    pub(super) shared: Arc<Shared>,
}

/// How far the applier has come and what it has done since it was opened.
#[derive(Debug, Clone)]
pub struct ApplyStatus {
    /// Everything that committed on the source up to this is committed on the target.
    pub applied: Position,
    /// When the last applied transaction was committed, in microseconds since 1970 by the source's
    /// clock.
    pub commit_time_us: Option<u64>,
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
    /// How many wait for a marker: every position is then committed at once.
    pub(super) waiting: u32,
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
    /// Everything up to this is on the target, and nothing after it.
    pub at: Position,
    request: Request,
}

/// Counts in [`Control`] as long as it lives.
#[derive(Debug)]
struct Request {
    shared: Arc<Shared>,
    kind: RequestKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestKind {
    Pause,
    Wait,
}

/// A marker row that is committed on the target.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SeenMarker {
    token: String,
    position: Position,
}

/// The state shared between an applier and its handles.
#[derive(Debug)]
pub(super) struct Shared {
    applied: watch::Sender<Position>,
    markers: watch::Sender<VecDeque<SeenMarker>>,
    control: watch::Sender<Control>,
    run: watch::Sender<RunState>,
    /// How far it is to go although it is to hold still: up to the first transaction that ends behind
    /// this.
    advance: watch::Sender<Option<Position>>,
    /// Where it was told to advance to when it last began to hold still.
    advanced: watch::Sender<Option<Position>>,
    windows: AtomicU64,
    transactions: AtomicU64,
    changes: AtomicU64,
    bytes: AtomicU64,
    last: Mutex<(Option<u64>, Duration)>,
    /// What the target works on, and since when.
    works_on: Mutex<Option<(Work, Instant)>>,
    /// A transaction of which something goes to the target: the first one of a window.
    gathered: Mutex<Option<Position>>,
}

/// What a target works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Rows,
    Definition,
}

/// The target works on something as long as this lives.
#[derive(Debug)]
pub(super) struct Working<'a>(&'a Shared);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        *self.0.works_on.lock() = None;
    }
}

impl ApplyHandle {
    /// The position up to which everything is committed on the target, as it grows.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Position> {
        self.shared.applied.subscribe()
    }

    /// Whether something was taken from the stream that is not committed on the target yet.
    /// Positions alone do not count.
    #[must_use]
    pub fn has_gathered(&self) -> bool {
        let gathered = self.shared.gathered.lock();
        let applied = self.shared.applied.borrow();
        gathered
            .as_ref()
            .is_some_and(|gathered| *gathered > *applied)
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

    /// What the target has been working on for suspiciously long: a server whose log has no space
    /// gives no error, it waits.
    #[must_use]
    pub fn works_long(&self) -> Option<String> {
        let (work, since) = (*self.shared.works_on.lock())?;
        let seconds = since.elapsed().as_secs();
        let work = match work {
            Work::Rows => "rows",
            Work::Definition => "a definition statement",
        };
        (seconds >= WORKS_LONG.as_secs()).then(|| {
            format!(
                "the target has been working on {work} for {seconds} s: if it does not end, see \
                 whether its log tells of a full disk, and who holds locks there"
            )
        })
    }

    /// Waits until the marker is committed on the target; gives the position of the window that
    /// held it. Never ends if the marker never comes: the caller has a deadline.
    ///
    /// # Cancel safety
    /// Nothing is lost when this is dropped.
    pub async fn wait_marker(&self, marker: &Marker) -> Position {
        let _waiting = Request::new(&self.shared, RequestKind::Wait);
        match marker {
            Marker::Row { token } => self.wait_token(token).await,
            Marker::Gtid { gtid } => {
                let wanted = gtid.parse::<Gtid>();
                self.wait_applied(|applied| match (&applied.gtids, &wanted) {
                    (Gtids::MySql(set), Ok(wanted)) => set.contains(wanted),
                    (Gtids::None | Gtids::MySql(_) | Gtids::MariaDb(_), _) => false,
                })
                .await
            }
            Marker::Rotated { file } => {
                let begin = BinlogFile::new(file.as_str(), BinlogFile::FIRST_OFFSET);
                self.wait_applied(|applied| applied.file >= begin).await
            }
        }
    }

    async fn wait_token(&self, token: &str) -> Position {
        let mut markers = self.shared.markers.subscribe();
        loop {
            let found = markers
                .borrow_and_update()
                .iter()
                .find(|marker| marker.token == token)
                .map(|marker| marker.position.clone());
            if let Some(position) = found {
                return position;
            }
            if markers.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn wait_applied(&self, reached: impl Fn(&Position) -> bool) -> Position {
        let mut applied = self.shared.applied.subscribe();
        let found = applied.wait_for(|applied| reached(applied)).await;
        match found.map(|position| position.clone()) {
            Ok(position) => position,
            Err(_gone) => std::future::pending().await,
        }
    }

    /// Holds the applier still at its next window boundary and waits until it does. If it is not
    /// running, this waits until it runs again: the caller has a deadline.
    ///
    /// # Cancel safety
    /// When this is dropped the applier goes on.
    pub async fn pause(&self) -> Paused {
        let request = Request::new(&self.shared, RequestKind::Pause);
        let mut run = self.shared.run.subscribe();
        if run.wait_for(|run| *run == RunState::Paused).await.is_err() {
            std::future::pending::<()>().await;
        }
        let at = self.shared.applied.borrow().clone();
        Paused { at, request }
    }

    /// Makes the applier end at its next window boundary; if it is not running, its next run.
    pub fn stop(&self) {
        self.shared.order(Order::Stop);
    }
}

impl Paused {
    /// Lets the applier go on up to this position and holds it still again there: every transaction
    /// that ends at or before it is then on the target, and none that ends behind it. The position must
    /// not be one that is passed already. Never ends if the stream never comes there: the caller has a
    /// deadline.
    ///
    /// # Cancel safety
    /// When this is dropped the applier goes on.
    pub async fn advance(self, to: Position) -> Self {
        let shared = &self.request.shared;
        let mut advanced = shared.advanced.subscribe();
        shared.advance.send_replace(Some(to.clone()));
        // Wakes it.
        shared.control.send_modify(|_control| {});
        let reached = |place: &Option<Position>| place.as_ref() == Some(&to);
        if advanced.wait_for(reached).await.is_err() {
            std::future::pending::<()>().await;
        }
        Self { at: to, ..self }
    }

    /// Lets the applier go on; the same as dropping this.
    pub fn resume(self) {
        drop(self.request);
    }
}

impl Request {
    fn new(shared: &Arc<Shared>, kind: RequestKind) -> Self {
        shared.control.send_modify(|control| {
            *control.count(kind) += 1;
        });
        Self {
            shared: Arc::clone(shared),
            kind,
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        match self.kind {
            RequestKind::Pause => {
                self.shared.advance.send_replace(None);
                self.shared.advanced.send_replace(None);
            }
            RequestKind::Wait => {}
        }
        self.shared.control.send_modify(|control| {
            let count = control.count(self.kind);
            *count = count.saturating_sub(1);
        });
    }
}

impl Control {
    fn count(&mut self, kind: RequestKind) -> &mut u32 {
        match kind {
            RequestKind::Pause => &mut self.pauses,
            RequestKind::Wait => &mut self.waiting,
        }
    }
}

impl Shared {
    pub(super) fn new(applied: Position) -> Self {
        Self {
            applied: watch::Sender::new(applied),
            markers: watch::Sender::new(VecDeque::new()),
            control: watch::Sender::new(Control {
                pauses: 0,
                waiting: 0,
                order: Order::Run,
            }),
            run: watch::Sender::new(RunState::Ended),
            advance: watch::Sender::new(None),
            advanced: watch::Sender::new(None),
            windows: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last: Mutex::new((None, Duration::ZERO)),
            works_on: Mutex::new(None),
            gathered: Mutex::new(None),
        }
    }

    /// Tells that the target begins to work on something.
    pub(super) fn working(&self, work: Work) -> Working<'_> {
        *self.works_on.lock() = Some((work, Instant::now()));
        Working(self)
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
            last.0 = end.commit_time_us.or(last.0);
            last.1 = took;
        }
        if !end.markers.is_empty() {
            self.markers.send_modify(|markers| {
                for token in &end.markers {
                    markers.push_back(SeenMarker {
                        token: token.clone(),
                        position: end.position.clone(),
                    });
                }
                while markers.len() > MARKERS_MAX {
                    markers.pop_front();
                }
            });
        }
        self.applied.send_replace(end.position.clone());
    }

    /// Tells that something of the transaction that ends here goes to the target.
    pub(super) fn gathers(&self, position: Position) {
        *self.gathered.lock() = Some(position);
    }

    /// The position read from the target.
    pub(super) fn set_applied(&self, applied: Position) {
        self.applied.send_replace(applied);
    }

    pub(super) fn order(&self, order: Order) {
        self.control.send_modify(|control| control.order = order);
    }

    /// How far it is to go although it is to hold still.
    pub(super) fn advance(&self) -> Option<Position> {
        self.advance.borrow().clone()
    }

    /// Tells that it holds still where it was told to advance to, if it was.
    pub(super) fn holds_still(&self, advanced: Option<Position>) {
        self.advanced.send_replace(advanced);
        self.set_run(RunState::Paused);
    }

    pub(super) fn set_run(&self, run: RunState) {
        self.run.send_replace(run);
    }

    pub(super) fn applied(&self) -> watch::Receiver<Position> {
        self.applied.subscribe()
    }

    pub(super) fn control(&self) -> watch::Receiver<Control> {
        self.control.subscribe()
    }

    fn status(&self) -> ApplyStatus {
        let (commit_time_us, last_window) = *self.last.lock();
        ApplyStatus {
            applied: self.applied.borrow().clone(),
            commit_time_us,
            windows: self.windows.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            changes: self.changes.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            last_window,
            run: *self.run.borrow(),
        }
    }
}
