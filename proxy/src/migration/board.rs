//! What `status` shows: everybody writes his part, and it can be read at any time.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use pgwal::apply::ApplyHandle;
use pgwal::copy::CopyProgress;
use pgwal::session::{Relay, SessionState};
use pgwal::stream::{CommitTime, StreamHandle};
use router::Side;

use crate::status::{
    CopyStatus, CutoverReport, Failure, Lag, Phase, Sessions, Status, TableStatus, UnmovableSession,
};

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
    /// The target serves. Left by `finish`.
    Switched,
    /// The target serves and nothing of ours is left. The end.
    Finished,
    /// The migration stopped; the serving side serves on. Left by `abort`, or by a restart that
    /// tries again.
    Failed(Failure),
}

/// The parts of the status.
pub(super) struct Board {
    relay: Arc<Relay>,
    parts: Mutex<Parts>,
}

struct Parts {
    life: Life,
    step: Option<String>,
    trouble: Option<String>,
    warnings: Vec<String>,
    copy: Option<(Arc<CopyProgress>, Instant)>,
    apply: Option<ApplyHandle>,
    stream: Option<StreamHandle>,
    last_cutover: Option<CutoverReport>,
}

impl Parts {
    fn new() -> Self {
        Self {
            life: Life::Deciding,
            step: None,
            trouble: None,
            warnings: Vec::new(),
            copy: None,
            apply: None,
            stream: None,
            last_cutover: None,
        }
    }
}

impl Board {
    /// A board on which nothing is decided.
    pub(super) fn new(relay: Arc<Relay>) -> Self {
        Self {
            relay,
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

    /// A cutover was given up: changes flow on, unless the stream failed meanwhile.
    pub(super) fn back_from_cutover(&self) {
        let mut parts = self.parts.lock();
        parts.step = None;
        if matches!(parts.life, Life::CuttingOver) {
            parts.life = Life::Streaming;
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
    pub(super) fn copying(&self, progress: &Arc<CopyProgress>) {
        self.parts.lock().copy = Some((Arc::clone(progress), Instant::now()));
    }

    /// Shows the stream and its applier.
    pub(super) fn streaming(&self, stream: Option<StreamHandle>, apply: Option<ApplyHandle>) {
        let mut parts = self.parts.lock();
        parts.stream = stream;
        parts.apply = apply;
    }

    /// The applier that runs, if any.
    pub(super) fn apply(&self) -> Option<ApplyHandle> {
        self.parts.lock().apply.clone()
    }

    /// The stream that is open, if any.
    pub(super) fn stream(&self) -> Option<StreamHandle> {
        self.parts.lock().stream.clone()
    }

    /// Remembers how a cutover went.
    pub(super) fn cutover(&self, report: CutoverReport) {
        self.parts.lock().last_cutover = Some(report);
    }

    /// The whole status.
    pub(super) fn status(&self) -> Status {
        let sessions = self.sessions();
        let serving = self
            .relay
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
            Life::Finished => (Phase::Finished, None),
            Life::Failed(failure) => (Phase::Failed, Some(failure.clone())),
        };
        let copy = parts
            .copy
            .as_ref()
            .map(|(progress, since)| copy_status(progress, *since));
        Status {
            phase,
            serving,
            step: parts.step.clone(),
            failure,
            trouble: parts.trouble.clone(),
            warnings: parts.warnings.clone(),
            lag,
            copy: copy.unwrap_or_default(),
            sessions,
            last_cutover: parts.last_cutover.clone(),
        }
    }

    /// How far the target is behind, as far as it is known.
    pub(super) fn lag(&self) -> Lag {
        let parts = self.parts.lock();
        let Some(stream) = &parts.stream else {
            return Lag::default();
        };
        let lag = stream.lag();
        let (applied, seconds) = match &parts.apply {
            Some(apply) => {
                let status = apply.status();
                let seconds = if status.applied >= lag.received {
                    Some(0.0)
                } else {
                    status.commit_time.and_then(age_seconds)
                };
                (Some(status.applied), seconds)
            }
            None => (None, None),
        };
        Lag {
            bytes: applied.map(|applied| lag.received.bytes_since(applied)),
            transactions: Some(lag.transactions),
            seconds,
        }
    }

    fn sessions(&self) -> Sessions {
        let all = self.relay.sessions();
        let in_transaction = |state: SessionState| match state {
            SessionState::Active | SessionState::IdleInTransaction => true,
            SessionState::Idle | SessionState::Waiting | SessionState::Ours => false,
        };
        let unmovable = all.iter().filter(|session| !session.unmovable.is_empty());
        Sessions {
            total: all.len(),
            active: all
                .iter()
                .filter(|session| in_transaction(session.state))
                .count(),
            twins: all.iter().filter(|session| session.twin_ready).count(),
            unmovable: unmovable
                .map(|session| UnmovableSession {
                    id: session.id.0,
                    client: session.client.to_string(),
                    user: session.user.clone(),
                    database: session.database.clone(),
                    age_seconds: session.state_age.as_secs_f64(),
                    reasons: session.unmovable.iter().map(ToString::to_string).collect(),
                })
                .collect(),
        }
    }
}

/// Age of a commit by our own clock; a clock that differs from the source's shows as much.
fn age_seconds(time: CommitTime) -> Option<f64> {
    let commit = Duration::from_micros(u64::try_from(time.unix_micros()).ok()?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(now.saturating_sub(commit).as_secs_f64())
}

fn copy_status(progress: &CopyProgress, since: Instant) -> CopyStatus {
    let mut tables: Vec<TableStatus> = progress
        .tables()
        .into_iter()
        .map(|table| TableStatus {
            name: table.name.to_string(),
            rows: table.rows,
            bytes: table.bytes,
            bytes_expected: table.bytes_expected,
            done: table.done,
        })
        .collect();
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
