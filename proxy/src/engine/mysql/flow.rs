//! MySQL's stream and applier at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use binlog::apply::{ApplyError, ApplyHandle};
use binlog::position::{BinlogFile, Position};
use binlog::stream::StreamHandle;
use binlog::wire::SqlConn;
use router::words;

use super::MySql;
use crate::engine::Flow;
use crate::engine::interruption::{BEGIN_AGAIN, Interruption};

/// A look at a stream and its applier.
#[derive(Clone)]
pub(crate) struct MyFlow {
    stream: StreamHandle,
    apply: ApplyHandle,
    /// Id of the connection on which the source is asked for its log's end; 0 without one.
    asked_on: Arc<AtomicU32>,
}

/// The source's binary log as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BinlogEnd {
    /// Its files with their sizes, in their order; the last one is being written.
    files: Vec<(String, u64)>,
}

impl MyFlow {
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

    /// Ids of the source's connection that sends the stream and of what asks it meanwhile.
    pub(super) fn backend_ids(&self) -> [u32; 2] {
        let asked_on = self.asked_on.load(Ordering::Relaxed);
        [self.stream.backend_id(), asked_on]
    }
}

impl Flow<MySql> for MyFlow {
    fn applied(&self) -> Position {
        self.apply.status().applied
    }

    fn received(&self) -> Position {
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
        let micros = self.apply.status().commit_time_us?;
        Some(UNIX_EPOCH + Duration::from_micros(micros))
    }

    fn bytes_behind(&self, end: &BinlogEnd) -> Option<u64> {
        end.bytes_since(&self.applied().file)
    }

    fn waits_for_space(&self) -> Option<String> {
        self.stream.waits_for_space()
    }

    fn works_long(&self) -> Option<String> {
        self.apply.works_long()
    }

    fn asked_on(&self, source: &SqlConn) {
        self.asked_on.store(source.thread_id(), Ordering::Relaxed);
    }

    fn stop(&self) {
        self.apply.stop();
    }
}

impl BinlogEnd {
    /// Bytes of log after this place; `None` when its file is gone, or never was.
    fn bytes_since(&self, place: &BinlogFile) -> Option<u64> {
        let mut later = self
            .files
            .iter()
            .skip_while(|(name, _)| name.as_str() != &*place.name);
        let (_, size) = later.next()?;
        let rest: u64 = later.map(|(_, size)| size).sum();
        Some(size.saturating_sub(place.offset) + rest)
    }
}

/// Where the source's log ends.
pub(super) async fn log_end(source: &SqlConn) -> Result<BinlogEnd, String> {
    let rows = source
        .query("SHOW BINARY LOGS")
        .await
        .map_err(|error| words(&error))?;
    let file = |row: &binlog::wire::TextRow| {
        let name = row.text(0).unwrap_or_default().to_owned();
        let size = row.parse(1).map_err(|error| words(&error))?;
        Ok((name, size))
    };
    let files = rows.iter().map(file).collect::<Result<_, String>>()?;
    Ok(BinlogEnd { files })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_counts_the_files_in_between() {
        let files = [("b.000009", 500), ("b.000010", 700), ("b.000011", 157)];
        let end = BinlogEnd {
            files: files.map(|(name, size)| (name.to_owned(), size)).to_vec(),
        };
        let since = |name: &str, offset| end.bytes_since(&BinlogFile::new(name, offset));
        assert_eq!(since("b.000011", 157), Some(0));
        assert_eq!(since("b.000011", 100), Some(57));
        assert_eq!(since("b.000009", 499), Some(1 + 700 + 157));
        assert_eq!(since("b.000008", 4), None, "purged");
        assert_eq!(since("b.000012", 4), None, "not there yet");
        assert_eq!(
            since("b.000011", 200),
            Some(0),
            "asked before that was written"
        );
    }
}
