//! What `status` shows: everybody writes his part, and it can be read at any time.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use router::verify::Progress;
use router::{Position as _, Side};

use crate::config::Cutover;
use crate::engine::{Clients as _, Engine, Flow as _, Reason};
use crate::status::{
    CopyStatus, CutoverReport, Failure, Lag, Phase, Sessions, Status, TableStatus,
    UnmovableSession, VerifyReport, WayBackState, WayBackStatus,
};

/// A log's end that was asked longer ago tells nothing any more.
const LOG_END_STALE: Duration = Duration::from_secs(10);

/// An idle server writes some log of its own, which is nobody's lag.
const OWN_BYTES: u64 = 64 * 1024;

/// Where the migration is, with what is known there. Memory only: a restart asks the servers.
#[derive(Debug, Clone)]
pub(super) enum Life {
    /// The servers are being asked who serves; clients wait. Left to any of the others.
    Deciding,
    /// There is no migration. Left by `start`.
    Proxying,
    /// The copy is under way, begun by `start` or gone on with after a restart.
    Copying,
    /// Changes are applied. Entered when the copy is complete, left by `cutover` or `abort`.
    Streaming,
    /// A cutover is under way.
    CuttingOver,
    /// The target serves. Left by `finish` or `rollback`.
    Switched,
    /// A rollback is under way. Left to `Streaming`, or to `Switched` when it is given up.
    RollingBack,
    /// The target serves and nothing of ours is left. The end.
    Finished,
    /// The migration stopped; the serving side serves on. Left by `abort`, or by a restart that
    /// tries again.
    Failed(Failure),
}

/// Whether `rollback` could lead back to the source. Memory only: a restart opens it again.
#[derive(Debug, Clone)]
pub(super) enum WayBack {
    /// The stream from the target is being opened, or is tried again.
    Opening,
    /// Changes flow back.
    Open,
    /// They do not and will not.
    Closed(Failure),
}

/// The parts of the status.
pub(super) struct Board<E: Engine> {
    clients: Arc<E::Clients>,
    policies: Cutover,
    parts: Mutex<Parts<E>>,
}

/// Gives the tables' progress.
type Tables = Arc<dyn Fn() -> Vec<TableStatus> + Send + Sync>;

struct Parts<E: Engine> {
    life: Life,
    step: Option<String>,
    trouble: Option<String>,
    warnings: Vec<String>,
    /// Why the stream that is read ahead of the copy takes nothing more.
    waits_for_space: Option<String>,
    copy: Option<(Tables, Instant)>,
    flow: Option<E::Flow>,
    /// Where the serving side's log ended, and when it was asked.
    log_end: Option<(E::LogEnd, Instant)>,
    last_cutover: Option<CutoverReport>,
    last_rollback: Option<CutoverReport>,
    /// How far a comparison is that is under way.
    verifying: Option<Arc<Progress>>,
    last_verify: Option<VerifyReport>,
    /// While the target serves.
    way_back: Option<WayBack>,
}

impl<E: Engine> Parts<E> {
    fn new() -> Self {
        Self {
            life: Life::Deciding,
            step: None,
            trouble: None,
            warnings: Vec::new(),
            waits_for_space: None,
            copy: None,
            flow: None,
            log_end: None,
            last_cutover: None,
            last_rollback: None,
            verifying: None,
            last_verify: None,
            way_back: None,
        }
    }
}

impl<E: Engine> Board<E> {
    /// A board on which nothing is decided.
    pub(super) fn new(clients: Arc<E::Clients>, policies: Cutover) -> Self {
        Self {
            clients,
            policies,
            parts: Mutex::new(Parts::new()),
        }
    }

    /// Enters another part of the migration's life.
    pub(super) fn enter(&self, life: Life) {
        let mut parts = self.parts.lock();
        parts.step = None;
        parts.trouble = None;
        parts.life = life;
    }

    /// The migration is gone from both servers.
    pub(super) fn forget(&self) {
        let mut parts = self.parts.lock();
        *parts = Parts {
            life: Life::Proxying,
            ..Parts::new()
        };
    }

    /// A movement was given up: changes flow on, unless the stream failed meanwhile.
    pub(super) fn back_from_movement(&self) {
        let mut parts = self.parts.lock();
        parts.step = None;
        match parts.life {
            Life::CuttingOver => parts.life = Life::Streaming,
            Life::RollingBack => parts.life = Life::Switched,
            Life::Deciding
            | Life::Proxying
            | Life::Copying
            | Life::Streaming
            | Life::Switched
            | Life::Finished
            | Life::Failed(_) => {}
        }
    }

    /// Shows whether changes flow back; nothing while the source serves.
    pub(super) fn way_back(&self, way_back: Option<WayBack>) {
        self.parts.lock().way_back = way_back;
    }

    /// Why `rollback` could not begin now.
    pub(super) fn no_way_back(&self) -> Option<String> {
        let parts = self.parts.lock();
        match &parts.way_back {
            Some(WayBack::Open) if parts.flow.is_some() => None,
            Some(WayBack::Open | WayBack::Opening) => Some(match &parts.trouble {
                Some(trouble) => format!("the way back is being opened: {trouble}"),
                None => "the way back is being opened; try again in a moment".to_owned(),
            }),
            Some(WayBack::Closed(failure)) => Some(format!("{}: {}", failure.what, failure.detail)),
            None => Some("the source serves: there is nothing to roll back".to_owned()),
        }
    }

    /// Where the migration is.
    pub(super) fn life(&self) -> Life {
        self.parts.lock().life.clone()
    }

    /// Says what is being done.
    pub(super) fn step(&self, step: impl Into<String>) {
        self.parts.lock().step = Some(step.into());
    }

    /// Says what is being tried again, or that it works again.
    pub(super) fn trouble(&self, trouble: Option<String>) {
        self.parts.lock().trouble = trouble;
    }

    /// Shows what the operator should know of the copy.
    pub(crate) fn warnings(&self, warnings: Vec<String>) {
        self.parts.lock().warnings = warnings;
    }

    /// Shows the copy's progress.
    pub(super) fn copying(&self, tables: Box<dyn Fn() -> Vec<TableStatus> + Send + Sync>) {
        self.parts.lock().copy = Some((tables.into(), Instant::now()));
    }

    /// Shows whether the stream that is read ahead of the copy has space.
    pub(super) fn reading_ahead(&self, waits_for_space: Option<String>) {
        self.parts.lock().waits_for_space = waits_for_space;
    }

    /// Shows the stream that is being applied.
    pub(super) fn streaming(&self, flow: Option<E::Flow>) {
        let mut parts = self.parts.lock();
        parts.waits_for_space = None;
        parts.flow = flow;
        parts.log_end = None;
    }

    /// The stream that is being applied, if any.
    pub(super) fn flow(&self) -> Option<E::Flow> {
        self.parts.lock().flow.clone()
    }

    /// Bytes of log that the side that does not serve lacks, if that is known.
    pub(super) fn bytes_behind(&self) -> Option<u64> {
        self.lag().bytes
    }

    /// Notes where the serving side's log ends; `None` when it cannot be asked.
    pub(super) fn log_ends(&self, end: Option<E::LogEnd>) {
        self.parts.lock().log_end = end.map(|end| (end, Instant::now()));
    }

    /// Remembers how a cutover or a rollback went.
    pub(super) fn moved(&self, to: Side, report: CutoverReport) {
        let mut parts = self.parts.lock();
        match to {
            Side::Target => parts.last_cutover = Some(report),
            Side::Source => parts.last_rollback = Some(report),
        }
    }

    /// Shows a comparison that is under way.
    pub(super) fn verifying(&self, progress: Option<Arc<Progress>>) {
        self.parts.lock().verifying = progress;
    }

    /// Remembers what a comparison has found.
    pub(super) fn verified(&self, report: VerifyReport) {
        self.parts.lock().last_verify = Some(report);
    }

    /// The whole status.
    pub(super) fn status(&self) -> Status {
        let sessions = self.sessions();
        let serving = self
            .clients
            .switch()
            .serving()
            .map(Side::as_str)
            .map(str::to_owned);
        let lag = self.lag();
        let parts = self.parts.lock();
        let (phase, failure) = match &parts.life {
            Life::Deciding | Life::Proxying => (Phase::Proxying, None),
            Life::Copying => (Phase::Copying, None),
            Life::Streaming => (Phase::Streaming, None),
            Life::CuttingOver => (Phase::CuttingOver, None),
            Life::Switched => (Phase::Switched, None),
            Life::RollingBack => (Phase::RollingBack, None),
            Life::Finished => (Phase::Finished, None),
            Life::Failed(failure) => (Phase::Failed, Some(failure.clone())),
        };
        let copy = parts
            .copy
            .as_ref()
            .map(|(tables, since)| copy_status(tables(), *since));
        let waits = match &parts.flow {
            Some(flow) => flow.waits_for_space(),
            None => parts.waits_for_space.clone(),
        };
        let works_long = parts
            .flow
            .as_ref()
            .and_then(crate::engine::Flow::works_long);
        let troubles = parts.trouble.iter().cloned().chain(waits);
        let trouble: Vec<String> = troubles.chain(works_long).collect();
        let verifying = parts.verifying.as_ref();
        let verifying = verifying.map(|progress| format!("verify: {}", progress.in_words()));
        Status {
            phase,
            serving,
            step: parts.step.clone().or(verifying),
            failure,
            trouble: (!trouble.is_empty()).then(|| trouble.join("; ")),
            warnings: parts.warnings.clone(),
            lag,
            copy: copy.unwrap_or_default(),
            sessions,
            last_cutover: parts.last_cutover.clone(),
            last_rollback: parts.last_rollback.clone(),
            last_verify: parts.last_verify.clone(),
            way_back: parts.way_back.as_ref().map(way_back_status),
        }
    }

    /// How far the side that does not serve is behind, as far as it is known.
    fn lag(&self) -> Lag {
        let parts = self.parts.lock();
        let Some(flow) = &parts.flow else {
            return Lag::default();
        };
        let bytes = match &parts.log_end {
            Some((end, asked)) if asked.elapsed() < LOG_END_STALE => flow.bytes_behind(end),
            Some(_) | None => None,
        };
        let seconds = match flow.applied().includes(&flow.received()) {
            // What has not arrived yet may be of any age, unless it is next to nothing.
            true => bytes.is_some_and(|bytes| bytes <= OWN_BYTES).then_some(0.0),
            false => flow.commit_time().map(age_seconds),
        };
        Lag {
            bytes,
            transactions: Some(flow.transactions()),
            seconds,
        }
    }

    fn sessions(&self) -> Sessions {
        let all = self.clients.sessions();
        let in_transaction = all.iter().filter(|one| one.transaction_age().is_some());
        let unmovable = all.iter().filter_map(|session| {
            let policy = self.policies.policy_for(session)?;
            Some((session, policy))
        });
        Sessions {
            total: all.len(),
            active: in_transaction.count(),
            twins: all.iter().filter(|session| session.twin_ready).count(),
            unmovable: unmovable
                .map(|(session, policy)| UnmovableSession {
                    id: session.id,
                    client: session.client.to_string(),
                    user: session.user.clone(),
                    database: session.database.clone(),
                    age_seconds: session.age.as_secs_f64(),
                    reasons: texts(&session.unmovable),
                    policy: policy.as_str().to_owned(),
                })
                .collect(),
        }
    }
}

fn way_back_status(way_back: &WayBack) -> WayBackStatus {
    let (state, reason) = match way_back {
        WayBack::Opening => (WayBackState::Opening, None),
        WayBack::Open => (WayBackState::Open, None),
        WayBack::Closed(failure) => {
            let reason = format!("{}: {}", failure.what, failure.detail);
            (WayBackState::Closed, Some(reason))
        }
    };
    WayBackStatus { state, reason }
}

fn texts(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(|reason| reason.text.clone()).collect()
}

/// Age of a commit by our own clock; a clock that differs from the source's shows as much.
fn age_seconds(time: SystemTime) -> f64 {
    let age = SystemTime::now().duration_since(time);
    age.unwrap_or_default().as_secs_f64()
}

fn copy_status(mut tables: Vec<TableStatus>, since: Instant) -> CopyStatus {
    let eta_seconds = eta_seconds(&tables, since.elapsed().as_secs_f64());
    tables.sort_by(|one, two| one.name.cmp(&two.name));
    CopyStatus {
        tables,
        eta_seconds,
    }
}

/// The rest at the speed so far; nothing while too little is copied to tell.
fn eta_seconds(tables: &[TableStatus], elapsed: f64) -> Option<f64> {
    const MEASURED_SECONDS_MIN: f64 = 2.0;
    let sum = |bytes: &dyn Fn(&TableStatus) -> u64| -> f64 {
        // A size for people to read; f64 holds petabytes exactly enough.
        let total: u64 = tables.iter().map(bytes).sum();
        u32::try_from(total >> 10).map_or(f64::MAX, f64::from)
    };
    let copied = sum(&|table| table.bytes);
    let left = sum(&|table| match table.done {
        true => 0,
        false => table.bytes_expected.saturating_sub(table.bytes),
    });
    if elapsed < MEASURED_SECONDS_MIN || copied <= 0.0 || left <= 0.0 {
        return None;
    }
    Some(left / (copied / elapsed))
}
