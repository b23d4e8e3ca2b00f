//! PostgreSQL's stream and applier at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pgwal::apply::{ApplyError, ApplyHandle};
use pgwal::stream::StreamHandle;
use pgwal::wire::SqlConn;
use router::{Lsn, words};

use super::Postgres;
use crate::engine::Flow;
use crate::engine::interruption::{BEGIN_AGAIN, Interruption};

/// A look at a stream and its applier.
#[derive(Clone)]
pub(crate) struct PgFlow {
    stream: StreamHandle,
    apply: ApplyHandle,
    /// Process id of the connection on which the source is asked for its log's end; 0 without one.
    asked_on: Arc<AtomicI32>,
}

impl PgFlow {
    pub(super) fn new(stream: StreamHandle, apply: ApplyHandle) -> Self {
        Self {
            stream,
            apply,
            asked_on: Arc::default(),
        }
    }

    pub(super) fn apply(&self) -> &ApplyHandle {
        &self.apply
    }

    /// Process ids of the source's walsender and of what asks it meanwhile.
    pub(super) fn backend_pids(&self) -> [i32; 2] {
        let asked_on = self.asked_on.load(Ordering::Relaxed);
        [self.stream.backend_pid(), asked_on]
    }
}

impl Flow<Postgres> for PgFlow {
    fn applied(&self) -> Lsn {
        self.apply.status().applied
    }

    fn received(&self) -> Lsn {
        self.stream.received()
    }

    fn transactions(&self) -> u64 {
        self.stream.lag().transactions
    }

    fn is_behind(&self) -> bool {
        // In this order: what leaves the stream meanwhile is gathered.
        self.stream.has_transaction() || self.apply.has_gathered()
    }

    fn commit_time(&self) -> Option<SystemTime> {
        let micros = self.apply.status().commit_time?.unix_micros();
        Some(UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).ok()?))
    }

    fn bytes_behind(&self, end: &Lsn) -> Option<u64> {
        Some(end.bytes_since(self.applied()))
    }

    fn waits_for_space(&self) -> Option<String> {
        self.stream.waits_for_space()
    }

    fn asked_on(&self, source: &SqlConn) {
        self.asked_on.store(source.backend_pid(), Ordering::Relaxed);
    }

    fn stop(&self) {
        self.apply.stop();
    }
}

/// Where the source's log ends. That of a transaction whose commit was not waited for
/// (`synchronous_commit = off`) may come a little later, so this tells how much is to do, and
/// never that all is done.
pub(super) async fn log_end(source: &SqlConn) -> Result<Lsn, String> {
    let row = source
        .query_one("SELECT pg_catalog.pg_current_wal_lsn()::text", &[])
        .await
        .map_err(|error| words(&error))?;
    let text: String = row.try_get(0).map_err(|error| words(&error))?;
    text.parse().map_err(|error| words(&error))
}

/// An applier that ended, by itself or with the stream it read from.
pub(super) fn of_apply(error: &ApplyError) -> Interruption {
    let may_pass = error.is_transient();
    let key = error.key().map(|key| {
        let values = key.values();
        values
            .map(|value| String::from_utf8_lossy(&value).into_owned())
            .collect()
    });
    Interruption::of(may_pass, "applying changes stopped", error, BEGIN_AGAIN).with_key(key)
}
