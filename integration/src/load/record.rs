//! What the clients saw.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Error texts that are kept; the rest is only counted.
const SAMPLES: usize = 10;

/// A time without any commit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gap {
    /// How long it lasted.
    pub length: Duration,
    /// When it began, since the load's start.
    pub began: Duration,
}

/// What one client saw of its transactions.
#[derive(Debug)]
pub(super) struct ClientLog {
    pub(super) acknowledged: Vec<i64>,
    pub(super) failed: Vec<i64>,
    pub(super) unknown: Vec<i64>,
    pub(super) wrong_answers: u64,
    pub(super) latency_us: Histogram<u64>,
}

/// What all clients tell while they run.
#[derive(Debug)]
pub(super) struct Shared {
    started: Instant,
    commits: AtomicU64,
    errors: AtomicU64,
    samples: Mutex<Vec<String>>,
    gap: Mutex<GapClock>,
}

#[derive(Debug)]
struct GapClock {
    last_commit: Instant,
    longest: Gap,
}

/// What a load saw from its start to its end.
#[derive(Debug)]
pub struct Report {
    /// Ids of transactions whose COMMIT was answered.
    pub acknowledged: Vec<i64>,
    /// Ids of transactions that failed before their COMMIT, or at it with an error.
    pub failed: Vec<i64>,
    /// Ids of transactions whose connection broke at the COMMIT.
    pub unknown: Vec<i64>,
    /// Updates that returned another total than the client's own transactions make.
    pub wrong_answers: u64,
    /// Errors of every kind, broken connections included.
    pub errors: u64,
    /// The first texts of them.
    pub error_samples: Vec<String>,
    /// The longest time without any client's commit.
    pub longest_gap: Gap,
    /// Times from BEGIN to the answer to COMMIT, in microseconds.
    pub latency_us: Histogram<u64>,
    /// How long the load ran.
    pub lasted: Duration,
}

impl ClientLog {
    pub(super) fn new() -> Self {
        Self {
            acknowledged: Vec::new(),
            failed: Vec::new(),
            unknown: Vec::new(),
            wrong_answers: 0,
            latency_us: latency_histogram(),
        }
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            commits: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            samples: Mutex::new(Vec::new()),
            gap: Mutex::new(GapClock {
                last_commit: now,
                longest: Gap::default(),
            }),
        }
    }

    pub(super) fn committed(&self) {
        self.commits.fetch_add(1, Ordering::SeqCst);
        let mut clock = self.gap.lock();
        let now = Instant::now();
        clock.longest = clock.longest_until(now, self.started);
        clock.last_commit = now;
    }

    pub(super) fn failed(&self, text: String) {
        self.errors.fetch_add(1, Ordering::SeqCst);
        let mut samples = self.samples.lock();
        if samples.len() < SAMPLES {
            samples.push(text);
        }
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::SeqCst)
    }

    pub(super) fn error_samples(&self) -> Vec<String> {
        self.samples.lock().clone()
    }

    pub(super) fn reset_gap(&self) {
        let mut clock = self.gap.lock();
        clock.longest = Gap::default();
    }

    pub(super) fn longest_gap(&self) -> Gap {
        let clock = self.gap.lock();
        clock.longest_until(Instant::now(), self.started)
    }
}

impl GapClock {
    fn longest_until(&self, now: Instant, started: Instant) -> Gap {
        let present = Gap {
            length: now.saturating_duration_since(self.last_commit),
            began: self.last_commit.saturating_duration_since(started),
        };
        if present.length > self.longest.length {
            present
        } else {
            self.longest
        }
    }
}

impl Report {
    pub(super) fn new(shared: &Shared, longest_gap: Gap, logs: Vec<ClientLog>) -> Self {
        let mut report = Self {
            acknowledged: Vec::new(),
            failed: Vec::new(),
            unknown: Vec::new(),
            wrong_answers: 0,
            errors: shared.errors(),
            error_samples: shared.error_samples(),
            longest_gap,
            latency_us: latency_histogram(),
            lasted: shared.started.elapsed(),
        };
        for log in logs {
            report.acknowledged.extend(log.acknowledged);
            report.failed.extend(log.failed);
            report.unknown.extend(log.unknown);
            report.wrong_answers += log.wrong_answers;
            report.latency_us += log.latency_us;
        }
        report
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "transactions": self.acknowledged.len(),
            "failed": self.failed.len(),
            "unknown": self.unknown.len(),
            "wrong_answers": self.wrong_answers,
            "errors": self.errors,
            "error_samples": self.error_samples,
            "seconds": self.lasted.as_secs_f64(),
            "longest_gap_ms": milliseconds(self.longest_gap.length),
            "longest_gap_began_seconds": self.longest_gap.began.as_secs_f64(),
            "latency_us": {
                "median": self.latency_us.value_at_quantile(0.5),
                "p99": self.latency_us.value_at_quantile(0.99),
                "max": self.latency_us.max(),
            },
        })
    }
}

/// A duration in milliseconds with its fraction.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn latency_histogram() -> Histogram<u64> {
    Histogram::new(3).expect("invariant: three digits are allowed")
}
