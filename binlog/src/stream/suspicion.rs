//! What may happen once and must not happen again and again, over the streams of one migration.
//!
//! A bit that flipped on the way is right when the event is read again; one that is wrong every time
//! is wrong in the source's file, and no reading mends it. A source that ends the stream may be
//! shutting down; one that ends it again and again does so for another reader of the same number,
//! which comes back as often as this one does. A connection of ours that broke is noticed by the
//! source soon; a reader that stays is somebody else's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::error::{EventError, StreamError};
use crate::position::BinlogFile;

/// So often the same event may be wrong before its file is taken to be damaged.
const READINGS_MAX: u32 = 3;

/// So often the source may end the stream within [`ENDS_PERIOD`].
const ENDS_MAX: u32 = 3;

/// Longer than the longest pause before a stream is opened again.
const ENDS_PERIOD: Duration = Duration::from_secs(60);

/// So long the source may take a connection of ours that broke for one that reads: it notices at
/// the second heartbeat at the latest.
const TAKEN_MAX: Duration = Duration::from_secs(15);

/// Remembers what went wrong last. Clones remember together.
#[derive(Debug, Clone, Default)]
pub struct Suspicions {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The last place whose checksum was wrong, and how often in a row.
    wrong: Option<(BinlogFile, u32)>,
    /// When the source began to end streams, and how often it did since.
    ends: Option<(Instant, u32)>,
    /// Since when our number is taken, and when that was seen last.
    taken: Option<(Instant, Instant)>,
}

impl Suspicions {
    /// The error, or the one that it has become by coming too often. `server_id` is our number.
    pub(super) fn judge(&self, error: StreamError, server_id: u32, now: Instant) -> StreamError {
        match error {
            StreamError::Event {
                file,
                source: EventError::Checksum,
            } => {
                let readings = self.seen.lock().wrong_again(&file);
                let source = match readings {
                    READINGS_MAX.. => EventError::Damaged(READINGS_MAX),
                    _fewer => EventError::Checksum,
                };
                StreamError::Event { file, source }
            }
            StreamError::EndedBySource => {
                let ends = self.seen.lock().ended_again(now);
                match ends {
                    ENDS_MAX.. => StreamError::Clash(server_id),
                    _fewer => StreamError::EndedBySource,
                }
            }
            StreamError::NumberTaken(number) => {
                let taken_for = self.seen.lock().taken_for(now);
                if taken_for < TAKEN_MAX {
                    StreamError::NumberTaken(number)
                } else {
                    StreamError::Clash(number)
                }
            }
            other => other,
        }
    }
}

impl Seen {
    fn wrong_again(&mut self, file: &BinlogFile) -> u32 {
        let before = match &self.wrong {
            Some((known, count)) if known == file => *count,
            Some(_) | None => 0,
        };
        self.wrong = Some((file.clone(), before + 1));
        before + 1
    }

    fn ended_again(&mut self, now: Instant) -> u32 {
        let (since, before) = match self.ends {
            Some((since, count)) if now.duration_since(since) < ENDS_PERIOD => (since, count),
            Some(_) | None => (now, 0),
        };
        self.ends = Some((since, before + 1));
        before + 1
    }

    fn taken_for(&mut self, now: Instant) -> Duration {
        let since = match self.taken {
            Some((since, last)) if now.duration_since(last) < ENDS_PERIOD => since,
            Some(_) | None => now,
        };
        self.taken = Some((since, now));
        now.duration_since(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(suspicions: &Suspicions, offset: u64) -> bool {
        let error = StreamError::Event {
            file: BinlogFile::new("binlog.000001", offset),
            source: EventError::Checksum,
        };
        suspicions.judge(error, 7, Instant::now()).is_transient()
    }

    #[test]
    fn an_event_that_is_wrong_at_every_reading_is_damaged() {
        let suspicions = Suspicions::default();
        assert!(wrong(&suspicions, 4) && wrong(&suspicions, 4));
        assert!(!wrong(&suspicions.clone(), 4), "the third time");
    }

    #[test]
    fn another_place_is_counted_anew() {
        let suspicions = Suspicions::default();
        assert!(wrong(&suspicions, 4) && wrong(&suspicions, 4) && wrong(&suspicions, 300));
        assert!(wrong(&suspicions, 4));
    }

    #[test]
    fn a_source_that_ends_the_stream_again_and_again_has_another_reader_of_that_number() {
        let suspicions = Suspicions::default();
        let start = Instant::now();
        let ends = |seconds| {
            let now = start + Duration::from_secs(seconds);
            suspicions.judge(StreamError::EndedBySource, 7, now)
        };
        assert!(ends(0).is_transient() && ends(20).is_transient());
        // A minute later it is forgotten.
        assert!(ends(61).is_transient() && ends(62).is_transient());
        assert!(matches!(ends(63), StreamError::Clash(7)));
    }

    #[test]
    fn a_number_that_stays_taken_is_somebody_else_s() {
        let suspicions = Suspicions::default();
        let start = Instant::now();
        let taken = |seconds| {
            let now = start + Duration::from_secs(seconds);
            suspicions.judge(StreamError::NumberTaken(7), 7, now)
        };
        assert!(taken(0).is_transient() && taken(9).is_transient());
        // That was long ago, and had passed.
        assert!(taken(100).is_transient() && taken(110).is_transient());
        assert!(matches!(taken(120), StreamError::Clash(7)));
    }
}
